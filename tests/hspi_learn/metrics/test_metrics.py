"""Metrics against their definitions, worked by hand or by numpy and scipy."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hspi_learn.metrics import (
    ContrastToNoise,
    Nrmse,
    RegionalBias,
    bias_and_spread,
    contrast_to_noise,
    evaluated_voxels,
    nrmse,
    paired_interval,
    reduce_scans,
    regional_means,
    relative_bias,
    scan_nrmse,
    surroundings,
    uptake_dependence,
)

SHAPE = (3, 2, 4, 5, 6)


@pytest.fixture
def truth() -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(1e-3, 1e6), factor=st.floats(0, 3))
def test_nrmse_of_a_scaled_truth(scale: float, factor: float) -> None:
    """||f t - t|| / ||t|| = |f - 1| whatever the unit; 1e-4 absolute."""
    truth = scale * torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(nrmse(factor * truth, truth), torch.tensor(abs(factor - 1)), atol=1e-4)


def test_nrmse_against_numpy_under_a_mask(truth: torch.Tensor) -> None:
    """numpy's norms over the masked voxels; 1e-6. What lies outside the mask has no say."""
    generator = torch.Generator().manual_seed(2)
    estimate, mask = torch.rand(SHAPE, generator=generator), torch.rand(SHAPE, generator=generator) > 0.5
    found = nrmse(estimate, truth, mask)
    for b in range(3):
        for m in range(2):
            t, x = truth[b, m][mask[b, m]].numpy(), estimate[b, m][mask[b, m]].numpy()
            assert float(found[b, m]) == pytest.approx(np.linalg.norm(x - t) / np.linalg.norm(t), rel=1e-5)
    assert torch.equal(found, nrmse(estimate + 9 * ~mask, truth, mask))


def test_a_map_without_activity_is_left_out(truth: torch.Tensor) -> None:
    """No error is relative to nothing: NaN for the map, and the scan's mean is over the others."""
    truth[0, 1] = 0
    estimate = 1.5 * truth + 0.0
    assert torch.isnan(nrmse(estimate, truth)[0, 1])
    assert torch.allclose(scan_nrmse(estimate, truth), torch.full((3,), 0.5))


def test_nrmse_metric_over_batches(truth: torch.Tensor) -> None:
    """Feeding one scan at a time gives numpy's median, mean and maximum over scans; 1e-6."""
    estimate = truth * torch.tensor([1.1, 1.2, 2.0]).reshape(-1, 1, 1, 1, 1)
    values = scan_nrmse(estimate, truth).numpy()
    for reduction, expected in (("median", np.median), ("mean", np.mean), ("worst", np.max)):
        metric = Nrmse(reduction)
        for scan in range(3):
            metric.update(estimate[scan : scan + 1], truth[scan : scan + 1])
        assert float(metric.compute()) == pytest.approx(float(expected(values)), rel=1e-6)
        assert torch.allclose(reduce_scans(torch.tensor(values), reduction), metric.compute())


def test_voxels_below_a_tenth_of_the_sensitivity_are_not_evaluated() -> None:
    """The definition: in the body and at least a tenth of that map's own maximum."""
    sensitivity = torch.tensor([[1.0, 0.1, 0.09], [30.0, 2.0, 3.0]]).reshape(1, 2, 1, 1, 3)
    body = torch.tensor([True, True, True]).reshape(1, 1, 1, 1, 3)
    expected = torch.tensor([[True, True, False], [True, False, True]]).reshape(1, 2, 1, 1, 3)
    assert torch.equal(evaluated_voxels(sensitivity, body), expected)
    assert not evaluated_voxels(sensitivity, ~body).any()


def test_regional_means_against_numpy(truth: torch.Tensor) -> None:
    """numpy's mean over each label; 1e-6; NaN for a label that no voxel has."""
    labels = torch.randint(3, (3, 4, 5, 6), generator=torch.Generator().manual_seed(3))
    means = regional_means(truth, labels, 4)
    for region in range(3):
        expected = truth[1, 0].numpy()[labels[1].numpy() == region].mean()
        assert float(means[1, 0, region]) == pytest.approx(float(expected), rel=1e-5)
    assert torch.isnan(means[..., 3]).all()


def test_regional_bias_metric(truth: torch.Tensor) -> None:
    """An estimate 20 % high everywhere has bias 0.2 in every region that exists; 1e-5."""
    labels = torch.randint(3, (3, 4, 5, 6), generator=torch.Generator().manual_seed(3))
    metric = RegionalBias(4)
    metric.update(1.2 * truth, truth, labels)
    bias = metric.compute()
    assert torch.allclose(bias[:, :3], torch.tensor(0.2), atol=1e-5)
    assert torch.isnan(bias[:, 3]).all()


def test_shrinkage_shows_in_slope_and_thirds() -> None:
    """An estimate shrunk half-way to the mean: slope 0.5 as scipy's linregress, bias falls with uptake."""
    truth = torch.linspace(1, 9, 30)
    estimate = 0.5 * truth + 2.5 + 0.1 * torch.randn(30, generator=torch.Generator().manual_seed(0))
    found = uptake_dependence(estimate, truth)
    assert found.slope == pytest.approx(scipy.stats.linregress(truth, estimate).slope, rel=1e-5)
    assert found.bias_low > 0.1 > -0.1 > found.bias_high
    assert np.isnan(uptake_dependence(estimate[:2], truth[:2]).slope)


def test_bias_and_spread_of_known_noise() -> None:
    """20,000 draws N(1.1 t, (0.3 t)^2): bias 0.1 and SD 0.3 within four standard errors."""
    truth = torch.tensor([1.0, 50.0, 0.0])
    noise = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    found = bias_and_spread(truth * (1.1 + 0.3 * noise), truth)
    assert torch.allclose(found.bias[:2], torch.tensor(0.1), atol=4 * 0.3 / 20_000**0.5)
    assert torch.allclose(found.sd[:2], torch.tensor(0.3), atol=4 * 0.3 / 40_000**0.5)
    assert torch.isnan(found.bias[2])
    assert torch.isnan(relative_bias(truth, truth)[2])


def test_contrast_to_noise_by_hand() -> None:
    """Lesion at 10, background of mean 2 and sample SD 1: CNR 8; 1e-6. None without a lesion."""
    activity = torch.tensor([10.0, 10.0, 1.0, 2.0, 3.0]).reshape(1, 1, 1, 1, 5)
    lesion = torch.tensor([True, True, False, False, False]).reshape(1, 1, 1, 1, 5)
    assert float(contrast_to_noise(activity, lesion, ~lesion)) == pytest.approx(8.0, rel=1e-6)
    assert torch.isnan(contrast_to_noise(activity, lesion & False, ~lesion)).all()
    metric = ContrastToNoise()
    metric.update(activity, lesion, ~lesion)
    assert float(metric.compute()) == pytest.approx(8.0, rel=1e-6)


def test_surroundings_keep_a_gap() -> None:
    """Around one voxel, gap 1 and edge 2: a 5-cube less a 3-cube, 98 voxels."""
    lesion = torch.zeros(1, 1, 9, 9, 9, dtype=torch.bool)
    lesion[0, 0, 4, 4, 4] = True
    shell = surroundings(lesion, torch.ones_like(lesion), 1, 2)
    assert int(shell.sum()) == 125 - 27


def test_paired_interval_against_student() -> None:
    """For normal differences of 60 mice the interval is Student's within 15 % of its width."""
    generator = torch.Generator().manual_seed(5)
    hard = 5 * torch.rand(60, generator=generator)
    first, second = hard + 0.1 + 0.2 * torch.randn(60, generator=generator), hard
    found = paired_interval(first, second)
    difference = (first - second).numpy()
    student = scipy.stats.t.interval(0.95, 59, difference.mean(), scipy.stats.sem(difference))
    assert found.low == pytest.approx(student[0], abs=0.15 * (student[1] - student[0]))
    assert found.high == pytest.approx(student[1], abs=0.15 * (student[1] - student[0]))
    assert found == paired_interval(first, second)
    assert found.excludes_zero == (found.low > 0)
    assert not paired_interval(first, first).excludes_zero
    assert np.isnan(paired_interval(first[:0], second[:0]).value)
