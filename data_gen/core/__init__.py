"""What all packages stand on: errors, grids and energy axes, events, seeded random numbers, autograd, files.

This package imports no other package of ours.
"""

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins, EnergyWindows, VoxelGrid

__all__ = ["EnergyBins", "EnergyWindows", "UserError", "VoxelGrid"]
