"""Blocks of pixels: their corners, and counts spread over pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.blocks import BlockTerms, block_corners
from data_gen.camera import load_camera
from data_gen.camera.binning import binned, binning_to, seeing_every_aperture
from data_gen.errors import UserError

CAMERA = load_camera("demo")
BLOCKS = binned(CAMERA, 4)


class Still:
    """A term that sees nothing but its own numbers."""

    camera = BLOCKS

    def forward(self, activity: Tensor, state: Tensor) -> Tensor:
        return state


def terms() -> BlockTerms:
    corner, weight = block_corners(CAMERA, BLOCKS)
    return BlockTerms([Still()], [torch.ones(1, 1, 1, 3)], corner, weight)


def test_a_block_gives_all_it_has():
    """Shares of every block sum to 1 over the pixels, at the border of a panel too (conservation)."""
    corner, weight = block_corners(CAMERA, BLOCKS)
    given = torch.zeros(BLOCKS.pixel_count, dtype=torch.float64).index_add(
        0, corner.flatten(), weight.flatten()
    )
    torch.testing.assert_close(given, torch.ones_like(given))


def test_a_slope_stays_a_slope():
    """Counts linear across the panel are linear over its pixels, between the outermost middles of blocks."""
    spread = terms().spread(BLOCKS.pixel_column.float()[None, :, None].expand(-1, -1, 3))[0, :, 0] * 16
    inner = (CAMERA.pixel_column >= 2) & (CAMERA.pixel_column < 38)
    torch.testing.assert_close(spread[inner], (CAMERA.pixel_column[inner] + 0.5) / 4 - 0.5)


def test_events_see_what_pixels_see():
    """spread_at is spread at the events (1e-6)."""
    block_terms = terms()
    table = torch.rand(1, BLOCKS.pixel_count, 3, generator=torch.Generator().manual_seed(0))
    pixel, energy = torch.tensor([0, 41, 41, 9599]), torch.tensor([0, 2, 1, 1])
    at = block_terms.spread_at(table[0], pixel, energy)
    torch.testing.assert_close(at, block_terms.spread(table)[0, pixel, energy])


def test_binned_pixels_are_where_their_pixels_are():
    """A block's centre is the mean of its pixels' centres; area and apertures stay (geometry)."""
    near = (CAMERA.pixel_row // 4 == 3) & (CAMERA.pixel_column // 4 == 7) & (CAMERA.pixel_panel == 2)
    block = (BLOCKS.pixel_row == 3) & (BLOCKS.pixel_column == 7) & (BLOCKS.pixel_panel == 2)
    torch.testing.assert_close(BLOCKS.pixel_centre_mm[block][0], CAMERA.pixel_centre_mm[near].mean(0))
    assert BLOCKS.pitch_mm == 4 * CAMERA.pitch_mm
    assert torch.equal(BLOCKS.aperture_centre_mm, CAMERA.aperture_centre_mm)
    assert len(seeing_every_aperture(BLOCKS).pairs) == BLOCKS.pixel_count * 4


def test_bins_divide_blocks():
    """The binning found divides the block of an aperture; another is refused in one sentence."""
    assert binning_to(CAMERA, 2.2) == 4
    with pytest.raises(UserError, match="it needs to divide blocks of 20 x 20 pixels"):
        binned(CAMERA, 3)
