"""Phantoms: mice, rods, the NEMA mouse phantom, label maps; compartmental kinetics, heterogeneous tumours."""

from data_gen.phantoms.atlas import AtlasPhantom
from data_gen.phantoms.individuals import Anatomy, Individual, Region, RegionalFamily
from data_gen.phantoms.kinetic import KineticPhantom, RegionalPhantom, region_organs, region_shares
from data_gen.phantoms.microenvironment import Microenvironment, MicroenvironmentPhantom, uneven_uptake
from data_gen.phantoms.mixture import PhantomMixture
from data_gen.phantoms.mouse import MousePhantom
from data_gen.phantoms.patterned_mouse import PATTERNS, PatternedMouse
from data_gen.phantoms.phantom import (
    ORGANS,
    NuclidePhantomFamily,
    Phantom,
    PhantomFamily,
    ScannedObject,
    checked_labels,
    family_for,
)
from data_gen.phantoms.rods import DerenzoPhantom, NemaMousePhantom

__all__ = [
    "ORGANS",
    "PATTERNS",
    "Anatomy",
    "AtlasPhantom",
    "DerenzoPhantom",
    "Individual",
    "KineticPhantom",
    "Microenvironment",
    "MicroenvironmentPhantom",
    "MousePhantom",
    "NemaMousePhantom",
    "NuclidePhantomFamily",
    "PatternedMouse",
    "Phantom",
    "PhantomFamily",
    "PhantomMixture",
    "Region",
    "RegionalFamily",
    "RegionalPhantom",
    "ScannedObject",
    "checked_labels",
    "family_for",
    "region_organs",
    "region_shares",
    "uneven_uptake",
]
