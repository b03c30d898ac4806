"""A study on a small dense model: same data for all, fewer counts, attacks, noise, tables and the page."""

import csv
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.attacks import PoissonBall, ProjectedGradient, RandomPerturbation
from hspi_learn.classical import MeanImage, Osem
from hspi_learn.evaluation import (
    BoundedAttack,
    Condition,
    Conditions,
    Judge,
    LeastDeviations,
    ReconstructionCase,
    ReconstructionOutcome,
    ReconstructionStudy,
    Sweep,
    noise_study,
)
from hspi_learn.evaluation.figures import EvaluationFigures
from hspi_learn.evaluation.report import verdict, write_report
from hspi_learn.evaluation.spectrum import expected_spectrum, line_labels
from hspi_learn.evaluation.study import FULL
from hspi_learn.evaluation.summary import noise_summary, organ_error, size_classes, summary
from hspi_learn.evaluation.tables import (
    Table,
    attacks_table,
    bias_table,
    counts_table,
    headline_table,
    mice_table,
    nrmse_table,
    tumours_table,
)
from hspi_learn.metrics import scan_nrmse
from hspi_learn.reconstructor import ScanBatch
from tests.hspi_learn.evaluation.conftest import GROUPS, ORGANS, Oracle


@pytest.fixture(scope="module")
def outcome(model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch) -> ReconstructionOutcome:
    osem = Osem(model32, iterations=2, subsets=2)
    methods = {
        "gan": osem.with_settings(iterations=6, postfilter_fwhm_mm=0.0),
        "osem": osem,
        "mean_image": MeanImage.of(model32, [scans]),
    }
    ball = PoissonBall(3.0)
    adversaries = {
        "attacked": BoundedAttack(ProjectedGradient(3), ball),
        "random": BoundedAttack(RandomPerturbation(3), ball),
    }
    halves = [ScanBatch(*(part[i : i + 3] for part in scans)) for i in (0, 3)]
    conditions = Conditions((1.0, 0.2), adversaries)
    return ReconstructionStudy(model32, judge, {1.0: methods, 0.2: methods}, conditions).run(halves)


def test_scores_of_a_known_estimate(
    model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> None:
    """0.8 times the truth: NRMSE 0.2 everywhere, bias -0.2 in every organ, slope 0.8; 1e-5."""
    study = ReconstructionStudy(model32, judge, {1.0: {"oracle": Oracle(scans.activity, 0.8)}})
    numbers = summary(study.run([scans]), GROUPS, ORGANS)
    for key in ("nrmse", "nrmse_mean", "nrmse_worst", "nrmse_tumour"):
        assert numbers[f"test/{key}/oracle"] == pytest.approx(0.2, abs=1e-5)
    for group in GROUPS:
        assert numbers[f"test/bias/oracle/{group}"] == pytest.approx(-0.2, abs=1e-5)
        assert numbers[f"test/bias_tumour/oracle/{group}"] == pytest.approx(-0.2, abs=1e-5)
    assert numbers["test/slope/oracle"] == pytest.approx(0.8, abs=1e-4)
    assert numbers["test/mice"] == 6


def test_an_oracle_wrong_in_tumours_alone(
    model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> None:
    """Half of each tumour, organs as they are: error 0.5, bias -0.5, slope 0.5, NRMSE 0.5 in tumours, none in
    organs; 1e-4. Wrong in organs alone it is the other way round.
    """
    tumour = (scans.labels == 2)[:, None]
    methods = {
        "tumours": Oracle(scans.activity, torch.where(tumour, 0.5, 1.0)),
        "organs": Oracle(scans.activity, torch.where(tumour, 1.0, 1.3)),
    }
    numbers = summary(ReconstructionStudy(model32, judge, {1.0: methods}).run([scans]), GROUPS, ORGANS)
    found: dict[str, list[float]] = {name: [] for name in methods}
    for name, values in found.items():
        for figure in ("tumour_error", "tumour_bias", "tumour_slope", "organ_error"):
            values += [numbers[f"test/{figure}/{name}/{group}"] for group in GROUPS]
    assert found["tumours"] == pytest.approx([0.5, 0.5, -0.5, -0.5, 0.5, 0.5, 0.0, 0.0], abs=1e-4)
    assert found["organs"] == pytest.approx([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.3, 0.3], abs=1e-4)
    assert numbers["test/nrmse_tumour/tumours"] == pytest.approx(0.5, abs=1e-4)
    assert numbers["test/nrmse_tumour/organs"] == pytest.approx(0.0, abs=1e-4)
    assert numbers["test/tumour_auc/tumours/ac225"] == 1.0  # 40 and more against 25 and less
    assert numbers["test/tumours"] == 6


def test_tumours_by_size_and_organs_by_vote() -> None:
    """Thirds of 1 to 6 mm3 by hand; of organs 10, 10 and 40 % off the error is 20 %, whatever their size."""
    volume = torch.tensor([[1.0, 6.0], [2.0, 5.0], [3.0, 4.0], [torch.nan, torch.nan]])
    (low, high), classes = size_classes(volume)
    assert (low, high) == pytest.approx((2 + 2 / 3, 4 + 1 / 3))
    assert [volume[chosen].tolist() for chosen in classes.values()] == [[1.0, 2.0], [3.0, 4.0], [6.0, 5.0]]
    assert size_classes(volume[:1])[1] == {}
    truth = torch.ones(3, 5)
    truth[:, 0] = torch.nan
    estimate = truth * torch.tensor([1.0, 1.1, 0.9, 1.4, 9.0])
    names = ("outside", "liver", "lungs", "heart", "tumour")
    assert organ_error(estimate, truth, names) == pytest.approx(0.2, abs=1e-6)
    assert organ_error(estimate, truth, names, "heart") == pytest.approx((0.1 + 0.1 + 8.0) / 3, abs=1e-6)


def test_every_condition_is_there(outcome: ReconstructionOutcome) -> None:
    """All methods clean at both levels; attacks on all but the mean image; mice in their order."""
    assert outcome.fractions == (1.0, 0.2)
    assert outcome.attacks == ("attacked", "random")
    assert set(outcome.scores[FULL]) == set(outcome.scores[Condition(0.2)]) == {"gan", "osem", "mean_image"}
    assert set(outcome.scores[Condition(1.0, "attacked")]) == {"gan", "osem"}
    found = scan_nrmse(outcome.predictions["osem"], outcome.truths)
    assert len(found) == 6
    assert torch.isfinite(found).all()


def test_attack_is_worse_than_random_and_random_than_clean(outcome: ReconstructionOutcome) -> None:
    """Both keep the worst counts that they find, the clean ones among them, for every mouse."""
    clean, attacked, random = (
        outcome.scores[Condition(1.0, kind)]["osem"].scan_nrmse for kind in ("clean", "attacked", "random")
    )
    assert (attacked >= clean - 1e-6).all()
    assert (random >= clean - 1e-6).all()
    assert float(attacked.mean()) > float(random.mean())


def test_thinning_is_binomial_and_reproducible(model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
    """Counts fall to a fifth within four sigma, never rise; a scan's draw does not depend on its batch."""
    case = ReconstructionCase.of(model32, scans)
    thin = case.thinned(0.2, seed=4)
    total = float(scans.projections.sum())
    assert abs(float(thin.batch.projections.sum()) - 0.2 * total) < 4 * (0.16 * total) ** 0.5
    assert (thin.batch.projections <= scans.projections).all()
    assert torch.allclose(thin.context.duration_s, torch.tensor(360.0))
    alone = ReconstructionCase.of(model32, ScanBatch(*(part[4:5] for part in scans))).thinned(0.2, seed=4)
    assert torch.equal(alone.batch.projections[0], thin.batch.projections[4])
    assert case.thinned(1.0, seed=4) is case
    with pytest.raises(UserError, match="count_fractions holds 0"):
        case.thinned(0.0, seed=4)


def test_thinned_truth_is_still_right(model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
    """A scan stopped early keeps its activity: expected counts fall with the time; 1e-5."""
    case = ReconstructionCase.of(model32, scans)
    assert torch.allclose(0.2 * case.expected(), case.thinned(0.2, 0).expected(), rtol=1e-5)


def test_noise_study_of_a_constant(
    model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> None:
    """What ignores the counts has its bias and no spread; OSEM spreads."""
    one = ScanBatch(*(part[:1] for part in scans))
    methods = {
        "oracle": Sweep.of(Oracle(one.activity, 1.5)),
        "osem": Sweep.of_iterations(Osem(model32, 4, 2), (1,)),
    }
    found = noise_study(judge, methods, ReconstructionCase.of(model32, one), realisations=4)
    oracle = found["oracle"][0]
    assert torch.allclose(oracle.bias[:, 1:], torch.tensor(0.5), atol=1e-4)
    assert float(oracle.sd[:, 1:].max()) < 1e-5
    numbers = noise_summary(found, GROUPS)
    assert numbers["test/noise_sd/osem/ac225"] > 0.001
    assert numbers["test/noise_bias/oracle/bi213"] == pytest.approx(0.5, abs=1e-4)


def test_expected_spectrum_is_the_models_own(model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
    """Summed over pixels the fine model's expected counts; 1e-4."""
    bins = EnergyBins(60.0, 500.0, 44)
    attenuation = model32.attenuation(scans.density[:1])
    whole = model32.with_energy_bins(bins).expected_counts(scans.activity[:1], attenuation, 60.0)
    found = expected_spectrum(model32, bins, scans.activity[:1], attenuation, 60.0)
    assert torch.allclose(found, whole[0].sum(0), rtol=1e-4, atol=1e-6)
    strongest = max(
        (line for line in line_labels(model32) if line.energy_kev > 200), key=lambda item: item.strength
    )
    assert strongest.text.startswith("Bi-213 440")


def test_tables_say_the_same_in_three_languages(outcome: ReconstructionOutcome, tmp_path: Path) -> None:
    """CSV holds the full numbers; Markdown and LaTeX the same cells; special characters are escaped."""
    numbers = summary(outcome, GROUPS, ORGANS)
    tables = [
        nrmse_table(outcome, numbers),
        headline_table(outcome, numbers, GROUPS),
        tumours_table(outcome, numbers, GROUPS),
        counts_table(outcome),
        attacks_table(outcome),
        bias_table(outcome, GROUPS, ORGANS, numbers),
        mice_table(outcome, GROUPS, {"number": list(range(6))}),
    ]
    for table in tables:
        table.write(tmp_path)
        rows = list(csv.DictReader(io.StringIO((tmp_path / f"{table.name}.csv").read_text())))
        assert len(rows) == len(table.rows)
        assert (tmp_path / f"{table.name}.md").read_text().count("\n| ") == len(rows) + 2
        assert (tmp_path / f"{table.name}.tex").read_text().count(r"\\") == len(rows) + 1
    rows = list(csv.DictReader(io.StringIO(tables[0].csv())))
    assert float(rows[1]["NRMSE median"]) == numbers["test/nrmse/osem"]
    assert rows[2]["median, attacked"] == ""
    mice = list(csv.DictReader(io.StringIO(tables[-1].csv())))
    of_osem = [
        float(r["nrmse"])
        for r in mice
        if (r["method"], r["condition"], r["share"]) == ("OSEM", "clean", "1.0")
    ]
    by_mouse = np.array(of_osem).reshape(6, 2).mean(1)
    assert np.median(by_mouse) == pytest.approx(numbers["test/nrmse/osem"], rel=1e-6)
    odd = Table("odd", "50 % of a_b & c", ("x", "y"), (("a_b", math.nan),))
    assert r"50 \% of a\_b \& c" in odd.latex()
    assert "| a_b | - |" in odd.markdown()


def test_verdict_claims_only_what_the_interval_shows() -> None:
    """One is called better only where 0 lies outside of the interval."""
    key = "test/nrmse_difference/gan_minus_control"
    unsure = {key: -0.01, f"{key}/low": -0.03, f"{key}/high": 0.01, f"{key}/scans": 8.0}
    assert verdict(unsure, "gan", "control").startswith("No difference")
    assert verdict({**unsure, f"{key}/high": -0.002}, "gan", "control").startswith("GAN has the lower NRMSE")
    worse = {key: 0.02, f"{key}/low": 0.01, f"{key}/high": 0.03, f"{key}/scans": 8.0}
    assert verdict(worse, "gan", "control").startswith("No adversary has the lower NRMSE")
    few = verdict({**worse, f"{key}/scans": 7.0}, "gan", "control")
    assert few == "No verdict on NRMSE: 7 mice were compared, which are too few; it needs 8 or more."
    assert verdict({}, "gan", "control") == ""


def test_the_page_needs_nothing_else(
    outcome: ReconstructionOutcome, model32: HyperspectralForwardModel, tmp_path: Path
) -> None:
    """Every image is inside; no address outside; names from a config cannot become markup."""
    figures = EvaluationFigures(
        outcome,
        model32.grid,
        GROUPS,
        ORGANS,
        ORGANS.index("tumour"),
        (70.0, 290.0),
        LeastDeviations(torch.full((6, 2, 3), 0.7), torch.full((6, 2, 1), 0.7)),
    )
    found = noise_study(
        Judge(ORGANS, 1.0),
        {"osem": Sweep.of_iterations(Osem(model32, 2, 2), (1,))},
        ReconstructionCase.of(model32, _first(outcome)),
        2,
    )
    pages = figures.figures(found)
    table = headline_table(outcome, summary(outcome, GROUPS, ORGANS), GROUPS)
    path = write_report(
        tmp_path / "report.html", "T <b>", ["s", ""], {"camera": "<script>"}, [table, table], pages
    )
    page = path.read_text()
    assert (
        page.count('src="data:image/png;base64,') == len(pages) == len(list((tmp_path / "figures").iterdir()))
    )
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script>" not in page
    assert "T &lt;b&gt;" in page


def _first(outcome: ReconstructionOutcome) -> ScanBatch:
    """A scan of the first mouse, its counts not used."""
    labels = (outcome.density[:1] > 0).long()
    return ScanBatch(
        torch.zeros(1, 48, 3),
        torch.ones(1),
        outcome.density[:1],
        outcome.truths[:1],
        labels,
        torch.zeros(1).long(),
    )
