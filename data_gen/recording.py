"""Photons per decay times what the detector makes of them: the spectral factor of the forward model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import cached_property

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.detector import CdTeResponse
from data_gen.mixing import leak_shares, photon_shares, sharp_shares
from data_gen.nuclides import MemberGroups
from data_gen.projector.cache import cache_folder, cached, content_key
from data_gen.spectrum import LineSpectrum

LOWEST_KEV = 15.0
"""Photons below are not recorded."""

FINE_RATIO, FINE_UP_TO_KEV, COARSE_RATIO = 1.04, 700.0, 1.12
"""Ratios of neighbouring energies between which the response to a continuum is interpolated: while peaks of
full energy are recorded, and above, where there is but Compton continuum, which changes slowly."""

POINTS_PER_PIECE = 24

RESPONSE_VERSION = 2
"""Raised whenever the numbers of the response change, so that kept ones are made again."""


class Recorder:
    """What a camera's detector records of the photons of a chain, on one energy axis.

    Lines up to ``sharp_kev`` borrow from the reference energies up to there, lines above from those above.

    Args:
        camera: the camera.
        lines: every line of the chain that is transported.
        groups: chain members to activity maps.
        edges_kev: of the recorded bins, [bin + 1].
        sharp_kev: lines above have no image of their own.
    """

    def __init__(
        self, camera: Camera, lines: LineSpectrum, groups: MemberGroups, edges_kev: Tensor, sharp_kev: float
    ) -> None:
        self.camera, self.lines, self.sharp_kev = camera, lines, sharp_kev
        self.edges_kev = edges_kev.to("cpu", torch.float64)
        self.emitted = lines.photons_per_decay[:, None] * groups.weights[lines.member]
        self.kernel = self._kernel(lines.energy_kev, lines.width_kev)

    def sharp(self, reference_kev: Tensor) -> Tensor:
        """R [offset, g, map, bin]: counts per first interaction behind apertures at the reference energies up
        to ``sharp_kev``, for one photon per decay there."""
        low = self.lines.energy_kev <= self.sharp_kev
        share = sharp_shares(self.camera, self.lines.energy_kev[low], reference_kev)
        return torch.einsum("lg,lm,olb->ogmb", share, self.emitted[low], self.kernel[:, low])

    def leaked(self, reference_kev: Tensor, leaking: Tensor) -> Tensor:
        """The same behind plate and septa, [leaking, 1, map, bin], for the references [g] that leak."""
        share = self._shares(leak_shares, reference_kev)[:, leaking]
        return torch.einsum("lg,lm,olb->gmb", share, self.emitted, self.kernel)[:, None]

    def scattered(self, reference_kev: Tensor, arrival_kev: Tensor) -> Tensor:
        """The same for photons that arrive with energies of classes [g, k, 2], [g, k, map, bin]."""
        share = self._shares(photon_shares, reference_kev)
        low, high = arrival_kev.flatten(0, 1).unbind(dim=-1)
        by_class = self._kernel((low + high) / 2, high - low).sum(0).unflatten(0, arrival_kev.shape[:2])
        return torch.einsum("lg,lm,gkb->gkmb", share, self.emitted, by_class)

    def _shares(self, mixing: Callable[[Camera, Tensor, Tensor], Tensor], reference_kev: Tensor) -> Tensor:
        """Shares [line, g], lines and references on either side of ``sharp_kev`` apart."""
        energy = self.lines.energy_kev
        table = torch.zeros(len(energy), len(reference_kev), dtype=torch.float64)
        for lines, references in (
            (energy <= self.sharp_kev, reference_kev <= self.sharp_kev),
            (energy > self.sharp_kev, reference_kev > self.sharp_kev),
        ):
            if bool(lines.any()):
                mixed = mixing(self.camera, energy[lines], reference_kev[references])
                table[lines.nonzero(), references.nonzero()[:, 0]] = mixed
        return table

    def _kernel(self, energy_kev: Tensor, width_kev: Tensor) -> Tensor:
        """Response [offset, piece, bin] to photons spread evenly over a width about an energy, [piece]."""
        line = width_kev <= 0
        parts = []
        if bool(line.any()):
            distinct, which = torch.unique(energy_kev[line], return_inverse=True)
            parts.append(self._response(distinct)[:, which])
        if bool((~line).any()):
            weight = _mean_weights(energy_kev[~line], width_kev[~line], self._nodes_kev)
            parts.append(torch.einsum("pn,onb->opb", weight, self._at_nodes))
        order = torch.cat((line.nonzero()[:, 0], (~line).nonzero()[:, 0])).argsort()
        return torch.cat(parts, dim=1)[:, order]

    @cached_property
    def _nodes_kev(self) -> Tensor:
        """Energies between which the response to a continuum is interpolated, [node]."""
        top = float(self.lines.energy_kev.max() + self.lines.width_kev.max())
        fine = _ratios(LOWEST_KEV, FINE_UP_TO_KEV, FINE_RATIO)
        return torch.cat((fine, _ratios(FINE_UP_TO_KEV, max(top, 1.1 * FINE_UP_TO_KEV), COARSE_RATIO)[1:]))

    @cached_property
    def _at_nodes(self) -> Tensor:
        return self._response(self._nodes_kev)

    def _response(self, energy_kev: Tensor) -> Tensor:
        """Response [offset, energy, bin] to lines, kept on disk where it takes seconds to make."""
        response = self.camera.response

        def make() -> dict[str, Tensor]:
            return {"kernel": response.kernel(energy_kev, self.edges_kev).to(torch.float64)}

        if not isinstance(response, CdTeResponse) or _has_tensors(response):
            return make()["kernel"]
        numbers = {"response": asdict(response), "version": RESPONSE_VERSION}
        key = content_key(numbers, {"energy": energy_kev, "edges": self.edges_kev})
        return cached(cache_folder(), key, make)["kernel"]


def _has_tensors(response: CdTeResponse) -> bool:
    """Whether a constant may ask for gradients."""
    return any(isinstance(getattr(response, field.name), Tensor) for field in fields(response))


def _mean_weights(energy_kev: Tensor, width_kev: Tensor, nodes_kev: Tensor) -> Tensor:
    """Weights [piece, node] that make the mean over each piece of what is interpolated between nodes."""
    share = (torch.arange(POINTS_PER_PIECE, dtype=torch.float64) + 0.5) / POINTS_PER_PIECE - 0.5
    point = energy_kev[:, None] + width_kev[:, None] * share
    above = torch.bucketize(point, nodes_kev).clamp(1, len(nodes_kev) - 1)
    first, second = nodes_kev[above - 1], nodes_kev[above]
    part = ((point - first) / (second - first)).clamp(0, 1) / POINTS_PER_PIECE
    weight = torch.zeros(len(energy_kev), len(nodes_kev), dtype=torch.float64)
    return weight.scatter_add(1, above - 1, 1 / POINTS_PER_PIECE - part).scatter_add(1, above, part)


def _ratios(low_kev: float, high_kev: float, ratio: float) -> Tensor:
    """Energies from low to high in equal ratios of at most ``ratio``."""
    steps = math.ceil(math.log(high_kev / low_kev) / math.log(ratio))
    return torch.logspace(math.log10(low_kev), math.log10(high_kev), steps + 1, dtype=torch.float64)
