"""Photons through plate and septa against closed forms and direct integration."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data_gen.camera import Camera, load_camera
from data_gen.camera.binning import binned, seeing_every_aperture
from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm
from data_gen.projector import MatrixProjector, RayProjector, RaySampling
from data_gen.projector.collimator_path import path_in_septa
from data_gen.projector.leak import LeakCaster, leak_caster
from data_gen.projector.ray_casting import CasterFactory, RayCaster

GRID = VoxelGrid((9, 9, 9), 2.5)


def one_panel(**collimator: Any) -> Camera:
    """A panel of 2x2 blocks of 4x4 pixels of 2.5 mm."""
    data = deepcopy(load_camera("demo").to_dict())
    data["panels"]["angles_deg"] = [0.0]
    data["detector"] |= {"rows": 8, "columns": 8, "pitch_mm": 2.5}
    data["collimator"] |= collimator
    return Camera.from_dict(data)


def seen(camera: Camera, energy_kev: float, caster: CasterFactory, rays: int = 64) -> Tensor:
    """First interactions [pixel] of a smooth source of one photon a second, in air."""
    projector = RayProjector(
        camera, GRID, torch.tensor([energy_kev]), sampling=RaySampling(rays), caster=caster
    )
    centre = GRID.axis_mm(0)
    bell = torch.exp(-((centre / 3.0) ** 2) / 2)
    activity = (bell[:, None, None] * bell[:, None] * bell)[None, None]
    state = projector.attenuation(torch.zeros(1, *GRID.shape, dtype=torch.float64))
    with torch.no_grad():
        return projector.forward(activity / activity.sum(), state)[0, :, 0, 0]


def everything(camera: Camera, energy_kev: float, sampling: RaySampling) -> RayCaster:
    return LeakCaster(camera, energy_kev, sampling, everything=True)


@pytest.mark.parametrize("energy_kev", [154.0, 440.0])
def test_every_way_counts_once(energy_kev):
    """Through the own aperture, and otherwise, are together everything (by definition; 2 % of quadrature)."""
    camera = one_panel()
    every = seeing_every_aperture(camera)
    own = seen(camera, energy_kev, RayCaster, 256)
    leaked, all_of_it = seen(every, energy_kev, LeakCaster), seen(every, energy_kev, everything)
    assert float((own + leaked).sum() / all_of_it.sum()) == pytest.approx(1.0, rel=0.02)


def test_a_plate_without_openings_to_speak_of():
    """Leakage through a solid lead plate is the integral of exp(-mu t / cos) over detector volume and source,
    done point by point here: 2 %."""
    camera = one_panel(
        material="lead", shape="knife_edge", opening_deg=1.0, diameter_mm=0.02, plate_mm=4.0, septa=False
    )
    got = float(seen(seeing_every_aperture(binned(camera, 2)), 440.0, LeakCaster, 256).sum())
    mu, stop = (float(interaction_attenuation_per_mm(m, 440.0)) for m in ("lead", "CdTe"))
    rng = np.random.default_rng(0)
    source = rng.normal(0, 3.17, (400_000, 3))  # 3.0 and the width of interpolation
    place, depth = rng.uniform(-10, 10, (len(source), 2)), rng.uniform(0, 2, len(source))
    way = np.stack(
        (38 + depth - source[:, 0], place[:, 0] - source[:, 1], place[:, 1] - source[:, 2]), axis=1
    )
    distance = np.linalg.norm(way, axis=1)
    cosine = way[:, 0] / distance
    fluence = np.exp(-(mu * 4.0 + stop * depth) / cosine) / (4 * math.pi * distance**2)
    expected = float((400.0 * 2.0 * stop * fluence).mean())
    assert got == pytest.approx(expected, rel=0.02)


def test_nothing_leaks_through_thick_metal():
    """At 82 keV eight millimetres of tungsten and a septum let nothing through: below 1 % of the image."""
    camera = one_panel()
    leaked = seen(seeing_every_aperture(camera), 82.0, LeakCaster).sum()
    assert float(leaked) < 0.01 * float(seen(camera, 82.0, RayCaster).sum())


def test_septa_are_walls_on_the_boundaries():
    """Along a wall its whole height; across it thickness over slope; where walls cross, once (geometry)."""
    camera = one_panel(septa_mm=1.0)
    height = 38.0 - 28.0 - 4.0
    waist = torch.tensor([[0.0, 5.0], [5.0, 5.0], [0.0, 0.0], [-3.5, 5.0]], dtype=torch.float64)
    slope = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    path = path_in_septa(waist[None], slope[None], torch.tensor([38.0 - 28.0]), camera)[0]
    torch.testing.assert_close(path, torch.tensor([height, 0.0, height, 1.0 / 0.5], dtype=torch.float64))


def test_septa_grow_with_the_detectors_distance():
    """A ray within a wall at the detector has a path that grows with the distance, by 1 mm a mm; one that has
    crossed it has none (geometry); all by gradcheck in waist, slope and distance."""
    camera = one_panel(septa_mm=1.0)
    waist, slope, far = (
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in ([[[-1.8, 5.0], [-3.5, 5.0]]], [[[0.2, 0.0], [0.5, 0.0]]], [10.0])
    )
    path = path_in_septa(waist, slope, far, camera)[0]
    growth = [float(torch.autograd.grad(one, far, retain_graph=True)[0]) for one in path]
    assert growth == pytest.approx([1.0, 0.0], abs=1e-12)
    assert torch.autograd.gradcheck(lambda *ray: path_in_septa(*ray, camera), (waist, slope, far))


def test_septa_hide_the_pixels_under_them():
    """At 82 keV a septum's foot is dark: pixels of 2.5 mm under half a septum of 2 mm lose 40 % of their
    view, but for a tenth that slips in below its side on slanting ways."""
    left = [_view(one_panel(septa_mm=t)) for t in (1e-3, 2.0)]
    under = torch.tensor([3, 4])
    torch.testing.assert_close(left[1][:3, :3], left[0][:3, :3])
    share = float(left[1][0, under].sum() / left[0][0, under].sum())
    assert 0.6 < share < 0.72


def _view(camera: Camera) -> Tensor:
    """Summed weights of the rays of each pixel, [row, column]."""
    caster = RayCaster(camera, 82.0, RaySampling(256))
    return caster.cast(camera.pairs).weight.sum(dim=1).reshape(8, 8)


@pytest.mark.slow
def test_lines_between_voxels_and_pixels_are_the_same_integral(tmp_path):
    """The stored matrix, on lines between voxels and pixels, against many rays from the pixels: two methods
    for the points of one integral over the same paths in metal. Sums 2 %, blocks 10 % of the largest, since
    256 rays are known to 5 % (lines to 1 %)."""
    camera, energies = seeing_every_aperture(one_panel()), torch.tensor([440.0], dtype=torch.float64)
    rays = seen(camera, 440.0, leak_caster(GRID), 256)
    matrix = MatrixProjector(camera, GRID, energies, tmp_path, caster=leak_caster(GRID))
    bell = torch.exp(-((GRID.axis_mm(0) / 3.0) ** 2) / 2)
    activity = (bell[:, None, None] * bell[:, None] * bell)[None, None]
    state = matrix.attenuation(torch.zeros(1, *GRID.shape))
    lines = matrix.forward((activity / activity.sum()).float(), state)[0, :, 0, 0].double()
    assert float(lines.sum() / rays.sum()) == pytest.approx(1.0, rel=0.02)
    assert float((lines - rays).abs().max() / rays.max()) < 0.10


def test_small_sources_leak_evenly(tmp_path):
    """One voxel of 1 mm before a plate of lead without openings to speak of: every pixel gets exp(-mu t /
    cos) of its solid angle (closed form at pixel and voxel centres), 10 %. Rays of a pixel miss such a voxel,
    or do not."""
    camera = one_panel(
        material="lead", shape="knife_edge", opening_deg=1.0, diameter_mm=0.02, plate_mm=4.0, septa=False
    )
    camera, grid = seeing_every_aperture(camera), VoxelGrid((3, 3, 3), 1.0)
    energies = torch.tensor([440.0], dtype=torch.float64)
    matrix = MatrixProjector(camera, grid, energies, tmp_path, caster=leak_caster(grid))
    activity = torch.zeros(1, 1, *grid.shape)
    activity[0, 0, 1, 1, 1] = 1.0
    found = matrix.forward(activity, matrix.attenuation(torch.zeros(1, *grid.shape)))[0, :, 0, 0].double()
    mu, stop = (float(interaction_attenuation_per_mm(m, 440.0)) for m in ("lead", "CdTe"))
    way = camera.pixel_centre_mm + torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)  # to the mean depth
    cosine = way[:, 0] / way.norm(dim=1)
    solid = 2.5**2 * cosine / (4 * math.pi * way.square().sum(dim=1))
    truth = solid * torch.exp(-mu * 4.0 / cosine) * -torch.expm1(-stop * 2.0 / cosine)
    assert float((found / truth - 1).abs().max()) < 0.1
