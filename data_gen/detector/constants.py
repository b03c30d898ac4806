"""The constants of a CdTe detector: crystal, electric field and electronics, with units and defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

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
    "cathode_field_fraction",
    "repulsion_fraction",
    "electron_range_fraction",
    "gap_um",
    "gap_loss_fraction",
)
"""The continuous constants, in which the response is differentiable."""
_MAY_BE_ZERO = (
    "cloud_um",
    "fano",
    "threshold_kev",
    "threshold_width_kev",
    "gain_spread_fraction",
    "offset_spread_kev",
    "repulsion_fraction",
    "electron_range_fraction",
    "gap_um",
    "gap_loss_fraction",
)
_MOST = {"cathode_field_fraction": 1.999, "gap_loss_fraction": 1.0}
"""Largest values of constants that have one."""

Crystal = Literal["ideal", "typical", "aged"]
CRYSTALS: dict[Crystal, dict[str, Any]] = {
    "ideal": {},
    "typical": {
        "mu_tau_electron_cm2_v": 1.5e-3,
        "mu_tau_hole_cm2_v": 2.8e-5,
        "cathode_field_fraction": 0.9,
        "cloud_um": 2.0,
        "repulsion_fraction": 1.0,
        "electron_range_fraction": 1.0,
        "gap_um": 50.0,
        "gap_loss_fraction": 0.02,
    },
    "aged": {
        "mu_tau_electron_cm2_v": 1e-3,
        "mu_tau_hole_cm2_v": 1e-5,
        "cathode_field_fraction": 0.2,
        "cloud_um": 2.0,
        "repulsion_fraction": 1.0,
        "electron_range_fraction": 1.0,
        "gap_um": 50.0,
        "gap_loss_fraction": 0.05,
    },
}
"""Constants of crystals that differ from the defaults, which are those of the ideal one."""


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
        gain_spread_fraction: sigma of the gain over pixels, each by itself.
        offset_spread_kev: sigma of the offset over pixels, each by itself.
        cathode_field_fraction: field at the cathode over its mean; 1 is a uniform field, below 1 it rises
            evenly towards the anode, as in a polarised crystal.
        repulsion_fraction: repulsion of the charges of a cloud, 1 for Coulomb's law and 0 for none.
        electron_range_fraction: spread of the energy by the range of fast electrons, 1 for that of their
            energy and 0 for none beyond ``cloud_um``.
        gap_um: width of the gap between the electrodes of two pixels.
        gap_loss_fraction: share of the charge that is lost where it arrives in a gap.
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
    gain_spread_fraction: float | Tensor = 0.00536
    offset_spread_kev: float | Tensor = 0.536
    cathode_field_fraction: float | Tensor = 1.0
    repulsion_fraction: float | Tensor = 0.0
    electron_range_fraction: float | Tensor = 0.0
    gap_um: float | Tensor = 0.0
    gap_loss_fraction: float | Tensor = 0.0
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
            if value > _MOST.get(name, math.inf):
                raise UserError(f"detector response: {name} is {value}; it needs {_MOST[name]:g} at most")
        gap, pitch = (float(self.constant(name).detach()) for name in ("gap_um", "pixel_pitch_mm"))
        if gap >= 1000 * pitch / self.binning:
            raise UserError(f"detector response: gap_um is {gap:g}; it needs less than a pixel of the anode")

    def constant(self, name: str) -> Tensor:
        """A constant as float64 on the CPU."""
        return torch.as_tensor(getattr(self, name), dtype=torch.float64, device="cpu")
