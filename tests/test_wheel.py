"""The wheel holds all that the commands need, and they work far from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAMERA = ROOT / "tests" / "hspi_learn" / "commands" / "tiny_camera.yaml"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy of the checkout."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("conf", "data_gen", "hspi_learn", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(source))
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site"), str(wheel))
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    return folder / "site"


def test_commands_work_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """Issue, point 12: hspi-generate and hspi-train of the wheel run elsewhere, configs and all."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "OMP_NUM_THREADS": "1",
        "HSPI_CACHE_DIR": str(tmp_path / "cache"),
    }

    def program(command: str, *arguments: str) -> None:
        path = installed / "bin" / command
        done = subprocess.run(
            [sys.executable, str(path), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    tiny = ("dataset.grid.shape=[8,8,8]", "dataset.grid.spacing_mm=3.6", "dataset.energy_bins.count=58")
    sizes = ("dataset.sizes={train: 2, validation: 1}", "dataset.counts=[200,500]", "phantom.supersampling=1")
    data = ("output=data", "workers=2", *tiny, *sizes, "model.reference_energies=2")
    program("hspi-generate", f"camera.name_or_path={CAMERA}", *data)
    net = ("task.generator.channels=[4,8]", "task.generator.strides=[1]", "task.generator.residual_units=1")
    steps = ("data.batch_size=2", "trainer.max_steps=2", "trainer.check_val_every_n_epoch=1")
    program("hspi-train", "data.folder=data", "run_dir=run", *net, *steps, "trainer.log_every_n_steps=1")
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data", "run"]
