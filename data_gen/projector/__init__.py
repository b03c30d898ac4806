"""From activity to first interactions in the pixels: ray-traced, or as a cached matrix."""

from data_gen.projector.base import Projector, split_pixels
from data_gen.projector.matrix import MatrixProjector
from data_gen.projector.ray import RayProjector
from data_gen.projector.sampling import RaySampling

__all__ = ["MatrixProjector", "Projector", "RayProjector", "RaySampling", "split_pixels"]
