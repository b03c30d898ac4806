"""Training on a CUDA device by command: it learns, survives a kill, and serves on the CPU as well."""

import json
from pathlib import Path

import pytest
import torch

from hspi_learn.configs.runs import load_task
from hspi_learn.data import ScanDataModule, collate
from hspi_learn.reconstructor import scan_context

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

KILLED = """
import os, signal
from hspi_learn.tasks import GanReconstruction
step = GanReconstruction.training_step
def killed(self, batch, batch_idx):
    assert batch.projections.is_cuda and self.device.type == "cuda"
    if self.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)
GanReconstruction.training_step = killed
from hspi_learn.commands.train import main
main()
"""


@pytest.fixture(scope="session")
def gpu_run(program, tiny_training: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps on the card that nothing disturbed."""
    folder = tmp_path_factory.mktemp("gpu")
    arguments = (*tiny_training, "trainer=gpu", "run_dir=undisturbed")
    done = program("-m", "hspi_learn.commands.train", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "undisturbed"


def nrmse_of(run: Path) -> float:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["steps"] == 10
    return float(metrics["val/nrmse"])


def test_trains_as_on_the_cpu(gpu_run: Path, finished_run: Path) -> None:
    """Ten steps from the same weights and batches: the error of validation to 5 % of that of the CPU."""
    assert nrmse_of(gpu_run) == pytest.approx(nrmse_of(finished_run), rel=0.05)


def test_goes_on_after_a_kill(program, tiny_training: tuple[str, ...], gpu_run: Path, tmp_path: Path) -> None:
    """Killed in an epoch and resumed on the card: as undisturbed, to 5 % (sums come in any order there)."""
    killed = program("-c", KILLED, *tiny_training, "trainer=gpu", "run_dir=run", cwd=tmp_path)
    assert killed.returncode == -9, killed.stderr
    done = program("-m", "hspi_learn.commands.train", "resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert nrmse_of(tmp_path / "run") == pytest.approx(nrmse_of(gpu_run), rel=0.05)


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_trains_in_mixed_precision(
    program, tiny_training: tuple[str, ...], gpu_run: Path, tmp_path: Path, precision: str
) -> None:
    """Networks in half precision, counts and losses not: the same error of validation to 5 %."""
    arguments = (*tiny_training, "trainer=gpu", f"+trainer.precision={precision}", "run_dir=run")
    done = program("-m", "hspi_learn.commands.train", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert nrmse_of(tmp_path / "run") == pytest.approx(nrmse_of(gpu_run), rel=0.05)


def test_a_run_of_the_card_reconstructs_anywhere(gpu_run: Path, data_folder: Path) -> None:
    """A test scan on the card and on the CPU: to 1 % of the peak, as convolutions round to 10 bits there."""
    task = load_task(gpu_run)
    windows = task.model.energy_bins.boundaries_kev
    scan = collate([ScanDataModule(str(data_folder), windows).windowed("test")[0]])
    images = []
    for device in ("cpu", "cuda"):
        task = task.to(device)
        context = scan_context(task.model, scan.density.to(device), scan.duration_s.to(device))
        with torch.no_grad():
            images.append(task.reconstruct(scan.projections.to(device), context))
    one, other = images
    assert other.is_cuda
    torch.testing.assert_close(other.cpu(), one, rtol=0, atol=0.01 * float(one.max()))
