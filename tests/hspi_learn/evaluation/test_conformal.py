"""Conformal quantiles by hand, coverage against its exact distribution, and the files that hold them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from scipy.stats import beta, kstest
from torch import nn

from data_gen.core.errors import UserError
from hspi_learn.evaluation.conformal import (
    Calibration,
    binomial_interval,
    conformal_quantile,
    conformal_scores,
    coverage,
    interval,
    organ_quantiles,
    predicted_scale,
    regional_sums,
    weights_hash,
)
from hspi_learn.evaluation.coverage import CoverageReport
from hspi_learn.evaluation.scan_tables import organ_table


def test_the_quantile_of_few_scores_by_hand() -> None:
    """Of 19 scores the 18th is that for 90 % (20 x 0.9), of 20 the 19th (18.9), of 9 the 9th, of 8 none."""
    scores = torch.arange(20, 0, -1).double()
    assert conformal_quantile(scores[1:], 0.9) == 18.0
    assert conformal_quantile(scores, 0.9) == 19.0
    assert conformal_quantile(scores[-9:], 0.9) == 9.0
    assert conformal_quantile(scores[-8:], 0.9) == math.inf
    assert conformal_quantile(torch.cat((scores[-9:], torch.tensor([math.nan]))), 0.9) == 9.0
    with pytest.raises(UserError, match="level is 90; it needs to be over 0 and under 1"):
        conformal_quantile(scores, 90)


def test_coverage_has_the_beta_distribution() -> None:
    """Of uniform scores, coverage given the calibration is the quantile itself: Beta(k, n + 1 - k) with
    n = 49, k = 45 (Vovk 2012), by Kolmogorov and Smirnov over 2,000 calibrations; its mean is 0.9 to four
    SD."""
    scores = torch.rand(2000, 49, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    quantiles = torch.tensor([conformal_quantile(each, 0.9) for each in scores])
    exact = beta(45, 5)
    assert kstest(quantiles.numpy(), exact.cdf).pvalue > 0.01
    assert float(quantiles.mean()) == pytest.approx(0.9, abs=4 * exact.std() / math.sqrt(2000))


def test_intervals_of_a_method_that_is_wrong_cover_all_the_same() -> None:
    """Estimates of 60 % of the truth with a noise of 20 %: 90 % of 20,000 new subjects are covered, to four
    SD of what the calibration of 999 leaves open, since the method's own bias is in the scores."""
    generator = torch.Generator().manual_seed(1)
    truth = 1 + torch.rand(20_999, 1, 1, generator=generator, dtype=torch.float64)
    estimate = truth * (0.6 + 0.2 * torch.randn(truth.shape, generator=generator, dtype=torch.float64))
    scores = conformal_scores(estimate, truth, 0.1 * truth)
    quantile = conformal_quantile(scores[:999, 0, 0], 0.9)
    hits, new = coverage(scores[999:, 0, 0], quantile)
    sd = math.sqrt(0.09 / 1000 + 0.09 / new)
    assert hits / new == pytest.approx(0.9, abs=4 * sd)
    ends = [interval(float(e), 0.1 * float(t), quantile) for e, t in zip(estimate, truth, strict=True)]
    inside = sum(low <= float(t) <= high for (low, high), t in zip(ends[999:], truth[999:], strict=True))
    assert inside == hits


def test_scores_scales_and_sums_by_hand() -> None:
    """Regions of 30 and 10 Bq in an image of 40; 100 counts: 10 % and Poisson noise of 75 and 25 counts."""
    image = torch.tensor([[[[[10.0, 20.0, 10.0]]]]])
    regions = torch.tensor([[[[1, 1, 2]]]])
    sums = regional_sums(image, regions, 3)
    assert sums.tolist() == [[[0.0, 30.0, 10.0]]]
    scale = predicted_scale(sums, sums.sum((1, 2)), torch.tensor([100.0]))
    assert scale[0, 0, 1:].tolist() == pytest.approx(
        [30 * math.sqrt(0.01 + 1 / 75), 10 * math.sqrt(0.01 + 1 / 25)]
    )
    truth = torch.tensor([[[0.0, 33.0, 5.0]]]).double()
    scores = conformal_scores(sums, truth, torch.tensor([[[1.0, 2.0, 0.0]]]).double())
    assert math.isnan(float(scores[0, 0, 0]))
    assert scores[0, 0, 1:].tolist() == [1.5, math.inf]
    assert interval(10.0, 2.0, 6.0) == (0.0, 22.0)
    assert interval(10.0, 2.0, math.inf) == (0.0, math.inf)


def test_the_exact_binomial_interval_by_hand() -> None:
    """Of n hits in n trials the lower end is 0.025^(1 / n), of none the upper one 1 - 0.025^(1 / n)."""
    low, high = binomial_interval(20, 20)
    assert (low, high) == pytest.approx((0.025 ** (1 / 20), 1.0))
    low, high = binomial_interval(0, 20)
    assert (low, high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


@pytest.fixture
def calibration(network: nn.Module) -> Calibration:
    """Of 30 subjects: an organ that all have, one that none has, one that too few have."""
    scores = torch.arange(30.0)[:, None, None].repeat(1, 1, 3)
    scores[:, 0, 1], scores[5:, 0, 2] = math.nan, math.nan
    quantiles = {"net": organ_quantiles(scores, ["Ra"], ["outside", "none", "tumour"], 0.9)}
    return Calibration(0.9, 30, quantiles, {"net": weights_hash(network)})


def test_a_calibration_comes_back_from_its_file(
    calibration: Calibration, network: nn.Module, tmp_path: Path
) -> None:
    """Value for value, the infinite one too; it serves the network that it was made for, and no other."""
    assert calibration.quantiles == {"net": {"Ra": {"outside": 27.0, "tumour": math.inf}}}
    path = tmp_path / "calibration.json"
    calibration.write(path)
    assert Calibration.read(path) == calibration
    assert json.loads(path.read_text())["quantiles"]["net"]["Ra"]["tumour"] is None
    assert calibration.of_network(network, "it") == calibration.quantiles["net"]
    with pytest.raises(UserError, match="it holds intervals of net, whose weights are others"):
        calibration.of_network(nn.Linear(2, 1), "it")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no hspi-learn conformal calibration 1"),
        ('{"format": "hspi-learn conformal calibration 1", "level": 0.9}', "is damaged"),
    ],
)
def test_what_is_no_calibration_is_refused(text: str, told: str, tmp_path: Path) -> None:
    """Broken JSON, something else, missing parts, no file: a sentence each."""
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(UserError, match=told):
        Calibration.read(tmp_path / "calibration.json")
    with pytest.raises(UserError, match="cannot be read"):
        Calibration.read(tmp_path / "none.json")


def test_the_report_by_hand(calibration: Calibration, tmp_path: Path) -> None:
    """Of 25 scans 20 lie at or below the quantile of 27: coverage 0.8; with fewer counts 10 do; of an organ
    in 3 scans nothing is told."""
    scores = torch.full((25, 1, 3), math.nan)
    scores[:, 0, 0] = torch.cat((torch.full((20,), 27.0), torch.full((5,), 28.0)))
    scores[:3, 0, 2] = 1.0
    few = torch.where(torch.arange(25)[:, None, None] < 10, scores, scores + 9)
    organs = ("outside", "none", "tumour")
    test = {1.0: {"net": scores}, 0.3: {"net": few}}
    report = CoverageReport(calibration, test, ("Ra",), organs, {}, {"net": scores.clamp_max(27)})
    numbers = report.write(tmp_path)
    assert numbers["test/coverage/net/Ra/outside"] == 0.8
    assert numbers["test/coverage_at_0.3/net/Ra/outside"] == 0.4
    assert numbers["calibration/coverage/net/Ra/outside"] == 1.0
    assert report.tables(numbers)[0].rows[0][4:] == (
        *(1.0, "0.863 to 1.000"),
        *(0.8, "0.593 to 0.932"),
        *(0.4, "0.211 to 0.613"),
    )
    assert (numbers["test/coverage/net/Ra/outside/low"], numbers["test/coverage/net/Ra/outside/high"]) == (
        binomial_interval(20, 25)
    )
    assert "test/coverage/net/Ra/tumour" not in numbers
    assert numbers["test/coverage/net/Ra/all"] == pytest.approx(23 / 28)
    assert "of 1 organs and tumours 0 are covered less" in report.statements(numbers)[0]
    assert Calibration.read(tmp_path / "calibration.json") == calibration
    assert (tmp_path / "report.html").is_file()


def test_the_table_of_organs_by_hand(calibration: Calibration) -> None:
    """Organ 2 holds 30 of 40 Bq: an infinite quantile leaves it open; without a calibration no ends."""
    image = torch.tensor([[[[10.0, 20.0, 10.0]]]])
    outlines = torch.tensor([[[2, 2, 0]]])
    organs = ("outside", "none", "tumour")
    table = organ_table(image, outlines, 100.0, ["Ra"], organs, (calibration, {"Ra": {"tumour": 2.0}}))
    scale = 30 * math.sqrt(0.01 + 1 / 75)
    assert table.rows[0][:2] == ("tumour", "Ra")
    assert table.rows[0][2:] == pytest.approx((30.0, 30 - 2 * scale, 30 + 2 * scale))
    assert organ_table(image, outlines, 100.0, ["Ra"], organs).csv().splitlines()[1] == "tumour,Ra,30.0,,"
