"""How well a design does its task: one number, differentiable in the design."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.design.information import fisher_information, relative_deviations
from data_gen.design.redesign import redesigned
from data_gen.design.task import RegionalTask
from data_gen.forward import HyperspectralForwardModel
from data_gen.projector import RayProjector, RaySampling


@dataclass(frozen=True, eq=False)
class DesignObjective:
    """Sum of the relative Cramer-Rao deviations of the wanted uptakes, for a collimator of one material.

    Args:
        model: of the camera to start from, with that material; lines, groups and response are taken from it.
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
        parts = self.counts(design)
        background = self.task.duration_s * self.model.background_rate()
        return relative_deviations(fisher_information(parts.flatten(1), background.flatten()))

    def counts(self, design: Tensor) -> Tensor:
        """Expected counts of every part of the task, without background, [part, pixel, bin]."""
        model, task = self.model, self.task
        camera = redesigned(model.camera, design[0], design[1])
        reference = model.energy_groups.reference_kev
        projector = RayProjector(camera, model.grid, reference, self.sampling)
        attenuation = projector.attenuation(task.density[None])
        # Regions as maps of one object, whose rays are traced once; then every part in its own map.
        seen = projector(task.shape[None], attenuation)[0].movedim(-1, 0)
        strength = torch.diag_embed(task.activity_bq).to(seen.dtype)
        interactions = torch.einsum("rqg,rkm->rkqgm", seen, strength).flatten(0, 1)
        return task.duration_s * model.record(interactions)
