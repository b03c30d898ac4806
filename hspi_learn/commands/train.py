"""Train a reconstructor: ``hspi-train data.folder=FOLDER``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Node

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.loggers import Logger

    from hspi_learn.io.run_folder import RunFolder


@dataclass(frozen=True)
class TrainSettings:
    """Keys of ``conf/train.yaml``."""

    data: Node
    task: Node
    trainer: Node
    logger: Node
    windows_kev: tuple[float, ...]
    seed: int
    threads: int
    checkpoint_every_steps: int
    run_dir: str


def train(config: DictConfig, resume: bool = False) -> dict[str, float]:
    """Train as the config says; returns what ``metrics.json`` holds.

    Args:
        config: see ``conf/train.yaml``.
        resume: continue the run in ``run_dir`` from its last checkpoint, to the same result bit by bit.

    Raises:
        UserError: the config, the data or the run folder is not what it needs to be.
    """
    from hspi_learn.configs.build import build
    from hspi_learn.io.loggers import csv, finished
    from hspi_learn.io.run_folder import RunFolder

    folder = RunFolder.existing(config.run_dir) if resume else RunFolder.fresh(config.run_dir)
    _settle(config)
    data = build(config.data)
    task = build(config.task, system=data.system)
    if not resume:
        _describe(folder, config, data)
    loggers: list[Logger] = [csv(folder)]
    with finished(loggers):
        if config.logger._target_ != "hspi_learn.io.loggers.csv":
            loggers.append(build(config.logger, folder=folder))
        trainer = _trainer(config, folder, loggers)
        last = folder.last_checkpoint
        trainer.fit(task, datamodule=data, ckpt_path=last if last.is_file() else None)
        return _publish(folder, trainer, task)


def _settle(config: DictConfig) -> None:
    """Fix threads and global random generators: results depend on both."""
    import torch
    from pytorch_lightning import seed_everything

    torch.set_num_threads(config.threads)
    seed_everything(config.seed, verbose=False)


def _describe(folder: RunFolder, config: DictConfig, data: Any) -> None:
    """Write down what the run is before it starts."""
    from data_gen.storage import MANIFEST
    from data_gen.storage.files import sha256_of
    from hspi_learn.io.environment import environment

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    manifest = Path(config.data.folder) / MANIFEST
    hashes = {str(manifest): sha256_of(manifest)}
    folder.describe(
        {str(key): value for key, value in plain.items()},
        data.system.to_dict(),
        environment(config.seed, config.threads, hashes),
    )


def _trainer(config: DictConfig, folder: RunFolder, loggers: list[Logger]) -> Trainer:
    """Lightning's trainer with our checkpoints, pictures and progress."""
    import sys

    from pytorch_lightning.callbacks import RichProgressBar

    from hspi_learn.configs.build import build
    from hspi_learn.io.checkpoints import RunCheckpoints
    from hspi_learn.io.validation_images import ValidationImages
    from hspi_learn.io.weights import AtomicCheckpoints

    watched = sys.stdout.isatty()
    trainer: Trainer = build(
        config.trainer,
        logger=loggers,
        callbacks=[
            RunCheckpoints(folder, config.checkpoint_every_steps),
            ValidationImages(folder),
            *([RichProgressBar()] if watched else []),
        ],
        plugins=[AtomicCheckpoints()],
        enable_checkpointing=False,
        enable_progress_bar=watched,
        default_root_dir=str(folder.path),
    )
    return trainer


def _publish(folder: RunFolder, trainer: Trainer, task: LightningModule) -> dict[str, float]:
    """Write the weights of the best validation and the metrics."""
    from hspi_learn.io.weights import load_checkpoint, save_weights

    weights = task.state_dict()
    metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
    if folder.best_checkpoint.is_file():
        best = load_checkpoint(folder.best_checkpoint)
        weights = best["state_dict"]
        metrics["best/step"] = float(best["global_step"])
    metrics["steps"] = float(trainer.global_step)
    save_weights(weights, folder.weights_file)
    folder.write_metrics(metrics)
    return metrics


def main() -> None:
    """The command line."""
    run_command("train", train, TrainSettings, resume=partial(train, resume=True))


if __name__ == "__main__":
    main()
