"""A tiny job: two panels of 64 pixels, nine scans on 8^3 voxels, made once for all tests that train."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CAMERA = Path(__file__).parent / "tiny_camera.yaml"

TINY_DATA = (
    f"camera.name_or_path={CAMERA}",
    "dataset.grid.shape=[8,8,8]",
    "dataset.grid.spacing_mm=3.6",
    "dataset.sizes={train: 6, validation: 2, test: 1}",
    "dataset.shard_size=3",
    "dataset.energy_bins.count=58",
    "dataset.counts=[200,500]",
    "model.reference_energies=2",
    "model.scatter_terms=[]",
    "phantom.supersampling=1",
    "workers=0",
)
TINY_TASK = (
    "data.batch_size=2",
    "trainer.max_steps=10",
    "trainer.check_val_every_n_epoch=2",
    "trainer.log_every_n_steps=1",
    "task.generator.channels=[4,8]",
    "task.generator.strides=[1]",
    "task.generator.residual_units=1",
    "task.adversary.discriminator.channels=4",
    "task.initial.subsets=2",
    "checkpoint_every_steps=2",
)

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def program() -> Program:
    """Runs Python in a process of its own, with one thread: as a user would."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, (os.environ.get("PYTHONPATH"),)))),
        "OMP_NUM_THREADS": "1",
    }

    def run(
        *arguments: str, cwd: Path, environment: dict[str, str] = environment
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def data_folder(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished data set."""
    folder = tmp_path_factory.mktemp("data")
    done = program("-m", "hspi_learn.commands.generate", f"output={folder}/tiny", *TINY_DATA, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "tiny"


@pytest.fixture(scope="session")
def tiny_training(data_folder: Path) -> tuple[str, ...]:
    """Arguments of hspi-train for a training of ten steps in five epochs."""
    return (f"data.folder={data_folder}", *TINY_TASK)


@pytest.fixture(scope="session")
def finished_run(
    program: Program, tiny_training: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    done = program("-m", "hspi_learn.commands.train", *tiny_training, "run_dir=undisturbed", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "undisturbed"
