"""Dashboards: every job of a sweep is a run of its own, with pictures, and finished also when it fails."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from pytorch_lightning.loggers import CSVLogger, Logger

from hspi_learn.io.loggers import finished, log_figure, shows_figures


@pytest.fixture(scope="module")
def sweep(program, tiny_training: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds for each of three dashboards, two jobs at a time: processes are used for several jobs."""
    folder = tmp_path_factory.mktemp("sweep")
    swept = ("-m", "run_dir=all", "logger=wandb,tensorboard,mlflow", "seed=0,1", "trainer.max_steps=6")
    done = program("-m", "hspi_learn.commands.train", *tiny_training, *swept, cwd=folder)
    assert done.returncode == 0, done.stderr
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
        assert "val/nrmse" in tags["scalars"]


def test_mlflow_runs_are_separate(sweep: Path) -> None:
    """Issue, point 9: two MLflow runs, finished, with images."""
    ids = set()
    for job in (4, 5):
        (picture,) = (sweep / str(job)).glob("logs/mlruns/*/*/artifacts/validation/*/*.png")
        run = picture.parents[3]
        ids.add(run.name)
        assert "status: 3" in (run / "meta.yaml").read_text()  # FINISHED
        assert (run / "metrics" / "val" / "nrmse").is_file()
    assert len(ids) == 2


class Recorded(CSVLogger):
    """Tells how it was finished."""

    status = ""

    def finalize(self, status: str) -> None:
        self.status = status


def test_loggers_are_finished_also_when_a_run_fails(tmp_path: Path) -> None:
    """Contract of ``finished``: every logger hears of the failure, and the failure itself comes through."""
    loggers: list[Logger] = [Recorded(tmp_path), Recorded(tmp_path)]
    with pytest.raises(ZeroDivisionError), finished(loggers):
        raise ZeroDivisionError
    assert [logger.status for logger in loggers] == ["failed", "failed"]
    with finished(loggers):
        pass
    assert [logger.status for logger in loggers] == ["success", "success"]


def test_csv_takes_no_pictures(tmp_path: Path) -> None:
    """A logger without pictures is left alone."""
    logger = CSVLogger(tmp_path)
    assert not shows_figures(logger)
    log_figure(logger, "name", Figure(), 0)
    assert not list(tmp_path.rglob("*.png"))
