"""A task that the product does not have, through the commands as they are, and tasks by plain Lightning."""

import json
import os
from pathlib import Path

ROOT = Path(__file__).parents[3]
OWN_CONFIGS = ("--config-dir", str(ROOT / "tests" / "own_task" / "conf"))


def test_own_task_is_trained_and_evaluated(program, data_folder: Path, tmp_path: Path) -> None:
    """One file and one config; the commands train, evaluate and attack it as any other."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
        "HSPI_ALLOW": "own_task",
    }

    def run(name: str, *arguments: str) -> str:
        call = ("-m", f"hspi_learn.commands.{name}", *OWN_CONFIGS, f"data.folder={data_folder}")
        done = program(*call, *arguments, cwd=tmp_path, environment=environment)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    steps = ("data.batch_size=2", "trainer.max_steps=6", "trainer.check_val_every_n_epoch=1")
    run("train", "task=hottest_organ", *steps, "trainer.log_every_n_steps=1", "run_dir=run")
    trained = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"val/correct", "val/cross_entropy", "best/step"} <= trained.keys()
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    assert list((tmp_path / "run" / "figures").glob("validation_probabilities.png"))
    told = run(
        "evaluate",
        "+runs.mine=run",
        "+runs.again=run",
        "workers=0",
        "count_fractions=[1.0,0.5]",
        "run_dir=report",
    )
    report = tmp_path / "report"
    numbers = json.loads((report / "metrics.json").read_text())
    for score in ("correct", "cross_entropy"):
        for kind in ("", "_median", "_mean", "_worst"):
            assert {f"test/{score}{kind}/mine", f"test/{score}{kind}_at_0.5/mine"} <= numbers.keys()
            assert f"test/{score}{kind}/mine_attacked" in numbers
    assert numbers["test/cross_entropy/mine_attacked"] >= numbers["test/cross_entropy_unattacked/mine"]
    assert {"test/attack_masked/mine_attacked", "test/attack_not_converged/mine_attacked"} <= numbers.keys()
    assert numbers["test/correct_difference/mine_minus_again"] == 0
    assert "test/correct_difference/mine_minus_again/high" not in numbers  # one scan has no interval
    assert {path.suffix for path in (report / "tables").iterdir()} == {".csv", ".md", ".tex"}
    assert (report / "figures" / "mine_probabilities.png").is_file()
    assert "report.html" in told


def test_scores_need_a_run(program, data_folder: Path, tmp_path: Path) -> None:
    """A task is evaluated by its own scores only if there is a run of one; nothing is written."""
    call = (
        "-m",
        "hspi_learn.commands.evaluate",
        f"data.folder={data_folder}",
        "protocol_without_runs=scores",
    )
    done = program(*call, "run_dir=report", cwd=tmp_path)
    assert done.returncode == 2
    assert "runs is empty" in done.stderr
    assert not (tmp_path / "report").exists()


def test_plain_lightning_example(program, data_folder: Path, tmp_path: Path) -> None:
    """The example of the documentation trains and tests on a real data set."""
    done = program(str(ROOT / "docs" / "examples" / "plain_lightning.py"), str(data_folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout.strip().splitlines()[-1]) < 10


def test_public_face_loads_nothing_before_it_is_used(program, tmp_path: Path) -> None:
    """``import hspi_learn`` is free; every name of its public face is there; another is no attribute."""
    code = (
        "import sys, hspi_learn; assert 'torch' not in sys.modules\n"
        "assert all(getattr(hspi_learn, name).__name__ == name for name in hspi_learn.__all__)\n"
        "assert not hasattr(hspi_learn, 'Tasks')"
    )
    done = program("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
