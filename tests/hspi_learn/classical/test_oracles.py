"""Methods that know the true outlines, against means by hand and the likelihood of each scan by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.classical import OrganOracle, RegionalLikelihood, RegionalMl
from hspi_learn.classical.oracles import true_regions
from hspi_learn.classical.poisson_fit import Maximum, PoissonFit
from hspi_learn.reconstructor import ScanBatch, scan_context

BODY, TUMOUR = ORGANS.index("soft_tissue"), ORGANS.index("tumour")


@pytest.fixture
def scans(model64: HyperspectralForwardModel, density: Tensor) -> ScanBatch:
    """Two scans, the first with a tumour of two voxels and one of one voxel, the second with none."""
    labels = (density > 0).long() * BODY
    labels[0, 1:3, 2, 3] = TUMOUR
    labels[0, 1, 2, 1] = TUMOUR
    activity = 30.0 + 20 * torch.rand(2, 2, 4, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    activity = torch.where((labels == TUMOUR)[:, None], 9 * activity, activity) * (density > 0)[:, None]
    duration = torch.tensor([900.0, 1800.0], dtype=torch.float64)
    counts = model64.expected_counts(activity, model64.attenuation(density), duration)
    drawn = torch.poisson(counts, generator=torch.Generator().manual_seed(1))
    return ScanBatch(drawn, duration, density, activity, labels, torch.arange(2))


def test_regions_are_organs_and_single_tumours(scans: ScanBatch) -> None:
    """Tumours are numbered from the number of organs up, along x last; all else keeps its label."""
    found = true_regions(scans.labels)
    assert found[0, 1, 2, 1] == len(ORGANS)
    assert (found[0, 1:3, 2, 3] == len(ORGANS) + 1).all()
    other = scans.labels != TUMOUR
    assert torch.equal(found[other], scans.labels[other])
    assert (found[scans.labels == TUMOUR] >= len(ORGANS)).all()


def test_true_means_by_hand(model64: HyperspectralForwardModel, scans: ScanBatch) -> None:
    """The mean of each tumour and of the body, 0 outside, whatever counts and time; 1e-6 of themselves."""
    method = OrganOracle(model64).told(scans)
    context = scan_context(model64, scans.density, 0.1 * scans.duration_s)
    found = method.reconstruct(0 * scans.projections, context)
    assert found[0, 1, 1:3, 2, 3].tolist() == pytest.approx(
        [float(scans.activity[0, 1, 1:3, 2, 3].mean())] * 2
    )
    assert float(found[0, 0, 1, 2, 1]) == pytest.approx(float(scans.activity[0, 0, 1, 2, 1]))
    for scan in range(2):
        body = scans.labels[scan] == BODY
        mean = float(scans.activity[scan, 1][body].mean())
        assert found[scan, 1][body].tolist() == pytest.approx([mean] * int(body.sum()))
    assert (found[:, :, 0, 0, 0] == 0).all()


def test_regional_maximum_likelihood_of_each_scan(
    model64: HyperspectralForwardModel, scans: ScanBatch
) -> None:
    """As the likelihood of each scan in its own time has it, painted evenly. Regions are made once."""
    method = RegionalMl(model64).told(scans)
    context = scan_context(model64, scans.density, scans.duration_s)
    found = method.reconstruct(scans.projections, context)
    for scan, duration_s in enumerate((900.0, 1800.0)):
        regions = true_regions(scans.labels)[scan]
        likelihood = RegionalLikelihood(model64, scans.density[scan], regions)
        value = likelihood.estimate(scans.projections[scan], duration_s, None).value
        for number in regions.unique().tolist():
            there = regions == number
            wanted = value[number - 1] / there.sum() if number else torch.zeros(2, dtype=torch.float64)
            torch.testing.assert_close(found[scan, :, there], wanted[:, None].expand(-1, int(there.sum())))
    kept = method.likelihoods  # type: ignore[attr-defined]
    shorter = scan_context(model64, scans.density, 0.5 * scans.duration_s)
    twice = method.reconstruct(scans.projections, shorter)
    assert bool((twice.sum((1, 2, 3, 4)) > 1.9 * found.sum((1, 2, 3, 4))).all())
    assert method.likelihoods is kept  # type: ignore[attr-defined]


def test_a_scan_without_a_maximum_is_no_number(
    model64: HyperspectralForwardModel, scans: ScanBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation names it as failed instead of showing it."""
    found = PoissonFit.maximum

    def stopped(self: PoissonFit) -> Maximum:
        return found(self)._replace(converged=False)

    monkeypatch.setattr(PoissonFit, "maximum", stopped)
    context = scan_context(model64, scans.density, scans.duration_s)
    assert RegionalMl(model64).told(scans).reconstruct(scans.projections, context).isnan().all()
