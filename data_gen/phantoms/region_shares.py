"""Regions of a compartment model mapped to the organs of a phantom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.kinetics import EXCRETED
from data_gen.phantoms.biodistribution import checked_organ
from data_gen.phantoms.phantom import ORGANS, Phantom

BODY = ORGANS[1:]
"""Where blood is, unless told otherwise: everywhere, by mass."""


def region_shares(
    phantom: Phantom, regions: Sequence[str], organs: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Tensor]:
    """Share of each region in each voxel, by mass over the voxels of its organs, [z, y, x] float64.

    Every region is taken to lie in view as a whole; multiply its shares by the part that does, if not.

    Args:
        phantom: density and labels.
        regions: of the compartment model; ``excreted`` gets no shares.
        organs: region to its organs. A region not named has the organ of its own name; blood is all over
            the body.

    Raises:
        UserError: an unknown organ, or a region none of whose organs is in the phantom.
    """
    named = {"blood": BODY, **(organs or {})}
    shares = {}
    for region in regions:
        if region == EXCRETED:
            continue
        wanted = [ORGANS.index(checked_organ(region, organ)) for organ in named.get(region, (region,))]
        mass = torch.isin(phantom.labels, torch.tensor(wanted)) * phantom.density.to(torch.float64)
        if float(mass.sum()) == 0:
            raise UserError(
                f"region {region} has no voxel in this phantom; give it organs that the phantom has"
            )
        shares[region] = mass / mass.sum()
    return shares
