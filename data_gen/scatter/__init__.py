"""Photons that reach the detector otherwise than straight: scattered in the object or in the collimator."""

from data_gen.scatter.base import ScatterTerm
from data_gen.scatter.collimator import CollimatorScatter
from data_gen.scatter.leakage import Leakage
from data_gen.scatter.metal.sampling import MetalSampling
from data_gen.scatter.object import ObjectScatter, ScatterSampling

__all__ = [
    "CollimatorScatter",
    "Leakage",
    "MetalSampling",
    "ObjectScatter",
    "ScatterSampling",
    "ScatterTerm",
]
