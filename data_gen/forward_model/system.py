"""An imaging system as plain data: everything that a file must contain to rebuild its forward model."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyAxis, EnergyBins, VoxelGrid
from data_gen.core.memory import check_memory
from data_gen.forward_model.model import HyperspectralForwardModel, sharp_energies
from data_gen.forward_model.options import ModelOptions
from data_gen.materials import TISSUES, composition
from data_gen.nuclides import DecayChain, MemberGroups, decay_chain, nuclear_data, tied_groups
from data_gen.projector import Projector

_log = logging.getLogger(__name__)

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
        dead_pixels: pixels of the camera that record nothing, or whose events are not to be used, rising. All
            that is made from the system knows them: expected counts, sensitivity and back-projection.

    Raises:
        UserError: counts of every pixel and energy bin do not fit into memory, or the camera does not have
            a dead pixel or would have no other left.
    """

    camera: Camera
    chain: DecayChain
    grid: VoxelGrid
    energy_bins: EnergyBins
    groups: MemberGroups
    options: ModelOptions
    dead_pixels: tuple[int, ...]

    def __init__(
        self,
        camera: Camera,
        chain: DecayChain,
        grid: VoxelGrid,
        energy_bins: EnergyBins,
        groups: Mapping[str, Sequence[str]] | None = None,
        options: ModelOptions | None = None,
        dead_pixels: Sequence[int] = (),
    ) -> None:
        check_memory(
            CELL_BYTES * camera.pixel_count * energy_bins.count,
            f"camera {camera.name} of {camera.pixel_count} pixels with {energy_bins.count} energy bins",
        )
        tied = tied_groups(chain) if groups is None else MemberGroups(chain, groups)
        dead = _checked_pixels(dead_pixels, camera)
        parts = (camera, chain, grid, energy_bins, tied, options or ModelOptions(), dead)
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
            live=self.live,
        )

    @property
    def live(self) -> Tensor | None:
        """0 for dead pixels and 1 for all others, [pixel]; None if none is dead."""
        if not self.dead_pixels:
            return None
        live = torch.ones(self.camera.pixel_count, dtype=torch.float64)
        live[list(self.dead_pixels)] = 0.0
        return live

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
        return ImagingSystem(*parts, options, self.dead_pixels)

    def with_dead_pixels(self, pixels: Sequence[int]) -> ImagingSystem:
        """The same system with these pixels dead, and no others.

        Raises:
            UserError: the camera does not have such a pixel, or would have none left.
        """
        parts = (self.camera, self.chain, self.grid, self.energy_bins, self.groups.members, self.options)
        return ImagingSystem(*parts, pixels)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :meth:`from_dict` rebuilds the system from."""
        bins = self.energy_bins
        return {
            "camera": self.camera.to_dict(),
            "nuclide": self.chain.members[0],
            "nuclear_data": nuclear_data(),
            # A list: maps are numbered in this order, and JSON written with sorted keys would lose it.
            "groups": [[name, list(tied)] for name, tied in self.groups.members.items()],
            "grid": self.grid.to_dict(),
            "energy_bins": {"min_kev": bins.min_kev, "max_kev": bins.max_kev, "count": bins.count},
            **self.options.to_dict(),
            # Only where there are any, so that systems without them are described as they always were.
            **({"dead_pixels": list(self.dead_pixels)} if self.dead_pixels else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImagingSystem:
        """The system that :meth:`to_dict` described.

        Half-lives and yields are those of this program. A description made with others is told of in the log:
        scans simulated with them differ a little from the model.

        Raises:
            UserError: a part is missing or wrong.
        """
        missing = {"camera", "nuclide", "groups", "grid", "energy_bins"} - set(data)
        if missing:
            raise UserError(f"imaging system lacks {sorted(missing)}; it was written by another version")
        if data.get("nuclear_data", nuclear_data()) != nuclear_data():
            _log.warning(
                "the imaging system was described with half-lives and yields of %s; here they are of %s",
                data["nuclear_data"],
                nuclear_data(),
            )
        try:
            return cls(
                Camera.from_dict(data["camera"]),
                decay_chain(data["nuclide"]),
                VoxelGrid(**data["grid"]),
                EnergyBins(**data["energy_bins"]),
                dict(data["groups"]),
                ModelOptions.from_dict(data),
                data.get("dead_pixels", ()),
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


def _checked_pixels(pixels: Sequence[int], camera: Camera) -> tuple[int, ...]:
    """Pixels as a rising tuple, after checking that the camera has them and others."""
    if not isinstance(pixels, Sequence) or not all(type(pixel) is int for pixel in pixels):
        raise UserError(f"dead_pixels is {str(pixels)[:80]}; it needs a list of whole numbers, [] for none")
    dead = tuple(sorted(set(pixels)))
    if dead and not 0 <= dead[0] <= dead[-1] < camera.pixel_count:
        odd = dead[0] if dead[0] < 0 else dead[-1]
        raise UserError(
            f"dead_pixels holds {odd}; {camera.name} has the pixels 0 to {camera.pixel_count - 1}"
        )
    if len(dead) == camera.pixel_count:
        raise UserError(f"dead_pixels holds all {len(dead)} pixels of {camera.name}; some need to be live")
    return dead
