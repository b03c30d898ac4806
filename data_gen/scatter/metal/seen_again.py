"""What metal sends on of photons that the object scattered before."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.scatter.arrivals import PARTS, Arrivals
from data_gen.scatter.metal.scattered_before import BeforeMetal

_NEVER = 1e-30
"""Photons so few that they count for none; keeps what is divided by above 0."""


class SeenAgain:
    """Blocks that see metal which scattered photons come to, by matrices of the reference energies.

    K lines are seen line by line. Compton photons are seen all together; their energies are those that the
    reference's photons have on average over voxels and blocks, shifted as much as the object's scatter does.

    Args:
        before: what the object scatters, g, to references h.
        arrivals: classes k of the energies in which photons arrive.
        matrix: first interactions per photon, [h, channel, block, k, voxel].
    """

    def __init__(self, before: BeforeMetal, arrivals: Arrivals, matrix: Tensor) -> None:
        lines, compton = matrix.split((arrivals.own_lines, matrix.shape[3] - arrivals.own_lines), dim=3)
        self.matrix = torch.cat((lines, compton.sum(dim=3, keepdim=True)), dim=3)  # [h, c, b, kind, voxel]
        own = torch.eye(arrivals.own_lines, matrix.shape[3], dtype=torch.float64)
        shares = torch.nn.functional.pad(
            _compton_shares(before, arrivals, compton.sum(dim=(1, 2, 4), dtype=torch.float64)),
            (arrivals.own_lines, 0),
        )
        own = own.expand(*shares.shape[:2], -1, -1)
        self.classes = torch.cat((own, shares[:, :, None]), dim=2)  # [g, h, kind, k]
        self.fed = [g.nonzero()[:, 0] for g in before.turned.sum(dim=1).T]
        """Energies of emission that each reference stands for scattered photons of."""

    def forward(self, scattered: Tensor, through: Tensor) -> Tensor:
        """First interactions [channel, block, g, k, map] of scattered photons [g, h, map, voxel], of which so
        many get through the object to each channel, [h, channel, voxel]."""
        seen = scattered.new_zeros(
            *self.matrix.shape[1:3], len(scattered), self.classes.shape[3], scattered.shape[2]
        )
        for h, g in enumerate(self.fed):
            come = through[h, :, None] * scattered[g, h][:, None]  # [g, c, m, v]
            kinds = torch.einsum("cblv,gcmv->cbglm", self.matrix[h].to(come.dtype), come)
            classes = self.classes[g, h].to(come.dtype)
            seen = seen.index_add(2, g, torch.einsum("cbglm,glk->cbgkm", kinds, classes))
        return seen

    def adjoint(self, values: Tensor, through: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [channel, block, g, k, map] to [g, h, map, voxel]."""
        energies, maps, voxels = values.shape[2], values.shape[4], through.shape[2]
        back = values.new_zeros(energies, energies, maps, voxels)
        for h, g in enumerate(self.fed):
            classes = self.classes[g, h].to(values.dtype)
            kinds = torch.einsum("cbgkm,glk->cbglm", values[:, :, g], classes)
            come = torch.einsum("cblv,cbglm->gcmv", self.matrix[h].to(values.dtype), kinds)
            back[g, h] = torch.einsum("cv,gcmv->gmv", through[h], come)
        return back


def _compton_shares(before: BeforeMetal, arrivals: Arrivals, seen: Tensor) -> Tensor:
    """Share of the Compton photons at a reference, all together, that scattered ones have in each class of
    their own arrival energies, [g, h, Compton class].

    What metal sends on in all grows by equal ratios between references, where photons are shared evenly.

    Args:
        before: what the object scatters.
        arrivals: classes of the energies in which photons arrive.
        seen: Compton photons of each reference in its classes, [h, Compton class].
    """
    kev, filling = (part[:, arrivals.own_lines :] for part in (arrivals.kev, arrivals.filling))
    total = seen.sum(dim=1).clamp_min(_NEVER)
    even = torch.exp(before.share @ total.log()) / (before.share @ total)
    turned = before.turned.sum(dim=1).clamp_min(_NEVER)  # [g, h]
    rises = torch.einsum("gkh,gk->gh", before.turned, even) / turned
    inverse = torch.einsum("gkh,gk->gh", before.turned, 1 / before.scattered_kev) / turned
    place = (torch.arange(PARTS, dtype=torch.float64) + 0.5) / PARTS
    arrived = kev[..., :1] + (kev[..., 1:] - kev[..., :1]) * place  # [h, k, part]
    shift = 1 / arrived - 1 / before.energies_kev[:, None, None]
    again = 1 / (inverse[:, :, None, None] + shift).clamp_min(_NEVER)  # [g, h, k, part]
    portion = (seen / total[:, None])[..., None] * filling
    shares: Tensor = torch.zeros(*turned.shape, kev.shape[1], dtype=torch.float64)
    for g, lower in enumerate(kev[:, :-1, 0]):
        number = len(lower) - torch.bucketize(again[g], lower.flip(0))
        shares[g].scatter_add_(1, number.flatten(1), portion.flatten(1))
    shares *= rises[..., None]
    return shares
