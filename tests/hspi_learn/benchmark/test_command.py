"""hspi-benchmark from its command line: files, resuming, wrong input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hspi_learn.commands.benchmark import main

TINY = ("suite=physics_quick", "points=[decay,poisson]", "cells.poisson.bins=100000", "threads=1")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["hspi-benchmark", *arguments])
    main()


def test_a_run_leaves_its_folder_and_resumes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The usual run folder; a resumed run reads its cells and gives the same numbers."""
    folder = tmp_path / "run"
    run(monkeypatch, *TINY, f"run_dir={folder}", "logger=tensorboard")
    first = json.loads((folder / "metrics.json").read_text())
    assert first["suite/passed"] == first["suite/points"] > 10
    for name in ("config.yaml", "environment.json", "report.html", "tables/physics_quick.csv"):
        assert (folder / name).is_file(), name
    told = EventAccumulator(str(folder / "logs" / "tensorboard")).Reload()
    assert told.Scalars("suite/passed")[0].value == first["suite/passed"]
    assert "tables/physics_quick/text_summary" in told.Tags()["tensors"]
    (folder / "metrics.json").unlink()
    next((folder / "cells").glob("poisson-*.json")).unlink()
    capsys.readouterr()
    run(monkeypatch, f"resume={folder}")
    told = capsys.readouterr().out
    assert "decay: 11 of 11 points within tolerance, done before" in told
    assert "poisson: 5 of 5 points within tolerance, 0." in told
    assert json.loads((folder / "metrics.json").read_text()) == first


def test_results_are_kept_beside_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """results=FOLDER holds the numbers of the run, and the page."""
    docs = tmp_path / "docs"
    run(monkeypatch, *TINY, f"run_dir={tmp_path / 'run'}", f"results={docs}")
    kept = json.loads((docs / "physics_quick.json").read_text())
    assert kept == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "poisson/" in (docs / "physics_quick.md").read_text()


@pytest.mark.parametrize("key", ["results", "cells_dir"])
def test_a_resumed_run_writes_nowhere_else(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The config of a run folder from a stranger may name any folder; the way to go on is told."""
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run(monkeypatch, *TINY, f"run_dir={folder}", "points=[decay]")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(f"{key}: null", f"{key}: {elsewhere}"))
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, f"resume={folder}")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert f"{key} in {folder}/config.yaml is {elsewhere}" in error
    assert f"with {key}={elsewhere}" in error
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["points=[decy]"], "points names 'decy', which the suite does not have; did you mean decay?"),
        (["suite=physic"], "it needs one of imaging, imaging_tiny, physics, physics_quick"),
        (["cells.decay.times=[1.0]"], "cells.decay.times is not a known key"),
        (["+cells.decay.times=[1.0]"], "cells.decay.times is not a known key; did you mean times_h?"),
        (["cells.poisson._target_=os.system"], "may not call"),
        (
            ["suite=imaging", "points=[mice_1e5,at_1e5]"],
            "points holds at_1e5, which needs unet_0, and that is not finished; name unet_0 before it",
        ),
        (["+data.x=nowhere.h5"], "data.x is nowhere.h5, which is no file"),
        (["threads=two"], "threads is 'two'"),
    ],
)
def test_wrong_input(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """One sentence, exit 2, and nothing written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, *arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_tiny_imaging_suite_from_data_to_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A data set, a training, an evaluation and their figures, each in a folder; run again, all is kept."""
    folder, again, cells = tmp_path / "run", tmp_path / "again", tmp_path / "cells"
    run(monkeypatch, "suite=imaging_tiny", f"run_dir={folder}", f"cells_dir={cells}")
    numbers = json.loads((folder / "metrics.json").read_text())
    assert 0 < numbers["nrmse_median/unet/1e5"] < 2
    assert numbers["nrmse_median/osem/1e5"] == numbers["figures/nrmse_median/osem/1e5/value"]
    written = {path: path.stat().st_mtime_ns for path in cells.rglob("metrics.json")}
    assert len(written) == 2
    run(monkeypatch, "suite=imaging_tiny", f"run_dir={again}", f"cells_dir={cells}")
    assert json.loads((again / "metrics.json").read_text()) == numbers
    assert all(path.stat().st_mtime_ns == then for path, then in written.items())
