"""Sweeps: each job is a run of its own in its dashboard, with numbers and pictures; a table ends them."""

import csv
import json
import statistics
from pathlib import Path

import pytest

MONITORED = {
    "lr-Adam",
    "lr-AdamW",
    "train/gradient_norm",
    "train/samples_per_second",
    "train/score_fake",
    "train/score_real",
}
"""What a training tells beside its losses."""


@pytest.fixture(scope="module")
def sweep(program, tiny_training: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds for each of three dashboards, two jobs at a time: processes are used for several jobs."""
    folder = tmp_path_factory.mktemp("sweep")
    swept = ("-m", "run_dir=all", "logger=wandb,tensorboard,mlflow", "seed=0,1", "trainer.max_steps=6")
    done = program("-m", "hspi_learn.commands.train", *tiny_training, *swept, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "all" / "printed.txt").write_text(done.stdout)
    return folder / "all"


def test_jobs_have_folders_of_their_own(sweep: Path) -> None:
    """Six jobs, six finished run folders, and the two seeds of a dashboard gave different weights."""
    weights = [(sweep / str(job) / "model.safetensors").read_bytes() for job in range(6)]
    assert [weights[0], weights[1]] * 3 == weights
    assert weights[0] != weights[1]


def test_wandb_runs_are_separate(sweep: Path) -> None:
    """Issue, point 9: two offline runs with ids of their own, images in each, no code taken along."""
    runs = [path for job in (0, 1) for path in (sweep / str(job)).glob("logs/wandb/offline-run-*")]
    assert len(runs) == 2
    assert len({path.name.rsplit("-", 1)[1] for path in runs}) == 2
    for run in runs:
        assert list(run.glob("files/media/images/validation/*.png"))
        assert not list(run.rglob("*.py")) + list(run.rglob("*.patch"))


def test_tensorboard_runs_are_separate(sweep: Path) -> None:
    """Issue, point 9: each run has scalars and images of its own."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for job in (2, 3):
        events = EventAccumulator(str(sweep / str(job) / "logs" / "tensorboard"))
        events.Reload()
        tags = events.Tags()
        assert any(tag.startswith("validation/") or tag.startswith("published/") for tag in tags["images"])
        assert {"val/nrmse", *MONITORED} <= set(tags["scalars"])
        assert "_hparams_/session_start_info" in events.summary_metadata
        assert all(scalar.value > 0 for scalar in events.Scalars("train/samples_per_second"))


def test_mlflow_runs_are_separate(sweep: Path) -> None:
    """Issue, point 9: two MLflow runs, finished, with images."""
    ids = set()
    for job in (4, 5):
        (picture,) = (sweep / str(job)).glob("logs/mlruns/*/*/artifacts/validation/*/*.png")
        run = picture.parents[3]
        ids.add(run.name)
        assert "status: 3" in (run / "meta.yaml").read_text()  # FINISHED
        assert (run / "metrics" / "val" / "nrmse").is_file()
        assert (run / "metrics" / "train" / "score_real").is_file()
        assert int((run / "params" / "run.weights").read_text()) > 100
        assert (run / "params" / "task.generator.channels").read_text() == "[4, 8]"
    assert len(ids) == 2


def test_csv_has_the_same_numbers(sweep: Path) -> None:
    """What a dashboard shows is in logs/csv too."""
    with (sweep / "0" / "logs" / "csv" / "version_0" / "metrics.csv").open() as lines:
        assert {"val/nrmse", *MONITORED} <= set(next(csv.reader(lines)))


def test_a_sweep_ends_with_a_table_over_its_seeds(sweep: Path) -> None:
    """Two seeds, each run three times for the dashboards, count as two trainings; mean and SD by hand."""
    errors = [json.loads((sweep / str(job) / "metrics.json").read_text())["val/nrmse"] for job in (4, 5)]
    with (sweep / "summary.csv").open() as lines:
        rows = {row["metric"]: row for row in csv.DictReader(lines)}
    assert float(rows["val/nrmse"]["n"]) == 2
    assert float(rows["val/nrmse"]["mean"]) == pytest.approx(statistics.mean(errors))
    assert float(rows["val/nrmse"]["sd"]) == pytest.approx(statistics.stdev(errors))
    printed = (sweep / "printed.txt").read_text()
    assert "val/nrmse" in printed
    assert "Left out:" in printed
    assert "which counts" in (sweep / "summary.md").read_text()
