"""Train a task: ``hspi-train data.folder=FOLDER``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig, OmegaConf

from data_gen.core.errors import UserError
from data_gen.core.memory import PROCESS_BYTES, check_memory
from hspi_learn.commands.entry import run_command
from hspi_learn.commands.summarise import summarise_sweep
from hspi_learn.configs.schema import Node, Threads

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningDataModule, Trainer
    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from hspi_learn.io.run_folder import RunFolder
    from hspi_learn.tasks import Task, Watched


@dataclass(frozen=True)
class TrainSettings:
    """Keys of ``conf/train.yaml``."""

    data: Node
    task: Node
    trainer: Node
    logger: Node
    windows_kev: tuple[float, ...] | Literal["lines"]
    seed: int
    threads: Threads
    checkpoint_every_steps: int
    run_dir: str


def train(config: DictConfig, resume: bool = False, callbacks: Sequence[Callback] = ()) -> dict[str, float]:
    """Train as the config says; returns what ``metrics.json`` holds.

    Args:
        config: see ``conf/train.yaml``.
        resume: continue the run in ``run_dir`` from its last checkpoint, to the same result bit by bit.
        callbacks: of the program, beside those of every training.

    Raises:
        UserError: the config, the data or the run folder is not what it needs to be.
    """
    from hspi_learn.configs.build import build
    from hspi_learn.configs.runs import record_windows
    from hspi_learn.dashboards import log_run, open_loggers
    from hspi_learn.io.run_folder import RunFolder

    _check_accelerator(config)
    folder = RunFolder.existing(config.run_dir) if resume else RunFolder.fresh(config.run_dir)
    if resume and folder.metrics_file.is_file():
        print(f"{folder.path} is finished; there is nothing to resume")
        return folder.metrics()
    _settle(config)
    data = build(config.data, key="data")
    record_windows(config, data)
    task = build(config.task, key="task", system=data.system)
    if not resume:
        _describe(folder, config, data)
    with open_loggers(folder, partial(build, config.logger, key="logger", folder=folder)) as loggers:
        weights = sum(parameter.numel() for parameter in task.parameters())
        log_run(folder, loggers, [task.watched.metric], weights=weights)
        trainer = _trainer(config, folder, loggers, task.watched, callbacks)
        last = folder.last_checkpoint
        trainer.fit(task, datamodule=data, ckpt_path=last if last.is_file() else None)
        return _publish(folder, trainer, task, data)


def _check_accelerator(config: DictConfig) -> None:
    """Refuse a training on a card that is not there, or in more processes than fit into memory."""
    import torch

    processes = config.trainer.get("devices")
    if isinstance(processes, int):
        check_memory(PROCESS_BYTES * processes, f"trainer.devices {processes}")

    wanted = config.trainer.get("accelerator")
    if wanted in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator is {wanted!r}, but torch {torch.__version__} sees no CUDA device here; "
            "it needs one, or trainer=default to train on the CPU"
        )


def _settle(config: DictConfig) -> None:
    """Fix threads and global random generators, since results depend on both; keep Lightning quiet."""
    import logging
    import warnings

    import torch
    from lightning_fabric.utilities.warnings import PossibleUserWarning
    from pytorch_lightning import seed_everything

    torch.set_num_threads(config.threads)
    seed_everything(config.seed, verbose=False)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # It advises more workers; scans are kept in memory, where a process of their own would be slower.
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)


def _describe(folder: RunFolder, config: DictConfig, data: Any) -> None:
    """Write down what the run is before it starts."""
    from data_gen.core.files import sha256_of
    from data_gen.storage import MANIFEST
    from hspi_learn.configs.packages import packages_used
    from hspi_learn.io.environment import environment

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    manifest = Path(config.data.folder) / MANIFEST
    hashes = {str(manifest): sha256_of(manifest)}
    settings = {str(key): value for key, value in plain.items()}
    about = environment(config.seed, config.threads, hashes, packages_used(settings))
    folder.describe(settings, data.system.to_dict(), about)


def _trainer(
    config: DictConfig,
    folder: RunFolder,
    loggers: list[Logger],
    best: Watched,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Lightning's trainer with our checkpoints, pictures and progress."""
    import sys

    from pytorch_lightning.callbacks import LearningRateMonitor

    from hspi_learn.configs.build import build
    from hspi_learn.dashboards.validation_images import ValidationImages
    from hspi_learn.io.checkpoints import RunCheckpoints
    from hspi_learn.io.progress import PrintedProgress, WatchedProgress
    from hspi_learn.io.training_monitor import TrainingMonitor
    from hspi_learn.io.weights import AtomicCheckpoints

    watched = sys.stdout.isatty()
    trainer: Trainer = build(
        config.trainer,
        key="trainer",
        logger=loggers,
        callbacks=[
            RunCheckpoints(folder, config.checkpoint_every_steps, *best),
            ValidationImages(),
            LearningRateMonitor(logging_interval="step"),
            TrainingMonitor(),
            WatchedProgress() if watched else PrintedProgress(best.metric),
            *callbacks,
        ],
        plugins=[AtomicCheckpoints()],
        enable_checkpointing=False,
        enable_progress_bar=watched,
        default_root_dir=str(folder.path),
    )
    return trainer


def _publish(folder: RunFolder, trainer: Trainer, task: Task, data: LightningDataModule) -> dict[str, float]:
    """Write the weights that validate best, the last ones included, and what validation says of them."""
    from hspi_learn.dashboards.validation_images import first_sample, keep_figures
    from hspi_learn.io.checkpoints import is_better
    from hspi_learn.io.weights import load_checkpoint, save_weights

    steps = best_step = trainer.global_step
    scores = _validated(trainer, task, data)
    if folder.best_checkpoint.is_file():
        best = load_checkpoint(folder.best_checkpoint)
        last_weights, last_scores = _copied(task), scores
        task.load_state_dict(best["state_dict"])
        scores, best_step = _validated(trainer, task, data), best["global_step"]
        metric, direction = task.watched
        if is_better(last_scores[metric], scores[metric], direction):
            task.load_state_dict(last_weights)
            scores, best_step = last_scores, steps
            trainer.save_checkpoint(folder.best_checkpoint)
    save_weights(task.state_dict(), folder.weights_file)
    keep_figures(folder, task, first_sample(next(iter(data.val_dataloader()))), trainer.loggers)
    metrics = {**scores, "steps": float(steps), "best/step": float(best_step)}
    folder.write_metrics(metrics)
    print(f"{folder.path}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
    return metrics


def _validated(trainer: Trainer, task: Task, data: LightningDataModule) -> dict[str, float]:
    """Validation metrics of the task as it stands."""
    scores = trainer.validate(task, datamodule=data, verbose=False)
    return {name: float(value) for part in scores for name, value in part.items()}


def _copied(task: Task) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in task.state_dict().items()}


def main() -> None:
    """The command line."""
    run_command(
        "train", train, TrainSettings, resume=partial(train, resume=True), after_sweep=summarise_sweep
    )


if __name__ == "__main__":
    main()
