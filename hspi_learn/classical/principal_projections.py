"""Expected counts from counts by a Wiener filter in principal components of training projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data_gen.core.autograd import in_full_precision
from data_gen.core.errors import UserError
from data_gen.core.memory import check_memory
from hspi_learn.data import PanelLayout

LEAST_SHARE = 1e-2
"""Share of the mean below which the expected share of a bin is not taken as its variance; chosen."""

LEAST_VARIANCE = 1e-9
"""Least variance of a component, which keeps 1 / variance finite."""

HELD_OUT = 4
"""One of so many noisy training scans tells variances, the others the components."""


class PrincipalProjections(nn.Module):
    """Best linear estimate of expected counts from counts, in principal components of training scans.

    With N the counts of a scan, m the mean share of each bin, and U components of the shares' deviations
    that are orthonormal after division by sqrt(m), of variances v:

        expected = N (m + sqrt(m) U c),    c = (G + 1 / (N v))^-1 U^T ((n / N - m) / sqrt(m)),

    G = U^T U over live pixels. It is the Wiener filter for noise of variance m / N, which Poisson counts of a
    mean scan have: N tells how far a component is trusted. In each pixel only few combinations of windows are
    kept, which follow from the nuclides' spectra. Source: Karhunen-Loeve filters of emission data, Wernick,
    Infusino and Milosevic, IEEE Trans. Med. Imaging 18 (1999) 185.

    Until :meth:`fit` or a state dict fills it, every bin is expected to have an equal share.

    Args:
        layout: panels of the camera.
        windows: energy windows.
        components: principal components; with fewer training scans the others stay empty.
        spectra: combinations of windows that are kept in each pixel.

    Raises:
        UserError: a number is below 1, or they do not fit into memory.
    """

    def __init__(self, layout: PanelLayout, windows: int, components: int = 128, spectra: int = 6) -> None:
        super().__init__()
        for key, number in (("components", components), ("spectra", spectra)):
            if number < 1:
                raise UserError(f"{key} is {number}; it needs to be 1 or more")
        self.layout, pixels = layout, layout.panels * layout.rows * layout.columns
        kept = min(spectra, windows)
        check_memory(4 * components * kept * pixels, f"task.components {components}")
        self.mean: Tensor
        self.register_buffer("mean", torch.full((pixels, windows), 1.0 / (pixels * windows)))
        self.spectra: Tensor
        self.register_buffer("spectra", torch.eye(windows)[:, :kept].contiguous())
        self.components: Tensor
        self.register_buffer("components", torch.zeros(components, pixels, kept))
        self.variances: Tensor
        self.register_buffer("variances", torch.zeros(components))

    @property
    def scale(self) -> Tensor:
        """Square root of the variance of a bin's share for one count, [pixel, window]."""
        return self.mean.clamp_min(LEAST_SHARE * self.mean.mean()).sqrt()

    @in_full_precision
    def forward(self, counts: Tensor, live: Tensor) -> Tensor:
        """Expected counts [batch, pixel, window], 0 or more; 0 in dead pixels.

        Args:
            counts: [batch, pixel, window], 0 in dead pixels.
            live: pixels that record [pixel], 0 or 1.
        """
        mean, scale = (live.to(counts)[:, None] * part.to(counts) for part in (self.mean, self.scale))
        total = (counts.sum((1, 2)) / mean.sum()).clamp_min(1e-6)[:, None, None]
        components = live.to(counts)[:, None] * self.components.to(counts)
        spectra = self.spectra.to(counts)
        whitened = torch.where(scale > 0, (counts / total - mean) / scale.clamp_min(1e-30), 0.0)
        seen = (whitened @ spectra).flatten(1) @ components.flatten(1).T
        trusted = seen.unsqueeze(2)
        inverse = 1 / (total * self.variances.to(counts).clamp_min(LEAST_VARIANCE))[:, 0]
        if bool((live > 0).all()):  # orthonormal then
            trusted = trusted / (1 + inverse)[:, :, None]
        else:
            gram = components.flatten(1) @ components.flatten(1).T
            trusted = torch.linalg.solve(gram + torch.diag_embed(inverse), trusted)
        deviation = torch.einsum("bk,kps->bps", trusted[..., 0], components) @ spectra.T
        return (total * (mean + scale * deviation)).clamp_min(0)

    @torch.no_grad()
    def fit(
        self,
        expected: Sequence[Tensor],
        halves: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None,
    ) -> None:
        """Find mean, spectra, components and their variances from training scans.

        Args:
            expected: expected counts of each scan [pixel, window], which give mean, spectra and components.
            halves: two independent halves of the counts of each scan, if ``expected`` are not the truth but
                estimates. The mean is then corrected by a factor for each window, and variances are what both
                halves have in common, to which noise adds nothing. A part of the scans that had no part in
                finding components tells them.
        """
        shares = [_share(scan) for scan in expected]
        mean = torch.stack(shares).mean(0)
        if halves is not None:
            counted = torch.stack([_share(a + b) for a, b in zip(*halves, strict=True)]).mean(0)
            mean = mean * counted.sum(0) / mean.sum(0).clamp_min(torch.finfo(mean.dtype).tiny)
        self.mean.copy_(mean)
        rows = [(share - self.mean) / self.scale for share in shares]
        common = torch.stack([row.T @ row for row in rows]).sum(0)
        kept = self.spectra.shape[1]
        self.spectra.copy_(torch.linalg.eigh(common).eigenvectors.flip(1)[:, :kept])
        flat = torch.stack([(row @ self.spectra).flatten() for row in rows])
        found = _principal(flat, len(self.variances))
        self.components.zero_()
        self.components[: len(found)] = found.unflatten(1, self.components.shape[1:])
        self.variances.zero_()
        if halves is None:
            self.variances[: len(found)] = (flat @ found.T).square().mean(0)
            return
        held_out = [number for number in range(len(flat)) if number % HELD_OUT == 0]
        others = [number for number in range(len(flat)) if number % HELD_OUT]
        known = _principal(flat[others], len(found))
        seen = [
            torch.stack([self._whitened(half[number]) for number in held_out]) @ known.T for half in halves
        ]
        self.variances[: len(known)] = (seen[0] * seen[1]).mean(0).clamp_min(0)

    def _whitened(self, counts: Tensor) -> Tensor:
        """Deviation of a scan's shares from the mean in the kept spectra, over their noise, flat."""
        return (((_share(counts) - self.mean) / self.scale) @ self.spectra).flatten()


def _share(counts: Tensor) -> Tensor:
    """Counts of a scan over their total."""
    return counts / counts.sum().clamp_min(torch.finfo(counts.dtype).tiny)


def _principal(rows: Tensor, most: int) -> Tensor:
    """Orthonormal principal components [k, bin] of rows [scan, bin], which need not have mean 0."""
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    values, vectors = values.flip(0)[:most], vectors.flip(1)[:, :most]
    some = values > 1e-6 * values[0].clamp_min(torch.finfo(values.dtype).tiny)
    found: Tensor = (vectors[:, some] / values[some].sqrt()).T @ rows
    return found
