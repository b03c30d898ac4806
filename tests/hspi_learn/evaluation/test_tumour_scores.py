"""Errors of tumours are those of tumours: an estimate that is wrong there alone, and one that is wrong all
around."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation import Judge, ReconstructionCase
from hspi_learn.reconstructor import ScanBatch

ORGANS = ("outside", "soft_tissue", "tumour")


@pytest.fixture
def case(model32: HyperspectralForwardModel, density: Tensor) -> ReconstructionCase:
    """Two mice with a tumour that holds four times as much a voxel as the rest."""
    body = density.float()
    labels = (body > 0).long()
    labels[:, 1:3, 2, 3] = 2
    activity = torch.where(labels == 2, 40.0, 10.0 * (body > 0))[:, None].repeat(1, 2, 1, 1, 1)
    counts = model32.expected_counts(activity, model32.attenuation(body), torch.full((2,), 600.0))
    batch = ScanBatch(counts, torch.full((2,), 600.0), body, activity, labels, torch.arange(2))
    return ReconstructionCase.of(model32, batch)


def test_half_the_activity_in_tumours_alone(
    model32: HyperspectralForwardModel, case: ReconstructionCase
) -> None:
    """In tumours NRMSE 0.5 and bias -0.5; over the body sqrt(sum of 20^2 over sum of all squares), 1e-5."""
    judge = Judge(ORGANS, model32.grid.voxel_volume_ml)
    truth, tumour = case.batch.activity, (case.batch.labels == 2)[:, None]
    scores = judge.scores(torch.where(tumour, truth / 2, truth), case)
    assert torch.allclose(scores.tumour_nrmse, torch.tensor(0.5), rtol=1e-5)
    squares = (truth.square() * case.mask).sum((2, 3, 4))
    wrong = (400.0 * (tumour & case.mask)).sum((2, 3, 4))
    assert torch.allclose(scores.nrmse, (wrong / squares).sqrt(), rtol=1e-5)
    assert bool((scores.nrmse < 0.4).all())
    true = judge.regions(truth, case)
    assert torch.allclose(scores.regions[..., 2] / true[..., 2], torch.tensor(0.5), rtol=1e-5)
    assert torch.equal(scores.regions[..., 1], true[..., 1])


def test_tumours_alone_are_right(model32: HyperspectralForwardModel, case: ReconstructionCase) -> None:
    """All else twice what it is: no error in tumours, an error over the body."""
    judge = Judge(ORGANS, model32.grid.voxel_volume_ml)
    truth, tumour = case.batch.activity, (case.batch.labels == 2)[:, None]
    scores = judge.scores(torch.where(tumour, truth, 2 * truth), case)
    assert bool((scores.tumour_nrmse == 0).all())
    assert bool((scores.nrmse > 0.2).all())
