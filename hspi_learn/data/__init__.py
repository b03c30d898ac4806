"""Lightning data modules over shards."""

from hspi_learn.data.kept_tensors import KeptTensors, fingerprint
from hspi_learn.data.loader import ResumableDataModule, TrainingLoader
from hspi_learn.data.module import ScanDataModule, check_permission
from hspi_learn.data.online_scans import OnlineScans, OnlineTraining
from hspi_learn.data.order import EpochOrder
from hspi_learn.data.panels import MIRROR_AXES, PanelLayout, mirrored_pixels
from hspi_learn.data.scans import CountedScans, Scans, WindowedScans, collate

__all__ = [
    "MIRROR_AXES",
    "CountedScans",
    "EpochOrder",
    "KeptTensors",
    "OnlineScans",
    "OnlineTraining",
    "PanelLayout",
    "ResumableDataModule",
    "ScanDataModule",
    "Scans",
    "TrainingLoader",
    "WindowedScans",
    "check_permission",
    "collate",
    "fingerprint",
    "mirrored_pixels",
]
