"""Simulate a data set: ``hspi-generate output=FOLDER``."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from omegaconf import DictConfig

from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Node


@dataclass(frozen=True)
class GenerateSettings:
    """Keys of ``conf/generate.yaml``."""

    dataset: Node
    model: Node
    camera: Node
    nuclide: Node
    phantom: Node
    readout: Node
    output: str
    workers: int


def generate(config: DictConfig) -> dict[str, float]:
    """Make what is missing of the data set; returns the number of scans in each split.

    Raises:
        UserError: the config is wrong, or the folder holds something else.
    """
    from data_gen.simulation.generate import generate as make
    from hspi_learn.configs.build import build
    from hspi_learn.configs.check import plain
    from hspi_learn.configs.packages import packages_used

    plan = build(
        config.dataset,
        key="dataset",
        options=build(config.model, key="model"),
        camera=build(config.camera, key="camera"),
        chain=build(config.nuclide, key="nuclide"),
        phantom=build(config.phantom, key="phantom"),
        readout=build(config.readout, key="readout"),
        packages=packages_used(plain(config)),
    )
    manifest = make(plan, config.output, config.workers, progress=sys.stderr.isatty())
    scans = {f"scans/{split}": float(manifest.scans(split)) for split in manifest.splits}
    told = ", ".join(f"{manifest.scans(split)} {split}" for split in manifest.splits)
    print(f"{config.output}: {told} scans")
    return scans


def main() -> None:
    """The command line."""
    run_command("generate", generate, GenerateSettings, folder_key="output")


if __name__ == "__main__":
    main()
