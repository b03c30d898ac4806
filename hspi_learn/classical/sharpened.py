"""A linear filter behind any reconstruction, which gives its images the power spectrum of truths.

What a linear filter can do for the texture of images, an adversary must beat: it knows nothing but a gain for
each frequency.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from data_gen.core.autograd import in_full_precision
from data_gen.core.errors import UserError
from hspi_learn.metrics import radial_frequency, radial_power
from hspi_learn.reconstructor import Reconstructor, ScanContext, nonzero


class Sharpened(nn.Module):
    """A method's images, each map filtered by a radial gain; negative values become 0, its activity is kept.

    Args:
        method: makes the images.
        gain: factor of each frequency [map, shell]; shell s is of s cycles over the longest edge, and 1 in
            shell 0. Between shells the gain is interpolated, beyond the last it stays.
    """

    gain: Tensor

    def __init__(self, method: Reconstructor, gain: Tensor) -> None:
        super().__init__()
        self.method = method
        self.register_buffer("gain", gain)

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        return self.filtered(self.method.reconstruct(projections, context), context.body)

    @in_full_precision
    def filtered(self, activity: Tensor, body: Tensor) -> Tensor:
        """An activity [batch, map, z, y, x] after the filter; zero outside of the body [batch, 1, z, y, x].

        Zeros as wide as the grid stand around it, so that nothing comes in from the other side.
        """
        inside = activity * body
        shape = inside.shape[2:]
        wide = [2 * n for n in shape]
        spectrum = torch.fft.rfftn(inside, s=wide, dim=(2, 3, 4))
        sharp: Tensor = torch.fft.irfftn(spectrum * self._response(wide, max(shape)), s=wide, dim=(2, 3, 4))
        z, y, x = shape
        kept: Tensor = sharp[..., :z, :y, :x].clamp_min(0) * body
        before, after = (maps.sum(dim=(2, 3, 4), keepdim=True) for maps in (inside, kept))
        return kept * before / nonzero(after)

    def _response(self, shape: Sequence[int], edge: int) -> Tensor:
        """The gain of each mode of a real transform of this shape, [map, z, y, x]."""
        modes = radial_frequency(shape, self.gain.device)[..., : shape[-1] // 2 + 1].to(self.gain)
        place = (modes * edge).clamp_max(self.gain.shape[1] - 1)
        low = place.floor().long()
        high = (low + 1).clamp_max(self.gain.shape[1] - 1)
        return torch.lerp(self.gain[:, low], self.gain[:, high], place - low)

    @classmethod
    @torch.no_grad()
    def matched(cls, method: Reconstructor, scans: Iterable[tuple[Tensor, Tensor, ScanContext]]) -> Sharpened:
        """A method sharpened to the spectrum of truths: H(f) = sqrt(P_truth(f) / P_estimate(f)) of each map.

        Powers are relative to that of the mean, and means over scans.

        Args:
            method: makes the images.
            scans: counts [batch, pixel, window], true activity [batch, map, z, y, x] and context of scans
                that it was not trained on.

        Raises:
            UserError: there is no scan.
        """
        truths, estimates = [], []
        for projections, activity, context in scans:
            truths.append(radial_power(activity, context.body))
            estimates.append(radial_power(method.reconstruct(projections, context), context.body))
        if not truths:
            raise UserError("sharpening got no validation scans; it needs at least one")
        true, found = (torch.cat(powers).nanmean(dim=0) for powers in (truths, estimates))
        gain = (true / found.clamp_min(torch.finfo(found.dtype).tiny)).sqrt()
        return cls(method, gain.nan_to_num(nan=1.0).float())
