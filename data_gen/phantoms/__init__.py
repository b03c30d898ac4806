"""Phantoms: mice, rods, the NEMA mouse phantom, label maps, and tumour microenvironments."""

from data_gen.phantoms.atlas import AtlasPhantom
from data_gen.phantoms.microenvironment import Microenvironment, tumour_uptake
from data_gen.phantoms.mouse import MousePhantom
from data_gen.phantoms.phantom import ORGANS, Phantom, PhantomFamily
from data_gen.phantoms.region_shares import region_shares
from data_gen.phantoms.rods import DerenzoPhantom, NemaMousePhantom

__all__ = [
    "ORGANS",
    "AtlasPhantom",
    "DerenzoPhantom",
    "Microenvironment",
    "MousePhantom",
    "NemaMousePhantom",
    "Phantom",
    "PhantomFamily",
    "region_shares",
    "tumour_uptake",
]
