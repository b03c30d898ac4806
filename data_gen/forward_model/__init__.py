"""The forward model: expected counts and sampled events of a camera, from activity and density."""

from data_gen.forward_model.line_windows import energy_windows, line_windows
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem

__all__ = [
    "HyperspectralForwardModel",
    "ImagingSystem",
    "ModelOptions",
    "ObjectState",
    "energy_windows",
    "line_windows",
]
