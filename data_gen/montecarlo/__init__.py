"""An independent photon transport, the referee of the forward model."""

from data_gen.montecarlo.body import Body
from data_gen.montecarlo.lines import EmissionLines, Lines
from data_gen.montecarlo.photons import CLASSES
from data_gen.montecarlo.run import simulate
from data_gen.montecarlo.source import PointSource, Source, VoxelSource
from data_gen.montecarlo.tally import Batches, Estimate, Tally

__all__ = [
    "CLASSES",
    "Batches",
    "Body",
    "EmissionLines",
    "Estimate",
    "Lines",
    "PointSource",
    "Source",
    "Tally",
    "VoxelSource",
    "simulate",
]
