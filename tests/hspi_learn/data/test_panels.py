"""Counts as images of panels, and what mirrored objects do to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data_gen.camera import load_camera
from data_gen.core.errors import UserError
from hspi_learn.data import PanelLayout, mirrored_pixels


def test_images_are_those_of_rows_and_columns() -> None:
    """Each pixel lies at its camera's panel, row and column, and the way back gives the counts."""
    camera = load_camera("demo")
    layout = PanelLayout.of(camera)
    counts = torch.arange(camera.pixel_count * 2.0).reshape(1, -1, 2)
    images = layout.images(counts)
    assert images.shape == (1, 6, 2, 40, 40)
    for pixel in (0, 41, 1600, 9599):
        place = (int(of[pixel]) for of in (camera.pixel_panel, camera.pixel_row, camera.pixel_column))
        panel, row, column = place
        assert torch.equal(images[0, panel, :, row, column], counts[0, pixel])
    assert torch.equal(layout.counts(images), counts)


@pytest.mark.parametrize(("axis", "number"), [("x", 0), ("y", 1), ("z", 2)])
def test_mirrored_pixels_lie_at_mirrored_places(axis: str, number: int) -> None:
    """Of the demo camera, within a micrometre; twice mirrored is as before."""
    camera = load_camera("demo")
    partner = mirrored_pixels(camera, axis)
    place = camera.pixel_centre_mm.clone()
    place[:, number] *= -1
    torch.testing.assert_close(camera.pixel_centre_mm[partner], place, rtol=0, atol=1e-3)
    assert torch.equal(partner[partner], torch.arange(camera.pixel_count))


def test_a_camera_that_is_no_mirror_image_is_refused() -> None:
    """One aperture moved by a tenth of a millimetre."""
    camera = load_camera("demo")
    moved = camera.aperture_centre_mm.clone()
    moved[0, 2] += 0.1
    with pytest.raises(UserError, match="mirror_axes holds 'z'"):
        mirrored_pixels(replace(camera, aperture_centre_mm=moved), "z")
