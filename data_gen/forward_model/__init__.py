"""Expected counts and drawn events of a camera, for activity and density in front of it."""

from data_gen.forward_model.line_windows import energy_windows, line_windows
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.forward_model.system import ImagingSystem

__all__ = ["HyperspectralForwardModel", "ImagingSystem", "ObjectState", "energy_windows", "line_windows"]
