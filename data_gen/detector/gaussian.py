"""Response of a scintillation camera or any detector known by one energy resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.detector.deposits import deposits
from data_gen.detector.recording import gaussian_blur, record
from data_gen.detector.volume import AddedVolume
from data_gen.errors import UserError
from data_gen.materials import material_named

_WHOLE_CRYSTAL_MM = 1000.0
"""Light is added over the whole crystal, so nothing is lost sideways."""


@dataclass(frozen=True)
class GaussianResponse:
    """Spectrum of a continuous crystal: peaks of FWHM that grows as the square root of energy.

    Full energy, K escape through the faces and Compton continuum come from the cross sections.

    Args:
        material: of the crystal, such as "NaI".
        thickness_mm: depth of the crystal.
        fwhm_kev: FWHM at ``at_kev``; the default is 10 % at 140.5 keV, usual for NaI(Tl).
        at_kev: the energy at which the FWHM is given.

    Raises:
        UserError: a constant is not positive and finite.
    """

    material: str
    thickness_mm: float | Tensor
    fwhm_kev: float | Tensor = 14.05
    at_kev: float = 140.5

    def __post_init__(self) -> None:
        material_named(self.material)
        for name in ("thickness_mm", "fwhm_kev", "at_kev"):
            value = float(torch.as_tensor(getattr(self, name)).detach())
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"detector response: {name} is {value}; it needs a positive number")

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """The pixel of first interaction alone."""
        return ((0, 0),)

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Probability to be recorded in each bin, [1, line, bin], float64; see :class:`DetectorResponse`."""
        edges = edges_kev.to("cpu", torch.float64)
        thickness = torch.as_tensor(self.thickness_mm, dtype=torch.float64)
        width = torch.tensor(_WHOLE_CRYSTAL_MM, dtype=torch.float64)
        left = deposits(self.material, energy_kev, AddedVolume(thickness, width / 1000, width))
        return record(left, edges, self._blur)[None].to(edges_kev.device)

    def _blur(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Statistical resolution, at least that of 1 keV."""
        fwhm = self.fwhm_kev * torch.sqrt(energy_kev.clamp_min(1.0) / self.at_kev)
        return gaussian_blur(energy_kev, fwhm, edges_kev)
