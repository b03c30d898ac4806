"""Monte Carlo photon transport, the independent reference of the forward model.

It shares cross sections, camera geometry and detector constants with the forward model, but no code
(docs/physics.md, section 10).
"""

from data_gen.montecarlo.body import Body
from data_gen.montecarlo.photons import CLASSES
from data_gen.montecarlo.run import EmissionLines, Lines, simulate
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
