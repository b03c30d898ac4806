"""Scatter and K fluorescence in the collimator: a Monte Carlo of fixed random numbers around each aperture.

Geometry of the metal: :mod:`geometry`. Its interaction data: :mod:`cross_sections`. Paths through it and
interactions in it: :mod:`first_interactions`, :mod:`multiple_scatter`, :mod:`interactions`. Detection in
blocks of pixels: :mod:`compton` and :mod:`fluorescence`, along the paths of :mod:`detection`. Matrix of one
aperture, and of a camera, cached on disk: :mod:`response_matrix`. Photons that the object scattered before:
:mod:`object_then_collimator`. The term of the forward model: :mod:`term`; resolution of the computation:
:mod:`sampling`. docs/physics.md, section 6, describes the method.
"""

from data_gen.scatter.collimator.sampling import CollimatorSampling
from data_gen.scatter.collimator.term import CollimatorScatter

__all__ = ["CollimatorSampling", "CollimatorScatter"]
