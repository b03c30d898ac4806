"""The suite "physics": data_gen compared with closed forms, brute-force integration and its Monte Carlo.

Each cell is a plain function from the settings in ``conf/suite/physics.yaml`` to its findings. A tolerance
is written once, where its point is made.
"""

from data_gen.validation.chains import decay
from data_gen.validation.collimator_design import design
from data_gen.validation.convergence import refinement
from data_gen.validation.counting import dead_time, poisson
from data_gen.validation.crystal import response
from data_gen.validation.derivatives import gradients
from data_gen.validation.energy_windows import windows
from data_gen.validation.fine_sources import fine_sources
from data_gen.validation.fixed_pattern import fixed_pattern
from data_gen.validation.grouped import grouping
from data_gen.validation.growth import scaling
from data_gen.validation.measured_crystals import crystals
from data_gen.validation.operators import adjoint
from data_gen.validation.pinholes import geometry
from data_gen.validation.recorded_spectra import spectra
from data_gen.validation.scattered_photons import object_scatter
from data_gen.validation.sensitivity import finite_plates, knife_edges
from data_gen.validation.slabs import attenuation
from data_gen.validation.speed import speed
from data_gen.validation.straight_photons import panel_images, straight
from data_gen.validation.widths import resolution

__all__ = [
    "adjoint",
    "attenuation",
    "crystals",
    "dead_time",
    "decay",
    "design",
    "fine_sources",
    "finite_plates",
    "fixed_pattern",
    "geometry",
    "gradients",
    "grouping",
    "knife_edges",
    "object_scatter",
    "panel_images",
    "poisson",
    "refinement",
    "resolution",
    "response",
    "scaling",
    "spectra",
    "speed",
    "straight",
    "windows",
]
