"""Response of a pixelated CdTe detector: recorded energy and pixel of a photon, from the detector's
constants.

Input are photon energies and bin edges in keV; output is the probability per first interaction of every
energy bin in each of the 3x3 pixels around it. docs/physics.md, section 7, derives it and lists the sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.autograd import recomputed
from data_gen.detector.charge import ChargeTransport, Events, charge_transport
from data_gen.detector.compton import compton_events
from data_gen.detector.constants import CONSTANTS, CdTeConstants
from data_gen.detector.cross_sections import crystal_tables
from data_gen.detector.deposits import FWHM_PER_SIGMA
from data_gen.detector.flight import Block
from data_gen.detector.histogram import Axis, Resolution, at_recorded_pixels
from data_gen.detector.hits import Hits, Readout, Threshold, read_out
from data_gen.detector.photoelectric import photoelectric_events


def crystal_events(material: str, energy_kev: Tensor, charge: ChargeTransport) -> tuple[Events, ...]:
    """Energy deposits and pixel signals of photons [line] that first interact in the middle of 3x3 pixels, by
    kind.

    Probabilities of all kinds together sum to 1 per line.
    """
    nothing = torch.zeros_like(charge.thickness_mm)
    reach = 4 * charge.cloud_at_anode_mm(nothing, nothing, nothing)
    block = Block(charge.thickness_mm, 3 * charge.pitch_mm, reach)
    share = crystal_tables(material).photoelectric_share(energy_kev)
    absorbed = photoelectric_events(material, energy_kev, block, charge)
    scattered = compton_events(material, energy_kev, block, charge)
    return (
        *(kind.weighted(share) for kind in absorbed),
        *(kind.weighted(1 - share) for kind in scattered),
    )


_LINES_AT_ONCE = 16
"""Photon lines whose response is computed together, which bounds the memory."""


@dataclass(frozen=True)
class CdTeResponse(CdTeConstants):
    """Recorded spectrum of pixelated CdTe, computed from its constants.

    Photons arrive along the depth and interact anywhere in a pixel. Electrons deposit energy about the place
    of interaction; K X-rays and scattered photons are followed within the 3x3 pixels around. Charge drifts in
    a field that rises evenly, spreads by diffusion and repulsion, is trapped, and is shared between pixels,
    each with noise, gain and offset of its own and a threshold; some is lost between them. The event is in
    the pixel of the 3x3 with the largest signal. Energies are not corrected for trapped or lost charge. All
    arguments are those of :class:`CdTeConstants`; :data:`data_gen.detector.CRYSTALS` has sets of them.

    Neglected: Doppler broadening of Compton scatter, transient signals of neighbours, third interactions,
    pair production, and oblique incidence.
    """

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """The 3x3 recorded pixels around the one of first interaction."""
        return tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Probability of the event's hit, [9, line, bin], float64; see :class:`DetectorResponse`."""
        spectra = self._spectra(energy_kev, edges_kev, lambda read: read.hits)
        return at_recorded_pixels(spectra[..., 1:-1], self.binning).to(edges_kev.device)

    def linked(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Mean number of further hits of the same photon in mode "raw", [9, line, bin]; 0 in other modes."""
        spectra = self._spectra(energy_kev, edges_kev, lambda read: read.linked)
        return at_recorded_pixels(spectra[..., 1:-1], self.binning).to(edges_kev.device)

    def losses(self, energy_kev: Tensor, edges_kev: Tensor) -> dict[str, Tensor]:
        """Probability per first interaction to be lost, [line] each; see :class:`DetectorResponse`."""
        reads = [[read.losses for read in self._read_out(few)] for few in self._few(energy_kev)]
        lost = {
            name: torch.cat([torch.stack([kind[name] for kind in few]).sum(0) for few in reads])
            for name in reads[0][0]
        }
        ends = self._spectra(energy_kev, edges_kev, lambda read: read.hits).sum(0)
        return lost | {"below_range": ends[:, 0], "above_range": ends[:, -1]}

    def distant(self, energy_kev: Tensor) -> Tensor:
        """Mean number per first interaction of photons that interact again beyond the 3x3, [line].

        They cause events of their own, linked to the first, which are in no kernel.
        """
        parts = [[kind.distant.sum(1) for kind in self._events(few)] for few in self._few(energy_kev)]
        return torch.cat([torch.stack(kinds).sum(0) for kinds in parts])

    def _spectra(self, energy_kev: Tensor, edges_kev: Tensor, hits: Callable[[Readout], Hits]) -> Tensor:
        """Spectra of the selected hits of every event, [place, line, bin + 2]."""
        resolution = Resolution(
            self._noise_kev() ** 2,
            self.constant("fano") * self.constant("pair_creation_kev"),
            self.constant("offset_spread_kev") ** 2,
            self.constant("gain_spread_fraction") ** 2,
        )
        axis = Axis.of(edges_kev.detach().to("cpu", torch.float64), resolution)

        def gathered(few: Tensor) -> Tensor:
            return torch.stack([axis.gathered(hits(read)) for read in self._read_out(few)]).sum(0)

        # A gradient is computed again a few lines at a time: all at once take 25 MB a line.
        asked = any(isinstance(getattr(self, name), Tensor) for name in CONSTANTS)
        parts = [recomputed(gathered, few, needed=asked) for few in self._few(energy_kev)]
        return axis.blurred(torch.cat(parts, dim=2))

    def _few(self, energy_kev: Tensor) -> tuple[Tensor, ...]:
        """Lines in groups that bound memory."""
        groups: tuple[Tensor, ...] = energy_kev.detach().to("cpu", torch.float64).split(_LINES_AT_ONCE)
        return groups

    def _read_out(self, energy_kev: Tensor) -> tuple[Readout, ...]:
        """Hits of each kind of events."""
        sigma = torch.sqrt(self.constant("threshold_width_kev") ** 2 + self._noise_kev() ** 2)
        threshold = Threshold(self.constant("threshold_kev"), sigma)
        return tuple(read_out(kind, threshold, self.mode) for kind in self._events(energy_kev))

    def _events(self, energy_kev: Tensor) -> tuple[Events, ...]:
        """Energy deposits in the crystal, and the pixels' signals."""
        return crystal_events(self.material, energy_kev, charge_transport(self))

    def _noise_kev(self) -> Tensor:
        """Standard deviation of the noise of one pixel."""
        return self.constant("electronic_noise_kev") / FWHM_PER_SIGMA
