"""What the figures of a comparison show, read back from what they draw, of the three mice of conftest.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from data_gen.core.grid import VoxelGrid
from hspi_learn.evaluation import LeastDeviations, NoisePoint, ReconstructionOutcome
from hspi_learn.evaluation.figures import EvaluationFigures
from hspi_learn.evaluation.study import FULL
from tests.hspi_learn.evaluation.conftest import ATTACKED, FEW, GROUPS, NAN, ORGANS, RANDOM

GREEN = "#009e73"
"""The colour of OSEM."""


@pytest.fixture
def makes(by_hand: ReconstructionOutcome) -> EvaluationFigures:
    """Voxels of 2 mm; of the first two mice the bound of the second tumour alone is above 50 %."""
    bounds = LeastDeviations(torch.full((2, 2, 3), 0.1), torch.full((2, 2, 2), 0.1))
    bounds.lesions[1, :, 1] = 0.6
    bounds.regions[0, 1, 2] = 0.75
    return EvaluationFigures(by_hand, VoxelGrid((4, 5, 6), 2.0), GROUPS, ORGANS, 2, (60.0, 500.0), bounds)


def drawn(figure: Figure) -> Any:
    """The figure, of which matplotlib's types say too little to read it."""
    return figure


def points(collection: Any) -> list[list[float]]:
    """Where the points of a scatter plot are."""
    found: list[list[float]] = collection.get_offsets().tolist()
    return found


def xy(line: Any) -> tuple[list[float], list[float]]:
    """The two columns of a line."""
    return list(line.get_xdata()), list(line.get_ydata())


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in drawn(figure).axes if axis.get_title()]


def test_which_figures_there_are(
    makes: EvaluationFigures, by_hand: ReconstructionOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page; those of tumours, count levels and noise only where there are any."""
    monkeypatch.setattr(EvaluationFigures, "volumes", lambda *_: None)  # which take a second
    noise = {"osem": [NoisePoint("", True, torch.full((2, 3), 0.3), torch.full((2, 3), 0.1))]}
    always = ["volumes_typical_0", "volumes_typical_1", "volumes_worst_0", "profiles_typical"]
    assert list(makes.figures(noise)) == [
        *always,
        *("tumours", "errors_by_mouse", "recovery", "error_against_counts", "bias_variance"),
    ]
    less = replace(by_hand, truth_lesions=torch.full((3, 2, 0), NAN), scores={FULL: by_hand.scores[FULL]})
    assert list(replace(makes, outcome=less).figures({})) == [*always, "errors_by_mouse", "recovery"]
    for method in ("gan", "osem", "mean_image"):
        by_hand.failed[FULL][method][0] = True
    assert list(makes.figures({})) == always


def test_mice_are_chosen_by_the_first_method(
    makes: EvaluationFigures, by_hand: ReconstructionOutcome
) -> None:
    """NRMSE 0.9, 0.1 and 0.5: the last mouse is typical and the first is worst; without a figure it is
    neither. Where the first method failed, the second chooses: 0.5, 0.5 and 0.8."""
    scores = by_hand.scores[FULL]
    scores["gan"] = scores["gan"]._replace(nrmse=torch.tensor([[0.9, 0.9], [0.1, 0.1], [0.5, 0.5]]))
    assert (makes.mouse("typical"), makes.mouse("worst")) == (2, 0)
    scores["gan"] = scores["gan"]._replace(nrmse=torch.tensor([[NAN, NAN], [0.1, 0.1], [0.5, 0.5]]))
    assert (makes.mouse("typical"), makes.mouse("worst")) == (1, 2)
    by_hand.failed[FULL]["gan"][1] = True
    assert makes.mouse("worst") == 2


def test_concentrations_in_bq_or_kbq_per_ml(makes: EvaluationFigures, by_hand: ReconstructionOutcome) -> None:
    """4 Bq in 0.008 mL are 500 Bq/mL; 2.5 times as much is 1.25 kBq/mL. The training mean is not shown."""
    volumes, unit = makes.concentrations(1, 0)
    assert (set(volumes), unit) == ({"truth", "gan", "osem"}, "Bq/mL")
    assert volumes["truth"][1, 3, 2] == pytest.approx(500.0)
    assert volumes["gan"][1, 3, 2] == pytest.approx(450.0)
    assert volumes["osem"][2, 1, 1] == pytest.approx(62.5)
    by_hand.truths[1, 1] *= 2.5
    volumes, unit = makes.concentrations(1, 1)
    assert unit == "kBq/mL"
    assert volumes["truth"].max() == pytest.approx(1.25)
    assert volumes["osem"].max() == pytest.approx(0.25)


def test_volumes_of_a_mouse(makes: EvaluationFigures) -> None:
    """A column for the truth and each method; the body has an outline in all three views (of the air there is
    none in the projections); the caption says which mouse it is and what cannot be told.
    """
    figure, caption = makes.volumes(0, 1, "typical")
    assert titles(figure) == ["Truth", "GAN", "OSEM"]
    assert drawn(figure).get_suptitle() == "Mouse 0, bi213, 100 counts in the windows"
    assert [len(axis.collections) for axis in drawn(figure).axes[:9:3]] == [1, 1, 1]
    assert caption == (
        "bi213 in the test mouse with the median NRMSE of GAN: maximum projections and the slice through the "
        "hottest voxel, on the colour scale of the truth; below, the error of the slice. Not identifiable "
        "(least relative SD above 50 %): tumour (75 %)."
    )
    worst = makes.volumes(2, 1, "worst").caption  # a mouse without bounds
    assert "with the largest NRMSE" in worst
    assert "Not identifiable" not in worst


def test_profiles_run_through_the_hottest_voxel(makes: EvaluationFigures) -> None:
    """Voxel (1, 3, 2): along x the row of 1, 1, 4, 1 Bq and so on; 500 Bq/mL at -1 mm, estimates below."""
    figure, caption = makes.profiles(1)
    assert caption == "Profiles of ac225 through the hottest voxel of mouse 1."
    truth, gan, osem = (xy(line)[1] for line in drawn(figure).axes[0].lines)
    assert truth == pytest.approx([0, 125, 500, 125, 125, 0])
    assert gan == pytest.approx([0.9 * value for value in truth])
    assert osem == pytest.approx([0.5 * value for value in truth])
    along_y, along_z = (xy(axis.lines[0])[1] for axis in drawn(figure).axes[1:3])
    assert along_y == pytest.approx([0, 125, 125, 500, 0])
    assert along_z == pytest.approx([0, 500, 125, 0])


def test_tumours_over_their_volume(makes: EvaluationFigures) -> None:
    """8, 16 and 24 mm3, which cannot be told: gan -10, -20 and (open) 20 % in the first map."""
    figure, caption = makes.tumours()
    assert titles(figure) == list(GROUPS)
    known, lost, *_ = drawn(figure).axes[0].collections
    assert points(known) == [
        pytest.approx([8.0, -10.0], rel=1e-5),
        pytest.approx([16.0, -20.0], rel=1e-5),
    ]
    assert points(lost) == [pytest.approx([24.0, 20.0], rel=1e-5)]
    second = points(drawn(figure).axes[1].collections[0])
    assert second == [pytest.approx([8.0, 10.0], rel=1e-5), pytest.approx([16.0, -10.0], rel=1e-5)]
    assert len(drawn(figure).axes[0].collections) == 4  # gan and osem, not the training mean
    assert "Open: not identifiable, the Cramer-Rao bound is above 50 %." in caption
    assert "Not shown" not in caption


def test_recovery_of_organs_and_tumours(makes: EvaluationFigures) -> None:
    """Of gan ten means, one of which, a tumour, cannot be told; slopes are those of the numbers."""
    figure, caption = makes.recovery()
    assert titles(figure)[1] == "OSEM: slope 0.50"
    organs, tumours, _, lost = (points(c) for c in drawn(figure).axes[0].collections)
    assert organs == [[10, 11], [20, 20], [20, 18], [40, 20], [30, 36], [60, 60]]
    assert tumours == [[100, 90], [200, 210], [400, 400]]
    assert lost == [[200, 220]]
    assert drawn(figure).axes[0].get_ylabel() == "Estimated mean (Bq/mL)"
    assert "the Cramer-Rao bound is above 50 %." in caption


def test_recovery_without_a_tumour_label(makes: EvaluationFigures) -> None:
    """All are organs."""
    figure, _ = replace(makes, tumour=None).recovery()
    organs, tumours, *_ = (points(c) for c in drawn(figure).axes[0].collections)
    assert len(organs) == 9
    assert len(tumours) == 0


def test_errors_of_every_mouse(makes: EvaluationFigures, by_hand: ReconstructionOutcome) -> None:
    """Every method, mouse by mouse; one that failed is named instead."""
    figure, caption = makes.mice()
    places = [points(c) for c in drawn(figure).axes[0].collections[::2]]
    assert places[0] == [pytest.approx([0, error]) for error in (0.2, 0.4, 0.4)]
    assert places[2] == [pytest.approx([2, error]) for error in (0.6, 0.7, 0.9)]
    assert caption == "NRMSE of each unseen mouse; grey lines join one mouse."
    by_hand.failed[FULL]["osem"][0] = True
    assert makes.mice().caption.endswith(" Not shown, since it failed: OSEM.")
    assert makes.compared == ["gan"]


def test_errors_against_counts(makes: EvaluationFigures, by_hand: ReconstructionOutcome) -> None:
    """Median counts are 200 at both levels here, then 40; attacked marks stand at full counts. What failed
    at a level or under an attack is left out there alone.
    """
    for method, scores in by_hand.scores[FEW].items():
        by_hand.scores[FEW][method] = scores._replace(counts=scores.counts / 5)
    by_hand.failed[RANDOM]["osem"][0] = True
    figure, caption = makes.counts()
    lines = [
        (
            to_hex(line.get_color()),
            xy(line)[0],
            xy(line)[1],
        )
        for line in drawn(figure).axes[0].lines
        if xy(line)[0]
    ]
    osem = [(x, y) for colour, x, y in lines if colour == GREEN]
    (clean_x, clean_y), (attacked_x, attacked_y) = osem
    assert [*clean_x, *attacked_x] == pytest.approx([40, 200, 200])
    assert [*clean_y, *attacked_y] == pytest.approx([0.8, 0.5, 0.8])
    assert len(lines) == 3 + 2 + 1
    assert drawn(figure).axes[0].get_xlabel() == "Counts, 60-500 keV (median over mice)"
    assert caption.endswith(" Under attack at full counts: median over the first 2 mice.")
    by_hand.failed[FEW]["osem"][0] = True
    again = [
        xy(line)[0]
        for line in drawn(makes.counts().figure).axes[0].lines
        if to_hex(line.get_color()) == GREEN
    ]
    assert again == [[200], [200]]
    for condition in (ATTACKED, RANDOM):
        del by_hand.scores[condition]
    assert "attack" not in makes.counts().caption


def test_bias_against_noise(makes: EvaluationFigures) -> None:
    """RMS over maps and regions in per cent, without those that no scan has or most cannot tell; a method
    that failed is not drawn.
    """
    bias = torch.tensor([[NAN, 0.3, 9.0], [NAN, -0.4, 9.0]])
    sd = torch.tensor([[NAN, 0.1, 9.0], [NAN, 0.1, 9.0]])
    told = torch.tensor([[[0.1, 0.1, 0.6], [0.1, 0.1, 0.6]]])
    makes = replace(makes, bounds=LeastDeviations(told, torch.zeros(1, 2, 0)))
    settings = [NoisePoint("1", False, 2 * bias, sd / 2), NoisePoint("2", True, bias, sd)]
    broken = [NoisePoint("", True, bias, torch.full_like(sd, torch.inf))]
    figure, caption = makes.bias_variance({"osem": settings, "gan": broken})
    assert "2 are left out that most scans cannot tell" in caption
    (line,) = drawn(figure).axes[0].lines
    rms = 100 * 0.125**0.5
    assert xy(line)[0] == pytest.approx([5.0, 10.0])
    assert xy(line)[1] == pytest.approx([2 * rms, rms])
    assert points(drawn(figure).axes[0].collections[0]) == [pytest.approx([10.0, rms])]
    assert [text.get_text() for text in drawn(figure).axes[0].texts] == ["1", "2"]
