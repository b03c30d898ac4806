"""Classes of scans from labels: by hand, and against the tumours that phantoms drew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.phantoms import ORGANS, PATTERNS, PatternedMouse
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import HotSpots, UptakePattern
from hspi_learn.tasks.scan_classes import pattern_of

TUMOUR, NECROSIS = ORGANS.index("tumour"), ORGANS.index("necrosis")


def _batch(labels: Tensor) -> ScanBatch:
    nothing: Any = None
    return ScanBatch(nothing, nothing, nothing, nothing, labels, torch.arange(len(labels)))


def _with_tumours(count: int) -> Tensor:
    """Labels of so many tumours of one voxel, two voxels apart."""
    labels = torch.ones(3, 3, 12, dtype=torch.int64)
    labels[1, 1, 0 : 2 * count : 2] = TUMOUR
    return labels


def test_hot_spots_are_counted_by_hand() -> None:
    """0 to 4 tumours are none, one, two, many, many; touching at a corner is one; necrosis belongs to it."""
    classes = HotSpots()
    assert classes.names == ("none", "one", "two", "many")
    counted = torch.stack([_with_tumours(n) for n in range(5)])
    assert classes.of(_batch(counted)).tolist() == [0, 1, 2, 3, 3]
    corner = _with_tumours(1)
    corner[2, 2, 1] = TUMOUR
    parted = _with_tumours(2)
    parted[1, 1, 1] = NECROSIS
    assert classes.of(_batch(torch.stack((corner, parted)))).tolist() == [1, 1]
    assert HotSpots(most=1).names == ("none", "some")


@pytest.mark.parametrize(("edge_mm", "voxels", "least"), [(1.2, 24, 1.0), (2.4, 12, 0.9)])
def test_patterns_are_those_that_were_drawn(edge_mm: float, voxels: int, least: float) -> None:
    """Of 8 to 10 mm tumours all at 1.2 mm voxels, and nine of ten at 2.4 mm, are told from the labels."""
    uptake = {"soft_tissue": (0.5, 1.5), "tumour": (20.0, 40.0)}
    grid, right = VoxelGrid((voxels,) * 3, edge_mm), []
    for pattern in PATTERNS:
        mouse = PatternedMouse(
            uptake, tumours=(1, 1), tumour_diameter_mm=(8.0, 10.0), patterns=(pattern,), supersampling=2
        )
        labels = torch.stack([mouse(grid, seeded_generator("told", seed)).labels for seed in range(12)])
        found = UptakePattern().of(_batch(labels))
        right += (found == PATTERNS.index(pattern)).tolist()
    assert sum(right) >= least * len(right)


def test_patterns_of_a_ball_by_hand() -> None:
    """A ball of 8 voxels radius: its core of 0.6, the half above the middle, a band of half width 0.4."""
    axis = torch.arange(-10, 11, dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = (z**2 + y**2 + x**2).sqrt()
    ball = distance <= 8
    assert pattern_of(ball, torch.zeros_like(ball)) == "uniform"
    assert pattern_of(ball, distance <= 0.6 * 8) == "necrotic_core"
    assert pattern_of(ball, z >= 0) == "half"
    assert pattern_of(ball, y.abs() <= 0.4 * 8) == "two_lobes"


def test_scans_of_no_class_are_named() -> None:
    labels = torch.stack((_with_tumours(1), _with_tumours(0)))
    with pytest.raises(UserError, match="scan 1 has no tumour"):
        UptakePattern().of(_batch(labels))
    with pytest.raises(UserError, match="tumour of scan 0 is uniform"):
        UptakePattern(("half", "two_lobes")).of(_batch(labels))


@pytest.mark.parametrize("patterns", [("half",), ("half", "half"), ("half", "striped")])
def test_wrong_patterns_are_refused(patterns: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"classes\.patterns"):
        UptakePattern(patterns)


@pytest.mark.parametrize("most", [0, 8])
def test_wrong_numbers_of_hot_spots_are_refused(most: int) -> None:
    with pytest.raises(UserError, match=f"classes.most is {most}"):
        HotSpots(most)
