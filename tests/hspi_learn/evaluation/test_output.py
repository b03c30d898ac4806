"""What a comparison of reconstructions tells, file by file, of six mice with facts chosen by hand."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_gen.core.events import EventList, Frame
from data_gen.core.grid import EnergyBins
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.storage import StoredScan
from hspi_learn.attacks import PoissonBall, RandomPerturbation
from hspi_learn.evaluation import (
    BoundedAttack,
    Conditions,
    Judge,
    LeastDeviations,
    NoisePoint,
    ReconstructionOutcome,
    ReconstructionReport,
    ReconstructionStudy,
    Table,
    Tuned,
    print_result,
)
from hspi_learn.evaluation import report as page_of
from hspi_learn.evaluation.output import rounded
from hspi_learn.reconstructor import ScanBatch
from tests.hspi_learn.evaluation.conftest import GROUPS, Oracle

TOLD = "iterations of 2 subsets, Gaussian filter of"
WIDE = Tuned({"iterations": 4, "postfilter_fwhm_mm": 1.5}, f"4 {TOLD} 1.5 mm FWHM", True)
NARROW = Tuned({"iterations": 3, "postfilter_fwhm_mm": 0.0}, f"3 {TOLD} 0 mm FWHM", False)
TUNINGS = {1.0: {"osem": WIDE}, 0.2: {"osem": NARROW}}


class Records:
    """Scan i: 5 + i events, 1 + i of them in photopeaks, 2000 (i + 1) Bq, (i + 1) min in two frames."""

    def __init__(self, density: Tensor) -> None:
        self.density = density

    def sample(self, i: int) -> StoredScan:
        energies_kev = torch.tensor([61.0, 63.5, 63.0, 499.5, 59.5] + [210.0] * i)
        times_s = torch.zeros(len(energies_kev))
        return StoredScan(
            number=i,
            events=EventList(torch.zeros(len(energies_kev), dtype=torch.int64), energies_kev, times_s),
            frames=(Frame(0.0, 40.0 * (i + 1)), Frame(500.0, 20.0 * (i + 1))),
            injected_bq=2000.0 * (i + 1),
            body_mass_g=20.0,
            counts_photopeak=1 + i,
            density=self.density[i],
        )


@pytest.fixture(scope="module")
def outcomes(
    model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> Mapping[bool, ReconstructionOutcome]:
    """0.9, 0.8 and 0.5 times the truth; with and without an attack."""
    methods = {
        name: Oracle(scans.activity, factor)
        for name, factor in (("gan", 0.9), ("osem", 0.8), ("mean_image", 0.5))
    }
    ball: Any = PoissonBall(1.0)
    attack = {"random": BoundedAttack(RandomPerturbation(1), ball)}
    return {
        attacked: ReconstructionStudy(
            model32, judge, {1.0: methods, 0.2: methods}, Conditions((1.0, 0.2), attack if attacked else {})
        ).run([scans])
        for attacked in (False, True)
    }


@pytest.fixture
def report(
    outcomes: Mapping[bool, ReconstructionOutcome],
    model32: HyperspectralForwardModel,
    judge: Judge,
    scans: ScanBatch,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Makes the report, attacked or not, with bounds of so many scans."""
    monkeypatch.setattr(model32.camera, "name", "toy", raising=False)
    spread = NoisePoint("", True, torch.full((2, 3), 0.3), torch.full((2, 3), 0.1))

    def make(attacked: bool = False, bounded: int = 0) -> ReconstructionReport:
        bounds = LeastDeviations(torch.full((bounded, 2, 3), 0.7), torch.full((bounded, 2, 1), 0.2))
        records: Any = Records(scans.density)
        return ReconstructionReport(
            model32,
            judge,
            outcomes[attacked],
            {"osem": [spread]},
            TUNINGS,
            bounds,
            records,
            "counts within 1 sigma",
        )

    return make


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0"),
        (0.0123, "0.0123"),
        (0.012345, "0.0123"),
        (0.5, "0.500"),
        (1.0, "1.00"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (24.94, "24.9"),
        (-24.96, "-25.0"),
        (99.96, "100"),
        (273.6, "274"),
        (999.7, "1,000"),
        (27_449.0, "27,400"),
        (1_234_567.0, "1,230,000"),
        (0.09996, "0.100"),
    ],
)
def test_three_significant_digits(value: float, told: str) -> None:
    """Also where rounding gives one more digit before the point, and with separators of thousands."""
    assert rounded(value) == told


def test_facts_of_every_scan(report: Any) -> None:
    """Counts, photopeak counts, kBq and minutes of the records above."""
    facts = report().facts()
    assert facts == {
        "counts": [5.0, 6.0, 7.0, 8.0, 9.0, 10.0],
        "counts_photopeak": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "injected_kbq": [2.0, 4.0, 6.0, 8.0, 10.0, 12.0],
        "duration_min": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }


def test_numbers_name_scans_tunings_noise_and_scores(report: Any) -> None:
    """Medians of the facts, both tunings, RMS of the noise study, errors of the oracles; all are finite."""
    numbers = report(bounded=6).numbers()
    facts = {"counts": 7.5, "counts_photopeak": 3.5, "injected_kbq": 7.0, "duration_min": 3.5}
    assert {name: numbers[f"test/{name}_median"] for name in facts} == facts
    assert {name: value for name, value in numbers.items() if name.startswith("osem/")} == {
        "osem/iterations": 4.0,
        "osem/postfilter_fwhm_mm": 1.5,
        "osem/iterations_at_0.2": 3.0,
        "osem/postfilter_fwhm_mm_at_0.2": 0.0,
    }
    assert numbers["test/noise_sd/osem/bi213"] == pytest.approx(0.1)
    assert numbers["test/noise_bias/osem/ac225"] == pytest.approx(0.3)
    assert numbers["test/nrmse/gan"] == pytest.approx(0.1, abs=1e-5)
    assert numbers["test/nrmse_at_0.2/osem"] == pytest.approx(0.2, abs=1e-5)
    assert numbers["test/least_sd_tumours/ac225"] == pytest.approx(0.2)
    assert all(math.isfinite(value) for value in numbers.values())
    assert "test/bias/gan/outside" not in numbers


def test_tables_in_their_order(report: Any) -> None:
    """The headline first; of attacks only where there are any."""
    names = ["methods", "tumours", "texture", "nrmse", "counts", "regional_bias"]
    without = report()
    assert [table.name for table in without.tables(without.numbers())] == names
    attacked = report(attacked=True)
    expected = [*names[:5], "attacks", names[5]]
    assert [table.name for table in attacked.tables(attacked.numbers())] == expected


def test_statements_leave_the_training_mean_out(report: Any) -> None:
    """Tumours before voxels; of six mice there is no verdict."""
    found = report()
    assert found.statements(found.numbers()) == [
        f"No verdict on {score}: 6 mice were compared, which are too few; it needs 8 or more."
        for score in ("tumour error", "NRMSE")
    ]
    pairs = (("gan", "osem"), ("gan", "mean_image"), ("osem", "mean_image"))
    numbers = {
        f"test/{s}_difference/{a}_minus_{b}": -0.1 for s in ("nrmse", "tumour_error") for a, b in pairs
    }
    for key in list(numbers):
        numbers |= {f"{key}/low": -0.2, f"{key}/high": -0.05, f"{key}/scans": 8.0}
    told = found.statements(numbers)
    assert len(told) == 2
    assert told[0].startswith("GAN has the lower tumour error than OSEM")
    assert told[1].startswith("GAN has the lower NRMSE than OSEM")


def test_what_was_compared_in_words(report: Any) -> None:
    """Every fact with its median and span; the tuning with the warning that it lies at the edge."""
    found = report(attacked=True, bounded=3)
    told = found.about(found.facts())
    expected = {
        "Camera": "toy: 48 pixels",
        "Nuclide": "Ac-225; maps of ac225, bi213",
        "Grid": "4 x 5 x 6 voxels of 2 x 2 x 2 mm (z, y, x)",
        "Windows": "edges at 60, 150, 300, 500 keV, the same for every method",
        "Test scans": "6 unseen mice",
        "Tumours": "6, voxels that touch being one",
        "Accepted events": "median 7.50 (5.00 to 10.0), in the whole energy range of the data set",
        "Photopeak events": "median 3.50 (1.00 to 6.00)",
        "Injected": "median 7.00 (2.00 to 12.0) kBq",
        "Scan time": "median 3.50 (1.00 to 6.00) min",
        "OSEM": "4 iterations of 2 subsets, Gaussian filter of 1.5 mm FWHM, chosen on validation scans "
        "(at the edge of what was tried)",
        "Identifiable": "Cramer-Rao bounds of 3 scans; activities whose least relative SD is above 50 % are "
        "marked",
        "Attack": "counts within 1 sigma",
    }
    assert {name: told[name] for name in expected} == expected
    assert "not computed" in report().about(found.facts())["Identifiable"]
    assert "Attack" not in report().about(found.facts())


def test_a_tuning_inside_what_was_tried_has_no_warning(report: Any) -> None:
    """Told of the tuning at all counts, whatever that at fewer counts is."""
    found = report()
    inside = ReconstructionReport(
        found.model,
        found.judge,
        found.outcome,
        {},
        {1.0: TUNINGS[0.2], 0.2: TUNINGS[1.0]},
        found.bounds,
        found.scans,
    )
    assert inside.about(inside.facts())["OSEM"].endswith("FWHM, chosen on validation scans")


def test_the_spectrum_counts_events_in_bins_of_2_kev(report: Any, scans: ScanBatch) -> None:
    """Of 60 to 500 keV: one event in the first bin, two in the second, one in the last, the others at 210
    keV; the event below is not shown. The curve is the model's expectation in the record's time; 1e-4.
    """
    found = report()
    figure, caption = found.spectrum(2, found.scans.sample(2))
    recorded, expected = (patch.get_data() for patch in figure.axes[0].patches)
    assert recorded.edges.tolist() == list(range(60, 502, 2))
    counts = np.zeros(220)
    counts[[0, 1, 75, 219]] = 1, 2, 2, 1
    assert (2 * recorded.values).tolist() == counts.tolist()
    bins = EnergyBins(60.0, 500.0, 220)
    one = slice(2, 3)
    state = found.model.attenuation(scans.density[one])
    seen = found.model.with_energy_bins(bins).expected_counts(scans.activity[one], state, 180.0)
    assert 2 * expected.values == pytest.approx(seen[0].sum(0).numpy(), rel=1e-4, abs=1e-6)
    assert caption == (
        "Spectrum of mouse 2, all pixels: 7 accepted events, 3 of them in photopeaks. Marks on the axis are "
        "window edges."
    )
    assert [line.get_xdata()[0] for line in figure.axes[0].lines[:4]] == [60.0, 150.0, 300.0, 500.0]


def test_figures_know_windows_and_tumours(report: Any) -> None:
    """Counts are those of 60 to 500 keV; of regions the six tumours are the hot ones, in both maps."""
    figures = report().figures()
    assert list(figures)[-1] == "spectrum_typical"
    assert "60-500 keV" in figures["error_against_counts"].figure.axes[0].get_xlabel()
    organs, tumours = (found.get_offsets()[:, 0] for found in figures["recovery"].figure.axes[0].collections)
    assert len(organs) == len(tumours) == 12
    assert min(tumours) > 3 * max(organs)


def undrawn(figure: Figure, path: Path) -> Path:
    """An empty picture, since drawing takes seconds."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"PNG")
    return path


@pytest.mark.parametrize("attacked", [False, True])
def test_all_files(
    attacked: bool, report: Any, tmp_path: Path, scans: ScanBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of the report and of every mouse, estimates in Bq/mL, and a page with its title and facts."""
    monkeypatch.setattr(page_of, "save_figure", undrawn)
    found = report(attacked)
    assert found.write(tmp_path) == found.numbers()
    names = {"methods", "tumours", "texture", "nrmse", "counts", "regional_bias", "mice"}
    names |= {"attacks", "attacked_samples"} if attacked else set()
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == names
    mice = list(csv.DictReader(io.StringIO((tmp_path / "tables" / "mice.csv").read_text())))
    assert len(mice) == 6 * 2 * (2 * 3 + (2 if attacked else 0))
    assert [float(row["injected_kbq"]) for row in mice[:12:2]] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    with np.load(tmp_path / "predictions.npz") as arrays:
        per_ml = scans.activity.numpy() / 0.008  # voxels of 2 mm are 0.008 mL
        np.testing.assert_allclose(arrays["truth"], per_ml, rtol=1e-6)
        np.testing.assert_allclose(arrays["gan"], 0.9 * per_ml, rtol=1e-6)
        assert arrays["groups"].tolist() == list(GROUPS)
        assert arrays["spacing_mm"].tolist() == [2.0, 2.0, 2.0]
        np.testing.assert_array_equal(arrays["density_g_cm3"], scans.density.float().numpy())
    page = (tmp_path / "report.html").read_text()
    assert "<h1>Ac-225 in toy: reconstruction of 6 unseen mice</h1>" in page
    assert "<dt>Camera</dt><dd>toy: 48 pixels</dd>" in page
    assert {path.stem for path in (tmp_path / "figures").iterdir()} >= {
        "spectrum_typical",
        "recovery",
        "tumours",
    }


TABLE = Table(
    "t", "", ("Method", *(f"a long score {n}" for n in range(12))), (("a long name", *[0.25] * 12),)
)


def test_a_log_is_120_wide_whatever_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Names stay in one line and stand left, figures right; sentences and the address are never broken."""
    monkeypatch.setenv("COLUMNS", "40")
    sentence = "word " * 60 + "end."
    print_result(TABLE, [sentence], tmp_path / "report.html")
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines[:-2]) == 120
    (row,) = (line for line in lines if "a long name" in line)
    assert row.startswith("│ a long name │")
    assert row.count("0.250") == 12
    assert lines[-2:] == [sentence, f"Report: {(tmp_path / 'report.html').resolve()}"]


def test_names_stand_left_and_figures_right(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of the widths of their headers, 6 and 5, also where a header comes first in the alphabet."""
    print_result(Table("t", "", ("Method", "score", "A mean"), (("a", 1.5, 2.5),)), [], tmp_path)
    assert "│ a      │   1.5 │    2.5 │" in capsys.readouterr().out


def test_a_terminal_has_its_own_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The table of twelve figures folds into 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    print_result(TABLE, [], tmp_path)
    table = capsys.readouterr().out.splitlines()[:-1]
    assert max(len(line) for line in table) <= 100


def test_names_with_brackets_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Units in brackets, folders of sweeps, and colons."""
    table = Table("t", "", ("Method", "error [kbq]"), (("my[a] :cat:", 1.5),))
    print_result(table, ["No verdict on error [kbq]."], tmp_path / "out[seed]" / "report.html")
    told = capsys.readouterr().out
    for name in ("error [kbq] ", "my[a] :cat:", "No verdict on error [kbq].", "out[seed]/report.html"):
        assert name in told
