"""The spectral factor of the forward model: counts per first interaction, by reference energy, map and energy
bin.

Photons per decay of each line times its interpolation weight at the reference energies times the detector
response; energies in keV. docs/physics.md, sections 1 and 7.
"""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.camera import Camera
from data_gen.core.cache import cache_folder, cached, content_key
from data_gen.detector import CdTeResponse
from data_gen.materials import composition
from data_gen.nuclides import MemberGroups
from data_gen.nuclides.spectrum import LineSpectrum
from data_gen.projector.energy_interpolation import PhotonPath, interpolation_weights
from data_gen.scatter.energy_classes import PARTS, EnergyClasses

LOWEST_KEV = 15.0
"""Photons below are not recorded."""

FINE_RATIO, FINE_UP_TO_KEV, COARSE_RATIO = 1.04, 700.0, 1.12
"""Ratios of neighbouring energies at which the response to a continuum is computed: where full-energy peaks
are recorded, and above, where there is only Compton continuum, which changes slowly."""

FINE_BIN_KEV = 0.5
"""Largest width of the bins in which the response is computed and from which recorded bins are read; chosen,
no source.
"""
POINTS_PER_PIECE = 2 * PARTS
"""Energies over which the response to a piece of continuum, or an energy class, is averaged; chosen, no
source.
"""

RESPONSE_VERSION = 2
"""To be raised whenever the numbers of the response change, so that cached ones are recomputed."""


class SpectralResponse:
    """Spectral response of a camera's detector to the photons of a decay chain, on one energy axis.

    Lines up to ``sharp_kev`` are interpolated between the reference energies up to there, lines above between
    those above. Computed on the CPU, whatever the device of the model.

    Args:
        camera: the camera.
        lines: every line of the chain that is transported.
        groups: chain members to activity maps.
        edges_kev: edges of the recorded bins, [bin + 1].
        sharp_kev: lines above have no sharp image.
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
        reference_kev = reference_kev.cpu()
        low = self.lines.energy_kev <= self.sharp_kev
        share = interpolation_weights(self.camera, self.lines.energy_kev[low], reference_kev, "aperture")
        return torch.einsum("lg,lm,olb->ogmb", share, self.emitted[low], self.kernel[:, low])

    def leaked(self, reference_kev: Tensor) -> Tensor:
        """Counts per first interaction behind plate and septa, in whichever pixel they are recorded, [g, 1,
        map, bin].
        """
        reference_kev = reference_kev.cpu()
        share = self._weights("leakage", reference_kev)
        return torch.einsum("lg,lm,olb->gmb", share, self.emitted, self.kernel)[:, None]

    def scattered(self, reference_kev: Tensor, arrivals: EnergyClasses) -> Tensor:
        """Counts per first interaction of photons that arrive in energy classes k, [g, k, map, bin].

        A line scatters by the same angles as the reference energy that it is interpolated from, and Compton
        scatter adds to 1/E by the angle alone, which shifts all classes but those that are K lines of the
        scatterer.
        """
        reference_kev, arrival_kev, filling = (
            part.cpu() for part in (reference_kev, arrivals.kev, arrivals.filling)
        )
        own_lines = arrivals.own_lines
        share = self._weights("emission", reference_kev)
        line, group = share.nonzero().unbind(dim=1)
        lost = (1 / arrival_kev - 1 / reference_kev[:, None, None])[group]
        arrives_kev = 1 / (lost + (1 / self.lines.energy_kev[line])[:, None, None])
        arrives_kev[:, :own_lines] = arrival_kev[group, :own_lines]
        unchanged = lost.abs().amax(dim=-1) < 1e-12
        unchanged[:, :own_lines] = False
        emitted = share[line, group, None] * self.emitted[line]
        recorded = torch.einsum(
            "pm,pkb->pkmb", emitted, self._by_class(line, arrives_kev, filling[group], unchanged)
        )
        return recorded.new_zeros(len(reference_kev), *recorded.shape[1:]).index_add(0, group, recorded)

    def _by_class(self, line: Tensor, arrives_kev: Tensor, filling: Tensor, unchanged: Tensor) -> Tensor:
        """Response, summed over offsets, to classes [p, k, 2] of lines [p] with distributions [p, k, part],
        [p, k, bin]; where the energy is ``unchanged`` [p, k], that to the line itself.
        """
        low, high = arrives_kev[~unchanged].unbind(dim=-1)
        recorded = self.kernel.new_zeros(*unchanged.shape, len(self.edges_kev) - 1)
        recorded = recorded.index_put((unchanged,), self.kernel.sum(0)[line[unchanged.nonzero()[:, 0]]])
        anywhere = self._anywhere((low + high) / 2, high - low, filling[~unchanged])
        return recorded.index_put((~unchanged,), anywhere)

    def _weights(self, path: PhotonPath, reference_kev: Tensor) -> Tensor:
        """Interpolation weights [line, g], on either side of ``sharp_kev`` separately."""
        energy = self.lines.energy_kev
        table = torch.zeros(len(energy), len(reference_kev), dtype=torch.float64)
        for lines, references in (
            (energy <= self.sharp_kev, reference_kev <= self.sharp_kev),
            (energy > self.sharp_kev, reference_kev > self.sharp_kev),
        ):
            if bool(lines.any()):
                weights = interpolation_weights(self.camera, energy[lines], reference_kev[references], path)
                table[lines.nonzero(), references.nonzero()[:, 0]] = weights
        return table

    def _kernel(self, energy_kev: Tensor, width_kev: Tensor) -> Tensor:
        """Response [offset, piece, bin] to photons spread evenly over a width about an energy, [piece]."""
        line = width_kev <= 0
        parts = []
        if bool(line.any()):
            distinct, which = torch.unique(energy_kev[line], return_inverse=True)
            parts.append(self._response(distinct, self.edges_kev)[:, which])
        if bool((~line).any()):
            even = torch.full((1, PARTS), 1 / PARTS, dtype=torch.float64)
            parts.append(self._mean_response(energy_kev[~line], width_kev[~line], even, self._below))
        order = torch.cat((line.nonzero()[:, 0], (~line).nonzero()[:, 0])).argsort()
        return torch.cat(parts, dim=1)[:, order]

    def _anywhere(self, energy_kev: Tensor, width_kev: Tensor, filling: Tensor) -> Tensor:
        """:meth:`_kernel` summed over offsets, [piece, bin], for the many classes of scatter, with
        distributions [piece, part].
        """
        line = width_kev <= 0
        recorded = self.kernel.new_zeros(len(energy_kev), len(self.edges_kev) - 1)
        if bool(line.any()):
            distinct, which = torch.unique(energy_kev[line], return_inverse=True)
            recorded = recorded.index_put((line,), self._response(distinct, self.edges_kev).sum(0)[which])
        if bool((~line).any()):
            below = self._below.sum(dim=0, keepdim=True)
            mean = self._mean_response(energy_kev[~line], width_kev[~line], filling[~line], below)[0]
            recorded = recorded.index_put((~line,), mean)
        return recorded

    @cached_property
    def _nodes_kev(self) -> Tensor:
        """Energies at which the response to a continuum is made, [node]."""
        top = float(self.lines.energy_kev.max() + self.lines.width_kev.max())
        fine = _ratios(LOWEST_KEV, FINE_UP_TO_KEV, FINE_RATIO)
        return torch.cat((fine, _ratios(FINE_UP_TO_KEV, max(top, 1.1 * FINE_UP_TO_KEV), COARSE_RATIO)[1:]))

    @cached_property
    def _fine_kev(self) -> Tensor:
        """Edges of narrow bins around the recorded range, [bin + 1]."""
        low, high = 0.9 * float(self.edges_kev[0]), 1.1 * float(self.edges_kev[-1])
        return torch.linspace(low, high, math.ceil((high - low) / FINE_BIN_KEV) + 1, dtype=torch.float64)

    @cached_property
    def _below(self) -> Tensor:
        """Probability of a record below each fine edge, for lines at the nodes, [offset, node, edge]."""
        return functional.pad(self._response(self._nodes_kev, self._fine_kev).cumsum(dim=2), (1, 0))

    def _mean_response(self, energy_kev: Tensor, width_kev: Tensor, filling: Tensor, below: Tensor) -> Tensor:
        """Response [offset, piece, bin] to pieces of a continuum, from that of :attr:`_below`.

        The mean over energies in them, each recorded as the nearest node is, on an axis stretched to fit.
        """
        total = torch.zeros(len(below), len(energy_kev), len(self.edges_kev) - 1, dtype=torch.float64)
        middle = (self._nodes_kev[1:] * self._nodes_kev[:-1]).sqrt()
        step = self._fine_kev[1] - self._fine_kev[0]
        for point in range(POINTS_PER_PIECE):
            energy = energy_kev + width_kev * ((point + 0.5) / POINTS_PER_PIECE - 0.5)
            node = torch.bucketize(energy, middle)
            edge = self.edges_kev * (self._nodes_kev[node] / energy)[:, None]
            place = ((edge - self._fine_kev[0]) / step).clamp(0, len(self._fine_kev) - 1)
            before = place.floor().clamp(max=len(self._fine_kev) - 2).long()
            low, high = below[:, node[:, None], before], below[:, node[:, None], before + 1]
            share = filling[:, point * PARTS // POINTS_PER_PIECE, None] * (PARTS / POINTS_PER_PIECE)
            total += share * (low + (place - before) * (high - low)).diff(dim=2)
        return total

    def _response(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Response [offset, energy, bin] to lines, cached on disk where it takes seconds to compute."""
        response = self.camera.response

        def make() -> dict[str, Tensor]:
            return {"kernel": response.kernel(energy_kev, edges_kev).to(torch.float64)}

        if not isinstance(response, CdTeResponse) or _has_tensors(response):
            return make()["kernel"]
        numbers = {
            "response": asdict(response),
            "material": composition(response.material),
            "version": RESPONSE_VERSION,
        }
        key = content_key(numbers, {"energy": energy_kev, "edges": edges_kev})
        return cached(cache_folder(), key, make)["kernel"]


def _has_tensors(response: CdTeResponse) -> bool:
    """Whether a constant may ask for gradients."""
    return any(isinstance(getattr(response, field.name), Tensor) for field in fields(response))


def _ratios(low_kev: float, high_kev: float, ratio: float) -> Tensor:
    """Energies from low to high in equal ratios of at most ``ratio``."""
    steps = math.ceil(math.log(high_kev / low_kev) / math.log(ratio))
    return torch.logspace(math.log10(low_kev), math.log10(high_kev), steps + 1, dtype=torch.float64)
