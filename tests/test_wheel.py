"""The wheel holds all that the commands need; they work elsewhere, with packages of one's own too."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAMERA = ROOT / "tests" / "hspi_learn" / "commands" / "tiny_camera.yaml"


EXAMPLE = ROOT / "docs" / "examples" / "my_package"
KILLED = """
import os, signal, sys
from my_package.network import ResidualNetwork
forward, calls = ResidualNetwork.forward, []
def killed(self, *images):
    calls.append(self.training)
    if sum(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, *images)
ResidualNetwork.forward = killed
from hspi_learn.commands.train import main
main()
"""
Done = subprocess.CompletedProcess[str]


def wheel(source: Path, folder: Path) -> Path:
    """The wheel of a source tree, unpacked as pip does it."""
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(source))
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (built,) = (folder / "dist").glob("*.whl")
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site"), str(built))
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy of the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("conf", "data_gen", "hspi_learn", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    return wheel(source, tmp_path_factory.mktemp("installed"))


class Commands:
    """Runs the installed commands in a folder, with other folders on Python's path as well."""

    def __init__(self, installed: Path, folder: Path, *path: Path) -> None:
        self.folder, self.scripts = folder, installed / "bin"
        self.environment = {name: value for name, value in os.environ.items() if name != "HSPI_ALLOW"} | {
            "PYTHONPATH": os.pathsep.join(map(str, (installed, *path))),
            "OMP_NUM_THREADS": "1",
        }

    def python(self, *arguments: str | Path) -> Done:
        """The finished process."""
        call, here = [sys.executable, *arguments], self.folder
        return subprocess.run(
            call, cwd=here, env=self.environment, capture_output=True, text=True, check=False
        )

    def __call__(self, command: str, *arguments: str) -> Done:
        """The same of a command that succeeds."""
        done = self.python(self.scripts / command, *arguments)
        assert done.returncode == 0, done.stderr
        return done


TINY_DATA = (
    f"camera.name_or_path={CAMERA}",
    "dataset.grid.shape=[8,8,8]",
    "dataset.grid.spacing_mm=3.6",
    "dataset.energy_bins.count=58",
    "dataset.counts=[200,500]",
    "model.reference_energies=2",
    "model.scatter_terms=[]",
)
TINY_EVALUATION = (
    "count_fractions=[1.0]",
    "protocols.reconstruction.noise_realisations=0",
    "protocols.reconstruction.tuning.osem.iterations=[1]",
    "protocols.reconstruction.tuning.osem.postfilter_fwhm_mm=[0.0]",
)
TINY_TRAINING = ("data.batch_size=2", "trainer.check_val_every_n_epoch=1", "trainer.log_every_n_steps=1")


def test_commands_work_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """Issue, point 12: hspi-generate and hspi-train of the wheel run elsewhere, configs and all."""
    program = Commands(installed, tmp_path)
    sizes = ("dataset.sizes={train: 2, validation: 1}", "phantom.supersampling=1")
    program("hspi-generate", "output=data", "workers=2", *TINY_DATA, *sizes)
    net = ("task.generator.channels=[4,8]", "task.generator.strides=[1]", "task.generator.residual_units=1")
    program("hspi-train", "data.folder=data", "run_dir=run", *net, *TINY_TRAINING, "trainer.max_steps=2")
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]


@pytest.mark.slow
def test_a_package_of_ones_own(installed: Path, tmp_path: Path) -> None:
    """The worked example: refused until it is installed; then every command works with it."""
    shutil.copytree(EXAMPLE, tmp_path / "my_package")
    source = tmp_path / "my_package" / "src"
    mine, here = ("--config-dir", str(tmp_path / "my_package" / "conf")), tmp_path / "work"
    here.mkdir()
    sizes = ("dataset.sizes={train: 4, validation: 1, test: 1}", "workers=0")
    generate = (*mine, "output=data", "phantom=hot_sphere", *TINY_DATA, *sizes)

    closed = Commands(installed, here, source)  # can be imported, but nobody has allowed it
    done = closed.python(installed / "bin" / "hspi-generate", *generate)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "set HSPI_ALLOW=my_package in the environment, or install it" in done.stderr
    assert not list(here.iterdir())
    assert not list(source.rglob("__pycache__"))  # importing it would have left one

    run = Commands(installed, here, wheel(tmp_path / "my_package", tmp_path / "mine"))
    run("hspi-generate", *generate)
    about = json.loads((here / "data" / "manifest.json").read_text())["plan"]
    assert about["phantom"]["_target_"] == "my_package.phantom.HotSphere"
    small = ("task.adversary.discriminator.channels=4", "task.initial.subsets=2", "checkpoint_every_steps=1")
    training = (*mine, "data.folder=data", *TINY_TRAINING, "trainer.max_steps=6")
    image = (*training, "task=my_reconstruction", "run_dir=image", *small)
    killed = run.python("-c", KILLED, *image)
    assert killed.returncode == -9, killed.stderr
    assert "made with" not in run("hspi-train", "resume=image").stderr
    record = json.loads((here / "image" / "environment.json").read_text())["packages"]["my_package"]
    assert record["version"] == "0.1.0"
    assert len(record["sha256"]) == 64
    assert about["packages"] == {"my_package": record}
    run("hspi-train", *training, "task=total_activity", "run_dir=total")
    assert "val/relative_error" in json.loads((here / "total" / "metrics.json").read_text())

    attacked = (*mine, "data.folder=data", "attack@attacks.attacked=fast_gradient", "workers=0")
    run("hspi-evaluate", *attacked, "+runs.mine=image", "run_dir=image_scores", *TINY_EVALUATION)
    run("hspi-evaluate", *attacked, "+runs.mine=total", "run_dir=total_scores")
    for scores, name in (("image_scores", "nrmse"), ("total_scores", "relative_error")):
        numbers = json.loads((here / scores / "metrics.json").read_text())
        assert numbers["test/attack_value/mine_attacked"] >= numbers["test/attack_value_clean/mine_attacked"]
        assert any(key.startswith(f"test/{name}") for key in numbers)
        about = json.loads((here / scores / "environment.json").read_text())
        assert about["packages"]["my_package"] == record

    # Only on the path, the package is refused; allowed there, the run tells that it has changed.
    files = ("input=data/test-000000.h5", "output=out.nii")
    scan = (installed / "bin" / "hspi-reconstruct", "run=image", *files)
    done = closed.python(*scan)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "image/config.yaml: task.generator._target_ is 'my_package.network.Res" in done.stderr
    assert not list(source.rglob("__pycache__"))
    with (source / "my_package" / "loss.py").open("a") as file:
        file.write("# changed since\n")
    closed.environment["HSPI_ALLOW"] = "my_package"
    done = closed.python(*scan)
    assert done.returncode == 0, done.stderr
    assert "made with my_package 0.1.0" in done.stderr
    assert (here / "out.nii").is_file()
