"""Response of a pixelated CdTe detector."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from data_gen.detector.deposits import deposits
from data_gen.detector.recording import FWHM_PER_SIGMA, gaussian_blur, record, with_threshold
from data_gen.detector.volume import AddedVolume
from data_gen.errors import UserError
from data_gen.materials import material_named


@dataclass(frozen=True)
class CdTeResponse:
    """Spectrum of a CdTe pixel whose charge is added up over its neighbours.

    FWHM(E)^2 = noise^2 + (2.355)^2 F w E + (spread E)^2, about a full-energy peak, K escape peaks of Cd and
    Te, and a Compton continuum; a threshold cuts it off below. The defaults give 2.5 keV at 122 keV and
    3.5 keV at 218 keV, published for the Alpha-SPECT-Mini, all pixels together; the rest are assumptions.
    First version: events lie in the pixel of first interaction; no trapping tails, no Doppler broadening.
    Constants may be tensors that require gradients.

    Args:
        thickness_mm: depth of the detector.
        pixel_pitch_mm: edge of a pixel.
        electronic_noise_kev: FWHM at zero energy.
        spread_fraction: FWHM over energy of what grows with energy, calibration spread and trapping.
        fano: Fano factor.
        pair_creation_kev: energy per electron-hole pair.
        threshold_kev: energy recorded in half of all cases.
        threshold_width_kev: sigma of the threshold.
        addition_pixels: edge, in pixels, of the neighbourhood whose charge is added.
        material: "CdTe", or a kin such as "CZT".

    Raises:
        UserError: a constant is not finite, or not of the sign it needs.
    """

    thickness_mm: float | Tensor
    pixel_pitch_mm: float | Tensor
    electronic_noise_kev: float | Tensor = 1.8226
    spread_fraction: float | Tensor = 0.013289
    fano: float | Tensor = 0.1
    pair_creation_kev: float | Tensor = 0.00443
    threshold_kev: float | Tensor = 8.0
    threshold_width_kev: float | Tensor = 0.8
    addition_pixels: float = 3.0
    material: str = "CdTe"

    def __post_init__(self) -> None:
        material_named(self.material)
        for name in (field.name for field in fields(self) if field.name != "material"):
            value = float(torch.as_tensor(getattr(self, name)).detach())
            lowest = 1.0 if name == "addition_pixels" else 0.0
            positive = name in ("thickness_mm", "pixel_pitch_mm", "electronic_noise_kev")
            if not (math.isfinite(value) and value >= lowest and (value > 0 or not positive)):
                need = "a positive number" if positive else f"a number of {lowest:g} or more"
                raise UserError(f"detector response: {name} is {value}; it needs {need}")

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """The pixel of first interaction alone."""
        return ((0, 0),)

    def fwhm_kev(self, energy_kev: Tensor) -> Tensor:
        """Full width at half maximum of a peak, in keV."""
        energy = energy_kev.to(torch.float64)
        fano = FWHM_PER_SIGMA**2 * self.fano * self.pair_creation_kev * energy
        return torch.sqrt(self.electronic_noise_kev**2 + fano + (self.spread_fraction * energy) ** 2)

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Probability to be recorded in each bin, [1, line, bin], float64; see :class:`DetectorResponse`."""
        edges = edges_kev.to("cpu", torch.float64)
        pitch = torch.as_tensor(self.pixel_pitch_mm, dtype=torch.float64)
        thickness = torch.as_tensor(self.thickness_mm, dtype=torch.float64)
        left = deposits(
            self.material, energy_kev, AddedVolume(thickness, pitch, pitch * self.addition_pixels)
        )
        blur = with_threshold(
            self._blur,
            torch.as_tensor(self.threshold_kev, dtype=torch.float64),
            torch.as_tensor(self.threshold_width_kev, dtype=torch.float64),
        )
        return record(left, edges, blur)[None].to(edges_kev.device)

    def _blur(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Resolution alone."""
        return gaussian_blur(energy_kev, self.fwhm_kev(energy_kev), edges_kev)
