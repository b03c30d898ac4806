"""From mean energies of hits to probabilities of energy bins: Gaussian resolution, with nothing lost at the
ends.

Energies are in keV. The variance of each hit is that of docs/physics.md, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.detector.hits import PLACES, SHARERS, Hits

_NODES_PER_SIGMA = 5.0
"""Energy nodes per standard deviation of the resolution; chosen, no source."""
_REACH = 9.0
"""Standard deviations beyond the recorded range up to which hits are followed; chosen, no source."""
_FINE = 4096
"""Energies by which the spacing of the nodes is integrated; chosen, no source."""
_HIGHEST_KEV = 3000.0
"""Above all photons of interest."""
_CLASSES = [(n, 1.0) for n in range(1, SHARERS + 1)] + [(n, 1 / n) for n in range(2, SHARERS + 1)]
"""Pixels of a hit, and the sum of the squares of their shares: one has all, or all have the same."""


@dataclass(frozen=True)
class Resolution:
    """Variance in keV^2 of the recorded energy of n pixels that share E: each has noise, gain and offset of
    its own.

    n (noise^2 + offset^2) + fano w E + gain^2 u E^2, where u is the sum of the squares of their shares.
    """

    noise_kev2: Tensor
    fano_kev: Tensor
    offset_kev2: Tensor
    gain2: Tensor

    def sigma_kev(self, energy_kev: Tensor, pixels: int, unevenness: float = 1.0) -> Tensor:
        """Standard deviation, of the shape of ``energy_kev``."""
        variance = pixels * (self.noise_kev2 + self.offset_kev2) + self.fano_kev * energy_kev
        return torch.sqrt(variance + unevenness * self.gain2 * energy_kev**2)

    def coarse(self) -> Resolution:
        """Nearly the same, quantised, so that nodes made for it do not move when constants change
        a little.
        """
        parts = (self.noise_kev2, self.fano_kev, self.offset_kev2, self.gain2)
        return Resolution(*(torch.exp2((part.detach().log2() * 4).floor() / 4) for part in parts))


@dataclass(frozen=True)
class Axis:
    """Energies at which hits are collected, and their blurring by the resolution.

    Args:
        nodes_kev: energies a fifth of the resolution apart, [node].
        blur: probability of each bin and of both ends for each class of hits, [class, node, bin + 2].
    """

    nodes_kev: Tensor
    blur: Tensor

    @classmethod
    def of(cls, edges_kev: Tensor, resolution: Resolution) -> Axis:
        """The axis for bins of ascending edges [bin + 1]."""
        nodes = _nodes(edges_kev, resolution.coarse())
        blur = [_bins(nodes, resolution.sigma_kev(nodes, *kind), edges_kev) for kind in _CLASSES]
        return cls(nodes, torch.stack(blur))

    def gathered(self, hits: Hits) -> Tensor:
        """Probability at the nodes, [class, place, line, node].

        Hits are spread linearly over two nodes, so that one product blurs all lines; peaks widen by 0.5 % at
        most. Those of several pixels are spread linearly over two classes, which keeps their variance.
        """
        nodes = self.nodes_kev
        energy = hits.energy_kev.clamp(float(nodes[0]), float(nodes[-1]))
        below = (torch.bucketize(energy.detach(), nodes, right=True) - 1).clamp(0, len(nodes) - 2)
        part = (energy - nodes[below]) / (nodes[below + 1] - nodes[below])
        flat = torch.zeros(len(_CLASSES) * PLACES * hits.lines * len(nodes), dtype=torch.float64)
        even = (1 - hits.unevenness) / (1 - 1 / hits.pixels.clamp_min(2).to(energy.dtype))
        even = even.clamp(0, 1)
        for kind, share, some in (
            (hits.pixels - 1, 1 - even, slice(None)),
            (hits.pixels + SHARERS - 2, even, hits.pixels > 1),
        ):
            row = (kind * PLACES + hits.place) * hits.lines + hits.line
            at = (row[:, None] * len(nodes) + below)[some].flatten()
            each = (share * hits.probability / energy.shape[1])[:, None]
            flat = flat.index_add(0, at, (each * (1 - part))[some].flatten())
            flat = flat.index_add(0, at + 1, (each * part)[some].flatten())
        return flat.reshape(len(_CLASSES), PLACES, hits.lines, len(nodes))

    def blurred(self, gathered: Tensor) -> Tensor:
        """From :meth:`gathered` to [place, line, bin + 2]: the first bin is all below the edges, the last
        all above."""
        return torch.einsum("nplk,nkb->plb", gathered, self.blur)


def at_recorded_pixels(spectra: Tensor, binning: int) -> Tensor:
    """Spectra [place, line, bin] of the middle, the edges and the corners of 3x3 pixels of the anode to those
    of the 3x3 recorded pixels, [9, line, bin], each ``binning`` x ``binning`` of the anode's.

    An event leaves a recorded pixel only across its border, where one in ``binning`` pixels lies.
    """
    leaves = 1 / binning
    middle, edges, corners = spectra
    stays = middle + (1 - leaves) * edges + (1 - leaves) ** 2 * corners
    edge = (leaves * edges + 2 * leaves * (1 - leaves) * corners) / 4
    corner = leaves**2 * corners / 4
    return torch.stack((corner, edge, corner, edge, stays, edge, corner, edge, corner))


def _bins(energy_kev: Tensor, sigma_kev: Tensor, edges_kev: Tensor) -> Tensor:
    """Normal probability of each bin and of both ends about each energy, [k, bin + 2]."""
    below = 0.5 * (1 + torch.erf((edges_kev - energy_kev[:, None]) / (math.sqrt(2) * sigma_kev[:, None])))
    ends = torch.zeros_like(energy_kev)[:, None]
    return torch.cat((ends, below, ends + 1), dim=1).diff(dim=1)


def _nodes(edges_kev: Tensor, resolution: Resolution) -> Tensor:
    """Nodes covering all energies that can reach the bins, a fixed fraction of the resolution apart.

    They are taken from one sequence that depends on the resolution alone, so that windows are sums of their
    bins.
    """
    with torch.no_grad():
        first, last = (edge.clamp(0, _HIGHEST_KEV) for edge in (edges_kev[0], edges_kev[-1]))
        low = first - _REACH * resolution.sigma_kev(first, SHARERS)
        high = last + _REACH * resolution.sigma_kev(last, SHARERS)
        energy = torch.linspace(0, 1.1 * _HIGHEST_KEV, _FINE, dtype=torch.float64)
        rate = _NODES_PER_SIGMA / resolution.sigma_kev(energy, 1)
        passed = torch.nn.functional.pad(((rate[1:] + rate[:-1]) / 2 * energy.diff()).cumsum(0), (1, 0))
        wanted = torch.linspace(0, float(passed[-1]), int(passed[-1]) + 2, dtype=torch.float64)
        cell = torch.bucketize(wanted, passed).clamp(1, _FINE - 1)
        part = (wanted - passed[cell - 1]) / (passed[cell] - passed[cell - 1])
        row = torch.lerp(energy[cell - 1], energy[cell], part)
        begin, end = torch.bucketize(torch.stack((low, high)), row).tolist()
        return row[max(begin - 1, 0) : max(end + 1, 2)]
