"""Response of a scintillation camera, or of any detector described by one energy resolution.

Input are photon energies and bin edges in keV. Full energy, K escape and Compton continuum follow from cross
sections, blurred by Gaussians in energy and in position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.detector.deposits import deposits, gaussian_blur, record
from data_gen.detector.volume import AddedVolume
from data_gen.materials import material_named

_SD_OF_FWHM = 1 / math.sqrt(8 * math.log(2))
"""Standard deviation of a Gaussian over its full width at half maximum."""

_REACH = 3.0
"""Standard deviations of position up to which steps between pixels are told apart; chosen, no source."""

_BEYOND_KEV = 1e9
_WHOLE_CRYSTAL_MM = 1000.0
"""Light is added over the whole crystal, so nothing is lost sideways."""


@dataclass(frozen=True)
class GaussianResponse:
    """Continuous crystal: a Gaussian in position, and in energy with FWHM as the square root of energy.

    Full energy, K escape through the faces and Compton continuum come from the cross sections. Interactions
    are counted by pixel before they are blurred, which has spread them over one pixel already: the blur adds
    the variance of position alone, so that the recorded position varies by sd^2 + pitch^2 / 12.

    Args:
        material: material of the crystal, such as "NaI".
        thickness_mm: depth of the crystal.
        fwhm_kev: FWHM at ``at_kev``; the default is 10 % at 140.5 keV, usual for NaI(Tl).
        at_kev: the energy at which the FWHM is given.
        pixel_pitch_mm: edge of the pixels that positions are sorted into.
        position_fwhm_mm: FWHM of the measured position about the first interaction, before it is sorted into
            a pixel; 0 for none.

    Raises:
        UserError: a constant is not positive and finite.
    """

    material: str
    thickness_mm: float | Tensor
    fwhm_kev: float | Tensor = 14.05
    at_kev: float = 140.5
    pixel_pitch_mm: float = 1.0
    position_fwhm_mm: float = 0.0

    def __post_init__(self) -> None:
        material_named(self.material)
        for name in ("thickness_mm", "fwhm_kev", "at_kev", "pixel_pitch_mm"):
            value = float(torch.as_tensor(getattr(self, name)).detach())
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"detector response: {name} is {value}; it needs a positive number")
        if not 0 <= self.position_fwhm_mm < math.inf:
            raise UserError(
                f"detector response: position_fwhm_mm is {self.position_fwhm_mm}; it needs 0 mm or more"
            )

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Steps to every pixel within three standard deviations of position; the outermost stand for
        all beyond."""
        reach = range(-self._reach, self._reach + 1)
        return tuple((row, column) for row in reach for column in reach)

    @property
    def _reach(self) -> int:
        return math.ceil(_REACH * self.position_fwhm_mm * _SD_OF_FWHM / self.pixel_pitch_mm)

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Probability to be recorded there, [offset, line, bin], float64; see :class:`DetectorResponse`."""
        spectrum = self._spectrum(energy_kev, edges_kev.to("cpu", torch.float64)).to(edges_kev.device)
        along = self._shares().to(edges_kev.device)
        place = torch.outer(along, along).flatten()
        return place[:, None, None] * spectrum

    def losses(self, energy_kev: Tensor, edges_kev: Tensor) -> dict[str, Tensor]:
        """Probability to be lost, [line] each: out of range in energy."""
        ends = edges_kev.new_tensor([_BEYOND_KEV], dtype=torch.float64, device="cpu")
        edges = torch.cat((-ends, edges_kev.to("cpu", torch.float64), ends))
        spectrum = self._spectrum(energy_kev, edges)
        return {"below_range": spectrum[:, 0], "above_range": spectrum[:, -1]}

    def _spectrum(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Recorded energies anywhere, [line, bin]."""
        thickness = torch.as_tensor(self.thickness_mm, dtype=torch.float64)
        width = torch.tensor(_WHOLE_CRYSTAL_MM, dtype=torch.float64)
        left = deposits(self.material, energy_kev, AddedVolume(thickness, width / 1000, width))
        return record(left, edges_kev, self._blur)

    def _shares(self) -> Tensor:
        """Share recorded at each step along one axis, of variance sd^2 and sum 1.

        A Gaussian at whole steps spreads counts per pixel as it spreads points, but for the variance that it
        lacks where it is narrower than a pixel: that is put into the steps to the next pixels.
        """
        variance = (self.position_fwhm_mm * _SD_OF_FWHM / self.pixel_pitch_mm) ** 2
        squared = torch.arange(-self._reach, self._reach + 1, dtype=torch.float64) ** 2
        share = torch.exp(-squared / (2 * variance or 1.0))
        share = share / share.sum()
        lacking = variance - (share * squared).sum()
        return share + lacking * ((squared == 1).double() / 2 - (squared == 0).double())

    def _blur(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Statistical resolution, at least that of 1 keV."""
        fwhm = self.fwhm_kev * torch.sqrt(energy_kev.clamp_min(1.0) / self.at_kev)
        return gaussian_blur(energy_kev, fwhm, edges_kev)
