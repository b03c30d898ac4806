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
from data_gen.forward_model.block_terms import SCATTER_TERMS, ScatterTermName
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.nuclides import DecayChain, MemberGroups, decay_chain, tied_groups


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
        most_energy_groups: reference energies of the geometry, at most.
        secondary: what reaches the detector otherwise than through apertures,
            see :mod:`data_gen.forward_model.block_terms`.
        scatter_voxel_mm: edge of the voxels on which object scatter is computed, at most; coarser is faster.
    """

    camera: Camera
    chain: DecayChain
    grid: VoxelGrid
    energy_bins: EnergyBins
    groups: MemberGroups
    most_energy_groups: int = 8
    secondary: tuple[ScatterTermName, ...] = SCATTER_TERMS
    scatter_voxel_mm: float = 3.3

    def __init__(
        self,
        camera: Camera,
        chain: DecayChain,
        grid: VoxelGrid,
        energy_bins: EnergyBins,
        groups: Mapping[str, Sequence[str]] | None = None,
        most_energy_groups: int = 8,
        secondary: Sequence[ScatterTermName] = SCATTER_TERMS,
        scatter_voxel_mm: float = 3.3,
    ) -> None:
        tied = tied_groups(chain) if groups is None else MemberGroups(chain, groups)
        if not scatter_voxel_mm > 0:
            raise UserError(f"scatter_voxel_mm is {scatter_voxel_mm}; it needs a positive number of mm")
        parts = (
            camera,
            chain,
            grid,
            energy_bins,
            tied,
            most_energy_groups,
            tuple(secondary),
            scatter_voxel_mm,
        )
        for field, part in zip(fields(self), parts, strict=True):
            object.__setattr__(self, field.name, part)

    def forward_model(self, energy_bins: EnergyAxis | None = None) -> HyperspectralForwardModel:
        """The forward model of this system, by default with its own energy bins."""
        return HyperspectralForwardModel(
            self.camera,
            self.chain,
            self.grid,
            energy_bins or self.energy_bins,
            groups=self.groups,
            most_energy_groups=self.most_energy_groups,
            secondary=self.secondary,
            scatter_voxel_mm=self.scatter_voxel_mm,
        )

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
            "most_energy_groups": self.most_energy_groups,
            "secondary": list(self.secondary),
            "scatter_voxel_mm": self.scatter_voxel_mm,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImagingSystem:
        """The system that :meth:`to_dict` described.

        Raises:
            UserError: a part is missing or wrong.
        """
        geometry = {"camera", "nuclide", "groups", "grid", "energy_bins"}
        missing = (geometry | {"most_energy_groups", "secondary", "scatter_voxel_mm"}) - set(data)
        if missing:
            raise UserError(f"imaging system lacks {sorted(missing)}; it was written by another version")
        return cls(
            Camera.from_dict(data["camera"]),
            decay_chain(data["nuclide"]),
            VoxelGrid(**data["grid"]),
            EnergyBins(**data["energy_bins"]),
            dict(data["groups"]),
            data["most_energy_groups"],
            data["secondary"],
            data["scatter_voxel_mm"],
        )

    @property
    def fingerprint(self) -> str:
        """Hash of everything above: equal for equal systems, on any machine."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
