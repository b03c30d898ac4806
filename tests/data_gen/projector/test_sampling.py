"""Positions of rays: shifts of pixels, mirrored pairs, number of rays; and gradients that nothing may
lose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from referees.small_cameras import lofts

from data_gen.camera import Camera, load_camera
from data_gen.camera.binning import seeing_every_aperture
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import decay_chain
from data_gen.projector import MatrixProjector, RaySampling, mirror_orbits
from data_gen.projector.leak import LeakCaster
from data_gen.projector.ray_casting import RayCaster
from data_gen.projector.sampling import place_shifts

GRID = VoxelGrid((5, 4, 6), (4.0, 5.0, 4.5))


def test_shifts_are_even_over_neighbours():
    """Of 64 x 64 pixels, tenths of 0..1 differ from a tenth by less than 3 % of it (three standard errors of
    random shifts are 14 %); over any 8 x 8 the mean is 1/2 within 0.05 (random:
    0.036 is one standard error)."""
    row, column = torch.meshgrid(torch.arange(-32, 32), torch.arange(-32, 32), indexing="ij")
    shifts = place_shifts(torch.stack((row.flatten(), column.flatten()), dim=1), 5)
    for one in shifts.T:
        counts = torch.histc(one, 10, 0.0, 1.0)
        assert float((counts / 409.6 - 1).abs().max()) < 0.03
        blocks = one.reshape(8, 8, 8, 8).mean(dim=(1, 3))
        assert float((blocks - 0.5).abs().max()) < 0.05


@pytest.mark.parametrize("caster", [RayCaster, LeakCaster])
def test_mirrored_pairs_have_mirrored_rays(caster):
    """Rays of a pair are those of the pair that it shares a matrix row with, mirrored (1e-9 mm): the
    definition of ``mirror_orbits``."""
    camera = lofts((40.0, 140.0, 220.0, 320.0), pixels=4)
    camera = seeing_every_aperture(camera) if caster is LeakCaster else camera
    orbits = mirror_orbits(camera)
    assert len(orbits.mirrors) == 8
    rays = caster(camera, 218.0, RaySampling(16, 4)).cast(camera.pairs)
    first = orbits.first_pair[orbits.row]
    for number, axes in enumerate(orbits.mirrors):
        sign = torch.ones(3, dtype=torch.float64)
        sign[[-1 - axis for axis in axes]] = -1.0
        own = orbits.mirror == number
        for part in (rays.waist_mm, rays.direction):
            torch.testing.assert_close(part[own], part[first[own]] * sign, rtol=0, atol=1e-9)
        torch.testing.assert_close(rays.weight[own], rays.weight[first[own]], rtol=1e-9, atol=1e-15)


def test_rays_are_chosen_by_voxels():
    """The demo camera sees 38/10 of 0.35 mm and 28/10 of 0.5 mm, 2.73 mm, at the isocentre: twenty rays a
    voxel of 0.6 mm are 326, of 3 mm fewer than 64, of 0.01 mm more than 512; a number that is asked for
    stays."""
    camera = load_camera("demo")
    for voxel_mm, wanted in ((0.6, 326), (3.0, 64), (0.01, 512)):
        caster = RayCaster(camera, 82.0, RaySampling())
        caster.choose_rays(VoxelGrid((2, 2, 2), voxel_mm))
        assert caster.sampling.rays == wanted
        asked = RayCaster(camera, 82.0, RaySampling(7))
        asked.choose_rays(VoxelGrid((2, 2, 2), voxel_mm))
        assert asked.sampling.rays == 7


def _with_gradient(camera: Camera) -> Camera:
    return replace(camera, aperture_diameter_mm=camera.aperture_diameter_mm.clone().requires_grad_())


def test_gradients_that_a_matrix_would_lose_are_refused(tmp_path):
    """A camera whose diameters ask for a gradient: refused by name by the matrix and by terms made of
    matrices."""
    camera = _with_gradient(lofts((0.0,), pixels=4))
    with pytest.raises(UserError, match="aperture_diameter_mm requires a gradient, which a stored"):
        MatrixProjector(camera, GRID, torch.tensor([218.0]), tmp_path)
    options = ModelOptions(2, ("leakage", "object_scatter"), projector="ray")
    with pytest.raises(UserError, match="aperture_diameter_mm requires a gradient, which scatter_terms"):
        HyperspectralForwardModel(
            camera, decay_chain("Pb-212"), GRID, EnergyBins(20, 600, 7), options=options
        )


def test_gradient_of_the_whole_model_in_the_diameters():
    """Counts of the model with leakage, two reference energies: by autograd and by central differences of
    1e-3 in a random direction, 1e-3 relative. The weights of reference energies depend on the diameter,
    too."""
    camera = lofts(pixels=4)
    options = ModelOptions(2, ("leakage",), ray_sampling=RaySampling(16, 4), projector="ray")
    activity = torch.rand(1, 1, *GRID.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    density = torch.ones(1, *GRID.shape, dtype=torch.float64)
    direction = torch.tensor([1.0, 0.6, 0.9, 0.7], dtype=torch.float64)

    def counts(diameter: torch.Tensor) -> torch.Tensor:
        moved = replace(camera, aperture_diameter_mm=diameter)
        chain = decay_chain("Pb-212")
        model = HyperspectralForwardModel(moved, chain, GRID, EnergyBins(20, 600, 7), options=options)
        maps = len(model.groups.names)
        return model.A(activity.expand(1, maps, *GRID.shape), density).sum()

    start = camera.aperture_diameter_mm.clone().requires_grad_()
    (slope,) = torch.autograd.grad(counts(start), start)
    with torch.no_grad():
        step = 1e-3 * direction
        numeric = float(counts(start + step) - counts(start - step)) / 2e-3
    assert float(slope @ direction) == pytest.approx(numeric, rel=1e-3)
