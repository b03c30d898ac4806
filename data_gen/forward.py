"""The forward model: expected counts of the camera for the activity and density in front of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from data_gen.acquisition import draw_counts, events_from_counts
from data_gen.camera import Camera
from data_gen.grid import EnergyAxis, VoxelGrid
from data_gen.materials import k_edges_kev
from data_gen.nuclides import DecayChain, MemberGroups, each_member
from data_gen.projector import MatrixProjector, Projector
from data_gen.scan import EventList, Frame, total_duration_s
from data_gen.spectrum import EnergyGroups, LineSpectrum, energy_groups

if TYPE_CHECKING:
    ProjectorFactory = Callable[[Camera, VoxelGrid, Tensor], Projector]

EMISSION_KEV = (20.0, 600.0)
"""Photon energies that the model transports."""


class HyperspectralForwardModel(nn.Module):
    """Activity of chain members to expected counts per pixel and energy bin, and back.

        n[p, b] = live[p] ( sum_o sum_g sum_m F[q(p, o), g, m] R[o, g, m, b] + d[b] )

    F are first interactions per photon at the reference energies g (the projector's work); q(p, o) is the
    pixel of first interaction whose charge pixel p records; R gathers photons per decay, the ratios within
    groups of chain members, and the detector's response, for all lines of energy group g; d is background.

    Args:
        camera: the camera.
        chain: the decay chain of the injected nuclide.
        grid: voxels, centred on the isocentre.
        energy_bins: recorded energies.
        groups: which chain members share a map; None gives each radioactive member a map of its own.
        projector: a finished projector at this model's reference energies, or what builds one; the
            cached system matrix unless told otherwise.
        most_energy_groups: number of reference energies, at most.
    """

    def __init__(
        self,
        camera: Camera,
        chain: DecayChain,
        grid: VoxelGrid,
        energy_bins: EnergyAxis,
        groups: MemberGroups | None = None,
        projector: Projector | ProjectorFactory = MatrixProjector,
        most_energy_groups: int = 6,
    ) -> None:
        super().__init__()
        self.camera, self.chain, self.grid, self.energy_bins = camera, chain, grid, energy_bins
        self.groups = groups or each_member(chain)
        self.lines = LineSpectrum.of(chain, *EMISSION_KEV)
        self.energy_groups = energy_groups(
            self.lines,
            most_energy_groups,
            camera.detector_material,
            camera.detector_thickness_mm,
            k_edges_kev(camera.collimator_material),
        )
        reference = self.energy_groups.reference_kev
        self.projector = projector(camera, grid, reference) if callable(projector) else projector
        self._set_recording(
            _spectral_weights(camera, self.lines, self.energy_groups, self.groups, energy_bins),
            torch.stack([camera.neighbours((-r, -c)) for r, c in camera.response.offsets], dim=1),
            camera.time_fraction,
        )

    def _set_recording(self, spectral: Tensor, neighbours: Tensor, live: Tensor) -> None:
        """What turns first interactions into counts: R, q and the share of the scan that a pixel is live."""
        self.register_buffer("spectral", spectral.float(), persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)
        self.register_buffer("live", live.float(), persistent=False)
        width = self.energy_bins.edges_kev.diff().float()
        self.register_buffer("background", self.camera.background_cps_per_kev * width, persistent=False)

    spectral: Tensor
    neighbours: Tensor
    live: Tensor
    background: Tensor

    # The public face: one call from activity to counts a second.

    def A(self, activity: Tensor, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Expected counts a second, without background.

        Args:
            activity: [batch, map, z, y, x] in Bq per voxel.
            density: [batch, z, y, x] in g/cm3.
            material: [batch, z, y, x] index into ``data_gen.materials.TISSUES``; None: told from density.

        Returns:
            [batch, pixel, bin] in counts/s.
        """
        return self.project(activity, self.attenuation(density, material))

    def A_adjoint(self, projections: Tensor, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Transpose of :meth:`A`: [batch, pixel, bin] to [batch, map, z, y, x]."""
        return self.back_project(projections, self.attenuation(density, material))

    def sample_events(
        self,
        activity: Tensor,
        density: Tensor,
        frames: tuple[Frame, ...],
        generator: torch.Generator,
        material: Tensor | None = None,
    ) -> list[EventList]:
        """Poisson list-mode events of each scan of the batch, background included."""
        with torch.no_grad():
            expected = self.expected_counts(
                activity, self.attenuation(density, material), total_duration_s(frames)
            )
        return [
            events_from_counts(draw_counts(scan, generator), self.energy_bins, frames, generator)
            for scan in expected
        ]

    # The same with the object's attenuation made once and kept.

    def attenuation(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """What the projector keeps of an object; hand it to the methods below."""
        return self.projector.attenuation(density, material)

    def project(self, activity: Tensor, attenuation: Tensor) -> Tensor:
        """Counts a second [batch, pixel, bin] for activity [batch, map, z, y, x] in Bq per voxel."""
        return self.record(self.projector.forward(activity, attenuation))

    def back_project(self, projections: Tensor, attenuation: Tensor) -> Tensor:
        """Transpose of :meth:`project`."""
        return self.projector.adjoint(self.unrecord(projections), attenuation)

    def expected_counts(self, activity: Tensor, attenuation: Tensor, duration_s: float | Tensor) -> Tensor:
        """Expected counts [batch, pixel, bin] in ``duration_s`` (a number or [batch]), with background."""
        duration = torch.as_tensor(duration_s, dtype=activity.dtype, device=activity.device).reshape(-1, 1, 1)
        return duration * (self.project(activity, attenuation) + self.background_rate())

    def background_rate(self) -> Tensor:
        """Detector background in counts/s, [pixel, bin]."""
        return self.live[:, None] * self.background

    def sensitivity(self, attenuation: Tensor) -> Tensor:
        """Counts a second over all pixels and bins per Bq in each voxel, [batch, map, z, y, x]."""
        # unrecord() of ones, without ever holding a dense [pixel, bin] array.
        live, spectral = self.live.to(attenuation.dtype), self.spectral.to(attenuation.dtype)
        whole = live[:, None, None] * spectral.sum(-1)[:, None]
        recorded = torch.stack(
            [
                _scatter(whole[o][None], self.neighbours[:, o], self.projector.pixels)
                for o in range(len(whole))
            ]
        ).sum(0)
        return self.projector.adjoint(recorded.expand(len(attenuation), -1, -1, -1), attenuation)

    # Recording: first interactions [batch, q, g, map] to counts, densely or at given events.

    def record(self, interactions: Tensor) -> Tensor:
        """Counts a second [batch, pixel, bin] from first interactions [batch, q, g, map]."""
        spectral = self.spectral.to(interactions.dtype)
        counts = sum(
            torch.einsum("bpgm,gmk->bpk", _gather(interactions, self.neighbours[:, o]), spectral[o])
            for o in range(len(spectral))
        )
        return self.live[:, None].to(interactions.dtype) * torch.as_tensor(counts)

    def unrecord(self, projections: Tensor) -> Tensor:
        """Transpose of :meth:`record`."""
        spectral = self.spectral.to(projections.dtype)
        lived = self.live[:, None].to(projections.dtype) * projections
        return torch.as_tensor(
            sum(
                _scatter(
                    torch.einsum("bpk,gmk->bpgm", lived, spectral[o]),
                    self.neighbours[:, o],
                    self.projector.pixels,
                )
                for o in range(len(spectral))
            )
        )

    def record_at(self, interactions: Tensor, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        """Counts a second at events: first interactions [q, g, map] of one scan to [event]."""
        spectral = self.spectral.to(interactions.dtype)
        rate = sum(
            torch.einsum(
                "egm,gme->e",
                _gather(interactions[None], self.neighbours[pixel, o])[0],
                spectral[o][..., energy_bin],
            )
            for o in range(len(spectral))
        )
        return self.live[pixel].to(interactions.dtype) * torch.as_tensor(rate)

    def unrecord_at(self, values: Tensor, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        """Transpose of :meth:`record_at`: [event] to [q, g, map]."""
        spectral = self.spectral.to(values.dtype)
        lived = (self.live[pixel].to(values.dtype) * values)[:, None, None]
        parts = [
            _scatter(
                (lived * spectral[o][..., energy_bin].movedim(-1, 0))[None],
                self.neighbours[pixel, o],
                self.projector.pixels,
            )[0]
            for o in range(len(spectral))
        ]
        return torch.stack(parts).sum(0)

    # The same camera and object, seen otherwise.

    @property
    def pixels(self) -> int:
        """Recording pixels of this model."""
        return len(self.live)

    def with_energy_bins(self, energy_bins: EnergyAxis) -> HyperspectralForwardModel:
        """The same model recording other energy bins; the projector is shared."""
        other = self._sharing(self.projector, energy_bins)
        weights = _spectral_weights(self.camera, self.lines, self.energy_groups, self.groups, energy_bins)
        other._set_recording(weights.to(self.live.device), self.neighbours, self.live)
        return other

    def subset(self, pixels: Tensor | slice) -> HyperspectralForwardModel:
        """The same model restricted to some recording pixels (an index [k] or a slice), in their order."""
        neighbours = self.neighbours[pixels]
        needed = torch.unique(neighbours[neighbours >= 0])
        place = torch.full((self.projector.pixels + 1,), -1, dtype=torch.int64, device=needed.device)
        place[needed] = torch.arange(len(needed), device=needed.device)
        other = self._sharing(self.projector.subset(needed), self.energy_bins)
        other._set_recording(self.spectral, place[neighbours], self.live[pixels])
        return other

    def _sharing(self, projector: Projector, energy_bins: EnergyAxis) -> HyperspectralForwardModel:
        """A copy around another projector or energy axis, its recording not yet set."""
        other = HyperspectralForwardModel.__new__(HyperspectralForwardModel)
        nn.Module.__init__(other)
        other.camera, other.chain, other.grid, other.energy_bins = (
            self.camera,
            self.chain,
            self.grid,
            energy_bins,
        )
        other.groups, other.lines, other.energy_groups = self.groups, self.lines, self.energy_groups
        other.projector = projector
        return other


def _spectral_weights(
    camera: Camera, lines: LineSpectrum, grouping: EnergyGroups, groups: MemberGroups, axis: EnergyAxis
) -> Tensor:
    """R [offset, g, map, bin]: counts per first interaction at the reference energy per Bq of the head."""
    kernel = camera.response.kernel(lines.energy_kev, axis.edges_kev).to(torch.float64)
    emitted = lines.photons_per_decay * grouping.efficiency_ratio
    per_map = emitted[:, None] * groups.weights[lines.member]
    count = len(grouping.reference_kev)
    spectral = torch.zeros(len(kernel), count, per_map.shape[1], axis.count, dtype=torch.float64)
    return spectral.index_add_(1, grouping.group, torch.einsum("olk,lm->olmk", kernel, per_map))


def _gather(interactions: Tensor, source: Tensor) -> Tensor:
    """Rows [batch, p, ...] of ``interactions`` [batch, q, ...] at ``source`` [p]; zero where it is -1."""
    picked = interactions[:, source.clamp_min(0)]
    if bool((source < 0).any()):
        picked = picked * (source >= 0).to(picked.dtype)[:, None, None]
    return picked


def _scatter(values: Tensor, target: Tensor, rows: int) -> Tensor:
    """Transpose of :func:`_gather`: add rows [batch, p, ...] into [batch, rows, ...]."""
    inside = target >= 0
    out = values.new_zeros(len(values), rows, *values.shape[2:])
    return out.index_add(1, target[inside], values[:, inside])
