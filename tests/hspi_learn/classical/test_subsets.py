"""Every pixel is in one subset, and subsets follow apertures where septa allow it."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_gen.camera import load_camera
from hspi_learn.classical.subsets import balanced_subsets


@given(pixels=st.integers(1, 200), parts=st.integers(1, 20), block=st.integers(1, 30))
def test_subsets_share_out_the_pixels(pixels: int, parts: int, block: int) -> None:
    """Subsets are disjoint and complete, with or without septa."""
    index = torch.arange(pixels)
    pairs = torch.stack((index, index // block), dim=1)
    camera = SimpleNamespace(pixel_count=pixels, pairs=pairs, panels=1, pixel_panel=0 * index)
    subsets = balanced_subsets(camera, pixels, parts)  # type: ignore[arg-type]
    assert len(subsets) == parts
    assert torch.equal(torch.cat(subsets).sort().values, index)


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_demo_subsets_are_whole_panels(parts: int) -> None:
    """Where panels can be shared out evenly, no subset shares charge with another."""
    camera = load_camera("demo")
    panels = [camera.pixel_panel[subset].unique() for subset in balanced_subsets(camera, 9600, parts)]
    assert all(len(seen) == 6 // parts for seen in panels)
    assert sorted(torch.cat(panels).tolist()) == list(range(6))


@pytest.mark.parametrize("parts", [4, 8])
def test_demo_subsets_look_from_all_round(parts: int) -> None:
    """Subsets of the demo camera have equal sizes, whole apertures, and at least three of its six panels."""
    camera = load_camera("demo")
    subsets = balanced_subsets(camera, camera.pixel_count, parts)
    aperture = camera.pairs[:, 1]
    assert {len(subset) for subset in subsets} == {camera.pixel_count // parts}
    for subset in subsets:
        seen = aperture[subset].unique()
        assert len(seen) == camera.aperture_count // parts
        assert len(camera.aperture_panel[seen].unique()) >= 3
