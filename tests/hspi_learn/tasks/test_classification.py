"""Classification of scans: what counts become, thinning, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from contracts.task_contract import WINDOWS_KEV, Scans, scans_of, system_of, trainer_of
from torch import Tensor, nn

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.networks import PanelCnn, PanelLinear
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Classification, HotSpots, Inputs


class Seen(nn.Module):
    """Keeps what it is given, and answers with zeros."""

    def __init__(self, panels: int, windows: int, classes: int) -> None:
        super().__init__()
        self.shape, self.classes = (panels, windows), classes
        self.images, self.level = torch.empty(0), torch.empty(0)

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        self.images, self.level = images, level
        return 0 * images.flatten(1)[:, : self.classes]


def _task(model: HyperspectralForwardModel, network: Any = None, **changes: Any) -> Classification:
    small = partial(PanelCnn, spectral=2, channels=(4, 8), hidden=8)
    return Classification(system_of(model), WINDOWS_KEV, network or small, HotSpots(most=1), **changes)


@pytest.fixture
def scans(model32: HyperspectralForwardModel) -> ScanBatch:
    return scans_of(model32, torch.float32)


def test_network_sees_stable_counts_by_panel(model32: HyperspectralForwardModel) -> None:
    """Anscombe's square root less its value at 0, over its mean, less 1, of all windows together and of each;
    place by panel, image, row, column."""
    task = _task(model32, Seen, spectral=True)
    counts = (torch.arange(2 * 48 * 3, dtype=torch.float32) % 5).reshape(2, 48, 3)
    task.predict(Inputs(counts, "counts"))
    network: Any = task.network
    assert network.images.shape == (2, 1, 4, 6, 8)
    for number, some in ((0, counts.sum(2, keepdim=True)), (2, counts)):
        stable = 2 * (some + 3 / 8).sqrt() - 2 * 0.375**0.5
        expected = stable[1, 2 * 8 + 5, max(0, number - 1)] / stable[1].mean() - 1
        torch.testing.assert_close(network.images[1, 0, number, 2, 5], expected)
    torch.testing.assert_close(network.level, (1 + counts.sum((1, 2))).log())


def test_noise_has_one_size_whatever_the_counts() -> None:
    """The variance of 2 sqrt(n + 3/8) is 1 within 3 % from a mean of 4 on (Anscombe: 1 + 1 / (16 m^2))."""
    generator = torch.Generator().manual_seed(1)
    for mean in (4.0, 40.0, 400.0):
        drawn = torch.poisson(torch.full((200_000,), mean, dtype=torch.float64), generator=generator)
        assert float((2 * (drawn + 0.375).sqrt()).var()) == pytest.approx(1.0, abs=0.03)


def test_an_empty_scan_has_a_finite_prediction_and_slope(model32: HyperspectralForwardModel) -> None:
    """No counts at all: an image of zeros, and a gradient that is finite."""
    counts = torch.zeros(1, 48, 3, requires_grad=True)
    prediction = _task(model32).eval().predict(Inputs(counts, "counts"))
    prediction[0, 1].backward()
    assert bool(torch.isfinite(prediction).all())
    assert counts.grad is not None
    assert bool(torch.isfinite(counts.grad).all())


def test_thinning_takes_whole_counts_by_seed_and_update(
    model32: HyperspectralForwardModel, scans: ScanBatch
) -> None:
    """Shares of 0.25: whole numbers, none above what was there, a quarter in the mean (5 sigma), the same
    for the same seed and update, another for another, and the time goes along."""
    task = _task(model32, thinning=(0.25, 0.25), spectral=True)
    first, again, other = (task.augmented(scans, number) for number in (0, 0, 1))
    counts = first.projections
    assert torch.equal(counts, counts.round())
    assert bool(((counts >= 0) & (counts <= scans.projections)).all())
    total = float(scans.projections.sum())
    assert abs(float(counts.sum()) - 0.25 * total) < 5 * (total * 0.25 * 0.75) ** 0.5
    assert torch.equal(counts, again.projections)
    assert not torch.equal(counts, other.projections)
    torch.testing.assert_close(first.duration_s, 0.25 * scans.duration_s)
    whole = _task(model32).augmented(scans, 0)
    assert torch.equal(whole.projections, scans.projections.sum(2, keepdim=True))


def test_shares_are_drawn_between_their_ends(model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
    """Each scan has a share of its own, log-uniform: half of them below the geometric mean (5 sigma)."""
    task = _task(model32, thinning=(0.01, 1.0))
    shares = torch.cat([task.augmented(scans, number).duration_s / scans.duration_s for number in range(60)])
    assert 0.01 <= float(shares.min()) < 0.02
    assert 0.8 < float(shares.max()) <= 1.0
    below = float((shares < 0.1).double().mean())
    assert abs(below - 0.5) < 5 * 0.5 / len(shares) ** 0.5


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
def test_training_makes_no_physics_image(
    model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
) -> None:
    """No forward model is made in training, validation or prediction; AUC is logged beside the scores."""

    def forbidden(windows: Any) -> HyperspectralForwardModel:
        raise AssertionError(f"a forward model of {windows} was made")

    system: Any = SimpleNamespace(**vars(system_of(model32)) | {"forward_model": forbidden})
    network = partial(PanelCnn, spectral=2, channels=(4, 8), hidden=8)
    task = Classification(system, WINDOWS_KEV, network, HotSpots(most=1), thinning=(0.5, 1.0))
    trainer = trainer_of(tmp_path, [], max_epochs=1)
    trainer.fit(task, datamodule=Scans(scans))
    (found,) = trainer.validate(task, datamodule=Scans(scans), verbose=False)
    assert {"val/accuracy", "val/cross_entropy", "val/auc_none", "val/auc_some"} <= found.keys()


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
def test_scans_of_one_class_cannot_be_learnt_from(
    model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
) -> None:
    """All six without a tumour: said before the first update."""
    labels = torch.where(scans.labels == ORGANS.index("tumour"), 1, scans.labels)
    task = _task(model32)
    with pytest.raises(UserError, match="all 6 training scans are of one class"):
        trainer_of(tmp_path, [], max_epochs=1).fit(task, datamodule=Scans(scans._replace(labels=labels)))
    assert task.global_step == 0


@pytest.mark.parametrize("wrong", [-1.0, torch.nan, torch.inf])
def test_counts_that_are_none_are_refused(
    model32: HyperspectralForwardModel, scans: ScanBatch, wrong: float
) -> None:
    counts = scans.projections.clone()
    counts[2, 3, 1] = wrong
    with pytest.raises(UserError, match="counts hold negative, NaN or infinite values"):
        _task(model32).inputs(scans._replace(projections=counts))


@pytest.mark.parametrize("thinning", [(0.0, 1.0), (0.5, 1.5), (0.8, 0.2), (0.5,)])
def test_wrong_thinning_is_refused(model32: HyperspectralForwardModel, thinning: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"task\.thinning"):
        _task(model32, thinning=thinning)


def test_a_linear_network_is_a_logistic_regression_on_tiles() -> None:
    """By hand: weights times means of tiles of the first images, and the level over ten."""
    generator = torch.Generator().manual_seed(0)
    network = PanelLinear(2, 3, 4, tiles=2)
    images = torch.rand(5, 2, 3, 6, 8, generator=generator)
    level = torch.rand(5, generator=generator)
    tiles = images[:, :, 0].reshape(5, 2, 2, 3, 2, 4).mean((3, 5)).flatten(1)
    seen = torch.cat((tiles, level[:, None] / 10), dim=1)
    by_hand = seen @ network.linear.weight.T + network.linear.bias
    torch.testing.assert_close(network(images, level), by_hand)


def test_order_and_number_of_panels_are_free() -> None:
    """The network's features are pooled over panels: another order gives the same, other numbers work."""
    network = PanelCnn(6, 3, 4, spectral=2, channels=(4, 8), hidden=8).eval()
    images, level = torch.rand(2, 6, 3, 12, 12), torch.ones(2)
    with torch.no_grad():
        torch.testing.assert_close(network(images.flip(1), level), network(images, level))
        assert network(images[:, :2], level).shape == (2, 4)


def test_the_network_learns_to_see_spots() -> None:
    """None, one or two spots of 9 expected counts on 2, at places that were never shown: 9 of 10 are told
    right after 150 updates, where guessing gives a third."""
    generator = torch.Generator().manual_seed(3)

    def drawn(scans: int) -> tuple[Tensor, Tensor]:
        classes = torch.randint(3, (scans,), generator=generator)
        expected = torch.full((scans, 2, 1, 12, 12), 2.0)
        for scan, spots in enumerate(classes.tolist()):
            rows = torch.randperm(3, generator=generator)[:spots].tolist()
            for row in rows:
                column = int(torch.randint(9, (), generator=generator))
                expected[scan, :, 0, 4 * row : 4 * row + 3, column : column + 3] = 9.0
        return 2 * (torch.poisson(expected, generator=generator) + 0.375).sqrt() - 3.0, classes

    torch.manual_seed(0)
    network = PanelCnn(2, 1, 3, channels=(8, 16), hidden=16, dropout=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(150):
        images, classes = drawn(32)
        loss = nn.functional.cross_entropy(network(images, torch.zeros(32)), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, classes = drawn(200)
    with torch.no_grad():
        right = network.eval()(images, torch.zeros(200)).argmax(1) == classes
    assert float(right.double().mean()) > 0.9


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"channels": ()}, r"network\.channels"),
        ({"channels": (8,) * 9}, r"network\.channels"),
        ({"channels": (8, 0)}, r"network\.channels"),
        ({"dropout": 1.0}, r"network\.dropout is 1"),
    ],
)
def test_wrong_networks_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        PanelCnn(6, 3, 4, **settings)
