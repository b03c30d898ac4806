"""hspi-design from its command line: files, and wrong input."""

import json
import sys
from pathlib import Path

import pytest

from hspi_learn.commands.design import main

CAMERA = Path(__file__).parent / "tiny_camera.yaml"
TINY = (
    f"camera.name_or_path={CAMERA}",
    "grid.shape=[8,8,8]",
    "grid.spacing_mm=3.5",
    "phantom.supersampling=1",
    "windows_kev=[20,100,250,480]",
    "materials=[gold]",
    "diameter_mm=[0.8,3.0]",
    "most_evaluations=3",
    "grid_points=2",
    "model.ray_sampling.rays=8",
    "model.reference_energies=2",
    "threads=1",
)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["hspi-design", *arguments])
    main()


def test_files_of_a_design(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Every file of a run folder; the numbers agree with each other: gain, evaluations, rows of the table."""
    run(monkeypatch, *TINY, f"run_dir={tmp_path}/run")
    folder = tmp_path / "run"
    for name in (
        "config.yaml",
        "system.json",
        "environment.json",
        "figures/design.png",
        "tables/materials.md",
    ):
        assert (folder / name).stat().st_size > 0
    numbers = json.loads((folder / "metrics.json").read_text())
    assert numbers["gain"] == pytest.approx(numbers["before/objective"] / numbers["after/objective"])
    assert numbers["gain"] > 1
    assert numbers["gold/gradient/evaluations"] <= 3
    assert numbers["gold/grid/evaluations"] == 4
    assert 0.8 <= numbers["gold/gradient/diameter_mm"] <= 3.0
    wanted = [numbers[f"after/tumour/{name}"] for name in ("Ac-225", "Bi-213")]
    assert sum(wanted) == pytest.approx(numbers["after/objective"])
    assert len((folder / "tables" / "materials.csv").read_text().splitlines()) == 2
    assert "as it came" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("diameter_mm=[2.0,0.2]", "diameter_mm is [2, 0.2]; it needs 0 < lowest < highest"),
        ("plane_mm=[21,37]", "plane_mm in 4-34"),
        ("materials=[tungstn]", "did you mean 'tungsten'"),
        ("wanted=tumor", "did you mean tumour"),
        ("wanted=brain", "'brain' has no activity"),
        ("grid_points=1", "grid_points is 1"),
        ("rays=0", "sampling.rays is 0"),
        ("projector=matrix", "projector is 'matrix'; a design needs 'ray'"),
        ("model.scatter_terms=[object_scatter]", "a design needs ['leakage'] or none"),
        ("camera.collimator.diametr_mm=1", "did you mean diameter_mm"),
        ("most_evaluations=many", "most_evaluations is 'many'"),
    ],
)
def test_wrong_input(
    argument: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """One sentence with key, value and what would be right, exit 2, and no file."""
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, *TINY, argument, f"run_dir={tmp_path}/run")
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
