"""Distribution of the activity (Bq) or decays of regions over voxels, by shares that sum to 1 per region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.kinetics.compartments import EXCRETED


def even_shares(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Shares that sum to 1 for masks or relative uptakes [z, y, x] of 0 or more.

    Raises:
        UserError: a mask is empty, negative or no number.
    """
    totals = {region: _total(region, mask) for region, mask in masks.items()}
    for region, total in totals.items():
        if total == 0:
            raise UserError(f"the mask of {region} is empty; it needs a value above 0 somewhere")
    return {region: mask.to(torch.float64) / totals[region] for region, mask in masks.items()}


def painted(values: Tensor, regions: Sequence[str], shares: Mapping[str, Tensor]) -> Tensor:
    """Activity or decays of regions, spread over voxels.

    Args:
        values: [..., region, member]: frames of activity in Bq, or decays.
        regions: names of the regions; each but ``excreted`` needs its shares.
        shares: region to the share of it in each voxel, [z, y, x]; a sum below 1 leaves the rest out of view,
            a sum of 0 the whole region.

    Returns:
        [..., member, z, y, x] in Bq per voxel, or decays per voxel, float64.

    Raises:
        UserError: shares of a region are missing, unknown, of another shape, negative or above 1 in sum.
    """
    inside = [region for region in regions if region != EXCRETED]
    for region in (*inside, *shares):
        if region not in shares or region not in inside:
            raise UserError(
                f"shares are given for {list(shares)}; they need to be for {inside}, not {region!r}"
            )
    if len({tuple(share.shape) for share in shares.values()}) != 1:
        raise UserError("shares have several shapes; they need to lie on one grid")
    for region, share in shares.items():
        if _total(region, share) > 1 + 1e-6:
            raise UserError(
                f"shares of {region} sum to {_total(region, share):g}; they need a sum of 1 or less"
            )
    maps = torch.stack([shares[region].to(torch.float64) for region in inside])
    kept = values.to(torch.float64)[..., [list(regions).index(region) for region in inside], :]
    return torch.einsum("...rm,rzyx->...mzyx", kept, maps)


def _total(region: str, mask: Tensor) -> float:
    """Sum of a mask, after checking it."""
    plain = mask.to(torch.float64)
    if not bool(torch.isfinite(plain).all()) or bool((plain < 0).any()):
        raise UserError(f"the mask of {region} is negative or no number; it needs values of 0 or more")
    return float(plain.sum())
