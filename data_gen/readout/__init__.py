"""Readout electronics: dead time, pile-up, thresholds, bad pixels, time stamps; files of HEXITEC modules."""

from data_gen.readout.base import Readout
from data_gen.readout.camera_readout import CameraReadout
from data_gen.readout.event import EventReadout
from data_gen.readout.frame import FrameReadout
from data_gen.readout.hxt import read_hxt
from data_gen.readout.mask import PixelMask
from data_gen.readout.modules import ModuleLayout, modules_of
from data_gen.readout.odin import read_odin
from data_gen.readout.silent import EmptyPixels, empty_pixels, silent_panels
from data_gen.readout.spectra import PixelSpectra, camera_counts

__all__ = [
    "CameraReadout",
    "EmptyPixels",
    "EventReadout",
    "FrameReadout",
    "ModuleLayout",
    "PixelMask",
    "PixelSpectra",
    "Readout",
    "camera_counts",
    "empty_pixels",
    "modules_of",
    "read_hxt",
    "read_odin",
    "silent_panels",
]
