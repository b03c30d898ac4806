"""Elemental compositions and densities of the tissues, collimator metals and detector crystals.

Sources: ICRU Report 44 as listed by NIST (X-ray mass attenuation coefficients, table 2) for tissues and dry
air; chemical formulae, with densities of the CRC Handbook, for all else. To add a material, add it to
:data:`MATERIALS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import xraylib

from data_gen.core.errors import UserError

MaterialKind = Literal["tissue", "metal", "semiconductor", "scintillator"]
"""What a material is used as: tissue or what stands for it in an object (air, water, plastics), a metal, a
crystal that gives charge, or a crystal that gives light."""


@dataclass(frozen=True)
class Material:
    """A material: density in g/cm3, the mass fraction of each element by atomic number, and its kind.

    A detector's response of kind ``cdte`` collects charge, so that it takes semiconductors only.
    """

    name: str
    density_g_cm3: float
    mass_fractions: tuple[tuple[int, float], ...]
    kind: MaterialKind


def _mixture(
    name: str, density_g_cm3: float, mass_fractions: Mapping[str, float], kind: MaterialKind = "tissue"
) -> Material:
    """A material from the mass fractions of its elements, normalised to sum to 1."""
    total = sum(mass_fractions.values())
    parts = [(int(xraylib.SymbolToAtomicNumber(s)), share / total) for s, share in mass_fractions.items()]
    return Material(name, density_g_cm3, tuple(sorted(parts)), kind)


def _compound(name: str, density_g_cm3: float, formula: str, kind: MaterialKind) -> Material:
    """A material from its chemical formula."""
    parsed = xraylib.CompoundParser(formula)
    parts = zip(parsed["Elements"], parsed["massFractions"], strict=True)
    return Material(name, density_g_cm3, tuple(sorted((int(z), float(share)) for z, share in parts)), kind)


# ICRU-44 tissues and dry air as listed by NIST (X-ray mass attenuation coefficients, table 2); the density
# of lung is that of inflated lung, where ICRU-44's 1.05 is deflated. Other densities: CRC Handbook.
MATERIALS: dict[str, Material] = {
    material.name: material
    for material in (
        _mixture("air", 1.205e-3, {"C": 0.000124, "N": 0.755268, "O": 0.231781, "Ar": 0.012827}),
        _mixture(
            "lung",
            0.26,
            {
                "H": 0.103, "C": 0.105, "N": 0.031, "O": 0.749, "Na": 0.002,
                "P": 0.002, "S": 0.003, "Cl": 0.003, "K": 0.002,
            },
        ),
        _mixture(
            "soft_tissue",
            1.06,
            {
                "H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002,
                "P": 0.003, "S": 0.003, "Cl": 0.002, "K": 0.003,
            },
        ),
        _mixture(
            "cortical_bone",
            1.92,
            {
                "H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001,
                "Mg": 0.002, "P": 0.103, "S": 0.003, "Ca": 0.225,
            },
        ),
        _compound("water", 1.0, "H2O", "tissue"),
        _compound("PMMA", 1.19, "C5H8O2", "tissue"),
        _compound("tungsten", 19.3, "W", "metal"),
        _compound("gold", 19.32, "Au", "metal"),
        _compound("lead", 11.35, "Pb", "metal"),
        _compound("platinum", 21.45, "Pt", "metal"),
        _compound("CdTe", 5.85, "CdTe", "semiconductor"),
        _compound("CZT", 5.78, "Cd9Zn1Te10", "semiconductor"),
        _compound("NaI", 3.667, "NaI", "scintillator"),
        _compound("CsI", 4.51, "CsI", "scintillator"),
        _compound("LaBr3", 5.08, "LaBr3", "scintillator"),
        _compound("germanium", 5.323, "Ge", "semiconductor"),
        _compound("silicon", 2.33, "Si", "semiconductor"),
    )
}  # fmt: skip
"""Every known material by name."""


def material_named(name: str) -> Material:
    """The material of that name.

    Raises:
        UserError: no material has that name.
    """
    if name not in MATERIALS:
        close = difflib.get_close_matches(str(name), MATERIALS, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else "choose another."
        raise UserError(f"material {name!r} is not one of {', '.join(MATERIALS)}; {hint}")
    return MATERIALS[name]


def density_g_cm3(material: str) -> float:
    """Density of a material in g/cm3.

    Raises:
        UserError: the material is unknown.
    """
    return material_named(material).density_g_cm3


def composition(material: str) -> dict[str, Any]:
    """Density in g/cm3 and mass fractions of a material, as plain data for the keys of caches.

    Cross sections follow from these and not from the name: whatever is kept under a key that names a material
    holds them in its key too, so that a corrected density or formula finds nothing that was computed before.

    Raises:
        UserError: the material is unknown.
    """
    known = material_named(material)
    return {"density_g_cm3": known.density_g_cm3, "mass_fractions": [list(p) for p in known.mass_fractions]}
