"""How much metal lies on a line."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.scatter.metal.eye import Eye


def metal_share(depth: Tensor) -> Tensor:
    """Share of each step in metal from the signed distances at its ends, [..., step + 1] to [..., step]."""
    inside, size = depth.relu(), depth.abs()
    share: Tensor = (inside[..., 1:] + inside[..., :-1]) / (size[..., 1:] + size[..., :-1] + 1e-12)
    return share


def metal_between(eye: Eye, start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Length mm of metal between points (u, v, h) [..., 3] and others on or in the detector.

    Septa are cut exactly, the plate is in steps that are finest at the start.
    """
    way = end - start
    rise = way[..., 2].clamp_min(1e-6)
    leaves, arrives = (((h - start[..., 2]) / rise).clamp(0, 1) for h in (eye.half_plate, eye.detector))
    share = torch.linspace(0, 1, steps + 1, dtype=start.dtype).square()
    along = leaves[..., None] * share
    point = (start[..., i, None] + along * way[..., i, None] for i in range(3))
    in_plate = (metal_share(eye.depth_at(*point)) * share.diff()).sum(dim=-1)
    gap = (start + share[..., None] * way for share in (leaves, arrives))
    in_septa = eye.share_in_septa(*gap)
    length: Tensor = (leaves * in_plate + (arrives - leaves) * in_septa) * way.norm(dim=-1)
    return length
