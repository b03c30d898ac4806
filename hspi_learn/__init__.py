"""Robust deep learning for hyperspectral single photon imaging of targeted alpha therapy.

The public face for scripts of one's own; nothing of it is imported before it is used:

    from hspi_learn import GanReconstruction, ScanDataModule, Task
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hspi_learn.attacks import PoissonBall, PoissonBox, ProjectedGradient, RandomPerturbation
    from hspi_learn.classical import KernelRidge, MapAnatomical, MapRdp, MeanImage, Osem
    from hspi_learn.configs.runs import load_task
    from hspi_learn.data import ScanDataModule
    from hspi_learn.losses import Loss
    from hspi_learn.networks import CorrectionUNet, PatchDiscriminator
    from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext, scan_context
    from hspi_learn.tasks import Adversary, GanReconstruction, Inputs, Task, Watched

__version__ = "0.1.0"

_HOMES = {
    "Adversary": "tasks",
    "CorrectionUNet": "networks",
    "GanReconstruction": "tasks",
    "Inputs": "tasks",
    "Loss": "losses",
    "KernelRidge": "classical",
    "MapAnatomical": "classical",
    "MapRdp": "classical",
    "MeanImage": "classical",
    "Osem": "classical",
    "PatchDiscriminator": "networks",
    "PoissonBall": "attacks",
    "PoissonBox": "attacks",
    "ProjectedGradient": "attacks",
    "RandomPerturbation": "attacks",
    "Reconstructor": "reconstructor",
    "ScanBatch": "reconstructor",
    "ScanContext": "reconstructor",
    "ScanDataModule": "data",
    "Task": "tasks",
    "Watched": "tasks",
    "load_task": "configs.runs",
    "scan_context": "reconstructor",
}

__all__ = [
    "Adversary",
    "CorrectionUNet",
    "GanReconstruction",
    "Inputs",
    "KernelRidge",
    "Loss",
    "MapAnatomical",
    "MapRdp",
    "MeanImage",
    "Osem",
    "PatchDiscriminator",
    "PoissonBall",
    "PoissonBox",
    "ProjectedGradient",
    "RandomPerturbation",
    "Reconstructor",
    "ScanBatch",
    "ScanContext",
    "ScanDataModule",
    "Task",
    "Watched",
    "load_task",
    "scan_context",
]


def __getattr__(name: str) -> Any:
    """A name of the public face, imported at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Names of the public face."""
    return sorted([*globals(), *__all__])
