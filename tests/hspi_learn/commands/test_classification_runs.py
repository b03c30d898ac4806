"""Classification through the commands: trained, evaluated and attacked; data of one class are refused."""

import json
from pathlib import Path

import pytest

TINY = (
    "experiment=classification_hot_spots",
    "task.classes.most=2",
    "task.mirror_axes=[]",  # the camera of these tests is not its own mirror image
    "task.network.channels=[4,8]",
    "task.network.hidden=8",
    "data.batch_size=2",
    "trainer.max_steps=4",
    "trainer.check_val_every_n_epoch=1",
    "trainer.log_every_n_steps=1",
)
EVALUATION = (
    "+runs.mine=run",
    "workers=0",
    "count_fractions=[1.0]",
    "attacked_scans=1",
    "threat_model=poisson_box",
    "attack@attacks.attacked=pgd_tiny",
    "attack@attacks.random=random_tiny",
    "run_dir=report",
)


@pytest.mark.slow
def test_classification_is_trained_and_evaluated(program, data_folder: Path, tmp_path: Path) -> None:
    """A run with its scores and its picture; test data of one scan, so of one class, are refused in a
    sentence."""
    call = ("-m", "hspi_learn.commands.train", f"data.folder={data_folder}", *TINY, "run_dir=run")
    done = program(*call, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trained = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"val/accuracy", "val/cross_entropy", "best/step"} <= trained.keys()
    assert (tmp_path / "run" / "figures" / "validation_panels.png").is_file()
    call = ("-m", "hspi_learn.commands.evaluate", f"data.folder={data_folder}", *EVALUATION)
    done = program(*call, cwd=tmp_path)
    assert done.returncode == 2
    assert "all 1 test scans are of one class" in done.stderr
    assert not (tmp_path / "report" / "metrics.json").exists()
