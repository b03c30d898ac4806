"""Which photons a model counts besides those that come straight through an aperture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from data_gen.camera import Camera
from data_gen.errors import UserError
from data_gen.grid import VoxelGrid
from data_gen.projector import ProjectorFactory
from data_gen.recording import Recorder
from data_gen.scatter import CollimatorScatter, Leakage, ObjectScatter, ScatterSampling, ScatterTerm

Secondary = Literal["leakage", "object_scatter", "collimator_scatter"]
SECONDARY: tuple[Secondary, ...] = get_args(Secondary)


@dataclass(frozen=True)
class SecondaryTerm:
    """A term on blocks of pixels, for emission at the reference energies [g] that lines borrow from."""

    term: ScatterTerm
    reference_kev: Tensor

    def recorded(self, recorder: Recorder) -> Tensor:
        """Counts per first interaction of this term, per photon per decay, [g, k, map, bin]."""
        if isinstance(self.term, Leakage):
            return recorder.leaked(self.reference_kev)
        return recorder.scattered(self.reference_kev, self.term.arrivals)


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
    terms: list[ScatterTerm] = []
    if "leakage" in names:
        terms.append(Leakage(camera, grid, reference_kev, sharp_kev, projector))
    if "object_scatter" in names:
        terms.append(ObjectScatter(camera, grid, reference_kev, sampling))
    if "collimator_scatter" in names:
        terms.append(CollimatorScatter(camera, grid, reference_kev))
    return tuple(SecondaryTerm(term, reference_kev) for term in terms)
