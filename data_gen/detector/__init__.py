"""What a detector records for a photon that interacts in it."""

from data_gen.detector.base import DetectorResponse
from data_gen.detector.cdte import CdTeResponse
from data_gen.detector.gaussian import GaussianResponse

__all__ = ["CdTeResponse", "DetectorResponse", "GaussianResponse"]
