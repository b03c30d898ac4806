"""Gaussian filters of projections: within each panel of the camera, of a width for each energy window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from data_gen.core.autograd import in_full_precision
from data_gen.core.errors import UserError
from hspi_learn.classical.postfilter import smoothed_along
from hspi_learn.data import PanelLayout
from hspi_learn.metrics import projection_nrmse


@in_full_precision
def smoothed_on_panels(images: Tensor, live: Tensor, fwhm_pixels: float) -> Tensor:
    """Images averaged with a Gaussian over the live pixels of each panel alone.

    A panel that is uniform stays so up to its edge and around dead pixels.

    Args:
        images: [..., row, column], 0 in dead pixels.
        live: pixels that record, of a shape that fits, 0 or 1.
        fwhm_pixels: full width at half maximum; 0 leaves the images as they are.

    Returns:
        The averages, 0 in dead pixels.
    """
    if fwhm_pixels == 0:
        return live * images
    covered, summed = live.to(images), live * images
    for axis in (-2, -1):
        covered = smoothed_along(covered, axis, fwhm_pixels)
        summed = smoothed_along(summed, axis, fwhm_pixels)
    return live * summed / covered.clamp_min(1e-6)


class PanelFilter(nn.Module):
    """Counts smoothed by a Gaussian within each panel, of its own width in each window.

    Args:
        layout: panels of the camera.
        live: pixels that record [pixel], 0 or 1.
        fwhm_pixels: full width at half maximum of each window, in pixels; 0 for none.

    Raises:
        UserError: a width is negative or infinite.
    """

    def __init__(self, layout: PanelLayout, live: Tensor, fwhm_pixels: Sequence[float]) -> None:
        super().__init__()
        for width in fwhm_pixels:
            if not 0 <= width < math.inf:
                raise UserError(f"fwhm_pixels holds {width}; it needs numbers of 0 or more")
        self.layout, self.fwhm_pixels = layout, tuple(float(width) for width in fwhm_pixels)
        self.live: Tensor
        self.register_buffer("live", live, persistent=False)

    def forward(self, counts: Tensor) -> Tensor:
        """Smoothed counts [batch, pixel, window], 0 in dead pixels."""
        images = self.layout.images(counts)
        live = self.layout.images(self.live.to(counts)[None, :, None])[:, :, 0]
        windows = [
            smoothed_on_panels(images[:, :, window], live, width)
            for window, width in enumerate(self.fwhm_pixels)
        ]
        return self.layout.counts(torch.stack(windows, dim=2))


@torch.no_grad()
def tuned_panel_filter(
    layout: PanelLayout,
    live: Tensor,
    scans: Iterable[tuple[Tensor, Tensor]],
    candidates: Sequence[float],
) -> PanelFilter:
    """The filter whose error (NRMSE, mean over scans) is least in each window.

    Args:
        layout: panels of the camera.
        live: pixels that record [pixel], 0 or 1.
        scans: batches of counts and of their noise-free expectations, both [batch, pixel, window].
        candidates: widths in pixels that are tried in every window.

    Raises:
        UserError: there is no scan or no candidate, or a width is negative or infinite.
    """
    if not candidates:
        raise UserError("fwhm_pixels is empty; it needs at least one width to try")
    found: list[Tensor] = []
    for counts, expected in scans:
        windows = counts.shape[2]
        filters = (PanelFilter(layout, live, [width] * windows) for width in candidates)
        found.append(torch.stack([projection_nrmse(each(counts), expected) for each in filters]))
    if not found:
        raise UserError("tuning of the Gaussian filter got no validation scans; it needs at least one")
    errors = torch.cat(found, dim=1).nanmean(dim=1)  # [candidate, window]
    best = errors.nan_to_num(nan=torch.inf).argmin(dim=0).tolist()
    return PanelFilter(layout, live, [candidates[index] for index in best])
