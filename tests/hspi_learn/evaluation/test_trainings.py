"""Tables over runs, against values computed by hand."""

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hspi_learn.commands.summarise import main, summarise_sweep, with_folders_as_key
from hspi_learn.evaluation.trainings import interval, summarise_runs


def made(folder: Path, metrics: dict[str, float] | None, **settings: Any) -> Path:
    """A run folder with a config and, if it is finished, metrics."""
    folder.mkdir(parents=True)
    config = {"run_dir": str(folder), "logger": {"_target_": folder.name}, **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def six(tmp_path: Path) -> list[Path]:
    """Three seeds of weight 0, two of weight 1, of which one is NaN, and one that never ended."""
    runs = [
        made(
            tmp_path / str(i),
            {"val/nrmse": value, "steps": 10.0},
            seed=seed,
            task={"weight": w, "seed": seed},
        )
        for i, (w, seed, value) in enumerate(
            [(0, 0, 1.0), (0, 1, 2.0), (0, 2, 3.0), (1, 0, 5.0), (1, 1, math.nan)]
        )
    ]
    return [*runs, made(tmp_path / "5", None, seed=2, task={"weight": 1, "seed": 2})]


def test_interval_by_hand() -> None:
    """Of 1, 2, 3: mean 2, SD 1, t(0.975, 2) = 4.302653, half-width 4.302653 / sqrt(3); one value has none."""
    found = interval([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    assert found.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert 2 - found.low == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert interval([7.0]).mean == 7.0
    assert math.isnan(interval([7.0]).sd)
    assert interval([4.0, 4.0]).low == interval([4.0, 4.0]).high == 4.0


def test_runs_are_grouped_by_all_but_the_seed(six: list[Path]) -> None:
    """One setting differs; its two values count three and one; what failed is named."""
    summary = summarise_runs(six)
    assert summary.differing == ("task.weight",)
    found = {(values, name): (row.n, row.mean) for values, name, row in summary.rows}
    assert found[("0",), "val/nrmse"] == (3, 2.0)
    assert found[("1",), "val/nrmse"] == (1, 5.0)
    told = summary.statements()
    assert told == [
        f"Left out: {six[4]} failed: val/nrmse is nan.",
        f"Left out: {six[5]} failed or is not finished: it holds no metrics.json.",
    ]
    assert summary.table().rows[0][:4] == ("task.weight=0", "val/nrmse", "3", "0")
    assert next(row for row in summary.table().rows if row[0] == "task.weight=1")[2:4] == ("1", "2")


def test_a_repeated_run_counts_once(tmp_path: Path) -> None:
    """The same seed and settings twice is one training, whatever its dashboard; the last counts."""
    first, last = (made(tmp_path / name, {"a": value}, seed=0) for name, value in (("x", 1.0), ("y", 2.0)))
    summary = summarise_runs([first, last])
    ((_, _, found),) = summary.rows
    assert (found.n, found.mean) == (1, 2.0)
    assert str(last) in summary.statements()[0]
    assert str(first) in summary.statements()[0]


def test_evaluations_are_grouped_by_what_their_runs_were_trained_with(tmp_path: Path) -> None:
    """Evaluations of two seeds of one setting are one group, although they name different folders."""
    rows = []
    for weight in (0, 1):
        for seed in (0, 1):
            run = made(tmp_path / f"run{weight}{seed}", {}, seed=seed, task={"weight": weight})
            name = f"evaluation{weight}{seed}"
            figures = {"test/nrmse/gan": 10.0 * weight + seed}
            rows.append(made(tmp_path / name, figures, seed=0, runs={"gan": str(run), "control": None}))
    summary = summarise_runs(rows, ["test/*"])
    assert summary.differing == ("runs.gan.task.weight",)
    assert [(v, found.n, found.mean) for v, _, found in summary.rows] == [(("0",), 2, 0.5), (("1",), 2, 10.5)]


def test_every_run_has_a_row(six: list[Path]) -> None:
    """Whether it counts, or why it does not, its own setting, and every metric that it has."""
    table = summarise_runs(six).runs_table()
    assert table.columns == ("folder", "result", "task.weight", "val/nrmse", "steps")
    rows = list(csv.reader(io.StringIO(table.csv())))[1:]
    assert rows[0] == [str(six[0]), "counts", "0", "1.0", "10.0"]
    assert rows[3] == [str(six[3]), "counts", "1", "5.0", "10.0"]
    assert rows[4] == [str(six[4]), "failed: val/nrmse is nan", "1", "", "10.0"]
    assert rows[5] == [
        str(six[5]),
        "failed or is not finished: it holds no metrics.json",
        *("1", "", ""),
    ]


def test_full_table_has_a_column_for_each_setting(six: list[Path]) -> None:
    """Of weight 0 three trainings with mean 2 and SD 1; of weight 1 one, and two are missing."""
    table = summarise_runs(six, ["val/*"]).full_table()
    assert table.columns == ("task.weight", "metric", "n", "missing", "mean", "sd", "low", "high")
    assert table.rows[0][:6] == ("0", "val/nrmse", 3.0, 0.0, 2.0, 1.0)
    assert table.rows[1][:5] == ("1", "val/nrmse", 1.0, 2.0, 5.0)
    assert all(isinstance(cell, float) and math.isnan(cell) for cell in table.rows[1][5:])


def test_a_setting_that_a_run_lacks_differs_from_all_values(tmp_path: Path) -> None:
    """A run without a depth stands by itself under a dash; without any difference all are one setting."""
    runs = [made(tmp_path / "a", {"x": 1.0}, seed=0, depth=3), made(tmp_path / "b", {"x": 2.0}, seed=1)]
    summary = summarise_runs(runs)
    assert summary.differing == ("depth",)
    assert [values for values, _, _ in summary.rows] == [("3",), ("-",)]
    one = summarise_runs(runs[:1])
    assert one.table().rows[0][:4] == ("all", "x", "1", "0")


def test_a_damaged_run_is_told_and_does_not_count(tmp_path: Path) -> None:
    """Metrics that are no JSON; the other run counts, and the training without figures is missing."""
    runs = [made(tmp_path / str(seed), {"x": 1.0 + seed}, seed=seed) for seed in (0, 1)]
    (runs[1] / "metrics.json").write_text("{")
    summary = summarise_runs(runs)
    (told,) = summary.statements()
    assert told.startswith(f"Left out: {runs[1]} is damaged: ")
    ((_, _, found),) = summary.rows
    assert (found.n, found.missing, found.mean) == (1, 1, 1.0)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["hspi-summarise", *arguments])
    main()


def test_the_command_writes_csv_and_markdown(
    six: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bare folders, a pattern and a sweep's folder give the same files; the terminal names what failed."""
    (tmp_path / "multirun.yaml").touch()
    (tmp_path / "6").mkdir()  # a job that ended before it had described itself
    monkeypatch.chdir(tmp_path)
    asked = {
        "bare": [*(str(run) for run in six), "6"],
        "pattern": [f"{tmp_path}/?"],
        "sweep": [str(tmp_path)],
    }
    texts = []
    for name, arguments in asked.items():
        command(monkeypatch, *arguments, "metrics=[val/*]", f"run_dir=out_{name}")
        texts.append((tmp_path / f"out_{name}" / "summary.csv").read_text())
        printed = capsys.readouterr().out
        assert "failed: val/nrmse is nan" in printed
        assert "6 was not started" in printed
        markdown = (tmp_path / f"out_{name}" / "summary.md").read_text()
        assert "| task.weight=0 | val/nrmse | 3 | 0 | 2 | 1 |" in markdown
        assert "not finished" in markdown
        runs = (tmp_path / f"out_{name}" / "runs.csv").read_text()
        assert len(runs.splitlines()) == 8
    assert texts[0] == texts[1] == texts[2]
    first = texts[0].splitlines()
    assert first[0] == "task.weight,metric,n,missing,mean,sd,low,high"
    assert first[1].startswith("0,val/nrmse,3.0,0.0,2.0,1.0,")
    assert first[2] == "1,val/nrmse,1.0,2.0,5.0,,,"
    assert len(first) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "runs is not given"),
        (["nowhere"], "runs holds nowhere, which is no folder"),
        (["5"], "runs is 5; it needs a finished run. Left out: 5 failed or is not finished"),
        (["0", "metrics=[test/*]"], "it needs a finished run with metrics test/*"),
    ],
)
def test_wrong_input(
    arguments: list[str],
    told: str,
    six: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence, exit 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, *arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == list("012345")


def test_folders_with_odd_names_reach_hydra_whole() -> None:
    """Quotes are escaped; keys, flags and the value of a flag stay where they are."""
    given = ["it's", "seed=1", "-m", "--config-dir", "mine", "b,c"]
    expected = ["seed=1", "-m", "--config-dir", "mine", "runs=['it\\'s','b,c']"]
    assert with_folders_as_key(given) == expected


def test_sweeps_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without jobs nothing is written; jobs that all failed are named, in their order."""
    summarise_sweep(tmp_path)
    assert not list(tmp_path.iterdir())
    for job in range(11):
        (tmp_path / str(job)).mkdir()
    summarise_sweep(tmp_path)
    told = capsys.readouterr().out.splitlines()
    reason = "was not started: it holds no config.yaml."
    assert told == [f"Left out: {tmp_path}/{job} {reason}" for job in range(11)]


def test_a_sweep_that_fails_still_ends_with_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two jobs whose data are missing: exit 2, and both are named in the sweep's folder."""
    from hspi_learn.commands.train import main as train

    monkeypatch.chdir(tmp_path)
    asked = ["-m", "data.folder=nowhere", "seed=0,1", "run_dir=all", "hydra/launcher=basic"]
    monkeypatch.setattr(sys, "argv", ["hspi-train", *asked])
    with pytest.raises(SystemExit) as end:
        train()
    assert end.value.code == 2
    assert "Left out: all/1 was not started" in capsys.readouterr().out
    assert len((tmp_path / "all" / "runs.csv").read_text().splitlines()) == 3
