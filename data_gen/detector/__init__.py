"""Detector responses: the recorded spectrum of a photon that interacts in a pixel."""

from data_gen.detector.calibration import PixelCalibration
from data_gen.detector.cdte import CdTeResponse
from data_gen.detector.constants import CRYSTALS
from data_gen.detector.gaussian import GaussianResponse
from data_gen.detector.response import DetectorResponse, peak_fwhm_kev

__all__ = [
    "CRYSTALS",
    "CdTeResponse",
    "DetectorResponse",
    "GaussianResponse",
    "PixelCalibration",
    "peak_fwhm_kev",
]
