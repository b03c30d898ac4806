"""Biokinetics: compartments, released daughters, and decays in regions over time."""

from data_gen.kinetics.compartments import (
    EXCRETED,
    CompartmentModel,
    kinetics_for,
    kinetics_names,
    load_kinetics,
)
from data_gen.kinetics.paint import even_shares, painted
from data_gen.kinetics.regions import RegionKinetics

__all__ = [
    "EXCRETED",
    "CompartmentModel",
    "RegionKinetics",
    "even_shares",
    "kinetics_for",
    "kinetics_names",
    "load_kinetics",
    "painted",
]
