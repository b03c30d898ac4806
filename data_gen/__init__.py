"""Forward model of a CdTe compound-eye camera and of the alpha emitters in front of it.

The names below are what other people's scripts import; they load on first use, so that importing the
package is free.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_gen.camera import load_camera
    from data_gen.core.errors import UserError
    from data_gen.core.grid import EnergyBins, EnergyWindows, VoxelGrid
    from data_gen.forward_model import HyperspectralForwardModel, ImagingSystem, ModelOptions
    from data_gen.materials import mass_attenuation
    from data_gen.nuclides import decay_chain, photon_lines

_PACKAGES = {
    "EnergyBins": "core.grid",
    "EnergyWindows": "core.grid",
    "HyperspectralForwardModel": "forward_model",
    "ImagingSystem": "forward_model",
    "ModelOptions": "forward_model",
    "UserError": "core.errors",
    "VoxelGrid": "core.grid",
    "decay_chain": "nuclides",
    "load_camera": "camera",
    "mass_attenuation": "materials",
    "photon_lines": "nuclides",
}

__all__ = [
    "EnergyBins",
    "EnergyWindows",
    "HyperspectralForwardModel",
    "ImagingSystem",
    "ModelOptions",
    "UserError",
    "VoxelGrid",
    "decay_chain",
    "load_camera",
    "mass_attenuation",
    "photon_lines",
]


def __getattr__(name: str) -> Any:
    if name not in _PACKAGES:
        raise AttributeError(f"module 'data_gen' has no attribute {name!r}")
    return getattr(import_module(f"data_gen.{_PACKAGES[name]}"), name)
