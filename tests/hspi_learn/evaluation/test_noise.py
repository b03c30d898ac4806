"""Repeated noise on one scan: draws, settings of a method, and the root mean square of what is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.evaluation import Judge, NoisePoint, ReconstructionCase, Sweep, noise_study, noise_summary
from hspi_learn.evaluation.noise import root_mean_square
from hspi_learn.reconstructor import ScanBatch, ScanContext
from tests.hspi_learn.evaluation.conftest import GROUPS


@pytest.fixture
def case(model32: HyperspectralForwardModel, scans: ScanBatch) -> ReconstructionCase:
    return ReconstructionCase.of(model32, ScanBatch(*(part[2:3] for part in scans)))


class Total:
    """The truth times the counts over a thousand; keeps the counts that it was shown."""

    def __init__(self, truth: Tensor) -> None:
        self.truth = truth
        self.seen: list[Tensor] = []

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        self.seen.append(projections)
        return self.truth * projections.sum() / 1000


def test_bias_and_spread_over_draws(case: ReconstructionCase, judge: Judge) -> None:
    """Those of the total counts, in every region and map; draws are Poisson of the truth's expectation, and
    the same for the same seed.
    """
    methods = [Total(case.batch.activity) for _ in range(3)]
    found = [
        noise_study(judge, {"total": Sweep.of(method)}, case, 12, seed)["total"]
        for method, seed in zip(methods, (0, 0, 1), strict=True)
    ]
    ((name, evaluated, bias, sd),) = found[0]
    totals = torch.stack(methods[0].seen).sum((1, 2, 3)) / 1000
    assert (name, evaluated) == ("", True)
    assert bias[:, 1:].flatten().tolist() == pytest.approx([float(totals.mean()) - 1] * 4, rel=1e-4)
    assert sd[:, 1:].flatten().tolist() == pytest.approx([float(totals.std())] * 4, rel=1e-4)
    assert torch.isnan(bias[:, 0]).all()  # outside the body
    expected = float(case.expected().sum()) / 1000
    assert abs(float(totals.mean()) - expected) < 4 * math.sqrt(expected / 1000 / 12)
    torch.testing.assert_close(found[0][0].sd, found[1][0].sd, rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(methods[0].seen[0], methods[2].seen[0])
    assert not torch.equal(methods[0].seen[0], methods[0].seen[1])


def test_every_method_is_shown_the_same_draws(case: ReconstructionCase, judge: Judge) -> None:
    methods = {name: Total(case.batch.activity) for name in ("b", "a")}
    found = noise_study(judge, {name: Sweep.of(method) for name, method in methods.items()}, case, 2)
    assert list(found) == ["b", "a"]
    for first, second in zip(methods["a"].seen, methods["b"].seen, strict=True):
        assert torch.equal(first, second)


def test_osem_at_several_iterations(
    model32: HyperspectralForwardModel, case: ReconstructionCase, judge: Judge
) -> None:
    """Settings rise and hold the method's own once; each image is that of OSEM with so many iterations."""
    osem = Osem(model32, 2, 2)
    sweep = Sweep.of_iterations(osem, (4, 1, 2))
    assert sweep.names == ("1", "2", "4")
    assert sweep.evaluated == 1
    for number, image in zip((1, 2, 4), sweep.images(case), strict=True):
        alone = case.reconstructed(osem.with_settings(iterations=number, postfilter_fwhm_mm=0.0))
        torch.testing.assert_close(image, alone, rtol=1e-5, atol=1e-6)
    points = noise_study(judge, {"osem": sweep}, case, 2)["osem"]
    assert [(point.name, point.evaluated) for point in points] == [("1", False), ("2", True), ("4", False)]


@pytest.mark.parametrize("realisations", [0, 1])
def test_fewer_than_two_draws_have_no_spread(
    case: ReconstructionCase, judge: Judge, realisations: int
) -> None:
    with pytest.raises(UserError, match=f"noise study has {realisations} realisations; it needs one scan"):
        noise_study(judge, {}, case, realisations)
    assert noise_study(judge, {}, case, 2) == {}


def test_of_several_scans_no_noise_is_repeated(
    model32: HyperspectralForwardModel, scans: ScanBatch, judge: Judge
) -> None:
    with pytest.raises(UserError, match="it needs one scan and 2 or more"):
        noise_study(judge, {}, ReconstructionCase.of(model32, scans), 30)


def test_root_mean_square_of_what_is_known() -> None:
    """Of 3 and -4 with an unknown: sqrt(12.5); numbers are those of the setting that is evaluated."""
    assert root_mean_square(torch.tensor([3.0, math.nan, -4.0])) == pytest.approx(math.sqrt(12.5))
    other, own = (
        NoisePoint(name, evaluated, torch.tensor([[-b], [2 * b]]), torch.tensor([[s], [3 * s]]))
        for name, evaluated, b, s in (("1", False, 9.0, 9.0), ("2", True, 0.25, 0.5))
    )
    assert noise_summary({"osem": [other, own]}, GROUPS) == {
        "test/noise_sd/osem/ac225": 0.5,
        "test/noise_bias/osem/ac225": 0.25,
        "test/noise_sd/osem/bi213": 1.5,
        "test/noise_bias/osem/bi213": 0.5,
    }
