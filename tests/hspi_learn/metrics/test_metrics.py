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
    failed_samples,
    nrmse,
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


def test_a_failed_scan_counts_as_infinitely_wrong(truth: torch.Tensor) -> None:
    """NaN or infinity in one scan of three: its NRMSE is infinite, and so are mean and worst."""
    for wrong in (torch.nan, torch.inf):
        estimate = 1.25 * truth
        estimate[1, 0, 0, 0, 0] = wrong
        values = scan_nrmse(estimate, truth)
        assert torch.isinf(values).tolist() == [False, True, False]
        assert float(reduce_scans(values, "median")) == pytest.approx(0.25, rel=1e-5)
        assert reduce_scans(values, "mean") == reduce_scans(values, "worst") == torch.inf
        assert failed_samples(estimate).tolist() == [False, True, False]
        assert not failed_samples(truth[:, 0, 0, 0, 0]).any()
    outside = torch.ones(SHAPE, dtype=torch.bool)
    outside[1, 0, 0, 0, 0] = False
    assert scan_nrmse(estimate, truth, outside).tolist() == pytest.approx([0.25] * 3, rel=1e-5)


def test_reductions_leave_out_what_is_not_defined_and_keep_what_failed() -> None:
    """By hand: of 1, 3, NaN the median is 2; of inf, inf, 1 all are infinite; of NaN alone all are NaN."""
    values = torch.tensor(
        [[1.0, torch.inf, torch.nan], [3.0, torch.inf, torch.nan], [torch.nan, 1.0, torch.nan]]
    )
    expected = {"median": [2.0, torch.inf], "mean": [2.0, torch.inf], "worst": [3.0, torch.inf]}
    for reduction, found in expected.items():
        reduced = reduce_scans(values, reduction)  # type: ignore[arg-type]
        assert reduced[:2].tolist() == found
        assert torch.isnan(reduced[2])


def test_other_metrics_do_not_drop_a_failure(truth: torch.Tensor) -> None:
    """Bias, slope, spread and contrast of an estimate that is NaN in one region of one of three scans."""
    labels = torch.zeros(3, 4, 5, 6, dtype=torch.int64)
    labels[:, :2] = 1
    estimate = 0.5 * truth
    estimate[2, :, 0, 0, 0] = torch.nan
    means, true = regional_means(estimate, labels, 2), regional_means(truth, labels, 2)
    assert torch.isfinite(means[2, :, 0]).all()
    assert torch.isinf(relative_bias(means, true)[2, :, 1]).all()
    assert np.isnan(uptake_dependence(means, true).slope)
    assert uptake_dependence(means[:2], true[:2]).slope == pytest.approx(0.5, rel=1e-5)
    assert torch.isinf(bias_and_spread(means, true[0]).sd[:, 1]).all()
    metric = RegionalBias(2)
    metric.update(estimate[1:], truth[1:], labels[1:])
    assert torch.isinf(metric.compute()[:, 1]).all()
    lesion = (labels == 1)[:, None]
    assert torch.isneginf(contrast_to_noise(estimate, lesion, ~lesion)[2]).all()
    assert torch.isfinite(contrast_to_noise(estimate, lesion, ~lesion)[:2]).all()


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


def test_reductions_by_hand() -> None:
    """Of 1, 2, 4 and 8 the median is 3, the mean 3.75, the worst 8; half of the scans failed are an infinite
    median, fewer are not; a score of which high is good fails at minus infinity."""
    values = torch.tensor([8.0, 1.0, 4.0, 2.0])
    assert [float(reduce_scans(values, name)) for name in ("median", "mean", "worst")] == [3.0, 3.75, 8.0]
    assert float(reduce_scans(torch.tensor([1.0, 2.0, torch.inf, torch.inf]), "median")) == torch.inf
    assert float(reduce_scans(torch.tensor([1.0, 2.0, 3.0, torch.inf]), "median")) == 2.5
    assert float(reduce_scans(torch.tensor([1.0, 2.0, -torch.inf]), "median")) == 1.0
    assert float(reduce_scans(torch.full((2,), -torch.inf), "worst")) == -torch.inf
    assert float(reduce_scans(torch.tensor([-torch.inf, torch.nan, -3.0]), "worst")) == -3.0


def test_metrics_over_scans_are_medians() -> None:
    """Three scans 10 %, 20 % and 90 % too high: NRMSE and regional bias say 0.2 by default, the mean of
    NRMSE 0.4; contrasts of 8, 16 and 80 noises say 16."""
    labels = torch.tensor([1, 1, 0, 0, 0]).reshape(1, 1, 1, 5)
    truth = torch.tensor([10.0, 10.0, 1.0, 2.0, 3.0]).reshape(1, 1, 1, 1, 5)
    error, mean_error, bias, contrast = Nrmse(), Nrmse("mean"), RegionalBias(2), ContrastToNoise()
    lesion = (labels == 1)[:, None]
    for factor, lift in ((1.1, 0.0), (1.9, 72.0), (1.2, 8.0)):
        error.update(factor * truth, truth)
        mean_error.update(factor * truth, truth)
        bias.update(factor * truth, truth, labels)
        contrast.update(truth + lift * lesion, lesion, ~lesion)
    assert float(error.compute()) == pytest.approx(0.2, rel=1e-5)
    assert float(mean_error.compute()) == pytest.approx(0.4, rel=1e-5)
    assert bias.compute().flatten().tolist() == pytest.approx([0.2, 0.2], rel=1e-5)
    assert float(contrast.compute()) == pytest.approx(16.0, rel=1e-5)


def test_regional_means_count_what_the_mask_leaves() -> None:
    """Voxels 1, 3 and 100 of region 1, the last out of the mask: 2; one voxel of region 2 is its own mean."""
    activity = torch.tensor([1.0, 3.0, 100.0, 7.0]).reshape(1, 1, 1, 1, 4)
    labels = torch.tensor([1, 1, 1, 2]).reshape(1, 1, 1, 4)
    mask = torch.tensor([True, True, False, True]).reshape(1, 1, 1, 1, 4)
    found = regional_means(activity, labels, 3, mask)
    assert found[0, 0, 1:].tolist() == [2.0, 7.0]
    assert torch.isnan(found[0, 0, 0])
    assert regional_means(activity, labels, 3)[0, 0, 1].tolist() == pytest.approx(104 / 3)


def test_bias_and_spread_by_hand() -> None:
    """Estimates 1 and 5 of 2: their mean is half too high, their sample SD sqrt(8), 1.414 of the truth. A
    truth of 0 has neither."""
    found = bias_and_spread(torch.tensor([[1.0, 1.0], [5.0, 1.0]]), torch.tensor([2.0, 0.0]))
    assert float(found.bias[0]) == pytest.approx(0.5)
    assert float(found.sd[0]) == pytest.approx(2**0.5, rel=1e-6)
    assert torch.isnan(torch.stack(found)[:, 1]).all()
    assert relative_bias(torch.tensor([3.0, torch.nan]), torch.tensor([2.0, 2.0])).tolist() == [
        0.5,
        torch.inf,
    ]


def test_uptake_dependence_by_hand() -> None:
    """Six regions of 1 to 6, in any order, whose biases fall from +0.5 to -0.4: medians of pairs are 0.4,
    0.05 and -0.3, and the slope is numpy's. Regions without truth do not count, and three are enough."""
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    truth = torch.arange(1.0, 7.0)[order]
    bias = torch.tensor([0.5, 0.3, 0.1, 0.0, -0.2, -0.4])[order]
    estimate = truth * (1 + bias)
    found = uptake_dependence(estimate, truth)
    assert found[1:] == pytest.approx((0.4, 0.05, -0.3), rel=1e-5)
    assert found.slope == pytest.approx(np.polyfit(truth, estimate, 1)[0], rel=1e-5)
    absent, none = torch.tensor([torch.nan, 0.0]), torch.tensor([9.0, torch.nan])
    assert uptake_dependence(torch.cat((none, estimate)), torch.cat((absent, truth))) == found
    three = uptake_dependence(torch.tensor([3.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 4.0]))
    assert three[1:] == pytest.approx((2.0, 0.5, 0.0))
    alike = uptake_dependence(torch.tensor([1.0, 2.0, 3.0]), torch.full((3,), 2.0))
    assert np.isnan(alike.slope)
    assert alike[1:] == (-0.5, 0.0, 0.5)


def test_contrast_needs_a_background_that_varies() -> None:
    """Two voxels are the fewest that have an SD: of 1 and 3 it is sqrt(2), and a lesion of one voxel at 6
    stands out by 4 / sqrt(2). One voxel alone, or two alike, tell nothing; each map has a contrast of its
    own."""
    activity = torch.tensor([[6.0, 1.0, 3.0, 3.0], [0.0, 1.0, 3.0, 3.0]]).reshape(1, 2, 1, 1, 4)
    lesion = torch.tensor([True, False, False, False]).reshape(1, 1, 1, 1, 4)

    def found(*background: int) -> list[float]:
        around = torch.zeros(4, dtype=torch.bool)
        around[list(background)] = True
        return contrast_to_noise(activity, lesion, around.reshape(1, 1, 1, 1, 4))[0].tolist()

    assert found(1, 2) == pytest.approx([4 / 2**0.5, -2 / 2**0.5], rel=1e-6)
    for none in ((), (1,), (2, 3)):
        assert np.isnan(found(*none)).all()


def test_surroundings_are_two_to_four_voxels_away_and_allowed() -> None:
    """By default: a 9-cube less a 3-cube around one voxel, 702 voxels; in a corner 5-cube less 2-cube, and of
    these only the allowed ones."""
    lesion = torch.zeros(1, 1, 11, 11, 11, dtype=torch.bool)
    lesion[0, 0, 5, 5, 5] = True
    everywhere = torch.ones_like(lesion)
    assert int(surroundings(lesion, everywhere).sum()) == 9**3 - 3**3
    corner = torch.zeros_like(lesion)
    corner[0, 0, 0, 0, 0] = True
    assert int(surroundings(corner, everywhere).sum()) == 5**3 - 2**3
    everywhere[..., 3:] = False
    assert int(surroundings(corner, everywhere).sum()) == 5 * 5 * 3 - 2**3


def test_another_share_of_the_sensitivity_may_be_asked_for() -> None:
    """Half of the maximum: a voxel at exactly half counts, one below does not."""
    sensitivity = torch.tensor([8.0, 4.0, 3.0]).reshape(1, 1, 1, 1, 3)
    body = torch.ones(1, 1, 1, 1, 3, dtype=torch.bool)
    assert evaluated_voxels(sensitivity, body, least_share=0.5).flatten().tolist() == [True, True, False]
