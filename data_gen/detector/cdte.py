"""Response of a pixelated CdTe detector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from data_gen.detector.deposits import deposits
from data_gen.detector.recording import FWHM_PER_SIGMA, gaussian_blur, record, with_threshold
from data_gen.detector.volume import AddedVolume
from data_gen.errors import UserError
from data_gen.materials import material_named

Mode = Literal["addition", "discrimination", "raw"]
MODES: tuple[Mode, ...] = get_args(Mode)
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
    """Spectrum of a CdTe pixel, from the constants of the crystal and of its electronics.

    Constants may be tensors that require gradients.

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
    electronic_noise_kev: float | Tensor = 0.5
    threshold_kev: float | Tensor = 4.0
    threshold_width_kev: float | Tensor = 0.4
    gain_spread_fraction: float | Tensor = 0.0055
    offset_spread_kev: float | Tensor = 0.74
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
        """The pixel of first interaction alone."""
        return ((0, 0),)

    def fwhm_kev(self, energy_kev: Tensor) -> Tensor:
        """Full width at half maximum of a peak, in keV."""
        energy = energy_kev.to(torch.float64)
        fano = FWHM_PER_SIGMA**2 * self.fano * self.pair_creation_kev * energy
        spread = FWHM_PER_SIGMA**2 * (self.offset_spread_kev**2 + (self.gain_spread_fraction * energy) ** 2)
        return torch.sqrt(self.electronic_noise_kev**2 + fano + spread)

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Probability to be recorded in each bin, [1, line, bin], float64; see :class:`DetectorResponse`."""
        edges = edges_kev.to("cpu", torch.float64)
        pitch = torch.as_tensor(self.pixel_pitch_mm, dtype=torch.float64) / self.binning
        thickness = torch.as_tensor(self.thickness_mm, dtype=torch.float64)
        left = deposits(self.material, energy_kev, AddedVolume(thickness, pitch, 3 * pitch))
        blur = with_threshold(
            self._blur,
            torch.as_tensor(self.threshold_kev, dtype=torch.float64),
            torch.as_tensor(self.threshold_width_kev, dtype=torch.float64),
        )
        return record(left, edges, blur)[None].to(edges_kev.device)

    def _blur(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Resolution alone."""
        return gaussian_blur(energy_kev, self.fwhm_kev(energy_kev), edges_kev)
