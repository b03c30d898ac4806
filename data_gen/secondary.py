"""Which photons a model counts besides those that come straight through an aperture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.errors import UserError
from data_gen.grid import VoxelGrid
from data_gen.projector import ProjectorFactory
from data_gen.recording import Recorder
from data_gen.scatter import CollimatorScatter, Leakage, ObjectScatter, ScatterSampling, ScatterTerm, leaking

Secondary = Literal["leakage", "object_scatter", "collimator_scatter"]
SECONDARY: tuple[Secondary, ...] = get_args(Secondary)


@dataclass(frozen=True)
class SecondaryTerm:
    """A term on blocks of pixels, with the reference energies that its lines borrow from."""

    term: ScatterTerm
    reference_kev: Tensor
    """Of all terms of the model, [g]."""
    used: Tensor
    """Which of them this term has, [g] bool."""

    def recorded(self, recorder: Recorder) -> Tensor:
        """Counts per first interaction of this term, per photon per decay, [used g, k, map, bin]."""
        if isinstance(self.term, Leakage):
            return recorder.leaked(self.reference_kev, self.used)
        return recorder.scattered(self.reference_kev, self.term.arrival_kev)


def block_terms(
    names: Sequence[Secondary],
    camera: Camera,
    grid: VoxelGrid,
    reference_kev: Tensor,
    sharp_kev: float,
    projector: ProjectorFactory,
    sampling: ScatterSampling,
) -> tuple[SecondaryTerm, ...]:
    """The terms of these names, for emission at the reference energies.

    Raises:
        UserError: an unknown name.
    """
    for name in names:
        if name not in SECONDARY:
            raise UserError(f"secondary is {list(names)}; it needs some of {list(SECONDARY)}")
    terms = []
    every = torch.ones_like(reference_kev, dtype=torch.bool)
    if "leakage" in names and bool((leaks := leaking(camera, reference_kev)).any()):
        leakage = Leakage(camera, grid, reference_kev[leaks], sharp_kev, projector)
        terms.append(SecondaryTerm(leakage, reference_kev, leaks))
    if "object_scatter" in names:
        terms.append(
            SecondaryTerm(ObjectScatter(camera, grid, reference_kev, sampling), reference_kev, every)
        )
    if "collimator_scatter" in names:
        terms.append(SecondaryTerm(CollimatorScatter(camera, grid, reference_kev), reference_kev, every))
    return tuple(terms)
