"""MAP, plain and anatomical, against a loop over pairs and scipy's maximum on a dense matrix."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.event_sampling import draw_counts, events_from_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import MapAnatomical, MapRdp, Osem
from hspi_learn.classical.map_rdp import Neighbours
from hspi_learn.reconstructor import ScanContext, scan_context

DURATION_S = 1800.0


@pytest.fixture(scope="module")
def context(model64: HyperspectralForwardModel, density: Tensor) -> ScanContext:
    """One scan of three tissues, of densities so near that every voxel is well seen."""
    tissues = torch.tensor([0.85, 1.0, 1.15], dtype=torch.float64)
    drawn = torch.randint(3, density[:1].shape, generator=torch.Generator().manual_seed(6))
    uneven = torch.where(density[:1] > 0, tissues[drawn], 0.0)
    return scan_context(model64, uneven, torch.full((1,), DURATION_S, dtype=torch.float64))


@pytest.fixture(scope="module")
def truth(context: ScanContext) -> Tensor:
    """Two maps of random activity in the body."""
    activity = torch.rand(1, 2, *context.density.shape[1:], generator=torch.Generator().manual_seed(0))
    return 5.0 * activity.double() * context.body


@pytest.fixture(scope="module")
def counts(model64: HyperspectralForwardModel, context: ScanContext, truth: Tensor) -> Tensor:
    """About a thousand counts."""
    expected = model64.expected_counts(truth, context.attenuation, context.duration_s)
    return draw_counts(expected, torch.Generator().manual_seed(1))


def counts_per_bq(model: HyperspectralForwardModel, context: ScanContext) -> Tensor:
    """Time times sensitivity in the body, [1, map, z, y, x]."""
    return DURATION_S * model.sensitivity(context.attenuation) * context.body


def test_the_penalty_by_a_loop_over_pairs() -> None:
    """Every pair of neighbours once, on voxels of 1 x 2 x 3 mm; 1e-12."""
    generator, spacing = torch.Generator().manual_seed(3), (1.0, 2.0, 3.0)
    image = torch.rand(1, 1, 2, 3, 3, generator=generator, dtype=torch.float64)
    per_bq = torch.rand(image.shape, generator=generator, dtype=torch.float64)
    per_bq[0, 0, 0, 1, 1] = 0.0
    steps = [o for o in itertools.product((-1, 0, 1), repeat=3) if any(o)]
    nearness = {o: 1 / math.dist((0, 0, 0), np.multiply(o, spacing)) for o in steps}
    x, k = image[0, 0].numpy(), per_bq[0, 0].numpy() ** 0.5
    total, places = 0.0, list(np.ndindex(*x.shape))
    for first, second in itertools.combinations(places, 2):
        offset = tuple(b - a for a, b in zip(first, second, strict=True))
        if offset in nearness:
            d = abs(x[first] - x[second])
            weight = nearness[offset] / sum(nearness.values()) * k[first] * k[second]
            total += weight * d**2 / (x[first] + x[second] + 2.0 * d)
    found = Neighbours(VoxelGrid([2, 3, 3], spacing)).penalty(image, per_bq, 2.0)
    assert float(found) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("edge", [0.0, 2.0])
def test_the_gradient_is_that_of_the_penalty(
    edge: float, model64: HyperspectralForwardModel, context: ScanContext, truth: Tensor
) -> None:
    """By automatic differentiation, 1e-10 of the largest; a flat image costs nothing."""
    neighbours, per_bq = Neighbours(model64.grid), counts_per_bq(model64, context)
    image = truth.clone().requires_grad_()
    (expected,) = torch.autograd.grad(neighbours.penalty(image, per_bq, edge).sum(), image)
    found = neighbours.gradient(truth, per_bq, edge)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    assert float(neighbours.penalty(torch.ones_like(truth), per_bq, edge).sum()) == 0.0


class Objective:
    """Penalised log-likelihood on the dense matrix, in numpy."""

    def __init__(
        self, model: HyperspectralForwardModel, context: ScanContext, counts: Tensor, method: MapRdp
    ) -> None:
        body = context.body.expand(-1, 2, -1, -1, -1)
        unit = torch.eye(body.numel(), dtype=torch.float64)[body.flatten()].reshape(-1, *body.shape[1:])
        state = model.attenuation(context.density.expand(len(unit), -1, -1, -1))
        self.matrix = (DURATION_S * model.project(unit, state).flatten(1).T).numpy()
        self.background = DURATION_S * model.background_rate().flatten().double().numpy()
        self.counts, self.body, self.method = counts.flatten().numpy(), body, method
        self.neighbours = method.neighbours(context)
        self.per_bq = counts_per_bq(model, context)

    def image(self, values: np.ndarray) -> Tensor:
        """Values of the body as an image."""
        image = torch.zeros(self.body.shape, dtype=torch.float64)
        image[self.body] = torch.from_numpy(np.asarray(values))
        return image

    def __call__(self, image: Tensor) -> float:
        """What is to be maximised."""
        expected = self.matrix @ image[self.body].numpy() + self.background
        penalty = self.neighbours.penalty(image, self.per_bq, self.method.edge).sum()
        fit = float((self.counts * np.log(expected) - expected).sum())
        return fit - self.method.penalty * float(penalty)

    def downhill(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """For scipy: minus the objective, and its gradient."""
        image = self.image(values)
        expected = self.matrix @ values + self.background
        uphill = self.matrix.T @ (self.counts / expected - 1)
        cost = self.neighbours.gradient(image, self.per_bq, self.method.edge)[self.body].numpy()
        return -self(image), -(uphill - self.method.penalty * cost)

    def maximum(self) -> float:
        """By scipy's L-BFGS-B with bounds, from a flat image."""
        start = np.full(int(self.body.sum()), self.counts.sum() / self.matrix.sum())
        options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-14, "gtol": 1e-9}
        bounds = [(1e-9, None)] * len(start)
        return -float(
            minimize(self.downhill, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).fun
        )


@pytest.mark.parametrize("kind", [MapRdp, MapAnatomical])
@pytest.mark.parametrize(("penalty", "subsets", "relaxation"), [(0.3, 6, 0.1), (3.0, 1, 0.0)])
def test_the_maximum_is_scipys(
    kind: type[MapRdp],
    penalty: float,
    subsets: int,
    relaxation: float,
    model64: HyperspectralForwardModel,
    context: ScanContext,
    counts: Tensor,
) -> None:
    """Of the rise from the uniform start to scipy's maximum 1e-3 at most is missing (1e-5 of its value)."""
    method = kind(model64, iterations=100, subsets=subsets, penalty=penalty, relaxation=relaxation)
    objective = Objective(model64, context, counts, method)
    start = objective.image(np.full(int(context.body.sum()) * 2, counts.sum() / objective.matrix.sum()))
    best, found = objective.maximum(), objective(method.reconstruct(counts, context))
    assert found <= best + 1e-9 * abs(best)
    assert best - found <= 1e-3 * (best - objective(start))


def test_without_a_penalty_it_is_maximum_likelihood(
    model64: HyperspectralForwardModel, context: ScanContext, counts: Tensor
) -> None:
    """Penalty 0 finds at least the likelihood of as many iterations of EM."""

    def likelihood(image: Tensor) -> float:
        mean = model64.expected_counts(image, context.attenuation, context.duration_s)
        return float((counts * mean.log() - mean).sum())

    em = Osem(model64, iterations=40, subsets=1).reconstruct(counts, context)
    found = MapRdp(model64, iterations=40, subsets=1, penalty=0.0, relaxation=0.0).reconstruct(
        counts, context
    )
    assert likelihood(found) == pytest.approx(likelihood(em), abs=1e-6)


def test_more_penalty_is_smoother(
    model64: HyperspectralForwardModel, context: ScanContext, counts: Tensor
) -> None:
    """The penalty of the image falls as its weight grows, and a hundred leave next to nothing of it."""
    neighbours, per_bq = Neighbours(model64.grid), counts_per_bq(model64, context)
    costs = []
    for penalty in (0.0, 0.1, 1.0, 100.0):
        image = MapRdp(model64, iterations=60, subsets=1, penalty=penalty, relaxation=0.0).reconstruct(
            counts, context
        )
        costs.append(float(neighbours.penalty(image, per_bq, 2.0).sum()))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.02 * costs[0]


def test_the_penalty_is_a_pure_number(
    silent_model64: HyperspectralForwardModel, context: ScanContext
) -> None:
    """Ten times the counts in ten times the time: the same image; in the same time, ten times the image."""
    counts = torch.rand(1, silent_model64.pixels, 3, generator=torch.Generator().manual_seed(2)).double()
    method = MapRdp(silent_model64, iterations=3, penalty=0.5)
    once = method.reconstruct(100 * counts, context)
    longer = context._replace(duration_s=10 * context.duration_s)
    close = {"rtol": 1e-9, "atol": 1e-9 * float(once.max())}
    torch.testing.assert_close(method.reconstruct(1000 * counts, longer), once, **close)
    torch.testing.assert_close(method.reconstruct(1000 * counts, context) / 10, once, **close)


def test_events_equal_histogram(
    model64: HyperspectralForwardModel, context: ScanContext, counts: Tensor
) -> None:
    """List-mode and histogram updates on the same bins agree to 1e-5 of the maximum."""
    frames = (Frame(0.0, DURATION_S),)
    events = events_from_counts(counts[0], model64.energy_bins, frames, torch.Generator().manual_seed(2))
    method = MapRdp(model64, iterations=3, subsets=6, penalty=0.3, tied_iterations=1)
    dense = method.reconstruct(counts, context)
    listed = method.reconstruct_events(events, context)
    assert torch.allclose(listed, dense, rtol=0, atol=1e-5 * float(dense.max()))


def test_no_counts_no_activity(model64: HyperspectralForwardModel, context: ScanContext) -> None:
    """An empty scan is an image of zeros."""
    empty = torch.zeros(1, model64.pixels, 3, dtype=torch.float64)
    assert float(MapRdp(model64, iterations=1).reconstruct(empty, context).abs().max()) == 0.0


@pytest.mark.parametrize(
    ("setting", "value"),
    [("penalty", -1.0), ("penalty", math.inf), ("edge", -0.1), ("relaxation", math.nan), ("iterations", 0)],
)
def test_wrong_settings_are_named(model64: HyperspectralForwardModel, setting: str, value: float) -> None:
    """A setting out of range is named in the error with its value."""
    with pytest.raises(UserError, match=rf"map_rdp\.{setting} is {value}"):
        MapRdp(model64, **{setting: value})  # type: ignore[arg-type]
