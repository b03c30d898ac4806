"""Objective of aperture design: summed relative Cramer-Rao deviations, differentiable in the design.

Input are diameter and plane of the apertures in mm; the counts of every region follow from ray tracing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.design.information import cross_information, relative_deviations
from data_gen.design.redesign import redesigned
from data_gen.design.task import RegionalTask
from data_gen.forward_model.block_terms import BlockTerms, block_corners
from data_gen.forward_model.model import SHARP_KEV, HyperspectralForwardModel
from data_gen.projector import RayProjector, RaySampling
from data_gen.projector.ray_casting import CasterFactory, RayCaster
from data_gen.scatter import Leakage

LEAK_RAYS = 0.25
"""Rays through plate and septa per ray through an aperture; the image of leakage is smooth."""


class OtherRays(RayCaster):
    """As many rays as :class:`RayCaster` casts, with other shifts."""

    stream: ClassVar[int] = 1


class DesignCounts(NamedTuple):
    """Expected counts of every part of a task, [part, pixel, bin] each, without background."""

    one: Tensor
    """Counts through apertures."""
    two: Tensor
    """Counts through apertures, traced by other rays."""
    leaked: Tensor
    """Counts through plate and septa."""


@dataclass(frozen=True, eq=False)
class DesignObjective:
    """Sum of the relative Cramer-Rao deviations of the wanted uptakes, for a collimator of one material.

    Photons through apertures carry information. Photons that leak through plate and septa count as noise
    only: the little information of their smooth image would need many rays, since the noise of few rays
    counts as information; for the same reason apertures are ray-traced twice. Scatter in object and
    collimator is left out.

    Args:
        model: forward model of the camera to start from, with that material, ray-traced, and with no scatter
            term but leakage; response, lines and reference energies are taken from it.
        task: the uptakes to estimate.
        sampling: rays, of each of two tracings.
    """

    model: HyperspectralForwardModel
    task: RegionalTask
    sampling: RaySampling

    def __call__(self, design: Tensor) -> Tensor:
        """The objective, a scalar, at (diameter mm, plane mm) [2]."""
        return self.deviations(design)[self.task.wanted_parts].sum()

    def deviations(self, design: Tensor) -> Tensor:
        """Relative Cramer-Rao deviation of every part of the task, [part]."""
        counts = self.counts(design)
        noise = counts.leaked.sum(0) + self.task.duration_s * self.model.background_rate()
        images = [image.flatten(1) for image in (counts.one, counts.two)]
        return relative_deviations(cross_information(images, noise.flatten()))

    def counts(self, design: Tensor) -> DesignCounts:
        """Expected counts of every part of the task at (diameter mm, plane mm) [2]."""
        camera, duration_s = redesigned(self.model.camera, design[0], design[1]), self.task.duration_s
        one, two = (duration_s * self._through_apertures(camera, c) for c in (RayCaster, OtherRays))
        blocks = self.model.blocks
        leaked = torch.zeros_like(one) if blocks is None else duration_s * self._through_plate(camera, blocks)
        return DesignCounts(one, two, leaked)

    def _through_apertures(self, camera: Camera, caster: CasterFactory) -> Tensor:
        """Counts per second of every part by photons through apertures, [part, pixel, bin]."""
        model, task = self.model, self.task
        projector = RayProjector(camera, model.grid, model.reference_kev, self.sampling, caster=caster)
        # Regions as maps of one object, whose rays are traced once.
        seen = projector.forward(task.shape[None], projector.attenuation(task.density[None]))[0]
        return model.recording.record(self._by_part(seen))

    def _through_plate(self, camera: Camera, blocks: BlockTerms) -> Tensor:
        """Counts per second of every part by leakage, [part, pixel, bin].

        Leakage is computed on blocks of pixels, whose size depends on the aperture plane.
        """
        model, task = self.model, self.task
        sampling = RaySampling(max(1, round(LEAK_RAYS * self.sampling.count)), self.sampling.plate_steps)
        projector = partial(RayProjector, sampling=sampling)
        leakage = Leakage(camera, model.grid, blocks.terms[0].energies_kev, SHARP_KEV, projector)
        seen = leakage.forward(task.shape[None], leakage.state(task.density[None]))[0, :, :, 0]
        spectral = blocks.get_buffer("spectral_0")[:, 0].to(seen.dtype)
        by_block = torch.einsum("kqgm,gme->kqe", self._by_part(seen), spectral)
        corner, weight = block_corners(camera, leakage.camera)
        lived = (model.recording.live[:, None] * weight).to(seen.dtype)
        return (by_block[:, corner] * lived[..., None]).sum(dim=2)

    def _by_part(self, seen: Tensor) -> Tensor:
        """[pixel, g, region] to every part of the task in its own map, [part, pixel, g, map]."""
        strength = torch.diag_embed(self.task.activity_bq).to(seen.dtype)
        return torch.einsum("qgr,rkm->rkqgm", seen, strength).flatten(0, 1)
