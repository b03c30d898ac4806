"""Anatomical MAP: its penalty by hand and by a loop over pairs, its gradient, and MAP where all is alike."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import MapAnatomical, MapRdp, tune
from hspi_learn.classical.map_anatomical import AlikeNeighbours
from hspi_learn.classical.map_rdp import Neighbours
from hspi_learn.metrics.nrmse import scan_nrmse
from hspi_learn.reconstructor import ScanBatch, ScanContext, scan_context

DURATION_S = 1800.0
WIDTH_G_CM3 = 0.2


@pytest.fixture(scope="module")
def halves(density: Tensor) -> Tensor:
    """Water at low x and bone at high x, in air, [1, z, y, x] in g/cm3."""
    found = density[:1].clone()
    found[..., 3:] *= 1.6
    return found


def batch_of(model: HyperspectralForwardModel, density: Tensor) -> tuple[ScanBatch, ScanContext]:
    """A scan of activity in the denser half alone, some thousand counts."""
    duration_s = torch.full((len(density),), DURATION_S, dtype=torch.float64)
    context = scan_context(model, density, duration_s)
    activity = (0.5 + 10.0 * (density[:, None] > 1.3)) * context.body
    activity = activity.expand(-1, 2, -1, -1, -1).clone()
    expected = model.expected_counts(activity, context.attenuation, duration_s)
    counts = draw_counts(expected, torch.Generator().manual_seed(1))
    labels, index = torch.zeros_like(density).long(), torch.arange(len(density))
    return ScanBatch(counts, duration_s, density, activity, labels, index), context


def test_the_penalty_by_a_loop_over_pairs() -> None:
    """Every pair once, on voxels of 1 x 2 x 3 mm, by math.exp of its difference in density; 1e-12."""
    generator, spacing = torch.Generator().manual_seed(3), (1.0, 2.0, 3.0)
    image, per_bq, density = torch.rand(3, 1, 1, 2, 3, 3, generator=generator, dtype=torch.float64)
    per_bq[0, 0, 0, 1, 1] = 0.0
    steps = [o for o in itertools.product((-1, 0, 1), repeat=3) if any(o)]
    nearness = {o: 1 / math.dist((0, 0, 0), np.multiply(o, spacing)) for o in steps}
    x, k, rho = (part[0, 0].numpy() for part in (image, per_bq.sqrt(), density))
    total = 0.0
    for first, second in itertools.combinations(np.ndindex(*x.shape), 2):
        offset = tuple(b - a for a, b in zip(first, second, strict=True))
        if offset in nearness:
            d = abs(x[first] - x[second])
            alike = math.exp(-((rho[first] - rho[second]) ** 2) / (2 * WIDTH_G_CM3**2))
            weight = alike * nearness[offset] / sum(nearness.values()) * k[first] * k[second]
            total += weight * d**2 / (x[first] + x[second] + 2.0 * d)
    neighbours = AlikeNeighbours(VoxelGrid([2, 3, 3], spacing), density[:, 0], WIDTH_G_CM3)
    assert float(neighbours.penalty(image, per_bq, 2.0)) == pytest.approx(total, rel=1e-12)


def test_the_gradient_is_that_of_the_penalty(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """By automatic differentiation, 1e-10 of the largest; a weight that is not symmetric would not pass."""
    generator = torch.Generator().manual_seed(5)
    uneven = density * (0.5 + torch.rand(density.shape, generator=generator, dtype=torch.float64))
    image = torch.rand(2, 2, *density.shape[1:], generator=generator, dtype=torch.float64)
    neighbours = AlikeNeighbours(model64.grid, uneven, WIDTH_G_CM3)
    per_bq = (uneven > 0)[:, None] * torch.rand(image.shape, generator=generator, dtype=torch.float64)
    asked = image.clone().requires_grad_()
    (expected,) = torch.autograd.grad(neighbours.penalty(asked, per_bq, 2.0).sum(), asked)
    found = neighbours.gradient(image, per_bq, 2.0)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    plain = Neighbours(model64.grid).gradient(image, per_bq, 2.0)
    assert not torch.allclose(found, plain, rtol=0, atol=1e-2 * float(plain.abs().max()))


def test_in_one_tissue_it_is_map_to_the_bit(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Whatever the width, body surface included; in two tissues it is not."""
    (batch, context), width = batch_of(model64, density), {"density_width_g_cm3": 0.05}
    plain = MapRdp(model64, iterations=4, penalty=0.5).reconstruct(batch.projections, context)
    found = MapAnatomical(model64, iterations=4, penalty=0.5, **width).reconstruct(batch.projections, context)
    assert torch.equal(found, plain)


def test_the_edge_between_tissues_stays(model64: HyperspectralForwardModel, halves: Tensor) -> None:
    """Under a strong penalty the step of activity between water and bone is kept, where MAP blurs it.

    Truth 0.5 and 10.5: the means of the two columns of voxels beside the border differ by more than twice as
    much as MAP's.
    """
    batch, context = batch_of(model64, halves)

    def step(method: MapRdp) -> float:
        image = method.reconstruct(batch.projections, context)
        inner = image[0, :, 1:-1, 1:-1]
        return float(inner[..., 3].mean() - inner[..., 2].mean())

    settings = {"iterations": 60, "subsets": 1, "penalty": 30.0, "relaxation": 0.0}
    plain = step(MapRdp(model64, **settings))  # type: ignore[arg-type]
    anatomical = step(MapAnatomical(model64, density_width_g_cm3=WIDTH_G_CM3, **settings))  # type: ignore[arg-type]
    assert anatomical > 2 * plain > 0


@pytest.mark.slow
def test_the_width_is_tuned(model64: HyperspectralForwardModel, halves: Tensor) -> None:
    """Of a narrow width and one that tells no tissue from another the narrow one wins at a strong penalty."""
    batch, _ = batch_of(model64, halves)

    def error(estimate: Tensor, scans: ScanBatch, context: ScanContext) -> Tensor:
        return scan_nrmse(estimate, scans.activity, context.body)

    method = MapAnatomical(model64, iterations=20, penalty=10.0)
    tuned = tune(method, [batch], error, {"density_width_g_cm3": (100.0, 0.2)})
    assert tuned.chosen["density_width_g_cm3"] == 0.2
    assert isinstance(tuned.method, MapAnatomical)
    assert tuned.method.told.startswith("density width 0.2 g/cm3, penalty 10, 20 iterations")
    assert tuned.method.settings["density_width_g_cm3"] == 0.2


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_wrong_widths_are_named(value: float, model64: HyperspectralForwardModel) -> None:
    """With the value and what would be right."""
    with pytest.raises(UserError, match=rf"map_anatomical\.density_width_g_cm3 is {value}; it needs"):
        MapAnatomical(model64, density_width_g_cm3=value)
