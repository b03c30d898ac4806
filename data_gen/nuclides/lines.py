"""Photon lines of a nuclide: energies in keV and photons per decay.

Source: yields and gamma energies of ICRP Publication 107; energies of K X-rays are xraylib's measured ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import radioactivedecay as rd
import xraylib
from icrp107_database import get_icrp107_spectrum

from data_gen.core.errors import UserError
from data_gen.nuclides.names import canonical_name

_K_LINES = tuple(
    getattr(xraylib, f"K{shell}_LINE")
    for shell in (
        "L1",
        "L2",
        "L3",
        "M1",
        "M2",
        "M3",
        "M4",
        "M5",
        "N1",
        "N2",
        "N3",
        "N4",
        "N5",
        "O2",
        "O3",
        "P2",
        "P3",
    )
)
_FARTHEST_MATCH = 0.004
"""Largest relative distance from a K line of the progeny at which a line is taken for it; neighbouring
elements are 3 % apart.
"""


@dataclass(frozen=True)
class PhotonLine:
    """A photon line of one nuclide alone, its progeny not included.

    Args:
        nuclide: the emitter.
        energy_kev: energy in keV.
        photons_per_decay: photons per decay of ``nuclide``.
        kind: "gamma" (annihilation photons included) or "xray".
    """

    nuclide: str
    energy_kev: float
    photons_per_decay: float
    kind: Literal["gamma", "xray"]


def photon_lines(nuclide: str, min_kev: float = 20.0, max_kev: float = 600.0) -> tuple[PhotonLine, ...]:
    """Lines of a nuclide with min_kev <= energy <= max_kev, in ascending energy.

    Yields are those of ICRP-107. Its K X-ray energies, computed from EADL, are 0.1-0.5 keV too high
    and are replaced by xraylib's measured ones for the progeny's element.

    Raises:
        UserError: the nuclide is unknown, or the limits are not 0 <= min_kev < max_kev.
    """
    if not 0 <= min_kev < max_kev:
        raise UserError(f"photon lines from {min_kev} to {max_kev} keV; they need 0 <= min_kev < max_kev")
    return tuple(
        line for line in _all_lines(canonical_name(nuclide)) if min_kev <= line.energy_kev <= max_kev
    )


@cache
def _all_lines(nuclide: str) -> tuple[PhotonLine, ...]:
    """Every photon line of a nuclide, in ascending energy; none for a stable one."""
    if math.isinf(rd.Nuclide(nuclide).half_life("s")):
        return ()
    lines = [
        PhotonLine(nuclide, energy, share, "gamma")
        for kind in ("gamma", "annihilation")
        for energy, share in _tabulated(nuclide, kind)
    ]
    k_lines = _k_lines_of_progeny(nuclide)
    lines += [
        PhotonLine(nuclide, _measured(e, k_lines), share, "xray") for e, share in _tabulated(nuclide, "X")
    ]
    return tuple(sorted(lines, key=lambda line: line.energy_kev))


def _tabulated(nuclide: str, kind: str) -> list[tuple[float, float]]:
    """(energy in keV, photons per decay) of ICRP-107, whose database is in MeV."""
    spectrum = get_icrp107_spectrum(nuclide, kind)
    pairs = zip(spectrum["energies"], spectrum["weights"], strict=True)
    return [(1000.0 * float(energy), float(weight)) for energy, weight in pairs]


def _k_lines_of_progeny(nuclide: str) -> list[tuple[float, float]]:
    """(energy of EADL, measured energy) in keV of the K lines of the elements that a nuclide decays to."""
    elements = {rd.Nuclide(child).Z for child in rd.Nuclide(nuclide).progeny() if child != "SF"}
    pairs = []
    for z in sorted(elements):
        # EADL leaves relativistic terms out: it is 0.40 % high at radon and 0.13 % at gadolinium.
        too_high = 1.0 + 0.0040 * (z / 86) ** 3.7
        pairs += [(too_high * energy, energy) for energy in _k_line_energies(z)]
    return pairs


def _k_line_energies(z: int) -> list[float]:
    """Measured K line energies of an element in keV; those that xraylib lacks are left out."""
    energies = []
    for line in _K_LINES:
        try:
            energies.append(float(xraylib.LineEnergy(z, line)))
        except ValueError:
            continue
    return energies


def _measured(energy_kev: float, k_lines: list[tuple[float, float]]) -> float:
    """The measured energy of the nearest K line, or the tabulated energy where none is near."""
    if not k_lines:
        return energy_kev
    expected, measured = min(k_lines, key=lambda pair: abs(pair[0] - energy_kev))
    return measured if abs(expected / energy_kev - 1) < _FARTHEST_MATCH else energy_kev
