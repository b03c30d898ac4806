"""The postfilter, the choice of its width and of the iterations, and the mean image."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import MapRdp, MeanImage, Osem, Tuning, gaussian_smoothed, tune
from hspi_learn.classical.postfilter import FWHM_PER_SD, smoothed_in_body
from hspi_learn.metrics.nrmse import scan_nrmse
from hspi_learn.reconstructor import ScanBatch, ScanContext, scan_context


def _batch(model: HyperspectralForwardModel, density: Tensor, noisy: bool = True) -> ScanBatch:
    """Two scans of one hot spot each on a flat background."""
    duration = torch.full((2,), 1800.0, dtype=torch.float64)
    context = scan_context(model, density, duration)
    activity = context.body.expand(-1, 2, -1, -1, -1).double().clone()
    activity[0, 0, 2, 2, 2] = 12.0
    activity[1, 1, 1, 2, 3] = 12.0
    expected = model.expected_counts(activity, context.attenuation, duration)
    counts = draw_counts(expected, torch.Generator().manual_seed(4)) if noisy else expected
    return ScanBatch(counts, duration, density, activity, torch.zeros_like(density).long(), torch.arange(2))


def grid(iterations: tuple[int, ...], filters: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    """Candidates of what OSEM has to tune, the filter first, though it is tried last."""
    return {"postfilter_fwhm_mm": filters, "iterations": iterations}


def _error(estimate: Tensor, batch: ScanBatch, context: ScanContext) -> Tensor:
    return scan_nrmse(estimate, batch.activity, context.body)


def _undefined_where_infinite(estimate: Tensor, batch: ScanBatch, context: ScanContext) -> Tensor:
    """An error of one's own that is NaN where the estimate is."""
    error = _error(estimate, batch, context)
    return error.masked_fill(torch.isinf(error), torch.nan)


def test_gaussian_has_its_fwhm() -> None:
    """A smoothed point keeps its sum (1e-9) and has the variance of the Gaussian plus that of a voxel."""
    grid = VoxelGrid((25, 31, 41), (2.0, 1.5, 1.0))
    point = torch.zeros(1, 1, *grid.shape, dtype=torch.float64)
    point[0, 0, 12, 15, 20] = 1.0
    smooth = gaussian_smoothed(point, grid, 6.0)[0, 0]
    assert float(smooth.sum()) == pytest.approx(1.0, abs=1e-9)
    for axis in range(3):
        profile = smooth.sum(dim=[a for a in range(3) if a != axis])
        variance = float((profile * grid.axis_mm(axis) ** 2).sum())
        assert variance == pytest.approx((6.0 / FWHM_PER_SD) ** 2 + grid.spacing_mm[axis] ** 2 / 12, rel=5e-3)


@settings(max_examples=20)
@given(fwhm_mm=st.floats(0.0, 20.0), seed=st.integers(0, 1000))
def test_smoothing_stays_in_body(fwhm_mm: float, seed: int) -> None:
    """A uniform body stays uniform (1e-6), nothing leaks out, and no voxel leaves the range of the image."""
    grid = VoxelGrid((5, 6, 7), 1.2)
    generator = torch.Generator().manual_seed(seed)
    body = torch.rand(1, 1, *grid.shape, generator=generator) > 0.4
    flat = smoothed_in_body(body.double(), body, grid, fwhm_mm)
    assert torch.allclose(flat, body.double(), atol=1e-6)
    image = torch.rand(1, 2, *grid.shape, generator=generator).double() * body
    smooth = smoothed_in_body(image, body, grid, fwhm_mm)
    assert float((smooth * ~body).abs().max()) == 0.0
    assert float(smooth.max()) <= float(image.max()) * (1 + 1e-6)


def test_tuning_equals_trying_each(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Every error of the one-pass table equals that of a reconstruction at those settings (1e-12)."""
    batch = _batch(model64, density)
    tuned = tune(Osem(model64, subsets=4), [batch, batch], _error, grid((3, 1), (4.0, 0.0)))
    context = scan_context(model64, batch.density, batch.duration_s)
    for i, iterations in enumerate((1, 3)):
        for f, fwhm_mm in enumerate((0.0, 4.0)):
            image = Osem(model64, iterations, 4, fwhm_mm).reconstruct(batch.projections, context)
            expected = _error(image, batch, context)
            assert torch.allclose(tuned.errors[i, f, :2], expected, rtol=1e-12)
            assert torch.allclose(tuned.errors[i, f, 2:], expected, rtol=1e-12)
    best = divmod(int(tuned.median_errors.argmin()), 2)
    assert (tuned.method.iterations, tuned.method.postfilter_fwhm_mm) == (
        (1, 3)[best[0]],
        (0.0, 4.0)[best[1]],
    )


def test_noise_free_scans_ask_for_more_iterations(
    model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """Without noise the most iterations and no filter win, and the tuning says that it hit its edge."""
    tuned = tune(
        Osem(model64, subsets=4), [_batch(model64, density, False)], _error, grid((1, 8, 64), (0.0, 5.0))
    )
    assert (tuned.method.iterations, tuned.method.postfilter_fwhm_mm) == (64, 0.0)
    assert tuned.at_edge


def test_the_penalty_is_tuned_as_well(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Of every penalty the error is that of a reconstruction at it (1e-12), and the least is chosen."""
    batch, method = _batch(model64, density), MapRdp(model64, iterations=3, subsets=4)
    tuned = tune(method, [batch], _error, {"penalty": (10.0, 0.1, 1.0), "iterations": (2, 3)})
    assert tuned.candidates == {
        "penalty": (0.1, 1.0, 10.0),
        "iterations": (2, 3),
        "postfilter_fwhm_mm": (0.0,),
    }
    context = scan_context(model64, batch.density, batch.duration_s)
    for p, penalty in enumerate((0.1, 1.0, 10.0)):
        for i, iterations in enumerate((2, 3)):
            one = MapRdp(model64, iterations=iterations, subsets=4, penalty=penalty)
            expected = _error(one.reconstruct(batch.projections, context), batch, context)
            assert torch.allclose(tuned.errors[p, i, 0], expected, rtol=1e-12)
    p, i, _ = torch.unravel_index(tuned.median_errors.argmin(), (3, 2, 1))
    assert tuned.chosen == {
        "penalty": (0.1, 1.0, 10.0)[p],
        "iterations": (2, 3)[i],
        "postfilter_fwhm_mm": 0.0,
    }


@pytest.mark.parametrize(
    ("chosen", "at_edge"),
    [
        ({"penalty": 0.1}, True),
        ({"penalty": 1.0}, False),
        ({"penalty": 10.0}, True),
        ({"penalty": 1.0, "iterations": 1}, False),
        ({"penalty": 1.0, "iterations": 4}, True),
        ({"penalty": 1.0, "postfilter_fwhm_mm": 0.0}, False),
    ],
)
def test_choices_at_the_edge_of_what_was_tried(
    chosen: dict[str, float], at_edge: bool, model64: HyperspectralForwardModel
) -> None:
    """The last of several, or the first where less is possible; a single candidate has no edge."""
    candidates = {"penalty": (0.1, 1.0, 10.0), "iterations": (1, 2, 4), "postfilter_fwhm_mm": (0.0,)}
    method = MapRdp(model64, iterations=2, subsets=4).with_settings(**chosen)
    assert Tuning(method, candidates, torch.zeros(3, 3, 1, 2)).at_edge is at_edge


@pytest.mark.parametrize(
    ("candidates", "told"),
    [
        ({"penalty": (1.0,)}, "tuning of osem names penalty; it needs some of"),
        ({"iterations": ()}, "tuning of osem has iterations"),
        ({"iterations": (0, 1)}, "osem.iterations is 0"),
        ({"iterations": (1, 1.5)}, "osem.iterations is 1.5; it needs a whole number"),
        ({"postfilter_fwhm_mm": (float("nan"),)}, "postfilter_fwhm_mm .nan.; it needs at least one number"),
    ],
)
def test_wrong_candidates_are_named(
    candidates: dict[str, tuple[float, ...]], told: str, model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """Before anything is reconstructed."""
    with pytest.raises(UserError, match=told):
        tune(Osem(model64, subsets=4), [_batch(model64, density)], _error, candidates)


def test_settings_that_are_not_tunable_are_named(model64: HyperspectralForwardModel) -> None:
    """The number of subsets makes other matrices, so it stays."""
    with pytest.raises(UserError, match=r"osem\.subsets cannot be changed; it needs one of"):
        Osem(model64, subsets=4).with_settings(subsets=2)


def test_tuning_leaves_its_osem(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """The tuned method is a copy that shares matrices; the one handed in keeps its settings."""
    osem = Osem(model64, iterations=5, subsets=4, postfilter_fwhm_mm=1.0)
    tuned = tune(osem, [_batch(model64, density)], _error, grid((1, 2), (0.0,)))
    assert (osem.iterations, osem.postfilter_fwhm_mm) == (5, 1.0)
    assert tuned.method.parts is osem.parts


def test_tuning_needs_scans(model64: HyperspectralForwardModel) -> None:
    """No validation scans is an error, not a default."""
    with pytest.raises(UserError, match="no validation scans"):
        tune(Osem(model64, subsets=4), [], _error, {})


def test_a_candidate_that_fails_is_not_chosen(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Iteration 2 is NaN, in one scan or in both: it is infinitely wrong there, and 1 is chosen."""

    class Failing(Osem):
        def iterates(self, projections: Tensor, context: ScanContext, iterations: int) -> Iterator[Tensor]:
            first, second = super().iterates(projections, context, iterations)
            yield first
            yield second.index_fill(0, wrong, torch.nan)

    for failing in ([0], [0, 1]):
        wrong = torch.tensor(failing)
        found = tune(Failing(model64, subsets=4), [_batch(model64, density)], _error, grid((1, 2), (0.0,)))
        assert found.method.iterations == 1
        assert torch.isinf(found.errors[1, 0, wrong]).all()
        assert torch.isinf(found.median_errors[1, 0])
        tried, batch, failing_osem = (
            grid((1, 2), (0.0,)),
            _batch(model64, density),
            Failing(model64, subsets=4),
        )
        assert tune(failing_osem, [batch], _undefined_where_infinite, tried).method.iterations == 1


def test_mean_image_explains_the_counts(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """The image is the training mean up to a factor, and expects the scan's counts (1e-9)."""
    batch = _batch(model64, density)
    method = MeanImage.of(model64, [batch])
    context = scan_context(model64, batch.density, batch.duration_s)
    image = method.reconstruct(batch.projections, context)
    mean = model64.expected_counts(image, context.attenuation, context.duration_s)
    assert torch.allclose(mean.sum(dim=(1, 2)), batch.projections.sum(dim=(1, 2)), rtol=1e-6)
    factor = image.sum(dim=(1, 2, 3, 4)) / (context.body * method.mean_activity).sum(dim=(1, 2, 3, 4))
    scaled = factor[:, None, None, None, None] * method.mean_activity * context.body
    assert torch.allclose(image, scaled, rtol=1e-9)
    empty = method.reconstruct(torch.zeros_like(batch.projections), context)
    assert float(empty.abs().max()) == 0.0


def test_mean_image_needs_scans(model64: HyperspectralForwardModel) -> None:
    """No training scans is an error."""
    with pytest.raises(UserError, match="no training scans"):
        MeanImage.of(model64, [])
