"""Segmentation through the commands: trained with a critic, and evaluated by its scores."""

import json
from pathlib import Path

import pytest

TINY = (
    "experiment=segmentation_adversarial",
    "task.network.channels=[4,8]",
    "task.network.strides=[1]",
    "task.critic.network.channels=2",
    "task.critic.network.layers=2",
    "task.initial.subsets=2",
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
    "attack@attacks.attacked=pgd_tiny",
    "attack@attacks.random=random_tiny",
    "run_dir=report",
)


@pytest.mark.slow
def test_segmentation_is_trained_and_evaluated(program, data_folder: Path, tmp_path: Path) -> None:
    """A run with its scores and its picture, and the report of any task, clean and attacked."""

    def run(command: str, *arguments: str) -> dict[str, float]:
        call = ("-m", f"hspi_learn.commands.{command}", f"data.folder={data_folder}", *arguments)
        done = program(*call, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / arguments[-1].removeprefix("run_dir=")
        numbers: dict[str, float] = json.loads((folder / "metrics.json").read_text())
        return numbers

    trained = run("train", *TINY, "run_dir=run")
    assert {"val/dice_tumour", "val/dice_liver", "val/false_lesions", "best/step"} <= trained.keys()
    assert (tmp_path / "run" / "figures" / "validation_contours.png").is_file()
    numbers = run("evaluate", *EVALUATION)
    for score in ("dice_tumour", "dice_liver", "surface_distance_tumour_mm", "uptake_error_tumour"):
        assert f"test/{score}/mine" in numbers
        assert f"test/{score}_mean/mine" in numbers
    assert {"test/dice_tumour/mine_attacked", "test/attack_masked/mine_attacked"} <= numbers.keys()
    worst = numbers["test/dice_tumour_worst/mine"], numbers["test/dice_tumour_mean/mine"]
    assert 0 <= worst[0] <= worst[1] <= 1
    assert (tmp_path / "report" / "figures" / "mine_contours.png").is_file()
