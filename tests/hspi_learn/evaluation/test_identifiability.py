"""Cramer-Rao bounds of organs and tumours, against numpy on columns that are projected one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation import Judge, LeastDeviations, ReconstructionStudy, least_deviations
from hspi_learn.evaluation.identifiability import LIMIT, bounds_key, unidentifiable, unidentifiable_in_most
from hspi_learn.evaluation.summary import bound_numbers, summary
from hspi_learn.evaluation.tables import headline_table, shown
from hspi_learn.reconstructor import ScanBatch
from tests.hspi_learn.evaluation.conftest import GROUPS, ORGANS, Oracle


@pytest.fixture(scope="module")
def scan(scans: ScanBatch) -> ScanBatch:
    """The first mouse, with a second tumour of one voxel."""
    one = ScanBatch(*(part[:1].clone() for part in scans))
    one.labels[0, 1, 2, 1] = 2
    return one


def by_hand(model: HyperspectralForwardModel, scan: ScanBatch, masks: list[torch.Tensor]) -> np.ndarray:
    """Bounds [mask, map] from the inverse of J^T (1/n) J, columns projected one by one."""
    state, columns = model.attenuation(scan.density), []
    for mask in masks:
        for m in range(2):
            alone = torch.zeros_like(scan.activity)
            alone[0, m] = scan.activity[0, m] * mask
            columns.append((scan.duration_s * model.project(alone, state)).flatten().double().numpy())
    jacobian = np.stack(columns, axis=1)
    expected = model.expected_counts(scan.activity, state, scan.duration_s).flatten().double().numpy()
    information = jacobian.T @ (jacobian / expected[:, None])
    return np.sqrt(np.linalg.inv(information).diagonal()).reshape(len(masks), 2)


def test_bounds_against_numpy(model32: HyperspectralForwardModel, judge: Judge, scan: ScanBatch) -> None:
    """Organs with all tumours as one, and each tumour by itself beside the organs; 1e-3."""
    found = least_deviations(model32, judge, scan)
    labels = scan.labels[0]
    organs = by_hand(model32, scan, [labels == 1, labels == 2])
    assert found.regions[0, :, 1:].T.numpy() == pytest.approx(organs, rel=1e-3)
    assert torch.isnan(found.regions[0, :, 0]).all()
    large, small = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    small[1, 2, 1] = True
    large[1:3, 2, 3] = True
    order = [small, large]  # numbered along x last
    lesions = by_hand(model32, scan, [labels == 1, *order])[1:]
    assert found.lesions[0].T.numpy() == pytest.approx(lesions, rel=1e-3)
    assert (found.lesions[0, :, 0] > found.lesions[0, :, 1]).all()


def test_four_times_the_time_halves_the_bound(
    model32: HyperspectralForwardModel, judge: Judge, scan: ScanBatch
) -> None:
    """Counts and background grow alike; 1e-5."""
    longer = scan._replace(duration_s=4 * scan.duration_s)
    pairs = zip(least_deviations(model32, judge, longer), least_deviations(model32, judge, scan), strict=True)
    for half, whole in pairs:
        torch.testing.assert_close(2 * half, whole, rtol=1e-5, atol=0, equal_nan=True)


def test_what_gives_no_counts_is_not_seen_and_harms_no_other(
    model32: HyperspectralForwardModel, judge: Judge, scan: ScanBatch
) -> None:
    """A tumour so dense that no photon leaves it: infinite; the other tumour as without it; 1e-5."""
    dense = scan.density.clone()
    dense[0, 1, 2, 1] = 300.0
    found = least_deviations(model32, judge, scan._replace(density=dense))
    assert torch.isinf(found.lesions[0, :, 0]).all()
    alone = scan.labels.clone()
    alone[0, 1, 2, 1] = 0
    other = least_deviations(model32, judge, scan._replace(density=dense, labels=alone))
    torch.testing.assert_close(found.lesions[0, :, 1], other.lesions[0, :, 0], rtol=1e-5, atol=0)


def test_marks_follow_the_bound(model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch) -> None:
    """Tumours of one map above 50 %: a dagger on their error and slope alone."""
    outcome = ReconstructionStudy(model32, judge, {1.0: {"osem": Oracle(scans.activity, 0.8)}}).run([scans])
    bounds = LeastDeviations(torch.full((6, 2, 3), 0.1), torch.full((6, 2, 1), 0.1))
    bounds.lesions[:, 1] = 0.6
    numbers = summary(outcome, GROUPS, ORGANS, bounds=bounds)
    assert numbers["test/least_sd_tumours/ac225"] == pytest.approx(0.1)
    assert numbers["test/least_sd_tumours/bi213"] == pytest.approx(0.6)
    assert numbers["test/least_sd/tumour/bi213"] == pytest.approx(0.1)
    first, second = headline_table(outcome, numbers, GROUPS).rows
    assert not [cell for cell in map(shown, first) if "\u2020" in cell]
    assert [shown(cell) for cell in second[2:4]] == ["0.200 \u2020", "0.800 \u2020"]
    assert not [cell for cell in map(shown, second[4:]) if "\u2020" in cell]
    assert headline_table(outcome, numbers, GROUPS).csv().splitlines()[2].split(",")[2].startswith("0.2")
    lost = unidentifiable(bounds.lesions[:4], outcome.truth_lesions)
    assert lost[:4, 1].all()
    assert not lost[4:].any()
    assert not lost[:, 0].any()
    assert LIMIT == 0.5
    infinite = LeastDeviations(torch.full((6, 2, 3), torch.inf), torch.full((6, 2, 1), torch.inf))
    assert bound_numbers(infinite, outcome, GROUPS, ORGANS)["test/least_sd_tumours/ac225"] == 1000


def test_regions_that_most_scans_cannot_tell() -> None:
    """Above the limit in two of three scans, in one, at the limit, absent, and absent but once; by hand."""
    nan, inf = torch.nan, torch.inf
    bounds = torch.tensor(
        [[[0.6, 0.6, LIMIT, nan, nan]], [[inf, 0.1, LIMIT, nan, 0.9]], [[0.2, 0.2, LIMIT, nan, nan]]]
    )
    assert unidentifiable_in_most(bounds).tolist() == [[True, False, False, False, True]]
    assert not unidentifiable_in_most(bounds[:0]).any()


def test_kept_bounds_are_of_these_organs(model32: HyperspectralForwardModel, judge: Judge) -> None:
    """A new organ at the end of the list asks for bounds of its own: kept ones lack its column."""
    system: Any = SimpleNamespace(to_dict=dict)
    keys = [bounds_key(system, model32, organs) for organs in (judge.organs, (*judge.organs, "necrosis"))]
    assert keys[0] != keys[1]
    assert keys[0] == bounds_key(system, model32, judge.organs)
