"""How well a design does its task: one number, differentiable in the design."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from data_gen.blocks import BlockTerms, block_corners
from data_gen.camera import Camera
from data_gen.design.information import fisher_information, relative_deviations
from data_gen.design.redesign import redesigned
from data_gen.design.task import RegionalTask
from data_gen.forward import SHARP_KEV, HyperspectralForwardModel
from data_gen.projector import RayProjector, RaySampling
from data_gen.scatter import Leakage

LEAK_RAYS = 0.25
"""Rays through plate and septa for each one through an aperture: what they bring is smooth."""


@dataclass(frozen=True, eq=False)
class DesignObjective:
    """Sum of the relative Cramer-Rao deviations of the wanted uptakes, for a collimator of one material.

    Counts are those of photons through apertures, plate and septa; photons scattered in object or collimator
    are left out.

    Args:
        model: of the camera to start from, with that material, ray-traced, and with no more than leakage
            beside the apertures; response, lines and reference energies are taken from it.
        task: what to estimate.
        sampling: rays.
    """

    model: HyperspectralForwardModel
    task: RegionalTask
    sampling: RaySampling

    def __call__(self, design: Tensor) -> Tensor:
        """The objective, a scalar, at (diameter mm, plane mm) [2]."""
        return self.deviations(design)[self.task.wanted_parts].sum()

    def deviations(self, design: Tensor) -> Tensor:
        """Relative Cramer-Rao deviation of every part of the task, [part]."""
        background = self.task.duration_s * self.model.background_rate()
        return relative_deviations(fisher_information(self.counts(design).flatten(1), background.flatten()))

    def counts(self, design: Tensor) -> Tensor:
        """Expected counts of every part of the task, without background, [part, pixel, bin]."""
        camera = redesigned(self.model.camera, design[0], design[1])
        rate = self.model.record(self._by_part(self._through_apertures(camera)))
        if self.model.blocks is not None:
            rate = rate + self._through_plate(camera, self.model.blocks)
        return self.task.duration_s * rate

    def _through_apertures(self, camera: Camera) -> Tensor:
        """First interactions a second of one Bq in each region, [pixel, g, region]."""
        model, task = self.model, self.task
        projector = RayProjector(camera, model.grid, model.reference_kev, self.sampling)
        # Regions as maps of one object, whose rays are traced once.
        return projector.forward(task.shape[None], projector.attenuation(task.density[None]))[0]

    def _through_plate(self, camera: Camera, blocks: BlockTerms) -> Tensor:
        """Counts a second of every part by photons that leak, [part, pixel, bin].

        Leakage is computed on blocks of pixels, which the aperture plane decides on.
        """
        model, task = self.model, self.task
        sampling = RaySampling(max(1, round(LEAK_RAYS * self.sampling.rays)), self.sampling.plate_steps)
        projector = partial(RayProjector, sampling=sampling)
        leakage = Leakage(camera, model.grid, blocks.terms[0].energies_kev, SHARP_KEV, projector)
        seen = leakage.forward(task.shape[None], leakage.state(task.density[None]))[0, :, :, 0]
        spectral = blocks.get_buffer("spectral_0")[:, 0].to(seen.dtype)
        by_block = torch.einsum("kqgm,gme->kqe", self._by_part(seen), spectral)
        corner, weight = block_corners(camera, leakage.camera)
        lived = (model.live[:, None] * weight).to(seen.dtype)
        return (by_block[:, corner] * lived[..., None]).sum(dim=2)

    def _by_part(self, seen: Tensor) -> Tensor:
        """[place, g, region] to every part of the task in its own map, [part, place, g, map]."""
        strength = torch.diag_embed(self.task.activity_bq).to(seen.dtype)
        return torch.einsum("qgr,rkm->rkqgm", seen, strength).flatten(0, 1)
