"""How the pixels of a camera are shared out among the subsets of OSEM."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera


def balanced_subsets(camera: Camera, pixels: int, parts: int) -> list[Tensor]:
    """Pixel indices of each subset, every panel or every part of it in each.

    Where septa give each pixel one aperture, a subset is every ``parts``-th aperture with all its pixels:
    views far apart, as in SPECT, and a product that touches only those apertures. Otherwise, or with fewer
    apertures than parts, it is every ``parts``-th pixel.

    Args:
        camera: the camera.
        pixels: pixels of the model; fewer than the camera's where the model is itself a subset.
        parts: number of subsets.
    """
    index = torch.arange(pixels)
    share = index % parts
    if pixels == camera.pixel_count:
        pixel, aperture = camera.pairs.cpu().unbind(dim=1)
        if torch.equal(pixel, index) and int(aperture.max()) + 1 >= parts:
            share = aperture % parts
    return [index[share == part] for part in range(parts)]
