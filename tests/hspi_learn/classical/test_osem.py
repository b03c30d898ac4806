"""OSEM against what EM theory promises and against a textbook dense implementation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList, Frame
from data_gen.forward_model.event_sampling import draw_counts, events_from_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.reconstructor import ScanContext, scan_context

DURATION_S = 1800.0


def _scan(
    model: HyperspectralForwardModel, density: Tensor, seed: int = 0
) -> tuple[Tensor, Tensor, ScanContext]:
    """Truth, expected counts and context of a scan of about a thousand counts."""
    generator = torch.Generator().manual_seed(seed)
    context = scan_context(model, density, torch.full((len(density),), DURATION_S, dtype=density.dtype))
    activity = torch.rand(len(density), 2, *density.shape[1:], generator=generator).to(density.dtype)
    activity = 5.0 * activity * context.body
    return activity, model.expected_counts(activity, context.attenuation, context.duration_s), context


def _counts(expected: Tensor, seed: int = 1) -> Tensor:
    return draw_counts(expected, torch.Generator().manual_seed(seed))


def test_mlem_is_the_textbook_update(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """One subset equals x <- x / A^T1 * A^T(n / (Ax + b)) on the dense matrix, to 1e-9 of the maximum."""
    _, expected, context = _scan(model64, density[:1])
    counts = _counts(expected)
    body = context.body.expand(-1, 2, -1, -1, -1)
    unit = torch.eye(body.numel(), dtype=torch.float64).reshape(-1, *body.shape[1:])
    columns = model64.project(unit, model64.attenuation(context.density.expand(len(unit), -1, -1, -1)))
    matrix = DURATION_S * columns.flatten(1).T
    background = DURATION_S * model64.background_rate().flatten().double()
    image = body.flatten().double()
    image = image * counts.sum() / (matrix @ image).sum()
    for _ in range(5):
        ratio = counts.flatten() / (matrix @ image + background)
        image = image / matrix.sum(0) * (matrix.T @ ratio)
    ours = Osem(model64, iterations=5, subsets=1).reconstruct(counts, context)
    assert torch.allclose(ours.flatten(), image, rtol=0, atol=1e-9 * float(image.max()))


def test_likelihood_never_falls(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """EM raises the Poisson log-likelihood in every iteration (Shepp and Vardi 1982)."""
    _, expected, context = _scan(model64, density)
    counts = _counts(expected)
    values = []
    for image in Osem(model64, subsets=1).iterates(counts, context, 30):
        mean = model64.expected_counts(image, context.attenuation, context.duration_s)
        values.append((counts * mean.log() - mean).sum(dim=(1, 2)))
    rises = torch.stack(values).diff(dim=0)
    assert bool((rises > -1e-9 * torch.stack(values)[0].abs()).all())
    assert bool((rises[0] > 0).all())


def test_counts_are_conserved(silent_model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Without background, expected counts of every MLEM iterate sum to the measured ones (1e-9)."""
    _, expected, context = _scan(silent_model64, density)
    counts = _counts(expected)
    for image in Osem(silent_model64, subsets=1).iterates(counts, context, 3):
        mean = silent_model64.expected_counts(image, context.attenuation, context.duration_s)
        assert torch.allclose(mean.sum(dim=(1, 2)), counts.sum(dim=(1, 2)), rtol=1e-9)


def test_counts_are_shared_between_source_and_background(
    model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """Of every MLEM iterate T sum s x = sum n A x / (A x + b) of the one before (Shepp and Vardi); 1e-9."""
    _, expected, context = _scan(model64, density)
    counts, background = _counts(expected), DURATION_S * model64.background_rate()
    sensitivity = model64.sensitivity(context.attenuation)
    before = None
    for image in Osem(model64, subsets=1).iterates(counts, context, 4):
        if before is not None:
            seen = DURATION_S * model64.project(before, context.attenuation)
            share = (counts * seen / (seen + background)).sum(dim=(1, 2))
            found = DURATION_S * (sensitivity * image).sum(dim=(1, 2, 3, 4))
            assert torch.allclose(found, share, rtol=1e-9)
        before = image


def test_noise_free_source_comes_back(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """From noise-free counts of an overdetermined system the truth comes back within 5 % (NRMSE)."""
    truth, expected, context = _scan(model64, density)
    image = Osem(model64, iterations=400, subsets=4).reconstruct(expected, context)
    assert float((image - truth).norm() / truth.norm()) < 0.05


@pytest.mark.parametrize("subsets", [1, 6])
def test_events_equal_histogram(model64: HyperspectralForwardModel, density: Tensor, subsets: int) -> None:
    """List-mode and histogram updates on the same bins agree to 1e-5 of the maximum, weights included."""
    _, expected, context = _scan(model64, density[:1])
    counts = _counts(expected)
    frames = (Frame(0.0, DURATION_S),)
    events = events_from_counts(counts[0], model64.energy_bins, frames, torch.Generator().manual_seed(2))
    far = EventList(torch.tensor([3]), torch.tensor([599.0]), torch.tensor([1.0]))
    events = EventList(
        torch.cat((events.pixel, far.pixel)),
        torch.cat((events.energy_kev, far.energy_kev)),
        torch.cat((events.time_s, far.time_s)),
    )
    osem = Osem(model64, iterations=3, subsets=subsets, postfilter_fwhm_mm=3.0)
    dense = osem.reconstruct(counts, context)
    listed = osem.reconstruct_events(events, context)
    assert torch.allclose(listed, dense, rtol=0, atol=1e-5 * float(dense.max()))
    doubled = EventList(events.pixel, events.energy_kev, events.time_s, torch.full((len(events),), 2.0))
    assert torch.allclose(
        osem.reconstruct_events(doubled, context),
        osem.reconstruct(2 * counts, context),
        rtol=0,
        atol=1e-5 * float(dense.max()),
    )


@pytest.mark.parametrize("model", ["model32", "silent_model64"])
def test_empty_scan_gives_zero(model: str, density: Tensor, request: pytest.FixtureRequest) -> None:
    """No counts: an image of zeros, and finite gradients."""
    chosen = request.getfixturevalue(model)
    dtype = torch.float32 if model == "model32" else torch.float64
    context = scan_context(chosen, density.to(dtype), torch.full((2,), DURATION_S, dtype=dtype))
    counts = torch.zeros(2, chosen.pixels, 3, dtype=dtype, requires_grad=True)
    image = Osem(chosen, iterations=3, subsets=4, postfilter_fwhm_mm=2.0).reconstruct(counts, context)
    assert float(image.detach().abs().max()) == 0.0
    (gradient,) = torch.autograd.grad(image.sum(), counts)
    assert bool(torch.isfinite(gradient).all())


def test_gradient_in_counts(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Gradients through all unrolled iterations match finite differences (gradcheck)."""
    _, expected, context = _scan(model64, density[:1])
    counts = _counts(expected) + 0.5
    osem = Osem(model64, iterations=2, subsets=2, postfilter_fwhm_mm=2.0)
    weights = torch.rand(1, 2, *density.shape[1:], generator=torch.Generator().manual_seed(5)).double()

    def regional(first: Tensor) -> Tensor:
        scan = torch.cat((first, counts[:, 4:]), dim=1)
        return (weights * osem.reconstruct(scan, context)).sum()

    assert torch.autograd.gradcheck(regional, counts[:, :4].clone().requires_grad_(), rtol=1e-4, atol=1e-7)


def test_gradient_is_the_same_when_iterations_are_computed_again(
    model64: HyperspectralForwardModel, density: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept for the backward pass, or computed again to save memory, gives one gradient (1e-12)."""
    _, expected, context = _scan(model64, density)
    counts = _counts(expected).requires_grad_()
    osem = Osem(model64, iterations=3, subsets=2, postfilter_fwhm_mm=2.0)
    gradients = []
    for most in (2**29, 0):
        monkeypatch.setattr("hspi_learn.classical.ordered_subsets.MOST_KEPT_BYTES", most)
        image = osem.reconstruct(counts, context)
        gradients.append(torch.autograd.grad(image.square().sum(), counts)[0])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)


def test_one_reconstruction_gives_all_iterations(model32: HyperspectralForwardModel, density: Tensor) -> None:
    """The very images that OSEM gives at each number of iterations, smoothed alike, in rising order."""
    _, expected, context = _scan(model32, density.float())
    counts, osem = _counts(expected), Osem(model32, iterations=3, subsets=4, postfilter_fwhm_mm=2.0)
    found = osem.reconstruct_at([4, 1], counts, context)
    for n, image in zip((1, 4), found, strict=True):
        assert torch.equal(image, osem.with_settings(iterations=n).reconstruct(counts, context))


def test_gradient_in_event_weights(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Gradients with respect to event weights match finite differences (gradcheck)."""
    _, expected, context = _scan(model64, density[:1])
    events = events_from_counts(
        _counts(expected)[0], model64.energy_bins, (Frame(0.0, DURATION_S),), torch.Generator().manual_seed(2)
    )
    few = events.select(torch.arange(len(events)) < 8)
    osem = Osem(model64, iterations=2, subsets=2)

    def total(weight: Tensor) -> Tensor:
        return osem.reconstruct_events(
            EventList(few.pixel, few.energy_kev, few.time_s, weight), context
        ).sum()

    weight = torch.full((len(few),), 2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, weight, rtol=1e-4, atol=1e-7)


def test_scans_of_a_batch_are_independent(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """A scan gives the same image alone and beside another (1e-12 of the maximum)."""
    _, expected, context = _scan(model64, density)
    counts = _counts(expected)
    osem = Osem(model64, iterations=2, subsets=4, postfilter_fwhm_mm=2.0)
    both = osem.reconstruct(counts, context)
    alone = osem.reconstruct(counts[1:], ScanContext(*(part[1:] for part in context)))
    assert torch.allclose(both[1:], alone, rtol=0, atol=1e-12 * float(both.max()))


@settings(max_examples=10)
@given(scale=st.floats(2.0, 1e3), subsets=st.integers(1, 8))
def test_counts_scale_activity(
    silent_model64: HyperspectralForwardModel, density: Tensor, scale: float, subsets: int
) -> None:
    """Without background, k times the counts give k times the image, 0 or more, and 0 outside the body."""
    _, expected, context = _scan(silent_model64, density)
    counts = _counts(expected)
    osem = Osem(silent_model64, iterations=2, subsets=subsets)
    once, more = osem.reconstruct(counts, context), osem.reconstruct(scale * counts, context)
    assert torch.allclose(more, scale * once, rtol=1e-6, atol=1e-9 * scale * float(once.max()))
    assert bool((once >= 0).all())
    assert float((once * ~context.body).abs().max()) == 0.0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("iterations", 0),
        ("subsets", 0),
        ("subsets", 49),
        ("postfilter_fwhm_mm", -1.0),
        ("postfilter_fwhm_mm", math.nan),
    ],
)
def test_wrong_settings_are_named(model64: HyperspectralForwardModel, setting: str, value: float) -> None:
    """A setting out of range is named in the error with its value."""
    with pytest.raises(UserError, match=rf"osem\.{setting} is {value}"):
        Osem(model64, **{setting: value})  # type: ignore[arg-type]


def test_going_on_from_an_image_is_going_on(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Three iterations, and three more from their image, are six (1e-9 of the highest activity)."""
    _, expected, context = _scan(model64, density)
    counts = _counts(expected)
    three, six = (Osem(model64, iterations=n, subsets=2) for n in (3, 6))
    found = three.continued(three.reconstruct(counts, context), counts, context)
    wanted = six.reconstruct(counts, context)
    assert float((found - wanted).abs().max()) < 1e-9 * float(wanted.max())


def test_going_on_from_nothing_but_a_spot_finds_the_rest(
    model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """EM never leaves 0, but an image of one voxel is lifted first: half of the activity is elsewhere."""
    truth, expected, context = _scan(model64, density)
    spot = torch.zeros_like(truth)
    spot[:, :, 2, 2, 2] = 1.0
    found = Osem(model64, iterations=200, subsets=1).continued(spot, expected, context)
    found[:, :, 2, 2, 2] = 0.0
    assert float(found.sum()) > 0.5 * float(truth.sum())
