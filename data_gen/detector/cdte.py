"""Response of a pixelated CdTe detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.detector.charge import charge_transport
from data_gen.detector.crystal import crystal_events
from data_gen.detector.events import Events
from data_gen.detector.histogram import Axis, Resolution, at_recorded_pixels, on_nodes
from data_gen.detector.hits import MODES, Hits, Mode, Readout, Threshold, read_out
from data_gen.detector.peak import peak_fwhm_kev
from data_gen.detector.recording import FWHM_PER_SIGMA
from data_gen.errors import UserError
from data_gen.materials import material_named

_LINES_AT_ONCE = 16
_DISTANT_STEP_KEV = 4.0

CONSTANTS = (
    "thickness_mm",
    "pixel_pitch_mm",
    "bias_v",
    "mu_tau_electron_cm2_v",
    "mu_tau_hole_cm2_v",
    "temperature_k",
    "cloud_um",
    "pair_creation_kev",
    "fano",
    "electronic_noise_kev",
    "threshold_kev",
    "threshold_width_kev",
    "gain_spread_fraction",
    "offset_spread_kev",
)
"""The continuous constants, in which the response is differentiable."""
_MAY_BE_ZERO = (
    "cloud_um",
    "fano",
    "threshold_kev",
    "threshold_width_kev",
    "gain_spread_fraction",
    "offset_spread_kev",
)


@dataclass(frozen=True)
class CdTeResponse:
    """Spectrum of pixelated CdTe, from the constants of the crystal and of its electronics.

    Photons arrive along the depth and interact all over a pixel. Energy is left by electrons at the point of
    interaction; K photons and scattered photons are followed within the 3x3 pixels around. Charge drifts in
    a uniform field, spreads by diffusion, is trapped, and is shared by the pixels of the 3x3; each pixel has
    its noise and its threshold. Energies are not corrected for trapped charge.

    The defaults give the figures published for the Alpha-SPECT-Mini: below 1 keV FWHM at 122 keV in a pixel
    (both spreads 0), 2.5 keV at 122 and 3.5 keV at 218 keV over all pixels. Which constants its makers have
    is not published: 7.5 kV/cm, mu tau of good CdTe and the threshold are assumptions; noise and spreads
    follow from the figures. Constants may be tensors that require gradients.

    Args:
        thickness_mm: depth of the detector, cathode at the entrance face.
        pixel_pitch_mm: edge of a recorded pixel.
        bias_v: voltage across the detector.
        mu_tau_electron_cm2_v: mobility times lifetime of electrons.
        mu_tau_hole_cm2_v: mobility times lifetime of holes.
        temperature_k: of the crystal; it sets diffusion.
        cloud_um: sigma of the charge cloud where a photon leaves its energy.
        pair_creation_kev: energy per electron-hole pair.
        fano: Fano factor.
        electronic_noise_kev: FWHM of the noise of one pixel's signal.
        threshold_kev: signal of a pixel that is seen in half of all cases.
        threshold_width_kev: sigma of the threshold.
        gain_spread_fraction: sigma of the gain over pixels.
        offset_spread_kev: sigma of the offset over pixels.
        mode: what is done with charge shared by neighbours: "addition", "discrimination" or "raw".
        binning: a recorded pixel is ``binning`` x ``binning`` pixels of the anode.
        material: "CdTe", or a kin such as "CZT".

    Raises:
        UserError: a constant is not finite, or not of the sign it needs.
    """

    thickness_mm: float | Tensor
    pixel_pitch_mm: float | Tensor
    bias_v: float | Tensor = 1500.0
    mu_tau_electron_cm2_v: float | Tensor = 3.3e-3
    mu_tau_hole_cm2_v: float | Tensor = 2e-4
    temperature_k: float | Tensor = 293.0
    cloud_um: float | Tensor = 10.0
    pair_creation_kev: float | Tensor = 0.00443
    fano: float | Tensor = 0.1
    electronic_noise_kev: float | Tensor = 0.4
    threshold_kev: float | Tensor = 4.0
    threshold_width_kev: float | Tensor = 0.4
    gain_spread_fraction: float | Tensor = 0.00497
    offset_spread_kev: float | Tensor = 0.660
    mode: Mode = "addition"
    binning: int = 1
    material: str = "CdTe"

    def __post_init__(self) -> None:
        material_named(self.material)
        if self.mode not in MODES:
            raise UserError(f"detector response: mode is {self.mode!r}; it needs to be one of {list(MODES)}")
        if isinstance(self.binning, bool) or not isinstance(self.binning, int) or self.binning < 1:
            raise UserError(
                f"detector response: binning is {self.binning!r}; it needs a whole number of 1 or more"
            )
        for name in CONSTANTS:
            value = float(torch.as_tensor(getattr(self, name)).detach())
            if not (math.isfinite(value) and value >= 0 and (value > 0 or name in _MAY_BE_ZERO)):
                need = "a number of 0 or more" if name in _MAY_BE_ZERO else "a positive number"
                raise UserError(f"detector response: {name} is {value}; it needs {need}")

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
        reads = [tuple(read.losses for read in few) for few in self._read_out(energy_kev)]
        lost = {
            name: torch.cat([torch.stack([kind[name] for kind in few]).sum(0) for few in reads])
            for name in reads[0][0]
        }
        ends = self._spectra(energy_kev, edges_kev, lambda read: read.hits).sum(0)
        return lost | {"below_range": ends[:, 0], "above_range": ends[:, -1]}

    def distant(self, energy_kev: Tensor) -> Tensor:
        """Mean number per first interaction of photons that interact again beyond the 3x3, [line].

        They make events of their own, linked to the first, and in no kernel.
        """
        kinds = self._events(energy_kev.detach().to("cpu", torch.float64))
        return torch.stack([kind.distant.sum(1) for kind in kinds]).sum(0)

    def distant_hits(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Mean number of hits that such photons give, wherever they are recorded, [line, bin].

        Each is taken to respond like a photon of its energy that arrives by itself.
        """
        highest = float(energy_kev.max())
        fine = torch.arange(15.0, min(highest, float(edges_kev[-1])) + 20.0, _DISTANT_STEP_KEV)
        coarse = torch.linspace(float(fine[-1]) + 20.0, max(highest, float(fine[-1])) + 40.0, 20)
        nodes = torch.cat((fine, coarse)).to(torch.float64)
        arrived = torch.cat(
            [
                torch.stack(
                    [on_nodes(kind.distant_kev, kind.distant, nodes) for kind in self._events(few)]
                ).sum(0)
                for few in energy_kev.detach().to("cpu", torch.float64).split(_LINES_AT_ONCE)
            ]
        )
        return arrived.to(edges_kev.device) @ self.kernel(nodes, edges_kev).sum(0)

    def fwhm_kev(self, energy_kev: Tensor) -> Tensor:
        """Full width at half maximum of the full-energy peak of :meth:`kernel`, all offsets, [line] keV."""
        return torch.stack([peak_fwhm_kev(self, float(e)) for e in energy_kev.reshape(-1)])

    def _spectra(self, energy_kev: Tensor, edges_kev: Tensor, hits: Callable[[Readout], Hits]) -> Tensor:
        """Some hits of every event, [place, line, bin + 2]."""
        resolution = Resolution(
            self._noise_kev() ** 2,
            self._constant("fano") * self._constant("pair_creation_kev"),
            self._constant("offset_spread_kev") ** 2,
            self._constant("gain_spread_fraction") ** 2,
        )
        axis = Axis.of(edges_kev.detach().to("cpu", torch.float64), resolution)
        gathered = [
            torch.stack([axis.gathered(hits(read)) for read in few]).sum(0)
            for few in self._read_out(energy_kev)
        ]
        return axis.blurred(torch.cat(gathered, dim=2))

    def _read_out(self, energy_kev: Tensor) -> Iterator[tuple[Readout, ...]]:
        """What is read out of each kind of events, a few lines at a time, which bounds memory."""
        sigma = torch.sqrt(self._constant("threshold_width_kev") ** 2 + self._noise_kev() ** 2)
        threshold = Threshold(self._constant("threshold_kev"), sigma)
        for few in energy_kev.detach().to("cpu", torch.float64).split(_LINES_AT_ONCE):
            yield tuple(read_out(kind, threshold, self.mode) for kind in self._events(few))

    def _events(self, energy_kev: Tensor) -> tuple[Events, ...]:
        """What photons leave in the crystal, and the pixels' signals."""
        charge = charge_transport(
            self._constant("pixel_pitch_mm") / self.binning,
            self._constant("thickness_mm"),
            self._constant("bias_v"),
            (self._constant("mu_tau_electron_cm2_v"), self._constant("mu_tau_hole_cm2_v")),
            self._constant("temperature_k"),
            self._constant("cloud_um"),
        )
        return crystal_events(self.material, energy_kev, charge)

    def _noise_kev(self) -> Tensor:
        """Sigma of the noise of one pixel."""
        return self._constant("electronic_noise_kev") / FWHM_PER_SIGMA

    def _constant(self, name: str) -> Tensor:
        """A constant as float64 on the CPU."""
        return torch.as_tensor(getattr(self, name), dtype=torch.float64, device="cpu")
