"""What may be said of methods, sentence by sentence, and what the page shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hspi_learn.evaluation import ReconstructionOutcome, Table
from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.report import failures, findings, verdict, write_report
from hspi_learn.evaluation.study import FULL
from hspi_learn.visual.style import paper_figure
from tests.hspi_learn.evaluation.conftest import ATTACKED, FEW


def difference(low: float, high: float, score: str = "nrmse", scans: float = 8.0) -> dict[str, float]:
    key = f"test/{score}_difference/gan_minus_osem"
    return {key: (low + high) / 2, f"{key}/low": low, f"{key}/high": high, f"{key}/scans": scans}


@pytest.mark.parametrize(
    ("low", "high", "told", "higher"),
    [
        (-0.3, -0.1, "GAN has the lower error than OSEM", "OSEM has the higher error than GAN"),
        (0.1, 0.3, "OSEM has the lower error than GAN", "GAN has the higher error than OSEM"),
        (-0.1, 0.1, *["No difference between GAN and OSEM is shown"] * 2),
        (0.0, 0.2, *["No difference between GAN and OSEM is shown"] * 2),
        (-0.2, 0.0, *["No difference between GAN and OSEM is shown"] * 2),
    ],
)
def test_the_better_one_is_named(low: float, high: float, told: str, higher: str) -> None:
    """By the side of 0 on which the whole interval lies; an end at 0 does not exclude it."""
    numbers = difference(low, high, "error")
    interval = (
        f": mean difference in error {(low + high) / 2:+.2g}, 95 % interval over samples "
        f"{low:+.2g} to {high:+.2g}."
    )
    assert verdict(numbers, "gan", "osem", "error") == told + interval
    assert verdict(numbers, "gan", "osem", "error", higher_is_better=True) == higher + interval


def test_scores_of_mice_have_names() -> None:
    """NRMSE and tumour error over mice, others by their own name over samples; eight are enough."""
    told = verdict(difference(-0.3, -0.1, "tumour_error"), "gan", "osem", "tumour_error")
    assert told.startswith("GAN has the lower tumour error than OSEM: mean difference in tumour error -0.2")
    assert "interval over mice" in told
    few = verdict(difference(-0.3, -0.1, "hits", 7.0), "gan", "osem", "hits")
    assert few == "No verdict on hits: 7 samples were compared, which are too few; it needs 8 or more."
    assert verdict(difference(-0.3, -0.1, "hits"), "gan", "control", "hits") == ""


def test_failures_by_condition(by_hand: ReconstructionOutcome) -> None:
    """How often, at which condition and on which samples, of which the first ten are named."""
    by_hand.failed[FULL]["osem"][1:] = True
    by_hand.failed[FEW]["gan"][0] = True
    by_hand.failed[ATTACKED]["gan"] = torch.ones(12, dtype=torch.bool)
    assert failures(by_hand, "mice") == [
        "OSEM failed on 2 of 3 mice (NaN or infinite values; number 1, 2) and is not ranked.",
        "GAN failed on 1 of 3 mice at 0.2 of the counts (NaN or infinite values; number 0) and is not "
        "ranked.",
        "GAN, attacked, failed on 12 of 12 mice (NaN or infinite values; number 0, 1, 2, 3, 4, 5, 6, 7, 8, "
        "9, ...) and is not ranked.",
    ]
    by_hand.failed[ATTACKED]["gan"][10:] = False
    assert failures(by_hand, "samples")[2].endswith(
        "samples (NaN or infinite values; number 0, 1, 2, 3, 4, 5, 6, 7, 8, 9) and is not ranked."
    )


def test_what_is_found_of_all_pairs(by_hand: ReconstructionOutcome) -> None:
    """Failures first, then score after score; what is left out, or failed, is not compared; the same sentence
    of many pairs is said once."""
    numbers = difference(-0.3, -0.1) | difference(-0.2, 0.1, "tumour_error")
    told = findings(by_hand, numbers, ("tumour_error", "nrmse"))
    assert [line.split(":")[0] for line in told] == [
        "No difference between GAN and OSEM is shown",
        "GAN has the lower NRMSE than OSEM",
    ]
    assert findings(by_hand, numbers, ("nrmse",), left_out=("osem",)) == []
    assert findings(by_hand, difference(-0.3, -0.1, "hits"), ("hits",), ("hits",))[0].startswith(
        "OSEM has the higher"
    )
    pairs = ("gan_minus_osem", "gan_minus_mean_image", "osem_minus_mean_image")
    few = {f"test/nrmse_difference/{pair}": 0.1 for pair in pairs}
    few |= {f"test/nrmse_difference/{pair}/scans": 3.0 for pair in pairs}
    assert len(findings(by_hand, few, ("nrmse",))) == 1
    by_hand.failed[FULL]["gan"][0] = True
    (only,) = findings(by_hand, numbers, ("tumour_error", "nrmse"))
    assert only.startswith("GAN failed on 1 of 3 mice")
    assert "of 3 samples" in findings(by_hand, {}, ("hits",))[0]


def test_the_page(tmp_path: Path) -> None:
    """Title, sentences (empty ones left out), facts, the first table above the figures and the others below,
    and figures as wide as they were made, at 125 pixels an inch.
    """
    with paper_figure(2.0, 1.0) as figure:
        pass
    tables = [Table(f"t{n}", f"Caption {n}.", ("Method", "x"), (("a", 1.23456),)) for n in range(3)]
    path = write_report(
        tmp_path / "report.html",
        "The title",
        ["First.", "", "Second."],
        {"Camera": "toy"},
        tables,
        {"empty": CaptionedFigure(figure, "What it shows.")},
    )
    assert path == tmp_path / "report.html"
    page = path.read_text()
    assert page.count("<li>") == 2
    assert page.count("<td>1.23</td>") == 3
    assert 'width="250"' in page
    order = [
        "The title</h1>",
        "First.",
        "Second.",
        "Caption 0.",
        "<dt>Camera</dt><dd>toy</dd>",
        "<figcaption>What",
    ]
    order += ["Caption 1.", "Caption 2."]
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    assert (tmp_path / "figures" / "empty.png").read_bytes().startswith(b"\x89PNG")
    assert "<li>" not in write_report(tmp_path / "b.html", "T", [""], {}, [], {}).read_text()
