"""Projectors from activity to first interactions in the pixels: ray tracing, or a cached sparse matrix."""

from data_gen.projector.matrix_file import SystemMatrix
from data_gen.projector.matrix_projector import MatrixProjector
from data_gen.projector.measured_matrix import MeasuredMatrix, MeasuredMatrixFile, export_matrix
from data_gen.projector.projector import Projector, ProjectorFactory
from data_gen.projector.ray_projector import RayProjector
from data_gen.projector.sampling import RaySampling
from data_gen.projector.symmetry import MirrorOrbits, mirror_orbits

__all__ = [
    "MatrixProjector",
    "MeasuredMatrix",
    "MeasuredMatrixFile",
    "MirrorOrbits",
    "Projector",
    "ProjectorFactory",
    "RayProjector",
    "RaySampling",
    "SystemMatrix",
    "export_matrix",
    "mirror_orbits",
]
