"""Pinhole cameras: panels, pixels, apertures and poses."""

from data_gen.camera.camera import Camera
from data_gen.camera.load import camera_names, load_camera

__all__ = ["Camera", "camera_names", "load_camera"]
