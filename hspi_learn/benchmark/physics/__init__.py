"""The cells of the suite "physics": data_gen held to closed forms, brute force and its Monte Carlo.

Each cell is a plain function from the settings in ``conf/suite/physics.yaml`` to what it found. A tolerance
stands once, where its point is made.
"""

from hspi_learn.benchmark.physics.chains import decay
from hspi_learn.benchmark.physics.convergence import refinement
from hspi_learn.benchmark.physics.counting import dead_time, poisson
from hspi_learn.benchmark.physics.crystal import response
from hspi_learn.benchmark.physics.derivatives import gradients
from hspi_learn.benchmark.physics.designs import design
from hspi_learn.benchmark.physics.grouped import grouping
from hspi_learn.benchmark.physics.growth import scaling
from hspi_learn.benchmark.physics.operators import adjoint
from hspi_learn.benchmark.physics.pinholes import geometry
from hspi_learn.benchmark.physics.recorded_spectra import spectra
from hspi_learn.benchmark.physics.sensitivity import finite_plates, knife_edges
from hspi_learn.benchmark.physics.slabs import attenuation
from hspi_learn.benchmark.physics.speed import speed
from hspi_learn.benchmark.physics.straight_photons import straight
from hspi_learn.benchmark.physics.widths import resolution

__all__ = [
    "adjoint",
    "attenuation",
    "dead_time",
    "decay",
    "design",
    "finite_plates",
    "geometry",
    "gradients",
    "grouping",
    "knife_edges",
    "poisson",
    "refinement",
    "resolution",
    "response",
    "scaling",
    "spectra",
    "speed",
    "straight",
]
