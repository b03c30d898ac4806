"""Photons that reach the detector other than straight through an aperture.

Leakage through plate and septa, and scatter in the object, are here; scatter in the
collimator is :mod:`data_gen.scatter.collimator`.
"""

from data_gen.scatter.leakage import Leakage
from data_gen.scatter.object import ObjectScatter, ScatterSampling
from data_gen.scatter.scatter_term import ScatterTerm

__all__ = [
    "Leakage",
    "ObjectScatter",
    "ScatterSampling",
    "ScatterTerm",
]
