"""An imaging system as plain data: everything that a file must contain to rebuild its forward model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyAxis, EnergyBins, VoxelGrid
from data_gen.core.memory import check_memory
from data_gen.forward_model.model import HyperspectralForwardModel, sharp_energies
from data_gen.forward_model.options import ModelOptions
from data_gen.materials import TISSUES, composition
from data_gen.nuclides import DecayChain, MemberGroups, decay_chain, tied_groups
from data_gen.projector import Projector

CELL_BYTES = 16
"""Memory that a pixel takes for each energy bin: expected counts, drawn counts and two copies; chosen."""


@dataclass(frozen=True)
class ImagingSystem:
    """Camera, decay chain, groups of chain members, voxel grid and recorded energy range.

    Args:
        camera: the camera.
        chain: decay chain of the injected nuclide.
        grid: voxels, centred on the isocentre.
        energy_bins: the fine energy axis of recorded events.
        groups: name of each activity map to the chain members that share it, head first; None ties
            members shorter-lived than ten minutes to their parent.
        options: how finely the model is computed and what it counts.

    Raises:
        UserError: counts of every pixel and energy bin do not fit into memory.
    """

    camera: Camera
    chain: DecayChain
    grid: VoxelGrid
    energy_bins: EnergyBins
    groups: MemberGroups
    options: ModelOptions

    def __init__(
        self,
        camera: Camera,
        chain: DecayChain,
        grid: VoxelGrid,
        energy_bins: EnergyBins,
        groups: Mapping[str, Sequence[str]] | None = None,
        options: ModelOptions | None = None,
    ) -> None:
        check_memory(
            CELL_BYTES * camera.pixel_count * energy_bins.count,
            f"camera {camera.name} of {camera.pixel_count} pixels with {energy_bins.count} energy bins",
        )
        tied = tied_groups(chain) if groups is None else MemberGroups(chain, groups)
        parts = (camera, chain, grid, energy_bins, tied, options or ModelOptions())
        for field, part in zip(fields(self), parts, strict=True):
            object.__setattr__(self, field.name, part)

    def forward_model(self, energy_bins: EnergyAxis | None = None) -> HyperspectralForwardModel:
        """The forward model of this system, by default with its own energy bins."""
        return HyperspectralForwardModel(
            self.camera,
            self.chain,
            self.grid,
            energy_bins or self.energy_bins,
            self.groups,
            self.options,
        )

    def projector(self) -> Projector:
        """The projector of the forward model by itself: no detector response or scatter is computed."""
        energies_kev = sharp_energies(self.camera, self.chain, self.options)
        return self.options.projector_factory(self.camera, self.grid, energies_kev)

    def reference_energies_kev(self) -> tuple[float, ...]:
        """Rising energies in keV at which the projector is computed, or its matrix measured.

        At most ``options.reference_energies`` of the chain's lines, and at least one on each side of a K edge
        of the collimator that has lines.
        """
        energies: list[float] = sharp_energies(self.camera, self.chain, self.options).tolist()
        return tuple(energies)

    def with_options(self, options: ModelOptions) -> ImagingSystem:
        """The same camera, nuclide, groups, voxels and energies, modelled otherwise."""
        parts = (self.camera, self.chain, self.grid, self.energy_bins, self.groups.members)
        return ImagingSystem(*parts, options)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :meth:`from_dict` rebuilds the system from."""
        bins = self.energy_bins
        return {
            "camera": self.camera.to_dict(),
            "nuclide": self.chain.members[0],
            # A list: maps are numbered in this order, and JSON written with sorted keys would lose it.
            "groups": [[name, list(tied)] for name, tied in self.groups.members.items()],
            "grid": self.grid.to_dict(),
            "energy_bins": {"min_kev": bins.min_kev, "max_kev": bins.max_kev, "count": bins.count},
            **self.options.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImagingSystem:
        """The system that :meth:`to_dict` described.

        Raises:
            UserError: a part is missing or wrong.
        """
        missing = {"camera", "nuclide", "groups", "grid", "energy_bins"} - set(data)
        if missing:
            raise UserError(f"imaging system lacks {sorted(missing)}; it was written by another version")
        try:
            return cls(
                Camera.from_dict(data["camera"]),
                decay_chain(data["nuclide"]),
                VoxelGrid(**data["grid"]),
                EnergyBins(**data["energy_bins"]),
                dict(data["groups"]),
                ModelOptions.from_dict(data),
            )
        except UserError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            told = " ".join(str(error).split())
            raise UserError(
                f"imaging system is none that this program wrote ({told}); it needs every part"
            ) from error

    @property
    def materials(self) -> dict[str, Any]:
        """Density and mass fractions of collimator, detector and tissues, by name.

        Numbers of the model follow from these besides :meth:`to_dict`, which only names them: whatever is
        kept for a system has both in its key.
        """
        return self.camera.materials | {tissue: composition(tissue) for tissue in TISSUES}

    @property
    def fingerprint(self) -> str:
        """Hash of everything above: equal for equal systems, on any machine."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
