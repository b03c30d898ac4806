"""A complete forward model with an object in front of it, for timings and energy grouping."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import decay_chain, tied_groups


def warm_model(
    camera: Camera,
    nuclide: str,
    grid: VoxelGrid,
    bins: int,
    options: ModelOptions | None = None,
) -> tuple[HyperspectralForwardModel, Tensor, ObjectState]:
    """The model, uniform activity of all maps in a cylinder, and the object state of its density."""
    chain = decay_chain(nuclide)
    model = HyperspectralForwardModel(
        camera,
        chain,
        grid,
        EnergyBins(20.0, 600.0, bins),
        groups=tied_groups(chain),
        options=options,
    )
    place, reach = grid.centres_mm(), 0.4 * min(grid.extent_mm)
    body = (place[..., :2].norm(dim=-1) < reach).float()
    with torch.no_grad():
        state = model.attenuation(1.05 * body[None])
    return model, body.expand(1, len(model.groups.names), *grid.shape).contiguous(), state


def random_events(model: HyperspectralForwardModel, count: int) -> tuple[Tensor, Tensor]:
    """Pixels and energy bins, [event] each."""
    generator = torch.Generator().manual_seed(0)
    pixel = torch.randint(model.pixels, (count,), generator=generator)
    return pixel, torch.randint(model.energy_bins.count, (count,), generator=generator)
