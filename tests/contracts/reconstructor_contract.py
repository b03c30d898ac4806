"""What every reconstruction method must hold to, trained or classical."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.reconstructor import Reconstructor, ScanContext, scan_context


class ReconstructorContract:
    """Subclasses give ``method(model, density)``, a reconstructor in double precision."""

    method: Callable[[HyperspectralForwardModel, Tensor], Reconstructor]

    @pytest.fixture
    def context(self, model64: HyperspectralForwardModel, density: Tensor) -> ScanContext:
        return scan_context(model64, density, torch.tensor([300.0, 600.0], dtype=torch.float64))

    @pytest.fixture
    def counts(self, model64: HyperspectralForwardModel, context: ScanContext) -> Tensor:
        """Poisson counts of uniform activity, 50 Bq a voxel of body."""
        maps = len(model64.groups.names)
        activity = 50.0 * context.body.double().expand(-1, maps, -1, -1, -1)
        expected = model64.expected_counts(activity, context.attenuation, context.duration_s)
        return torch.poisson(expected, generator=torch.Generator().manual_seed(4))

    @pytest.fixture
    def reconstructor(self, model64: HyperspectralForwardModel, density: Tensor) -> Reconstructor:
        return self.method(model64, density)

    def test_activity_is_physical(self, reconstructor, counts, context, model64):
        """One map a group on the grid, finite, 0 or more, and 0 outside the body (the contract's words)."""
        activity = reconstructor.reconstruct(counts, context)
        assert activity.shape == (2, len(model64.groups.names), *model64.grid.shape)
        assert bool(torch.isfinite(activity).all())
        assert float(activity.detach().min()) >= 0
        assert bool((activity[~context.body.expand_as(activity)] == 0).all())

    def test_same_counts_same_activity(self, reconstructor, counts, context):
        """Bit for bit, and the counts are left as they were."""
        before = counts.clone()
        first, second = (reconstructor.reconstruct(counts, context) for _ in range(2))
        assert torch.equal(first, second)
        assert torch.equal(counts, before)

    def test_scans_of_a_batch_are_independent(self, reconstructor, counts, context, model64):
        """A scan alone gives what it gives among others, to 1e-9."""
        alone = scan_context(model64, context.density[1:], context.duration_s[1:])
        together = reconstructor.reconstruct(counts, context)[1:]
        torch.testing.assert_close(
            reconstructor.reconstruct(counts[1:], alone), together, rtol=1e-9, atol=1e-9
        )

    def test_empty_scan_is_finite(self, reconstructor, counts, context):
        """No counts: no NaN, and less activity than with counts."""
        with torch.no_grad():
            empty, full = (reconstructor.reconstruct(n, context) for n in (0 * counts, counts))
        assert bool(torch.isfinite(empty).all())
        assert float(empty.sum()) < float(full.sum())

    def test_gradient_in_counts_is_true(self, reconstructor, counts, context):
        """An attack sees the slope that finite differences see, to 1e-4 along a random direction."""
        generator = torch.Generator().manual_seed(5)
        direction = torch.rand(counts.shape, generator=generator, dtype=counts.dtype)
        start = counts + 1.0  # away from 0, where maps are held

        def value(at: Tensor) -> Tensor:
            return reconstructor.reconstruct(at, context).square().sum()

        asked = start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(asked), asked)
        step = 1e-5
        with torch.no_grad():
            slope = (value(start + step * direction) - value(start - step * direction)) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-4)
