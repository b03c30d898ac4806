"""Photon lines of a nuclide: energies in keV and photons per decay.

Source: DDEP (``evaluations.py``) for the nuclides that it has, ICRP Publication 107 for all others; energies
of K X-rays are xraylib's measured ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

import radioactivedecay as rd
import xraylib
from icrp107_database import get_icrp107_spectrum

from data_gen.core.errors import UserError
from data_gen.nuclides.evaluations import K_GROUPS, Evaluation, evaluation
from data_gen.nuclides.names import canonical_name

_K_SHELLS = {
    "Ka2": ("L2",),
    "Ka1": ("L3",),
    "Kb1": ("M1", "M2", "M3", "M4", "M5"),
    "Kb2": ("N1", "N2", "N3", "N4", "N5", "O2", "O3", "P2", "P3"),
    "Ka3": ("L1",),  # very weak, and in no group of the evaluations
}
"""Shells that fill the hole in K, by group of lines."""
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
        k_group: element and group of a K X-ray, such as "Rn Ka1"; "" for all else.
    """

    nuclide: str
    energy_kev: float
    photons_per_decay: float
    kind: Literal["gamma", "xray"]
    k_group: str = ""


def photon_lines(nuclide: str, min_kev: float = 20.0, max_kev: float = 600.0) -> tuple[PhotonLine, ...]:
    """Lines of a nuclide with min_kev <= energy <= max_kev, in ascending energy.

    Where DDEP has evaluated the nuclide, gammas are its own, and K X-rays have its yields by group (K-alpha 2
    and 1, K'-beta 1 and 2), shared out within a group as in ICRP-107. All else is ICRP-107's.

    Raises:
        UserError: the nuclide is unknown, or the limits are not 0 <= min_kev < max_kev.
    """
    if not 0 <= min_kev < max_kev:
        raise UserError(f"photon lines from {min_kev} to {max_kev} keV; they need 0 <= min_kev < max_kev")
    return tuple(
        line for line in _all_lines(canonical_name(nuclide)) if min_kev <= line.energy_kev <= max_kev
    )


@cache
def icrp107_lines(nuclide: str) -> tuple[PhotonLine, ...]:
    """Every line of a nuclide by ICRP-107 alone, in ascending energy; none for a stable one.

    Its K X-ray energies, computed from EADL, are 0.1-0.5 keV too high and are replaced by xraylib's measured
    ones for the progeny's element.

    Args:
        nuclide: canonical name, such as "Ra-223".
    """
    if math.isinf(rd.Nuclide(nuclide).half_life("s")):
        return ()
    lines = [
        PhotonLine(nuclide, energy, share, "gamma")
        for kind in ("gamma", "annihilation")
        for energy, share in _tabulated(nuclide, kind)
    ]
    k_lines = _k_lines_of_progeny(nuclide)
    for energy, share in _tabulated(nuclide, "X"):
        known = _nearest(energy, k_lines)
        measured, group = (known.measured_kev, known.group) if known else (energy, "")
        lines.append(PhotonLine(nuclide, measured, share, "xray", group))
    return tuple(sorted(lines, key=lambda line: line.energy_kev))


@cache
def _all_lines(nuclide: str) -> tuple[PhotonLine, ...]:
    """Every photon line of a nuclide, in ascending energy."""
    lines, known = icrp107_lines(nuclide), evaluation(nuclide)
    return _evaluated(nuclide, lines, known) if known else lines


def _evaluated(nuclide: str, lines: Sequence[PhotonLine], known: Evaluation) -> tuple[PhotonLine, ...]:
    """Lines of ICRP-107 with what is evaluated in place of it."""
    tabulated: dict[str, float] = defaultdict(float)
    for line in lines:
        tabulated[line.k_group] += line.photons_per_decay
    groups = {f"{p.element} {p.kind}": p for p in known.photons if p.kind in K_GROUPS}
    scale = {g: p.photons_per_decay / tabulated[g] for g, p in groups.items() if tabulated[g] > 0}
    found = [
        replace(line, photons_per_decay=line.photons_per_decay * scale.get(line.k_group, 1.0))
        for line in lines
        if line.kind == "xray"
    ]
    # Groups that ICRP-107 has no line of stand at their mean energy.
    missing = ((p, g) for g, p in groups.items() if g not in scale)
    found += [PhotonLine(nuclide, p.energy_kev, p.photons_per_decay, "xray", g) for p, g in missing]
    gammas = (p for p in known.photons if p.kind not in K_GROUPS)
    found += [PhotonLine(nuclide, p.energy_kev, p.photons_per_decay, "gamma") for p in gammas]
    return tuple(sorted(found, key=lambda line: line.energy_kev))


def _tabulated(nuclide: str, kind: str) -> list[tuple[float, float]]:
    """(energy in keV, photons per decay) of ICRP-107, whose database is in MeV."""
    spectrum = get_icrp107_spectrum(nuclide, kind)
    pairs = zip(spectrum["energies"], spectrum["weights"], strict=True)
    return [(1000.0 * float(energy), float(weight)) for energy, weight in pairs]


class _KLine(NamedTuple):
    """A K line of an element: its energies in keV, and element and group."""

    expected_kev: float
    """As ICRP-107 has it, from EADL."""
    measured_kev: float
    group: str


def _k_lines_of_progeny(nuclide: str) -> list[_KLine]:
    """The K lines of the elements that a nuclide decays to."""
    elements = {rd.Nuclide(child).Z for child in rd.Nuclide(nuclide).progeny() if child != "SF"}
    lines = []
    for z in sorted(elements):
        # EADL leaves relativistic terms out: it is 0.40 % high at radon and 0.13 % at gadolinium.
        too_high = 1.0 + 0.0040 * (z / 86) ** 3.7
        element = xraylib.AtomicNumberToSymbol(z)
        lines += [
            _KLine(too_high * energy, energy, f"{element} {group}") for energy, group in _k_line_energies(z)
        ]
    return lines


def _k_line_energies(z: int) -> list[tuple[float, str]]:
    """Measured energy in keV and group of the K lines of an element, of those that xraylib has."""
    energies = []
    for group, shells in _K_SHELLS.items():
        for shell in shells:
            try:
                energy = xraylib.LineEnergy(z, getattr(xraylib, f"K{shell}_LINE"))
            except ValueError:
                continue
            energies.append((float(energy), group))
    return energies


def _nearest(energy_kev: float, k_lines: Sequence[_KLine]) -> _KLine | None:
    """The K line that a tabulated line is; None where none is near."""
    line = min(k_lines, key=lambda line: abs(line.expected_kev - energy_kev), default=None)
    near = line is not None and abs(line.expected_kev / energy_kev - 1) < _FARTHEST_MATCH
    return line if near else None
