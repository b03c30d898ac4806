"""K photons on blocks of pixels, however near they start."""

import pytest
import torch
from referees.small_cameras import lofts
from torch import Tensor

from data_gen.camera.binning import seeing_every_aperture
from data_gen.scatter.collimator.cross_sections import Metal, at_energy
from data_gen.scatter.collimator.detection import Blocks
from data_gen.scatter.collimator.fluorescence import k_photons
from data_gen.scatter.collimator.geometry import ApertureGeometry
from data_gen.scatter.collimator.interactions import Interactions

CAMERA, STARTS = seeing_every_aperture(lofts(septa=False)), 300_000


@pytest.mark.parametrize("above_mm", [6.0, 1.0])
def test_k_photons_in_the_crystal(above_mm):
    """K photons that start between plate and detector, beside the middle of a block: all of them by 2 %, each
    block by 4 % of the brightest, against photons that fly evenly in all directions and stop by their law."""
    geometry, metal, emitted = ApertureGeometry.of(CAMERA, 0), Metal.of("tungsten"), torch.tensor(440.0)
    blocks = Blocks(CAMERA, geometry, CAMERA.pairs[CAMERA.pairs[:, 1] == 0, 0], metal, 8)
    start = blocks.middles[27] + torch.tensor([0.6, 0.0, -above_mm])
    place, heading = (v.expand(1, STARTS, 3) for v in (start, torch.tensor([0.0, 0.0, 1.0])))
    interactions = Interactions(
        place, heading, torch.full((1, STARTS), 1 / STARTS), emitted.expand(1, STARTS)
    )
    seen = k_photons(blocks, interactions)[..., 0]
    for line, (energy, sent) in enumerate(zip(metal.k_kev, metal.k_photons, strict=True)):
        mu = at_energy(blocks.crystal.attenuation, energy)
        expected = float(at_energy(sent, emitted)) * _flown(blocks, start, float(mu))
        assert float(seen[:, line].sum()) == pytest.approx(float(expected.sum()), rel=0.02)
        assert float((seen[:, line] - expected).abs().max()) < 0.04 * float(expected.max())


def _flown(blocks: Blocks, start: Tensor, mu: float) -> Tensor:
    """Share of photons from ``start`` that stop first in each block, [block]."""
    way = torch.randn(400_000, 3, generator=torch.Generator().manual_seed(4))
    way = way / way.norm(dim=1, keepdim=True)
    draw = torch.rand(len(way), generator=torch.Generator().manual_seed(5))
    to_face = (blocks.middles[0, 2] - start[2]) / way[:, 2]
    end = start + (to_face - torch.log(1 - draw) / mu)[:, None] * way
    entered = (start + to_face[:, None] * way)[:, :2].abs().amax(dim=1) < 10.0
    inside = (end[:, :2].abs().amax(dim=1) < 10.0) & (end[:, 2] < blocks.middles[0, 2] + 2.0)
    nearest = (end[:, None, :2] - blocks.middles[:, :2]).square().sum(dim=-1).argmin(dim=1)
    return torch.bincount(nearest[(way[:, 2] > 0) & entered & inside], minlength=len(blocks.middles)) / len(
        way
    )
