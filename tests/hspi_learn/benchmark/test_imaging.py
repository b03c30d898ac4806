"""Figures of the imaging suite from made-up evaluations, by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from data_gen.core.errors import UserError
from data_gen.validation.point import Point
from hspi_learn.benchmark import imaging_figures

METHODS = {"unet": ["unet_0", "unet_1"], "osem": ["osem"]}


def _evaluation(folder: Path, **changes: float) -> str:
    """Two trainings of a U-Net and OSEM, two maps."""
    numbers: dict[str, float] = {}
    for run, nrmse, rms, bias in (
        ("unet_0", 0.30, 0.20, -0.10),
        ("unet_1", 0.34, 0.24, -0.18),
        ("osem", 0.50, 0.40, -0.5),
    ):
        numbers |= {f"test/failed/{run}": 0.0, f"test/nrmse/{run}": nrmse}
        for one, tumours in (("Ra-223", 90.0), ("Pb-211", 10.0)):
            numbers |= {
                f"test/nrmse/{run}/{one}": nrmse,
                f"test/organ_error/{run}/{one}": nrmse / 2,
                f"test/tumour_auc/{run}/{one}": 0.9,
                f"test/false_lesions/{run}/{one}": 0.1 if one == "Ra-223" else 0.3,
            }
            for size in ("30_60mm3", "60mm3"):
                place = f"{run}/{one}/{size}"
                shift = 0.0 if one == "Ra-223" else 0.1
                numbers |= {
                    f"test/tumour_activity/tumours/{place}": tumours,
                    f"test/tumour_activity/bias/{place}/chosen": bias,
                    f"test/tumour_activity/rms/{place}/chosen": rms + shift,
                    f"test/tumour_activity/slope/{place}/chosen": 0.9,
                }
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(numbers | {"test/frechet/osem": 3.0}))
    return str(folder)


@pytest.fixture
def points(tmp_path: Path) -> dict[str, Point]:
    evaluations = {"1e4": _evaluation(tmp_path / "few"), "1e5": _evaluation(tmp_path / "many")}
    return {p.name: p for p in imaging_figures(evaluations, METHODS, ["osem"]).points}


def test_means_over_trainings_and_their_interval(points: dict[str, Point]) -> None:
    """.30 and .34: mean .32, half width 12.706 x .0283 / sqrt(2) = .254 (Student's t of one degree)."""
    assert points["nrmse_median/unet/1e5"].value == pytest.approx(0.32)
    assert points["nrmse_median/unet/1e5/low"].value == pytest.approx(0.32 - 0.2541, abs=1e-4)
    assert points["nrmse_median/unet/1e5/high"].value == pytest.approx(0.32 + 0.2541, abs=1e-4)
    assert "nrmse_median/osem/1e5/low" not in points


def test_figures_have_their_own_names(tmp_path: Path) -> None:
    """Headlines are the means of the points of the same names."""
    found = imaging_figures({"1e5": _evaluation(tmp_path / "many")}, METHODS, ["osem"])
    assert found.headlines["nrmse_median/unet/1e5"] == pytest.approx(0.32)
    assert found.headlines["frechet/osem"] == 3.0


def test_maps_are_weighted_by_their_tumours(points: dict[str, Point]) -> None:
    """Nine tenths of .20, one of .30: .21; with .25 of the other training .23. Others are plain means."""
    assert points["tumour_rms/unet/60mm3/1e4"].value == pytest.approx(0.23)
    assert points["false_lesions/osem/1e4"].value == pytest.approx(0.2)
    assert math.isnan(points["tumour_rms/unet/0-30/1e4"].value)
    assert points["frechet/osem"].value == 3.0


def test_what_trained_methods_must_reach(points: dict[str, Point]) -> None:
    """At 1e5 alone: bias -.14 within .15, RMS .23 over .41 within .75, organs and NRMSE .64."""
    judged = {name: point for name, point in points.items() if name.startswith("reached/")}
    assert {name.split("/")[2] for name in judged} == {"unet"}
    assert all(name.endswith("1e5") for name in judged)
    assert judged["reached/tumour_bias/unet/60mm3/1e5"].value == pytest.approx(0.14)
    assert judged["reached/tumour_bias/unet/60mm3/1e5"].passed
    assert judged["reached/tumour_rms/unet/60mm3/1e5"].value == pytest.approx(0.23 / 0.41)
    assert judged["reached/organ_rms/unet/1e5"].value == pytest.approx(0.64)
    assert judged["reached/nrmse_median/unet/1e5"].passed


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"which has no metrics\.json"):
        imaging_figures({"1e5": str(tmp_path / "none")}, METHODS, ["osem"])
    one = _evaluation(tmp_path / "one")
    with pytest.raises(UserError, match=r"methods\.gan names gan_0"):
        imaging_figures({"1e5": one}, {"gan": ["gan_0"]}, ["osem"])
