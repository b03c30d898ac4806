"""Dead pixels, silent subsets and hardly seen voxels: OSEM finds the activity all the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.attacks import PoissonBall, PoissonBox
from hspi_learn.classical import Osem
from hspi_learn.reconstructor import ScanContext, scan_context
from tests.hspi_learn.conftest import PIXELS, SHAPE, dense_model

DURATION_S = 1800.0
DEAD = torch.tensor([2, 9, 21, 33, 46])
"""One pixel in ten."""


@pytest.fixture(scope="module")
def holed64() -> HyperspectralForwardModel:
    """The dense model with dead pixels."""
    live = torch.ones(PIXELS, dtype=torch.float64)
    live[DEAD] = 0.0
    return dense_model(1e-6, torch.float64, live)


def _scan(model: HyperspectralForwardModel, density: Tensor) -> tuple[Tensor, Tensor, ScanContext]:
    """Truth, noise-free counts and context of a scan."""
    generator = torch.Generator().manual_seed(0)
    context = scan_context(model, density, torch.full((len(density),), DURATION_S, dtype=density.dtype))
    activity = (
        5 * torch.rand(len(density), 2, *density.shape[1:], generator=generator).double() * context.body
    )
    return activity, model.expected_counts(activity, context.attenuation, context.duration_s), context


def _totals(image: Tensor) -> Tensor:
    return image.sum(dim=(1, 2, 3, 4))


def test_the_model_expects_nothing_of_dead_pixels(
    holed64: HyperspectralForwardModel, model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """A is that of the whole camera with these rows 0, A_adjoint its transpose, and so is the sensitivity."""
    activity, expected, context = _scan(model64, density)
    live = holed64.recording.live.double()[:, None]
    holed = holed64.expected_counts(activity, context.attenuation, context.duration_s)
    assert torch.allclose(holed, expected * live, rtol=1e-12, atol=0)
    counts = torch.rand(holed.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    back = holed64.A_adjoint(counts, density)
    assert torch.allclose(back, model64.A_adjoint(counts * live, density), rtol=1e-12)
    ones = holed64.A_adjoint(torch.ones_like(counts), density)
    assert torch.allclose(holed64.sensitivity(context.attenuation), ones, rtol=1e-6)


@pytest.mark.parametrize("subsets", [1, 6])
def test_activity_is_right_with_one_pixel_in_ten_dead(
    holed64: HyperspectralForwardModel, model64: HyperspectralForwardModel, density: Tensor, subsets: int
) -> None:
    """Total activity of noise-free counts within 1 %; a model that does not know of them finds too little."""
    truth, counts, context = _scan(holed64, density)
    told = Osem(holed64, iterations=30, subsets=subsets).reconstruct(counts, context)
    assert torch.allclose(_totals(told), _totals(truth), rtol=0.01)
    untold = Osem(model64, iterations=30, subsets=subsets).reconstruct(counts, context)
    assert bool((_totals(untold) < 0.95 * _totals(truth)).all())


def test_the_image_is_as_noisy_as_the_counts_explain(
    holed64: HyperspectralForwardModel, model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """Error with dead pixels is that of the whole camera in a scan as much shorter as counts are fewer: means
    of 24 draws of each scan, 5 % (their standard error is 1 %)."""
    truth, counts, context = _scan(model64, density)
    holed = holed64.expected_counts(truth, context.attenuation, context.duration_s)
    kept = float(holed.sum() / counts.sum())
    short = scan_context(model64, density, kept * context.duration_s)
    generator = torch.Generator().manual_seed(1)

    def error(model: HyperspectralForwardModel, expected: Tensor, seen: ScanContext) -> float:
        osem = Osem(model, iterations=5, subsets=6)
        images = [osem.reconstruct(draw_counts(expected, generator), seen) for _ in range(24)]
        return float(torch.stack([(image - truth).norm() / truth.norm() for image in images]).mean())

    found = error(holed64, holed, context)
    assert found == pytest.approx(error(model64, kept * counts, short), rel=0.05)


def test_counts_of_dead_pixels_are_not_used(holed64: HyperspectralForwardModel, density: Tensor) -> None:
    """Noise of a hot pixel that is named changes the level of the start, and nothing in the end."""
    _, counts, context = _scan(holed64, density)
    noisy = counts.clone()
    noisy[:, DEAD] = 1e3
    osem = Osem(holed64, iterations=30, subsets=6)
    clean, found = (osem.reconstruct(n, context) for n in (counts, noisy))
    assert torch.allclose(_totals(found), _totals(clean), rtol=1e-3)


def test_a_silent_subset_leaves_the_image_as_it_is(
    model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """One subset of six without counts, in the second scan alone: the others find its total within 5 %, and
    the first scan's image is what it is without a silent one beside it."""
    truth, counts, context = _scan(model64, density)
    osem = Osem(model64, iterations=30, subsets=6)
    silent = counts.clone()
    silent[1, osem.subsets[-1]] = 0.0
    image = osem.reconstruct(silent, context)
    assert torch.allclose(_totals(image), _totals(truth), rtol=0.05)
    assert torch.allclose(image[0], osem.reconstruct(counts, context)[0], rtol=1e-9)


def test_hardly_seen_voxels_do_not_gather_what_no_others_explain(
    density: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Voxels of 1 % of the others' sensitivity, and a source beyond the body that looks like them: the total
    stays within twice the truth and settles; plain EM finds a multiple, and more with every iteration."""
    gain = torch.ones(SHAPE, dtype=torch.float64)
    gain[..., -2] = 0.01
    whole, weak = dense_model(0.0, torch.float64), dense_model(0.0, torch.float64, gain=gain)
    truth, counts, context = _scan(weak, density[:1])
    beyond = torch.zeros_like(truth)
    beyond[..., -2] = 0.5 * truth.amax() * context.body[..., -2]
    counts = counts + whole.expected_counts(beyond, context.attenuation, context.duration_s)
    totals = [float(_totals(image)) for image in Osem(weak, subsets=6).iterates(counts, context, 40)]
    exact = float(_totals(truth))
    assert totals[-1] < 2 * exact
    assert abs(totals[-1] - totals[-10]) < 0.02 * exact
    monkeypatch.setattr("hspi_learn.classical.ordered_subsets.HARDLY_SEEN", 0.0)
    plain = [float(_totals(image)) for image in Osem(weak, subsets=6).iterates(counts, context, 40)]
    assert plain[-1] > 4 * exact
    assert plain[-1] > plain[-10] > plain[-20]


@pytest.mark.parametrize("ball", [PoissonBall(3.0), PoissonBox(0.5)])
def test_adversaries_cannot_change_dead_pixels(
    holed64: HyperspectralForwardModel, density: Tensor, ball: PoissonBall | PoissonBox
) -> None:
    """Neither a gradient nor chance moves them, whatever stands there; others move."""
    _, expected, _ = _scan(holed64, density)
    counts = draw_counts(expected, torch.Generator().manual_seed(1))
    counts[:, DEAD] = 7.0
    scale = ball.scale(counts, expected)
    generator = torch.Generator().manual_seed(2)
    asked = torch.randn(counts.shape, generator=generator, dtype=counts.dtype)
    for u in (ball.project(100 * asked, counts, scale), ball.random(counts, scale, generator)):
        moved = ball.perturbed(counts, u, scale)
        assert torch.equal(moved[:, DEAD], counts[:, DEAD])
        assert bool(torch.isfinite(moved).all())
        assert not torch.equal(moved, counts)


def test_maps_start_tied_and_are_free_after(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Bi-213 follows Ac-225 in transient equilibrium for two iterations, and no longer."""
    _, counts, context = _scan(model64, density)
    images = list(Osem(model64, subsets=6, tied_iterations=2).iterates(counts, context, 3))
    chain = model64.chain
    bismuth, actinium = (chain.decay_constant(m) for m in ("Bi-213", "Ac-225"))
    between = [chain.decay_constant(m) for m in ("Fr-221", "At-217")]
    ratio = bismuth / (bismuth - actinium)
    for constant in between:
        ratio *= constant / (constant - actinium)
    for parent, child in (("Ac-225", "Fr-221"), ("Fr-221", "At-217"), ("At-217", "Bi-213")):
        ratio *= chain.branching(parent, child)
    for image in images[:2]:
        assert torch.allclose(image[:, 1], ratio * image[:, 0], rtol=1e-6)
    assert not torch.allclose(images[2][:, 1], ratio * images[2][:, 0], rtol=1e-2)


def test_tied_maps_explain_the_counts(silent_model64: HyperspectralForwardModel, density: Tensor) -> None:
    """MLEM of tied maps is MLEM of their sum: counts are conserved (1e-9) and the likelihood never falls."""
    _, expected, context = _scan(silent_model64, density)
    counts = draw_counts(expected, torch.Generator().manual_seed(1))
    likelihood = []
    for image in Osem(silent_model64, subsets=1, tied_iterations=9).iterates(counts, context, 8):
        mean = silent_model64.expected_counts(image, context.attenuation, context.duration_s)
        assert torch.allclose(mean.sum(dim=(1, 2)), counts.sum(dim=(1, 2)), rtol=1e-9)
        likelihood.append((torch.xlogy(counts, mean) - mean).sum(dim=(1, 2)))
    assert bool((torch.stack(likelihood).diff(dim=0) > 0).all())
