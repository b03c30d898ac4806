"""Denoising by the commands: trained without truth, evaluated beside its baselines, used before OSEM."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = (
    "experiment=denoising_noise2noise",
    "task.network.channels=[4,8]",
    "task.network.strides=[2]",
    "task.components=4",
    "task.initial.subsets=2",
    "task.mirror_axes=[]",
    "data.batch_size=2",
    "trainer.max_steps=4",
    "trainer.check_val_every_n_epoch=1",
    "trainer.log_every_n_steps=1",
)
EVALUATION = (
    "size=tiny",
    "+runs.mine=run",
    "attacked_scans=0",
    "protocols.denoising.reprojected.map_rdp.subsets=2",
)
BEFORE_OSEM = (
    "size=tiny",
    "attacked_scans=0",
    "+classical@protocols.reconstruction.classical.osem_denoised=denoised",
    "+protocols.reconstruction.classical.osem_denoised._partial_=true",
    "protocols.reconstruction.classical.osem_denoised.denoiser.run_dir=run",
    "protocols.reconstruction.classical.osem_denoised.method.subsets=2",
    "protocols.reconstruction.classical.osem.subsets=2",
    "protocols.reconstruction.noise_realisations=0",
    "protocols.reconstruction.bound_scans=0",
)


Run = Callable[..., dict[str, float]]


@pytest.fixture
def run(program, data_folder: Path, tmp_path: Path) -> Run:
    """Runs a command, and returns the numbers of its run folder, which its last argument names."""

    def ran(command: str, *arguments: str) -> dict[str, float]:
        call = ("-m", f"hspi_learn.commands.{command}", f"data.folder={data_folder}", *arguments)
        done = program(*call, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / arguments[-1].removeprefix("run_dir=")
        numbers: dict[str, float] = json.loads((folder / "metrics.json").read_text())
        return numbers

    return ran


@pytest.mark.slow
def test_denoiser_is_trained_and_evaluated(run: Run, tmp_path: Path) -> None:
    """A run with its scores and picture; errors and ratios of all baselines."""
    trained = run("train", *TINY, "run_dir=run")
    assert {"val/projection_nrmse", "best/step"} <= trained.keys()
    assert (tmp_path / "run" / "figures" / "validation_panel.png").is_file()
    numbers = run("evaluate", *EVALUATION, "run_dir=report")
    for method in ("noisy", "gaussian", "linear", "map_rdp", "mine"):
        assert f"test/projection_nrmse/{method}" in numbers
        assert f"test/nrmse_ratio/all/{method}" in numbers
    assert numbers["test/nrmse_ratio/all/gaussian"] == 1
    ratio = numbers["test/projection_nrmse/mine"] / numbers["test/projection_nrmse/map_rdp"]
    assert abs(numbers["test/nrmse_ratio_to_map_rdp/all/mine"] / ratio - 1) < 1e-6
    assert (tmp_path / "report" / "tables" / "windows.csv").is_file()


@pytest.mark.slow
def test_a_denoiser_stands_before_osem(run: Run) -> None:
    """A row of reconstructions of its own."""
    run("train", *TINY, "run_dir=run")
    used = run("evaluate", *BEFORE_OSEM, "run_dir=before_osem")
    assert any(name.startswith("test/nrmse/osem_denoised") for name in used)
