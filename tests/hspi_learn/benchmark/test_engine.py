"""The engine on made-up cells: keys, files, failures, resuming, tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_gen.core.errors import UserError
from data_gen.validation.keys import _reached, code_hash
from hspi_learn.benchmark import (
    Cell,
    CellResult,
    CellStore,
    Findings,
    Plot,
    Point,
    cell_key,
    chosen,
    metrics,
    run_cells,
    write_output,
    write_results,
)
from hspi_learn.benchmark.report import full_table, points_table, statements

GOOD = Point("good", 1e-9, 1e-6, "truth", "source", "note", "keV")
BAD = Point("bad", 0.5, 0.1, "truth", "source")
TOLD = Point("told", 3.0, None, "truth", "source")
PLOT = Plot(
    "curve", "A curve.", "x [mm]", "y [keV]", {"a": (np.arange(3.0), np.arange(3.0) ** 2)}, ("linear", "log")
)


def ran(
    cells: list[Cell], store: CellStore, retry_failed: bool = False
) -> tuple[list[CellResult], list[bool]]:
    """Results, and whether each was computed now."""
    results, new = zip(*run_cells(cells, store, retry_failed), strict=True)
    return list(results), list(new)


def cell(name: str, run: Callable[[], Findings], key: str = "k") -> Cell:
    return Cell(name, key, run)


def test_finished_cells_are_read_back_whole(tmp_path: Path) -> None:
    """What a second run reads is what the first one found, arrays bit by bit, and nothing runs again."""
    calls = []

    def run() -> Findings:
        calls.append(1)
        return Findings([GOOD, BAD, TOLD], [PLOT])

    store = CellStore(tmp_path)
    first, is_new = ran([cell("a", run)], store)
    second, is_new_again = ran([cell("a", run)], store)
    assert (is_new, is_new_again) == ([True], [False])
    assert len(calls) == 1
    assert second[0].points == first[0].points
    plot = second[0].plots[0]
    assert (plot.caption, plot.scales) == (PLOT.caption, PLOT.scales)
    np.testing.assert_array_equal(plot.curves["a"], PLOT.curves["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["a-k.json"]


def test_another_key_runs_again(tmp_path: Path) -> None:
    """A changed config, file or code gives another key, and the old result is left alone."""
    store = CellStore(tmp_path)
    assert ran([cell("a", lambda: Findings([GOOD]), "one")], store)[1] == [True]
    assert ran([cell("a", lambda: Findings([BAD]), "two")], store)[1] == [True]
    old = store.read("a", "one")
    assert old is not None
    assert old.points == (GOOD,)


def test_failures_are_recorded_and_left_alone_until_asked(tmp_path: Path) -> None:
    """A broken cell does not stop the others; it runs again only with retry_failed."""
    state = {"broken": True, "calls": 0}

    def run() -> Findings:
        state["calls"] += 1
        if state["broken"]:
            raise ValueError("no such luck")
        return Findings([GOOD])

    cells = [cell("a", run), cell("b", lambda: Findings([GOOD]))]
    store = CellStore(tmp_path)
    first, _ = ran(cells, store)
    assert first[0].error.startswith("ValueError: no such luck")
    assert not first[1].error
    assert metrics(first)["a/pass"] == 0.0
    state["broken"] = False
    assert ran(cells, store)[0][0].error
    assert state["calls"] == 1
    assert not ran(cells, store, retry_failed=True)[0][0].error


def test_a_kill_leaves_nothing_and_is_no_failure(tmp_path: Path) -> None:
    """Ctrl-C goes through; the cell has no file and runs next time."""

    def run() -> Findings:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran([cell("a", run)], CellStore(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"points": []}'])
def test_damaged_cells_run_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A truncated or foreign file counts as none, and is told."""
    store, cells = CellStore(tmp_path), [cell("a", lambda: Findings([GOOD], [PLOT]))]
    ran(cells, store)
    store.path("a", "k").write_text(damage)
    assert ran(cells, store)[1] == [True]
    assert "cannot be read" in caplog.text


def test_keys_follow_config_data_and_code() -> None:
    """Equal in everything: equal keys; different in anything: different keys."""
    module = "data_gen.validation.counting"
    base = cell_key({"bins": 1}, {"f": "0"}, module)
    assert base == cell_key({"bins": 1}, {"f": "0"}, module)
    others = {
        cell_key({"bins": 2}, {"f": "0"}, module),
        cell_key({"bins": 1}, {"f": "1"}, module),
        cell_key({"bins": 1}, {"f": "0"}, "data_gen.validation.chains"),
    }
    assert base not in others
    assert len(others) == 3


def test_code_is_followed_through_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cell imports from our packages at any depth belongs to its code, comments apart; what it
    does not, does not."""
    reached = _reached("data_gen.validation.counting")
    assert {"data_gen.forward_model.event_sampling", "data_gen.readout.frame", "data_gen.core.grid"} <= set(
        reached
    )
    assert not {name for name in reached if name.startswith(("hspi_learn.networks", "data_gen.kinetics"))}
    before = code_hash("data_gen.validation.counting")
    changed = tmp_path / "grid.py"
    source = reached["data_gen.core.grid"].read_text()
    monkeypatch.setattr(
        "data_gen.validation.keys._reached", lambda _: reached | {"data_gen.core.grid": changed}
    )
    for text, differs in ((source + "\n# A remark.\n", False), (source + "\nEXTRA = 1\n", True)):
        changed.write_text(text)
        code_hash.cache_clear()
        assert (code_hash("data_gen.validation.counting") != before) == differs
    code_hash.cache_clear()


def test_points_pass_up_to_their_limit() -> None:
    """At most the limit passes; NaN never does; no limit is no judgement."""
    assert Point("p", 1.0, 1.0, "", "").passed
    assert Point("p", 1.0 + 1e-12, 1.0, "", "").passed is False
    assert Point("p", math.nan, 1.0, "", "").passed is False
    assert TOLD.passed is None


def results() -> list[CellResult]:
    nan = Point("nan", math.nan, 1.0, "truth", "source")
    return [
        CellResult("a", "k", 1.0, "machine", (GOOD, BAD, TOLD, nan), (PLOT,)),
        CellResult("b", "k", 1.0, "machine", error="ValueError: no\n\nTraceback"),
    ]


def test_metrics_have_value_limit_and_pass() -> None:
    """The keys of ``metrics.json``; what is no number has no value and does not pass."""
    assert metrics(results()) == {
        "a/good/value": 1e-9,
        "a/good/limit": 1e-6,
        "a/good/pass": 1.0,
        "a/bad/value": 0.5,
        "a/bad/limit": 0.1,
        "a/bad/pass": 0.0,
        "a/told/value": 3.0,
        "a/nan/limit": 1.0,
        "a/nan/pass": 0.0,
        "b/pass": 0.0,
        "suite/points": 4.0,
        "suite/passed": 1.0,
    }


def test_nan_survives_the_store(tmp_path: Path) -> None:
    """JSON has no NaN, which is stored as a word; a point without a number comes back as one."""
    store = CellStore(tmp_path)
    store.write(results()[0])
    json.loads(store.path("a", "k").read_text(), parse_constant=pytest.fail)
    found = store.read("a", "k")
    assert found is not None
    assert math.isnan(found.points[3].value)


def test_tables_say_what_missed() -> None:
    """CSV keeps full precision and units apart; Markdown has units; misses and failures are named."""
    rows = list(csv.DictReader(io.StringIO(full_table("s", "c", results()).csv())))
    assert [(row["point"], row["pass"]) for row in rows][:2] == [("a/good", "yes"), ("a/bad", "MISS")]
    assert float(rows[0]["figure"]) == 1e-9
    assert rows[0]["unit"] == "keV"
    table = points_table("s", "c", results()).markdown()
    assert "| a/good | 1e-09 keV | 1e-06 keV | yes |" in table
    assert "FAILED" in table
    told = statements(results())
    assert told[0] == "1 of 3 points are within their tolerance."
    assert any(line.startswith("Miss: a/bad: 0.5, tolerance 0.1") for line in told)
    assert "Failed: b: ValueError: no" in told


def test_output_is_complete(tmp_path: Path) -> None:
    """Table in three formats, figures, the page that holds them, and the two files for the docs."""
    write_output(tmp_path, "suite", "A title", {"Suite": "suite"}, results())
    write_results(tmp_path / "docs", "suite", "A title", {"Suite": "suite"}, results())
    for name in ("suite.csv", "suite.md", "suite.tex"):
        assert (tmp_path / "tables" / name).stat().st_size > 0
    assert (tmp_path / "figures" / "a_curve.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text()
    assert "A title" in page
    assert "data:image/png;base64" in page
    assert json.loads((tmp_path / "docs" / "suite.json").read_text()) == metrics(results())
    assert "| a/bad |" in (tmp_path / "docs" / "suite.md").read_text()


def test_unknown_cells_are_told() -> None:
    """The sentence names the value and what is near it; a cell that is switched off is not there."""
    cells = {"decay": {}, "poisson": {}, "off": None}
    assert chosen(cells, None) == ["decay", "poisson"]
    assert chosen(cells, ["poisson", "decay"]) == ["decay", "poisson"]
    with pytest.raises(UserError, match="did you mean decay"):
        chosen(cells, ["decy"])
    with pytest.raises(UserError, match="it needs some of decay, poisson"):
        chosen(cells, ["off"])
