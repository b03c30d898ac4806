"""Division of a camera's pixels into the subsets of OSEM."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera


def balanced_subsets(camera: Camera, pixels: int, parts: int) -> list[Tensor]:
    """Pixel indices of each subset.

    Where the panels can be shared out evenly, a subset is every ``parts``-th panel, as views are in SPECT: no
    charge is shared between panels, so a product touches no others. Else, where septa give each pixel one
    aperture, it is every ``parts``-th aperture with all its pixels; a product then needs the pixels around
    them too. Otherwise, or with fewer apertures than parts, it is every ``parts``-th pixel.

    Args:
        camera: the camera.
        pixels: pixels of the model; fewer than the camera's where the model is itself a subset.
        parts: number of subsets.
    """
    index = torch.arange(pixels)
    share = index % parts
    if pixels == camera.pixel_count:
        pixel, aperture = camera.pairs.cpu().unbind(dim=1)
        if camera.panels % parts == 0:
            share = camera.pixel_panel % parts
        elif torch.equal(pixel, index) and int(aperture.max()) + 1 >= parts:
            share = aperture % parts
    return [index[share == part] for part in range(parts)]
