"""Blocks of pixels: their corners, and counts spread over pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.camera import Camera, load_camera
from data_gen.camera.binning import binned, binning_to, seeing_every_aperture
from data_gen.core.errors import UserError
from data_gen.forward_model.block_terms import BlockTerms, block_corners, corners_of

CAMERA = load_camera("demo")
BLOCKS = binned(CAMERA, 4)


class Still:
    """A term that sees nothing but its own numbers."""

    def __init__(self, blocks: Camera) -> None:
        self.camera = blocks

    def forward(self, activity: Tensor, state: Tensor) -> Tensor:
        return state


def terms() -> BlockTerms:
    return terms_on(BLOCKS)


def terms_on(blocks: Camera) -> BlockTerms:
    corner, weight = block_corners(CAMERA, blocks)
    return BlockTerms([Still(blocks)], [torch.ones(1, 1, 1, 3)], corner, weight)


def test_a_block_gives_all_it_has():
    """Shares of every block sum to 1 over the pixels, at the border of a panel too (conservation)."""
    corner, weight = block_corners(CAMERA, BLOCKS)
    given = torch.zeros(BLOCKS.pixel_count, dtype=torch.float64).index_add(
        0, corner.flatten(), weight.flatten()
    )
    torch.testing.assert_close(given, torch.ones_like(given))


def test_a_slope_stays_a_slope():
    """Counts linear across the panel are linear over its pixels, between the outermost middles of an eye's
    blocks."""
    spread = terms().spread(BLOCKS.pixel_column.float()[None, :, None].expand(-1, -1, 3))[0, :, 0] * 16
    column = CAMERA.pixel_column % 20
    inner = (column >= 2) & (column < 18)
    torch.testing.assert_close(spread[inner], (CAMERA.pixel_column[inner] + 0.5) / 4 - 0.5)


def test_septa_part_blocks():
    """Pixels at a septum take nothing of the blocks beyond it."""
    corner, weight = block_corners(CAMERA, BLOCKS)
    first_eye = BLOCKS.pixel_column[corner] < 5
    assert torch.equal(first_eye, (CAMERA.pixel_column < 20)[:, None].expand_as(weight))


def test_terms_on_blocks_of_two_sizes_add_up():
    """Counts on coarse and on finer blocks are spread as each alone is; total and events agree with what is
    spread (1e-5)."""
    finer = binned(CAMERA, 2)
    parts = [(BLOCKS, terms()), (finer, terms_on(finer))]
    corner, weight = corners_of(CAMERA, [block_terms.terms[0] for _, block_terms in parts])
    both = BlockTerms([p.terms[0] for _, p in parts], [torch.ones(1, 1, 1, 3)] * 2, corner, weight)
    generator = torch.Generator().manual_seed(0)
    states = tuple(torch.rand(1, c.pixel_count, 1, 1, 1, generator=generator) for c, _ in parts)
    none, other = torch.zeros(1, 1, 1, 1, 1), torch.rand(1, CAMERA.pixel_count, 3, generator=generator)
    seen = both.project_onto(torch.zeros_like(other), none, states)
    expected = seen + other
    torch.testing.assert_close(both.project_onto(other, none, states), expected)
    alone = [p.spread(p.table(none, (s,))) for (_, p), s in zip(parts, states, strict=True)]
    torch.testing.assert_close(seen, alone[0] + alone[1])
    table = both.table(none, states)
    pixel, energy = torch.tensor([0, 41, 9599]), torch.tensor([0, 2, 1])
    torch.testing.assert_close(both.spread_at(table[0], pixel, energy), seen[0, pixel, energy])
    torch.testing.assert_close(both.total(none, states), seen.sum(1), rtol=1e-5, atol=0)


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
