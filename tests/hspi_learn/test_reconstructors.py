"""Every reconstruction method passes the same contract."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from contracts.reconstructor_contract import ReconstructorContract

from data_gen.core.errors import UserError
from hspi_learn.classical import CoarseOsem, KernelRidge, MapAnatomical, MapRdp, MeanImage, Osem
from hspi_learn.networks import CorrectionUNet, PatchDiscriminator, ProjectionUNet, UnrolledEm
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import (
    Adversary,
    BackProjection,
    Denoised,
    Denoising,
    GanReconstruction,
    PosteriorReconstruction,
    UnrolledReconstruction,
)
from tests.hspi_learn.conftest import dense_model


class TestOsem(ReconstructorContract):
    def method(self, model, density):
        return Osem(model, iterations=2, subsets=2, postfilter_fwhm_mm=2.0)


class TestMlem(ReconstructorContract):
    def method(self, model, density):
        return Osem(model, iterations=3, subsets=1)


class TestCoarseOsem(ReconstructorContract):
    @pytest.fixture
    def model64(self):
        """On a grid of even numbers of voxels."""
        return dense_model(1e-6, torch.float64, shape=(4, 6, 6))

    @pytest.fixture
    def density(self):
        body = torch.zeros(2, 4, 6, 6, dtype=torch.float64)
        body[:, 1:-1, 1:-1, 1:-1] = 1.0
        return body

    def method(self, model, density):
        return CoarseOsem(model, iterations=2, subsets=2)


class TestMapRdp(ReconstructorContract):
    def method(self, model, density):
        return MapRdp(model, iterations=3, subsets=2, penalty=0.3, tied_iterations=1)


class TestMapAnatomical(ReconstructorContract):
    def method(self, model, density):
        return MapAnatomical(model, iterations=3, subsets=2, penalty=0.3, density_width_g_cm3=0.1)


class TestBackProjection(ReconstructorContract):
    def method(self, model, density):
        return BackProjection(model)


def training_scans(model, density):
    """Two scans of random activity."""
    generator = torch.Generator().manual_seed(6)
    activity = torch.rand(2, len(model.groups.names), *model.grid.shape, generator=generator).double()
    duration = torch.full((2,), 100.0, dtype=torch.float64)
    counts = model.expected_counts(activity, model.attenuation(density), duration)
    return ScanBatch(counts, duration, density, activity, density.long(), torch.arange(2))


class TestMeanImage(ReconstructorContract):
    def method(self, model, density):
        return MeanImage.of(model, [training_scans(model, density)])


class TestKernelRidge(ReconstructorContract):
    def method(self, model, density):
        method = KernelRidge(model, partial(Osem, subsets=2), at_iterations=(1, 2))
        return method.fitted([training_scans(model, density)])


class TestGanReconstruction(ReconstructorContract):
    def method(self, model, density):
        task = GanReconstruction(
            SimpleNamespace(groups=model.groups, forward_model=lambda windows: model),
            [60.0, 150.0, 300.0, 500.0],
            generator=partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1),
            adversary=Adversary(partial(PatchDiscriminator, channels=4, layers=1)),
            initial=partial(Osem, iterations=1, subsets=2),
        )
        # A head of zeros would hand the physics image through.
        generator = torch.Generator().manual_seed(7)
        torch.nn.init.normal_(task.generator.head.weight, std=0.05, generator=generator)
        return task.double().eval()


class TestPosteriorReconstruction(ReconstructorContract):
    def method(self, model, density):
        task = PosteriorReconstruction(
            SimpleNamespace(groups=model.groups, forward_model=lambda windows: model),
            [60.0, 150.0, 300.0, 500.0],
            generator=partial(CorrectionUNet, channels=(8, 8), strides=(1,), noise_channels=1),
            predicted_samples=3,
            initial=partial(Osem, iterations=1, subsets=2),
        )
        generator = torch.Generator().manual_seed(7)
        torch.nn.init.normal_(task.generator.head.weight, std=0.05, generator=generator)
        return task.double().eval()


class TestUnrolledReconstruction(ReconstructorContract):
    def method(self, model, density):
        stage = partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1)
        task = UnrolledReconstruction(
            SimpleNamespace(groups=model.groups, forward_model=lambda windows: model),
            [60.0, 150.0, 300.0, 500.0],
            generator=partial(UnrolledEm, stages=3, stage=stage),
            em=partial(Osem, iterations=1, subsets=2),
            initial=partial(Osem, iterations=1, subsets=2),
        )
        generator = torch.Generator().manual_seed(7)
        for network in task.generator.stages:
            torch.nn.init.normal_(network.head.weight, std=0.05, generator=generator)
        return task.double().eval()


def denoiser_of(model, density):
    """A denoiser of random, working weights for a model."""
    task = Denoising(
        SimpleNamespace(groups=model.groups, forward_model=lambda windows: model),
        [60.0, 150.0, 300.0, 500.0],
        network=partial(ProjectionUNet, channels=(8, 8), strides=(2,), residual_units=1),
        mirror_axes=(),
        components=4,
    )
    generator = torch.Generator().manual_seed(7)
    torch.nn.init.normal_(task.network.head.weight, std=0.05, generator=generator)
    task.first.fit(list(training_scans(model, density).projections.float()))
    return task.double().eval()


class TestDenoised(ReconstructorContract):
    def method(self, model, density):
        return Denoised(model, denoiser_of(model, density), partial(Osem, iterations=2, subsets=2))

    def test_it_is_the_method_on_denoised_counts(self, model64, density, counts, context):
        """Bit for bit; its settings are the method's, and tuning reaches them."""
        denoiser = denoiser_of(model64, density)
        whole = Denoised(model64, denoiser, partial(Osem, iterations=2, subsets=2))
        wanted = Osem(model64, iterations=1, subsets=2).reconstruct(denoiser.denoised(counts), context)
        assert torch.equal(whole.with_settings(iterations=1).reconstruct(counts, context), wanted)
        assert (whole.tunable, whole.iterations) == (Osem.tunable, 2)
        candidates = {"iterations": [1], "postfilter_fwhm_mm": [0.0]}
        ((_, image),) = whole.reconstruct_at_all(candidates, counts, context)
        assert torch.equal(image, wanted)

    def test_what_is_no_denoiser_is_refused(self, model64):
        with pytest.raises(UserError, match="needs the run of task=denoising"):
            Denoised(model64, BackProjection(model64), Osem)
