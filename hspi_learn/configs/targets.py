"""What a config may call: exact dotted names, nothing else.

A config is data that people pass around, yet ``_target_`` is a call. A name that is not in this list is
refused before anything is imported. To offer a new class to configs, add its line here.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from data_gen.core.errors import UserError

TARGETS = frozenset(
    {
        "data_gen.camera.load_camera",
        "data_gen.simulation.DatasetPlan",
        "data_gen.core.grid.EnergyBins",
        "data_gen.core.grid.EnergyWindows",
        "data_gen.core.grid.VoxelGrid",
        "data_gen.nuclides.decay_chain",
        "data_gen.phantoms.AtlasPhantom",
        "data_gen.phantoms.DerenzoPhantom",
        "data_gen.phantoms.KineticPhantom",
        "data_gen.phantoms.Microenvironment",
        "data_gen.phantoms.MicroenvironmentPhantom",
        "data_gen.phantoms.MousePhantom",
        "data_gen.phantoms.NemaMousePhantom",
        "data_gen.readout.EventReadout",
        "data_gen.readout.FrameReadout",
        "hspi_learn.attacks.PoissonBall",
        "hspi_learn.attacks.PoissonBox",
        "hspi_learn.attacks.ProjectedGradient",
        "hspi_learn.attacks.RandomPerturbation",
        "data_gen.validation.adjoint",
        "data_gen.validation.attenuation",
        "data_gen.validation.dead_time",
        "data_gen.validation.decay",
        "data_gen.validation.design",
        "data_gen.validation.finite_plates",
        "data_gen.validation.geometry",
        "data_gen.validation.gradients",
        "data_gen.validation.grouping",
        "data_gen.validation.knife_edges",
        "data_gen.validation.poisson",
        "data_gen.validation.refinement",
        "data_gen.validation.resolution",
        "data_gen.validation.response",
        "data_gen.validation.scaling",
        "data_gen.validation.spectra",
        "data_gen.validation.speed",
        "data_gen.validation.straight",
        "data_gen.validation.windows",
        "hspi_learn.classical.MeanImage",
        "hspi_learn.classical.Osem",
        "hspi_learn.data.ScanDataModule",
        "hspi_learn.io.loggers.csv",
        "hspi_learn.io.loggers.mlflow",
        "hspi_learn.io.loggers.tensorboard",
        "hspi_learn.io.loggers.wandb",
        "hspi_learn.networks.CorrectionUNet",
        "hspi_learn.networks.PatchDiscriminator",
        "hspi_learn.tasks.BackProjection",
        "hspi_learn.tasks.GanReconstruction",
        "pytorch_lightning.Trainer",
    }
)
"""Everything that a config of ours may call."""

HYDRA_TARGETS = frozenset(
    {
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    }
)
"""Everything that the hydra node may call: Hydra's own launchers and its own sweeper."""


def allowed(name: object, key: str, names: frozenset[str] = TARGETS) -> str:
    """The target's name, after checking that configs may call it.

    Raises:
        UserError: it is not in the allowlist, or no name at all.
    """
    if isinstance(name, str) and name in names:
        return name
    close = get_close_matches(str(name), names, n=1, cutoff=0.7)
    hint = (
        f"did you mean {close[0]}?" if close else "what they may call is listed in hspi_learn.configs.targets"
    )
    raise UserError(f"{key}._target_ is {name!r}, which configs may not call; {hint}")


def locate(name: object, key: str) -> Callable[..., Any]:
    """The object behind an allowed target.

    Raises:
        UserError: see :func:`allowed`.
    """
    module, _, attribute = allowed(name, key).rpartition(".")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found
