"""Grids and energy axes: geometry known by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins, EnergyWindows, VoxelGrid, bin_index


def test_centres_are_symmetric_about_the_isocentre_and_ordered_xyz() -> None:
    """Truth: the definition; spacing (z, y, x) = (1, 2, 3) mm puts the first voxel at (-3, -1, -0.5)."""
    grid = VoxelGrid((2, 2, 3), (1.0, 2.0, 3.0))
    centres = grid.centres_mm()
    assert centres[0, 0, 0].tolist() == [-3.0, -1.0, -0.5]
    assert torch.allclose(centres.mean(dim=(0, 1, 2)), torch.zeros(3, dtype=torch.float64))
    assert grid.voxel_volume_ml == pytest.approx(0.006)
    assert grid.extent_mm == (2.0, 4.0, 9.0)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((0, 1, 1), 1.0), ((1, 1), 1.0), ((1, 1, 1), 0.0), ((1, 1, 1), float("nan")), ((1, 1, 1.5), 1.0)],
)
def test_impossible_grids_are_refused_in_one_sentence(shape: tuple[int, ...], spacing: float) -> None:
    with pytest.raises(UserError, match=r"^grid\.\S+ is .*; it needs .*"):
        VoxelGrid(shape, spacing)


@pytest.mark.parametrize(
    ("low", "high", "count"), [(100, 50, 3), (-1, 5, 3), (0, 10, 0), (0, float("inf"), 3)]
)
def test_impossible_bins_are_refused(low: float, high: float, count: int) -> None:
    with pytest.raises(UserError, match="need"):
        EnergyBins(low, high, count)


@pytest.mark.parametrize("edges", [[1.0], [2.0, 1.0], [1.0, 1.0, 3.0], [-1.0, 2.0]])
def test_windows_need_rising_edges(edges: list[float]) -> None:
    with pytest.raises(UserError, match="boundaries_kev"):
        EnergyWindows(edges)


@given(st.floats(0.0, 700.0, allow_nan=False))
def test_bin_index_agrees_with_the_definition_of_a_half_open_bin(energy: float) -> None:
    """Truth: edges[i] <= E < edges[i + 1], and -1 where no bin holds E."""
    axis = EnergyWindows([20.0, 75.0, 90.0, 600.0])
    found = int(bin_index(axis, torch.tensor([energy], dtype=torch.float64)))
    edges = axis.edges_kev.tolist()
    inside = [i for i in range(3) if edges[i] <= energy < edges[i + 1]]
    assert found == (inside[0] if inside else -1)
