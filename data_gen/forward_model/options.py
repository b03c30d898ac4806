"""Options of a forward model: how finely it is computed, and which scatter terms it includes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, get_args

from data_gen.core.errors import UserError
from data_gen.core.memory import check_memory
from data_gen.forward_model.block_terms import SCATTER_TERMS, ScatterTermName
from data_gen.projector import (
    MatrixProjector,
    MeasuredMatrixFile,
    ProjectorFactory,
    RayProjector,
    RaySampling,
)

ProjectorName = Literal["matrix", "ray"]
"""``matrix``: rays cast once and stored as a sparse matrix; ``ray``: every ray traced at each call."""

RAY_BYTES = 64
"""Memory of a step of a ray, for a single pair of pixel and aperture: the least that a model needs."""

_FACTORIES = {"matrix": MatrixProjector, "ray": RayProjector}


@dataclass(frozen=True)
class ModelOptions:
    """What a user chooses about a forward model, besides what it is a model of.

    Args:
        reference_energies: energies at which the geometry is computed, at most; lines interpolate between
            them.
        scatter_terms: what reaches the detector otherwise than through the apertures without scatter:
            "leakage" (through plate and septa), "object_scatter", "collimator_scatter".
        scatter_voxel_mm: edge of the voxels on which object scatter is computed, at most; coarser is faster.
        ray_sampling: rays for each pair of pixel and aperture.
        projector: what computes the photons through the apertures; a file with a system matrix is one, too.

    Raises:
        UserError: a number is not positive, a name is unknown, or the rays do not fit into memory.
    """

    reference_energies: int = 8
    scatter_terms: tuple[ScatterTermName, ...] = SCATTER_TERMS
    scatter_voxel_mm: float = 3.3
    ray_sampling: RaySampling = RaySampling()  # noqa: RUF009 (frozen)
    projector: ProjectorName | MeasuredMatrixFile = "matrix"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scatter_terms", _checked_terms(self.scatter_terms))
        if self.reference_energies < 1:
            raise UserError(f"reference_energies is {self.reference_energies}; it needs at least 1")
        sampling = self.ray_sampling
        check_memory(
            RAY_BYTES * sampling.most * sampling.plate_steps,
            f"ray_sampling of {sampling.most} rays and {sampling.plate_steps} plate_steps",
        )
        if not self.scatter_voxel_mm > 0:
            raise UserError(f"scatter_voxel_mm is {self.scatter_voxel_mm}; it needs a positive number of mm")
        if not isinstance(self.projector, MeasuredMatrixFile) and self.projector not in _FACTORIES:
            raise UserError(f"projector is {self.projector!r}; it needs one of {list(_FACTORIES)} or a file")

    @property
    def projector_factory(self) -> ProjectorFactory:
        """What builds the projectors of the model."""
        if isinstance(self.projector, MeasuredMatrixFile):
            return self.projector.factory(self.ray_sampling, self.scatter_terms)
        return partial(_FACTORIES[self.projector], sampling=self.ray_sampling)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :meth:`from_dict` rebuilds the options from.

        The keys are those of the first data sets; what they did not know is written only where it differs
        from its default, so that files of the same content stay the same.
        """
        plain: dict[str, Any] = {
            "most_energy_groups": self.reference_energies,
            "secondary": list(self.scatter_terms),
            "scatter_voxel_mm": self.scatter_voxel_mm,
        }
        if self.ray_sampling != RaySampling():
            plain["ray_sampling"] = asdict(self.ray_sampling)
        if isinstance(self.projector, MeasuredMatrixFile):
            plain["projector"] = self.projector.to_dict()
        elif self.projector != "matrix":
            plain["projector"] = self.projector
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelOptions:
        """The options that :meth:`to_dict` described; other keys are left to others.

        Raises:
            UserError: a part is missing or wrong.
        """
        missing = {"most_energy_groups", "secondary", "scatter_voxel_mm"} - set(data)
        if missing:
            raise UserError(f"imaging system lacks {sorted(missing)}; it was written by another version")
        projector = data.get("projector", "matrix")
        return cls(
            data["most_energy_groups"],
            data["secondary"],
            data["scatter_voxel_mm"],
            RaySampling(**data.get("ray_sampling", {})),
            MeasuredMatrixFile(**projector) if isinstance(projector, Mapping) else projector,
        )


def _checked_terms(names: Sequence[str]) -> tuple[ScatterTermName, ...]:
    """The names as a tuple, each of them known and given once."""
    known = get_args(ScatterTermName)
    if any(name not in known for name in names) or len(set(names)) < len(names):
        raise UserError(f"scatter_terms is {list(names)}; it needs some of {list(known)}, each once")
    return tuple(names)  # type: ignore[arg-type]
