"""Photons that the collimator sends on: a random walk through metal around each aperture, by fixed draws.

Where metal is: :mod:`geometry`. What it does to photons: :mod:`cross_sections`. How photons run through it
and where they interact: :mod:`first_interactions`, :mod:`multiple_scatter`, :mod:`interactions`. What
blocks of pixels see of that: :mod:`compton` and :mod:`fluorescence`, by way of :mod:`detection`. One
aperture, and a whole camera kept on disk: :mod:`response_matrix`. What the object scattered before:
:mod:`object_then_collimator`. The term of the forward model: :mod:`term`; how finely all this is computed:
:mod:`sampling`.
"""

from data_gen.scatter.collimator.sampling import MetalSampling
from data_gen.scatter.collimator.term import CollimatorScatter

__all__ = ["CollimatorScatter", "MetalSampling"]
