"""The constants of a CdTe detector: crystal, electric field and electronics, with units and defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.detector.hits import MODES, Mode
from data_gen.materials import material_named

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
class CdTeConstants:
    """A crystal, its field and its electronics.

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
        temperature_k: temperature of the crystal; it sets diffusion.
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

    def constant(self, name: str) -> Tensor:
        """A constant as float64 on the CPU."""
        return torch.as_tensor(getattr(self, name), dtype=torch.float64, device="cpu")
