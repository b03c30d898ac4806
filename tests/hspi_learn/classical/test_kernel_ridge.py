"""Kernel ridge regression by hand on three training scans, at both ends of its ridge, and what it refuses."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import KernelRidge, Osem, tune
from hspi_learn.metrics.nrmse import scan_nrmse
from hspi_learn.reconstructor import ScanBatch, ScanContext, scan_context

SHORT = partial(Osem, subsets=4)


def scans_of(model: HyperspectralForwardModel, density: Tensor, count: int, seed: int = 0) -> ScanBatch:
    """Scans of a hot spot at random places in bodies of random density, some thousand counts each."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, *density.shape[1:], generator=generator, dtype=torch.float64)
    body = density[:1] * (0.8 + 0.4 * noise)
    activity = (body > 0)[:, None] * torch.rand(count, 2, *density.shape[1:], generator=generator).double()
    for one in activity:
        one[:, 1:3, 1 + int(torch.randint(3, (1,), generator=generator)), 2:4] *= 20.0
    duration_s = torch.full((count,), 1800.0, dtype=torch.float64)
    expected = model.expected_counts(activity, model.attenuation(body), duration_s)
    labels, index = torch.zeros_like(body).long(), torch.arange(count)
    return ScanBatch(draw_counts(expected, generator), duration_s, body, activity, labels, index)


@pytest.fixture(scope="module")
def training(model64: HyperspectralForwardModel, density: Tensor) -> ScanBatch:
    return scans_of(model64, density, 3)


@pytest.fixture(scope="module")
def unseen(model64: HyperspectralForwardModel, density: Tensor) -> ScanBatch:
    return scans_of(model64, density, 2, seed=1)


def context_of(model: HyperspectralForwardModel, scans: ScanBatch) -> ScanContext:
    return scan_context(model, scans.density, scans.duration_s)


def estimated(method: KernelRidge, scans: ScanBatch) -> Tensor:
    return method.reconstruct(scans.projections, context_of(method.model, scans))


def scale_of(model: HyperspectralForwardModel, scans: ScanBatch, iterations: int) -> Tensor:
    """Body mean of OSEM, [scan, map, 1, 1, 1]."""
    context = context_of(model, scans)
    image = Osem(model, iterations, 4).reconstruct(scans.projections, context)
    voxels = context.body.sum((2, 3, 4), keepdim=True)
    return image.sum((2, 3, 4), keepdim=True) / voxels


def by_hand(
    model: HyperspectralForwardModel, training: ScanBatch, scan: ScanBatch, width: float, ridge: float
) -> np.ndarray:
    """The first map of one scan from three: kernel, inverse and weighted sum, in numpy, a scan at a time."""
    values, truths = [], []
    for batch in (training, scan):
        context, scale = context_of(model, batch), scale_of(model, batch, 3)
        images = [Osem(model, n, 4).reconstruct(batch.projections, context) for n in (1, 3)]
        for i in range(len(batch.index)):
            levels = [np.log(1 + (image / scale)[i].numpy()) for image in images]
            values.append([*levels, batch.density[i].numpy()])
            truths.append((batch.activity[i, 0] / scale[i, 0]).numpy())
    apart = np.zeros((3, 4, 4))
    for image, i, j in np.ndindex(3, 4, 4):
        apart[image, i, j] = ((values[i][image] - values[j][image]) ** 2).sum()
    usual = [(apart[image, 0, 1] + apart[image, 0, 2] + apart[image, 1, 2]) / 3 for image in range(3)]
    kernel = np.exp(-sum(apart[image] / usual[image] / 3 for image in range(3)) / (2 * width**2))
    shares = np.linalg.inv(kernel[:3, :3] + ridge * np.eye(3)) @ kernel[:3, 3]
    mean = sum(truths[:3]) / 3
    mixed = mean + sum(share * (truth - mean) for share, truth in zip(shares, truths[:3], strict=True))
    inside = (scan.density[0] > 0.15).numpy()
    return float(scale_of(model, scan, 3)[0, 0]) * inside * np.maximum(mixed, 0)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("width", "ridge"), [(0.7, 0.05), (2.0, 0.001)])
def test_three_training_scans_by_hand(
    width: float, ridge: float, model64: HyperspectralForwardModel, training: ScanBatch, unseen: ScanBatch
) -> None:
    """To 1e-9 of the largest; the other scan of the batch and its order of training change nothing."""
    method = KernelRidge(model64, SHORT, (3, 1), width, ridge)
    singly = [ScanBatch(*(part[i : i + 1] for part in training)) for i in (2, 0, 1)]
    expected = by_hand(model64, training, ScanBatch(*(part[:1] for part in unseen)), width, ridge)
    for scans in ([training], singly):
        found = estimated(method.fitted(scans), unseen)[0, 0].numpy()
        assert np.allclose(found, expected, rtol=0, atol=1e-9 * expected.max())


def test_without_a_ridge_a_training_scan_gives_its_own_truth(
    model64: HyperspectralForwardModel, training: ScanBatch
) -> None:
    """To 1e-6 of the largest at a ridge of 1e-9; at one of 1 it does not."""
    method = KernelRidge(model64, SHORT, ridge=1e-9).fitted([training])
    close = {"rtol": 0.0, "atol": 1e-6 * float(training.activity.max())}
    assert torch.allclose(estimated(method, training), training.activity, **close)
    assert not torch.allclose(
        estimated(method.with_settings(ridge=1.0), training), training.activity, **close
    )


def test_with_much_ridge_every_scan_gives_the_mean(
    model64: HyperspectralForwardModel, training: ScanBatch, unseen: ScanBatch
) -> None:
    """The mean of truths over body means of OSEM, times that of the scan; to 1e-6 of the largest."""
    method = KernelRidge(model64, SHORT, ridge=1e9).fitted([training])
    mean = (training.activity / scale_of(model64, training, 4)).mean(0)
    expected = scale_of(model64, unseen, 4) * mean * (unseen.density > 0)[:, None]
    found = estimated(method, unseen)
    assert torch.allclose(found, expected, rtol=0, atol=1e-6 * float(expected.max()))


def test_no_activity_is_negative(
    model64: HyperspectralForwardModel, training: ScanBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a mixture of truths is below 0, as it may be far from all training scans, the image is 0."""
    method = KernelRidge(model64, SHORT).fitted([training])
    mixed = method._mixed
    monkeypatch.setattr(KernelRidge, "_mixed", lambda _, share: mixed(share) - 1.0)
    assert float(estimated(method, training).min()) == 0.0


def test_twice_the_counts_twice_the_activity(
    silent_model64: HyperspectralForwardModel, training: ScanBatch, unseen: ScanBatch
) -> None:
    """Without background in the model; and 1.5 times the time 2/3 of it; to 1e-9."""
    method = KernelRidge(silent_model64, SHORT).fitted([training])
    once = estimated(method, unseen)
    close = {"rtol": 1e-9, "atol": 1e-9 * float(once.max())}
    torch.testing.assert_close(
        estimated(method, unseen._replace(projections=2 * unseen.projections)), 2 * once, **close
    )
    longer = unseen._replace(duration_s=1.5 * unseen.duration_s)
    torch.testing.assert_close(estimated(method, longer), once / 1.5, **close)


def test_learning_leaves_the_method(
    model64: HyperspectralForwardModel, training: ScanBatch, unseen: ScanBatch
) -> None:
    """Two that learnt from other scans share matrices and nothing else; the first still knows nothing."""
    method = KernelRidge(model64, SHORT)
    first, second = method.fitted([training]), method.fitted([unseen])
    assert first.osem is second.osem
    assert (len(first.examples), len(second.examples)) == (3, 2)
    assert first.told == "width 1, ridge 0.01, 3 training scans"
    with pytest.raises(UserError, match="kernel_ridge has learnt from no training scans"):
        estimated(method, unseen)


def test_kept_images_are_taken_and_empty_scans_teach_nothing(
    model64: HyperspectralForwardModel, training: ScanBatch, unseen: ScanBatch
) -> None:
    """Images that are handed in give the same; a fourth scan without counts changes nothing."""
    method = KernelRidge(model64, SHORT)
    counts = torch.cat([training.projections, torch.zeros_like(training.projections[:1])])
    four = ScanBatch(*(torch.cat([part, part[:1]]) for part in training))._replace(projections=counts)
    kept = method.osem_images(four.projections, context_of(model64, four))
    expected = estimated(method.fitted([training]), unseen)
    found = method.fitted([four], lambda batch: kept[: len(batch.index)])
    assert len(found.examples) == 3
    torch.testing.assert_close(estimated(found, unseen), expected, rtol=1e-9, atol=1e-12)


def test_width_and_ridge_are_tuned(
    model64: HyperspectralForwardModel, training: ScanBatch, unseen: ScanBatch
) -> None:
    """Every error of the table is that of a reconstruction at those settings (1e-12); the least is chosen."""

    def error(estimate: Tensor, batch: ScanBatch, context: ScanContext) -> Tensor:
        return scan_nrmse(estimate, batch.activity, context.body)

    method = KernelRidge(model64, SHORT).fitted([training])
    widths, ridges = (0.3, 1.0, 3.0), (0.01, 1.0)
    tuned = tune(method, [unseen], error, {"ridge": ridges, "width": widths})
    context = context_of(model64, unseen)
    for r, ridge in enumerate(ridges):
        for w, width in enumerate(widths):
            one = method.with_settings(width=width, ridge=ridge)
            expected = error(estimated(one, unseen), unseen, context)
            at = {"width": w, "ridge": r}
            assert torch.allclose(
                tuned.errors[*(at[name] for name in tuned.candidates)], expected, rtol=1e-12
            )
    least = error(estimated(tuned.method, unseen), unseen, context).mean()  # the median of two
    assert float(tuned.median_errors.min()) == pytest.approx(float(least), rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"width": 0.0}, "kernel_ridge.width is 0.0; it needs to be a number above 0"),
        ({"ridge": -1.0}, "kernel_ridge.ridge is -1.0; it needs to be a number above 0"),
        ({"ridge": math.nan}, "kernel_ridge.ridge is nan; it needs to be a number above 0"),
        ({"at_iterations": ()}, r"kernel_ridge.at_iterations is \[\]; it needs one iteration or more"),
        (
            {"at_iterations": (0, 2)},
            r"kernel_ridge.at_iterations is \[0, 2\]; it needs one iteration or more",
        ),
    ],
)
def test_wrong_settings_are_named(
    settings: dict[str, float], told: str, model64: HyperspectralForwardModel
) -> None:
    """With the value and what would be right."""
    with pytest.raises(UserError, match=told):
        KernelRidge(model64, SHORT, **settings)  # type: ignore[arg-type]


def test_learning_needs_scans_with_counts(model64: HyperspectralForwardModel, training: ScanBatch) -> None:
    """No training scans, or empty ones, are an error."""
    empty = training._replace(projections=torch.zeros_like(training.projections))
    for scans in ([], [empty]):
        with pytest.raises(UserError, match="got no training scans with counts"):
            KernelRidge(model64, SHORT).fitted(scans)
