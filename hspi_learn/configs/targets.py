"""What a config may call: exact dotted names of ours, and what the user allows of other packages.

A config is data that people pass around, yet ``_target_`` is a call. A name that is neither in this list nor
allowed by the user (:mod:`hspi_learn.configs.packages`) is refused before anything is imported. To offer a
new class of ours to configs, add its line to :data:`TARGETS`; when a name moves, add a line to
:data:`ALIASES`, which keeps configs of old runs alive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from data_gen.core.errors import UserError
from hspi_learn.configs.packages import OURS, how_to_allow, locate_allowed, user_allows

TARGETS = frozenset(
    {
        "data_gen.camera.load_camera",
        "data_gen.simulation.DatasetPlan",
        "data_gen.core.grid.EnergyBins",
        "data_gen.core.grid.EnergyWindows",
        "data_gen.core.grid.VoxelGrid",
        "data_gen.forward_model.ModelOptions",
        "data_gen.kinetics.CompartmentModel",
        "data_gen.nuclides.decay_chain",
        "data_gen.phantoms.AtlasPhantom",
        "data_gen.phantoms.DerenzoPhantom",
        "data_gen.phantoms.KineticPhantom",
        "data_gen.phantoms.Microenvironment",
        "data_gen.phantoms.MicroenvironmentPhantom",
        "data_gen.phantoms.MousePhantom",
        "data_gen.phantoms.NemaMousePhantom",
        "data_gen.phantoms.PatternedMouse",
        "data_gen.phantoms.PhantomMixture",
        "data_gen.projector.MeasuredMatrixFile",
        "data_gen.projector.RaySampling",
        "data_gen.readout.EventReadout",
        "data_gen.readout.FrameReadout",
        "hspi_learn.attacks.HideRegion",
        "hspi_learn.attacks.InventRegion",
        "hspi_learn.attacks.PoissonBall",
        "hspi_learn.attacks.PoissonBox",
        "hspi_learn.attacks.ProjectedGradient",
        "hspi_learn.attacks.RandomPerturbation",
        "hspi_learn.attacks.TaskError",
        "hspi_learn.attacks.UptakeError",
        "data_gen.validation.adjoint",
        "data_gen.validation.attenuation",
        "data_gen.validation.crystals",
        "data_gen.validation.dead_time",
        "data_gen.validation.decay",
        "data_gen.validation.design",
        "data_gen.validation.fine_sources",
        "data_gen.validation.finite_plates",
        "data_gen.validation.fixed_pattern",
        "data_gen.validation.geometry",
        "data_gen.validation.gradients",
        "data_gen.validation.grouping",
        "data_gen.validation.knife_edges",
        "data_gen.validation.object_scatter",
        "data_gen.validation.panel_images",
        "data_gen.validation.poisson",
        "data_gen.validation.refinement",
        "data_gen.validation.resolution",
        "data_gen.validation.response",
        "data_gen.validation.scaling",
        "data_gen.validation.spectra",
        "data_gen.validation.speed",
        "data_gen.validation.straight",
        "data_gen.validation.windows",
        "hspi_learn.benchmark.command_cell",
        "hspi_learn.benchmark.imaging_figures",
        "hspi_learn.classical.MeanImage",
        "hspi_learn.classical.CoarseOsem",
        "hspi_learn.classical.KernelRidge",
        "hspi_learn.classical.MapAnatomical",
        "hspi_learn.classical.MapRdp",
        "hspi_learn.classical.OrganOracle",
        "hspi_learn.classical.Osem",
        "hspi_learn.classical.RegionalMl",
        "hspi_learn.configs.runs.load_task",
        "hspi_learn.dashboards.open_csv",
        "hspi_learn.dashboards.open_mlflow",
        "hspi_learn.dashboards.open_tensorboard",
        "hspi_learn.dashboards.open_wandb",
        "hspi_learn.data.OnlineTraining",
        "hspi_learn.data.ScanDataModule",
        "hspi_learn.evaluation.ClassificationScores",
        "hspi_learn.evaluation.DenoisingProtocol",
        "hspi_learn.evaluation.ConformalCoverage",
        "hspi_learn.evaluation.ReconstructionProtocol",
        "hspi_learn.evaluation.ReportCard",
        "hspi_learn.evaluation.TaskScores",
        "hspi_learn.losses.CountMismatch",
        "hspi_learn.losses.DiceCrossEntropy",
        "hspi_learn.losses.FunctionLoss",
        "hspi_learn.losses.HingeGame",
        "hspi_learn.losses.LeastSquaresGame",
        "hspi_learn.losses.PoissonDeviance",
        "hspi_learn.losses.ProjectionError",
        "hspi_learn.losses.RelativeError",
        "hspi_learn.losses.TargetDeviance",
        "hspi_learn.losses.RelativisticGame",
        "hspi_learn.losses.SampledL1",
        "hspi_learn.losses.TaskLoss",
        "hspi_learn.losses.WassersteinGame",
        "hspi_learn.networks.CorrectionUNet",
        "hspi_learn.networks.MultiScaleCritic",
        "hspi_learn.networks.MultiScaleDiscriminator",
        "hspi_learn.networks.PanelCnn",
        "hspi_learn.networks.PanelLinear",
        "hspi_learn.networks.PatchDiscriminator",
        "hspi_learn.networks.ProjectionUNet",
        "hspi_learn.networks.SegmentationUNet",
        "hspi_learn.networks.UnrolledEm",
        "hspi_learn.tasks.Adversary",
        "hspi_learn.tasks.BackProjection",
        "hspi_learn.tasks.Classification",
        "hspi_learn.tasks.Critic",
        "hspi_learn.tasks.Denoised",
        "hspi_learn.tasks.Denoising",
        "hspi_learn.tasks.GanReconstruction",
        "hspi_learn.tasks.Noise2NoiseReconstruction",
        "hspi_learn.tasks.PosteriorReconstruction",
        "hspi_learn.tasks.Segmentation",
        "hspi_learn.tasks.UnrolledReconstruction",
        "hspi_learn.tasks.HotSpots",
        "hspi_learn.tasks.UptakePattern",
        "hspi_learn.tasks.warm_up_cosine",
        "hspi_learn.tuning.SearchPlan",
        "pytorch_lightning.Trainer",
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.SGD",
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


ALIASES: Mapping[str, str] = {
    "data_gen.generate": "data_gen.simulation",
    "data_gen.grid": "data_gen.core.grid",
    "hspi_learn.benchmark.physics": "data_gen.validation",
    "hspi_learn.io.loggers.csv": "hspi_learn.dashboards.open_csv",
    "hspi_learn.io.loggers.mlflow": "hspi_learn.dashboards.open_mlflow",
    "hspi_learn.io.loggers.tensorboard": "hspi_learn.dashboards.open_tensorboard",
    "hspi_learn.io.loggers.wandb": "hspi_learn.dashboards.open_wandb",
}
"""Former dotted name of a module, class or function to its present one; a module stands for all below it."""

RENAMED_ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    f"hspi_learn.attacks.{name}": {"group": "map"} for name in ("HideRegion", "InventRegion", "UptakeError")
}
"""Former to present names of arguments, by the present name of what takes them."""


def present_name(name: str, aliases: Mapping[str, str] = ALIASES) -> str:
    """The present name of what a config may know by a former one.

    Args:
        name: dotted name.
        aliases: former to present names. The longest one that fits is applied, once.
    """
    head = name
    while head:
        if head in aliases:
            return aliases[head] + name[len(head) :]
        head = head.rpartition(".")[0]
    return name


def present_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node of a config with its target and the arguments of it under their present names.

    Args:
        node: plain data; without ``_target_`` it comes back as it is. Where an argument stands under both
            names, as where a former config is laid over a present one, the former name counts.
    """
    target = node.get("_target_")
    if not isinstance(target, str):
        return dict(node)
    now = present_name(target)
    renamed = RENAMED_ARGUMENTS.get(now, {})
    former = {renamed[name]: item for name, item in node.items() if name in renamed}
    return {name: item for name, item in node.items() if name not in renamed} | former | {"_target_": now}


def allowed(name: object, key: str) -> str:
    """The target's present name, after checking that configs may call it; nothing is imported.

    Args:
        name: the value of ``_target_``.
        key: dotted place of its node in the config, for messages; empty for the top of it.

    Raises:
        UserError: neither the allowlist nor the user allows it, or it is no name at all.
    """
    if not isinstance(name, str):
        raise _refused(name, key, _LISTED)
    now = present_name(name)
    if now in TARGETS or user_allows(now):
        return now
    package, dot, _ = now.partition(".")
    if dot and package.isidentifier() and package not in OURS:
        raise _refused(name, key, how_to_allow(now))
    close = get_close_matches(now, TARGETS, n=1, cutoff=0.7)
    raise _refused(name, key, f"did you mean {close[0]}?" if close else _LISTED)


def check_hydra_target(name: object, key: str) -> None:
    """Check that a target in Hydra's own node is one of Hydra's; the user's packages have no place there.

    Args:
        name: the value of ``_target_``.
        key: dotted place of its node, for messages.

    Raises:
        UserError: it is another one.
    """
    if name not in HYDRA_TARGETS:
        close = get_close_matches(str(name), HYDRA_TARGETS, n=1, cutoff=0.7)
        raise _refused(name, key, f"did you mean {close[0]}?" if close else _LISTED)


_LISTED = "what they may call is listed in hspi_learn.configs.targets"


def _refused(name: object, key: str, hint: str) -> UserError:
    place = f"{key}._target_" if key else "_target_"
    return UserError(f"{place} is {name!r}, which configs may not call; {hint}")


def locate(name: object, key: str) -> Callable[..., Any]:
    """The object behind an allowed target.

    Args:
        name: the value of ``_target_``.
        key: dotted place of its node in the config, for messages; empty for the top of it.

    Raises:
        UserError: see :func:`allowed`; or a package that the user allows has no such class or function.
    """
    now = allowed(name, key)
    if now not in TARGETS:
        return locate_allowed(now, key)
    module, _, attribute = now.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found
