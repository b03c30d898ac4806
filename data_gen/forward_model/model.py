"""The forward model: expected counts per s of every pixel and energy bin, from activity (Bq) and density
(g/cm3).

docs/physics.md derives it, section by section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.core.autograd import in_full_precision
from data_gen.core.events import EventList, Frame, total_duration_s
from data_gen.core.grid import EnergyAxis, VoxelGrid
from data_gen.forward_model.block_terms import BlockTerms, block_terms, corners_of, recorded
from data_gen.forward_model.event_sampling import draw_counts, events_from_counts
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.pixel_response import PixelResponse
from data_gen.forward_model.spectral_response import SpectralResponse
from data_gen.nuclides import DecayChain, MemberGroups, each_member
from data_gen.nuclides.spectrum import LineSpectrum
from data_gen.projector import Projector, ProjectorFactory
from data_gen.projector.energy_interpolation import reference_energies
from data_gen.scatter import ScatterSampling, ScatterTerm

EMISSION_KEV = (20.0, 2700.0)
"""Photon energies that the model transports."""

SHARP_KEV = 600.0
"""Photons above are not recorded at full energy and hardly stopped by a plate: they have no sharp image."""

MOST_HIGH_GROUPS = 3
"""Reference energies above :data:`SHARP_KEV`, at most."""


@dataclass(frozen=True)
class ObjectState:
    """What a model computes once for an object and then reuses: tensors with the batch first."""

    sharp: Tensor
    """The projector's attenuation."""
    blocks: tuple[Tensor, ...] = ()
    """What each leakage and scatter term keeps."""

    def __len__(self) -> int:
        return len(self.sharp)

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is asked for in the objects."""
        return any(part.requires_grad for part in (self.sharp, *self.blocks))

    def __getitem__(self, scans: slice) -> ObjectState:
        return ObjectState(self.sharp[scans], tuple(part[scans] for part in self.blocks))


class HyperspectralForwardModel(nn.Module):
    """From activity of chain members to expected counts per pixel and energy bin, and the transpose.

        n[p, b] = live[p] ( sum_o sum_g sum_m F[q(p, o), g, m] R[o, g, m, b] + B[p, b] + d[b] )

    F are first interactions per photon at the reference energies g through apertures (computed by the
    projector); q(p, o) is the pixel of first interaction whose charge pixel p records; R combines photons per
    decay, the interpolation weights of each line at the reference energies, and the detector's response. B
    are counts of all other photons: leakage through plate and septa, scatter in the object and in the
    collimator, computed on blocks of pixels. d is background. docs/physics.md, section 1.

    ``to(device)`` moves everything but the geometry of the camera, which it is built from. Under
    ``torch.autocast`` all is computed as it is without.

    Args:
        camera: the camera.
        chain: the decay chain of the injected nuclide.
        grid: voxels, centred on the isocentre.
        energy_bins: recorded energies.
        groups: which chain members share a map; None gives each radioactive member a map of its own.
        options: reference energies, scatter terms (what is in B), rays and projector.
        projector: what builds projectors, in place of that of the options.
        live: fraction of its time that each pixel records, [pixel]; None: all of it.
    """

    def __init__(
        self,
        camera: Camera,
        chain: DecayChain,
        grid: VoxelGrid,
        energy_bins: EnergyAxis,
        groups: MemberGroups | None = None,
        options: ModelOptions | None = None,
        projector: ProjectorFactory | None = None,
        live: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.camera, self.chain, self.grid, self.energy_bins = camera, chain, grid, energy_bins
        self.groups = groups or each_member(chain)
        options = options or ModelOptions()
        factory = projector or options.projector_factory
        high_kev = reference_energies(camera, self.lines.above(SHARP_KEV), MOST_HIGH_GROUPS)
        self.register_buffer("reference_kev", sharp_energies(camera, chain, options), persistent=False)
        self.register_buffer("high_kev", high_kev, persistent=False)
        self.projector: Projector = factory(camera, grid, self.reference_kev)
        sampling = ScatterSampling(voxel_mm=options.scatter_voxel_mm)
        terms = block_terms(
            options.scatter_terms, camera, grid, self.block_reference_kev, SHARP_KEV, factory, sampling
        )
        recorder = self._recorder(energy_bins)
        share = camera.time_fraction if live is None else live * camera.time_fraction
        self.recording = PixelResponse.of(camera, recorder.sharp(self.reference_kev), share)
        self.blocks: BlockTerms | None = None
        if terms:
            corner, weight = corners_of(camera, terms)
            spectral = [recorded(term, recorder, self.block_reference_kev) for term in terms]
            self.blocks = BlockTerms(terms, spectral, corner, share[:, None] * weight)

    reference_kev: Tensor
    """Reference energies of sharp images, [g] keV."""
    high_kev: Tensor
    """Reference energies of photons above :data:`SHARP_KEV`, keV."""

    @property
    def lines(self) -> LineSpectrum:
        """The photons of the chain that are transported; on the CPU, since only tables are made of them."""
        return _lines(self.chain)

    @property
    def scatter_terms(self) -> Sequence[ScatterTerm]:
        """The leakage and scatter terms."""
        return self.blocks.terms if self.blocks else ()

    @property
    def block_reference_kev(self) -> Tensor:
        """Reference energies of leakage and scatter, [g] keV."""
        return torch.cat((self.reference_kev, self.high_kev))

    def _recorder(self, axis: EnergyAxis) -> SpectralResponse:
        return SpectralResponse(self.camera, self.lines, self.groups, axis.edges_kev, SHARP_KEV)

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

    # The same with what is kept of the object made once.

    @in_full_precision
    def attenuation(self, density: Tensor, material: Tensor | None = None) -> ObjectState:
        """What the model keeps of an object; hand it to the methods below."""
        blocks = self.blocks.state(density, material) if self.blocks else ()
        return ObjectState(self.projector.attenuation(density, material), blocks)

    @in_full_precision
    def project(self, activity: Tensor, state: ObjectState) -> Tensor:
        """Counts a second [batch, pixel, bin] for activity [batch, map, z, y, x] in Bq per voxel."""
        counts = self.recording.record(self.projector.forward(activity, state.sharp))
        return self.blocks.project_onto(counts, activity, state.blocks) if self.blocks else counts

    @in_full_precision
    def project_parts(self, parts: Tensor, maps: Sequence[int], state: ObjectState) -> Tensor:
        """Counts a second [part, pixel, bin] of several activities of one object.

        All parts pass projector and scatter terms together, in a fraction of the time of :meth:`project` for
        one after another.

        Args:
            parts: [part, z, y, x] in Bq per voxel.
            maps: activity map that each part belongs to, [part].
            state: of the object, a batch of one.
        """
        interactions = self.projector.forward(parts[None], state.sharp)[0]
        counts = []
        for part, m in enumerate(maps):
            alone = interactions.new_zeros(*interactions.shape[:2], len(self.groups.names))
            alone[..., m] = interactions[..., part]
            counts.append(self.recording.record(alone[None])[0])
        direct = torch.stack(counts)
        if self.blocks is None:
            return direct
        return direct + self.blocks.spread(self.blocks.tables_of(parts, maps, state.blocks))

    @in_full_precision
    def back_project(self, projections: Tensor, state: ObjectState) -> Tensor:
        """Transpose of :meth:`project`."""
        image = self.projector.adjoint(self.recording.unrecord(projections), state.sharp)
        return image + self.blocks.back_project(projections, state.blocks) if self.blocks else image

    @in_full_precision
    def project_at(self, activity: Tensor, state: ObjectState, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        """Counts a second of one scan [1, map, z, y, x] in the pixels and bins of events, [event].

        No dense [pixel, bin] array is made.
        """
        seen = self.projector.forward(activity, state.sharp)[0]
        rate = self.recording.record_at(seen, pixel, energy_bin)
        if self.blocks is None:
            return rate
        table = self.blocks.table(activity, state.blocks)[0]
        return rate + self.blocks.spread_at(table, pixel, energy_bin)

    @in_full_precision
    def back_project_at(
        self, values: Tensor, state: ObjectState, pixel: Tensor, energy_bin: Tensor
    ) -> Tensor:
        """Transpose of :meth:`project_at`: [event] to [1, map, z, y, x]."""
        seen = self.recording.unrecord_at(values, pixel, energy_bin)
        image = self.projector.adjoint(seen[None], state.sharp)
        if self.blocks is None:
            return image
        return image + self.blocks.back_project_at(values, state.blocks, pixel, energy_bin)

    @in_full_precision
    def expected_counts(self, activity: Tensor, state: ObjectState, duration_s: float | Tensor) -> Tensor:
        """Expected counts [batch, pixel, bin] in ``duration_s`` (a number or [batch]), with background."""
        duration = torch.as_tensor(duration_s, dtype=activity.dtype, device=activity.device).reshape(-1, 1, 1)
        return duration * (self.project(activity, state) + self.background_rate())

    def background_rate(self) -> Tensor:
        """Detector background in counts/s, [pixel, bin]."""
        width = self.energy_bins.edges_kev.diff().float().to(self.recording.live.device)
        return self.recording.live[:, None] * (self.camera.background_cps_per_kev * width)

    @in_full_precision
    def sensitivity(self, state: ObjectState) -> Tensor:
        """Counts a second over all pixels and bins per Bq in each voxel, [batch, map, z, y, x]."""
        recorded = self.recording.summed(state.sharp.dtype)
        image = self.projector.adjoint(recorded.expand(len(state), -1, -1, -1), state.sharp)
        return image + self.blocks.summed(state.blocks) if self.blocks else image

    @in_full_precision
    def spectrum(self, activity: Tensor, state: ObjectState) -> Tensor:
        """Counts a second of the whole camera with background, [batch, bin], never held by pixel."""
        rate = self.recording.total(self.projector.forward(activity, state.sharp))
        rate = rate + self.background_rate().sum(0)
        return rate + self.blocks.total(activity, state.blocks) if self.blocks else rate

    # The same camera and object, seen otherwise.

    @property
    def pixels(self) -> int:
        """Recording pixels of this model."""
        return len(self.recording.live)

    @property
    def primary(self) -> HyperspectralForwardModel:
        """The same model of photons behind apertures alone, sharing everything; states fit both."""
        return self._sharing(self.projector, self.energy_bins, self.recording, None)

    def with_energy_bins(self, energy_bins: EnergyAxis) -> HyperspectralForwardModel:
        """The same model recording other energy bins; the projector is shared."""
        recorder, reference_kev = self._recorder(energy_bins), self.block_reference_kev
        blocks = self.blocks and self.blocks.recording(
            [recorded(term, recorder, reference_kev) for term in self.scatter_terms]
        )
        recording = self.recording.recording(recorder.sharp(self.reference_kev))
        return self._sharing(self.projector, energy_bins, recording, blocks)

    def subset(self, pixels: Tensor | slice) -> HyperspectralForwardModel:
        """The same model restricted to some recording pixels (an index [k] or a slice), in their order."""
        recording, needed = self.recording.subset(pixels)
        blocks = self.blocks and self.blocks.subset(pixels)
        return self._sharing(self.projector.subset(needed), self.energy_bins, recording, blocks)

    def _sharing(
        self,
        projector: Projector,
        energy_bins: EnergyAxis,
        recording: PixelResponse,
        blocks: BlockTerms | None,
    ) -> HyperspectralForwardModel:
        """A copy around another projector, energy axis and recording."""
        other = HyperspectralForwardModel.__new__(HyperspectralForwardModel)
        nn.Module.__init__(other)
        for name in ("camera", "chain", "grid", "groups"):
            setattr(other, name, getattr(self, name))
        for name in ("reference_kev", "high_kev"):
            other.register_buffer(name, getattr(self, name), persistent=False)
        other.energy_bins, other.projector = energy_bins, projector
        other.recording, other.blocks = recording, blocks
        return other


@cache
def _lines(chain: DecayChain) -> LineSpectrum:
    """The photons of a chain that are transported, made once."""
    return LineSpectrum.of(chain, *EMISSION_KEV)


def sharp_energies(camera: Camera, chain: DecayChain, options: ModelOptions) -> Tensor:
    """Reference energies [g] in keV of what comes through apertures without scatter."""
    return reference_energies(camera, _lines(chain).up_to(SHARP_KEV), options.reference_energies)
