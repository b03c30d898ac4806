"""What the framework costs: training steps by Lightning against a bare loop over the same networks.

    python scripts/time_training_step.py DATA_FOLDER [--experiment gan] [--steps 10] [--pairs 7]

Both are run on the same batches, whose physics images are kept, with the error over voxels and the adversary
alone as losses (projecting costs the same in both). CPU time of this process, one pair after the other; the
last line is the median of the ratios of the pairs.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from hspi_learn.commands.composing import config_folder
from hspi_learn.configs.build import build
from hspi_learn.data import collate
from hspi_learn.losses import LeastSquaresGame, relative_error
from hspi_learn.tasks import GanReconstruction
from hspi_learn.tasks.images import Images, images_of

BATCHES = 4
"""Different batches, taken in turn."""


def main(asked: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
    overrides = [f"data.folder={asked.data}", f"experiment={asked.experiment}", "windows=lines"]
    overrides += ["~task.losses.data", "~task.losses.count", "task.adversary.from_share=0.0"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", overrides=overrides)
    data = build(config.data, key="data")
    task = build(config.task, key="task", system=data.system)
    scans = data.windowed("train")
    batches = [collate([scans[BATCHES * k + i] for i in range(data.batch_size)]) for k in range(BATCHES)]
    task.physics_inputs.keep_beside(data.folder)
    images = [images_of(batch, task.physics_inputs(batch), ()) for batch in batches]
    ratios = []
    for pair in range(asked.pairs + 1):  # the first warms up
        bare = _cpu_time(lambda: _bare_loop(task, images, asked.steps))
        full = _cpu_time(lambda: _by_lightning(task, batches, asked.steps))
        if pair:
            ratios.append(full / bare)
            told = f"bare {bare / asked.steps:.3f} s a step, Lightning {full / asked.steps:.3f} s"
            print(f"pair {pair}: {told}, ratio {ratios[-1]:.3f}", flush=True)
    print(f"{asked.experiment}: median ratio of {asked.pairs} pairs {statistics.median(ratios):.3f}")


def _cpu_time(run: Callable[[], None]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _by_lightning(task: GanReconstruction, batches: list[Any], steps: int) -> None:
    """Steps by the task in a trainer that writes nothing."""
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        barebones=False,
    )
    task.updates.zero_()
    trainer.fit(task, DataLoader([batches[k % BATCHES] for k in range(steps)], batch_size=None))


def _bare_loop(task: GanReconstruction, images: list[Images], steps: int) -> None:
    """The same updates, written out."""
    generator, discriminator = task.generator, task.discriminator
    asked = discriminator is not None and task.adversary is not None and task.adversary.strength > 0
    first = torch.optim.AdamW(generator.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    second = torch.optim.Adam(discriminator.parameters(), lr=4e-4, betas=(0.5, 0.9)) if asked else None
    game = LeastSquaresGame()
    for seen in itertools.islice(itertools.cycle(images), steps):
        estimate = seen.body * generator(seen.initial, seen.density)
        loss = relative_error(seen.activity(estimate), seen.activity(seen.truth), seen.weight)
        if second is not None:
            conditions = seen.initial, seen.density
            second.zero_grad()
            scores = (discriminator(one, *conditions) for one in (seen.truth, estimate.detach()))
            game.discriminator(*scores).mean().backward()
            second.step()
            discriminator.requires_grad_(False)
            loss = loss + 0.01 * game.generator(None, discriminator(estimate, *conditions)).mean()
            discriminator.requires_grad_(True)
        first.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        first.step()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--experiment", default="gan")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=7)
    main(parser.parse_args())
