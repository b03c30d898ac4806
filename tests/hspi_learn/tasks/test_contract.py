"""Every task passes the same contract."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from contracts.task_contract import WINDOWS_KEV, TaskContract
from own_task.hottest_organ import HottestOrgan

from hspi_learn.classical import Osem
from hspi_learn.losses import WassersteinGame
from hspi_learn.networks import (
    CorrectionUNet,
    MultiScaleCritic,
    MultiScaleDiscriminator,
    PanelCnn,
    PatchDiscriminator,
    ProjectionUNet,
    SegmentationUNet,
    UnrolledEm,
)
from hspi_learn.tasks import (
    Adversary,
    Classification,
    Critic,
    Denoising,
    GanReconstruction,
    HotSpots,
    Noise2NoiseReconstruction,
    PosteriorReconstruction,
    Segmentation,
    Task,
    UnrolledReconstruction,
)


class TestGanReconstruction(TaskContract):
    accumulation = ({"accumulate_batches": 3}, {})

    def make(self, system: Any, **changes: Any) -> Task:
        task = GanReconstruction(
            system,
            WINDOWS_KEV,
            generator=partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1),
            adversary=Adversary(partial(PatchDiscriminator, channels=4, layers=1), from_share=0.0),
            initial=partial(Osem, iterations=1, subsets=2),
            **changes,
        )
        # A head of zeros would hand the physics image through.
        generator = torch.Generator().manual_seed(7)
        torch.nn.init.normal_(task.generator.head.weight, std=0.05, generator=generator)
        return task


class TestAveragedAgainstMultiScale(TestGanReconstruction):
    """The same task against everything that an adversary has, and predicted by the average of its weights."""

    def make(self, system: Any, **changes: Any) -> Task:
        task = GanReconstruction(
            system,
            WINDOWS_KEV,
            generator=partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1),
            adversary=Adversary(
                partial(MultiScaleDiscriminator, channels=4),
                game=WassersteinGame(),
                gradient_ratio=0.3,
                feature_matching=1.0,
                r1=1.0,
                r1_every=2,
                from_share=0.0,
            ),
            initial=partial(Osem, iterations=1, subsets=2),
            ema_decay=0.5,
            **changes,
        )
        generator = torch.Generator().manual_seed(7)
        torch.nn.init.normal_(task.generator.head.weight, std=0.05, generator=generator)
        task.average = task.average_of(task.generator)
        return task


class TestUnrolledReconstruction(TaskContract):
    accumulation = ({"accumulate_batches": 3}, {})

    def make(self, system: Any, **changes: Any) -> Task:
        stage = partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1)
        task = UnrolledReconstruction(
            system,
            WINDOWS_KEV,
            generator=partial(UnrolledEm, stages=2, stage=stage),
            em=partial(Osem, iterations=1, subsets=2),
            together_share=0.4,
            adversary=Adversary(partial(PatchDiscriminator, channels=4, layers=1), from_share=0.0),
            initial=partial(Osem, iterations=1, subsets=2),
            **changes,
        )
        generator = torch.Generator().manual_seed(7)
        for network in task.generator.stages:
            torch.nn.init.normal_(network.head.weight, std=0.05, generator=generator)
        return task


class TestPosteriorReconstruction(TaskContract):
    accumulation = ({"accumulate_batches": 3}, {})

    def make(self, system: Any, **changes: Any) -> Task:
        network = partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1, noise_channels=2)
        task = PosteriorReconstruction(
            system,
            WINDOWS_KEV,
            generator=network,
            predicted_samples=3,
            adversary=Adversary(partial(PatchDiscriminator, channels=4, layers=1), from_share=0.0),
            initial=partial(Osem, iterations=1, subsets=2),
            **changes,
        )
        generator = torch.Generator().manual_seed(7)
        torch.nn.init.normal_(task.generator.head.weight, std=0.05, generator=generator)
        return task


class TestNoise2NoiseReconstruction(TaskContract):
    accumulation = ({"accumulate_batches": 3}, {})

    def make(self, system: Any, **changes: Any) -> Task:
        task = Noise2NoiseReconstruction(
            system,
            WINDOWS_KEV,
            generator=partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1),
            initial=partial(Osem, iterations=1, subsets=2),
            **changes,
        )
        generator = torch.Generator().manual_seed(7)
        torch.nn.init.normal_(task.generator.head.weight, std=0.05, generator=generator)
        return task


class TestSegmentation(TaskContract):
    accumulation = ({"accumulate_batches": 3}, {})

    def make(self, system: Any, **changes: Any) -> Task:
        return Segmentation(
            system,
            WINDOWS_KEV,
            network=partial(SegmentationUNet, channels=(8, 8), strides=(1,), residual_units=1),
            organs=("tumour", "liver"),
            critic=Critic(partial(MultiScaleCritic, channels=4, layers=2)),
            initial=partial(Osem, iterations=1, subsets=2),
            **changes,
        )


class TestClassification(TaskContract):
    def make(self, system: Any, **changes: Any) -> Task:
        network = partial(PanelCnn, spectral=2, channels=(4, 8), hidden=8)
        return Classification(system, WINDOWS_KEV, network, HotSpots(most=1), thinning=(0.5, 1.0), **changes)


class TestHottestOrgan(TaskContract):
    def make(self, system: Any, **changes: Any) -> Task:
        return HottestOrgan(system, WINDOWS_KEV, **changes)


class TestDenoising(TaskContract):
    accumulation = ({"accumulate_batches": 3}, {})

    def make(self, system: Any, **changes: Any) -> Task:
        task = Denoising(
            system,
            WINDOWS_KEV,
            network=partial(ProjectionUNet, channels=(8, 8), strides=(2,), residual_units=1),
            mirror_axes=(),
            components=4,
            **changes,
        )
        # A head of zeros would hand the linear estimate through.
        generator = torch.Generator().manual_seed(7)
        torch.nn.init.normal_(task.network.head.weight, std=0.05, generator=generator)
        return task


class TestDenoisingAgainstAnAdversary(TestDenoising):
    """With a discriminator of panels, let in from the first update."""

    def make(self, system: Any, **changes: Any) -> Task:
        panels = partial(PatchDiscriminator, channels=4, layers=1, spatial_dims=2, others=0)
        adversary = Adversary(panels, weight=1.0, gradient_ratio=0.1, from_share=0.0)
        return super().make(system, adversary=adversary, **changes)


class TestNoise2Noise(TestDenoising):
    def make(self, system: Any, **changes: Any) -> Task:
        return super().make(system, target="split", **changes)
