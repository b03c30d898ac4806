"""Scatter in the collimator against its contract and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from contracts.scatter_contract import ScatterCase, ScatterContract

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.materials import k_fluorescence, process_mass_attenuation
from data_gen.scatter import CollimatorScatter, MetalSampling
from data_gen.scatter.coarse import coarse_camera
from data_gen.scatter.metal import Eye, metal_between
from data_gen.scatter.metal_physics import Metal, at_angle, at_energy, metal_arrivals
from data_gen.scatter.metal_rays import MetalRays

FEW = MetalSampling(voxel_mm=9.0, open_rays=2, plate_rays=3, steps=5, stops=2, out_steps=6, classes=2)
SMALL = VoxelGrid((5, 4, 6), (4.0, 5.0, 4.5))


@pytest.fixture(autouse=True)
def _folder(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "matrices"))


def camera(angles_deg: tuple[float, ...] = (0.0,), diameter_mm: float = 0.6) -> Camera:
    """Panels of 2x2 loft holes between septa."""
    return Camera.from_dict(
        {
            "name": "lofts",
            "panels": {"angles_deg": angles_deg, "detector_mm": 38.0},
            "collimator": {
                "material": "tungsten",
                "plane_mm": 28.0,
                "plate_mm": 8.0,
                "shape": "loft_hole",
                "diameter_mm": diameter_mm,
                "apertures": [2, 2],
                "septa": True,
            },
            "detector": {
                "material": "CdTe",
                "thickness_mm": 2.0,
                "rows": 8,
                "columns": 8,
                "pitch_mm": 2.5,
                "response": {"kind": "gaussian", "fwhm_kev": 5.0},
            },
        }
    )


class TestCollimatorScatter(ScatterContract):
    def case(self, dtype: torch.dtype) -> ScatterCase:
        energies = torch.tensor([60.0, 218.0], dtype=torch.float64)
        term = CollimatorScatter(camera((0.0, 70.0)), SMALL, energies, FEW, block_mm=20.0)
        return ScatterCase(term, (2, 2, *SMALL.shape), dtype)


def test_path_in_plate_and_septum():
    """Along the normal: the plate's thickness beside a hole, nothing through it, the septum between holes."""
    eye = Eye.of(camera(), 0)
    start, end = torch.tensor([0.0, 0.0, -20.0]), torch.tensor([0.0, 0.0, eye.detector])
    beside, through = torch.tensor([9.0, 9.0, 0.0]), torch.tensor([*eye.centre.tolist(), 0.0])
    assert float(metal_between(eye, start + beside, end + beside, 400)) == pytest.approx(8.0, abs=0.1)
    axis = torch.tensor([*eye.slope.tolist(), 1.0])
    hole = metal_between(eye, (through - 20 * axis).float(), (through + eye.detector * axis).float(), 400)
    assert float(hole) == pytest.approx(0.0, abs=1e-3)
    # On the border of the blocks: 8 mm of plate and 6 mm of septum.
    assert float(metal_between(eye, start, end, 400)) == pytest.approx(14.0, abs=0.1)


def test_metal_sends_on_what_it_stops():
    """K photons per photon stopped, and Compton photons over all angles (xraylib's cross sections, 1 %)."""
    metal = Metal.of("tungsten", 218.0)
    energy = torch.tensor([218.0], dtype=torch.float64)
    photoelectric, compton = (
        float(process_mass_attenuation("tungsten", energy, p)) for p in ("photoelectric", "compton")
    )
    assert metal.attenuation == pytest.approx(1.93 * (photoelectric + compton))
    k_photons = float(k_fluorescence("tungsten", energy).photons_per_absorption.sum())
    assert float(metal.k_photons.sum()) == pytest.approx(k_photons)
    angle = torch.linspace(0, math.pi, 4001, dtype=torch.float64)
    total = 2 * math.pi * torch.trapezoid(at_angle(metal.compton, angle) * angle.sin(), angle)
    assert float(total) == pytest.approx(compton / (photoelectric + compton), rel=0.01)
    assert metal.k_kev.tolist() == pytest.approx([58.65, 68.0], abs=0.2)  # K alpha and K beta of tungsten


def test_no_k_photons_below_the_edge():
    """At 60 keV, below tungsten's K edge of 69.5 keV, the K classes are empty."""
    term = CollimatorScatter(camera(), SMALL, torch.tensor([60.0]), FEW, block_mm=20.0)
    activity = torch.ones(1, 1, *SMALL.shape, dtype=torch.float64)
    seen = term.forward(activity, term.state(torch.zeros(1, *SMALL.shape, dtype=torch.float64)))
    assert float(seen[..., :2, 0].abs().max()) == 0.0
    arrival = metal_arrivals("tungsten", torch.tensor([60.0, 218.0], dtype=torch.float64), 2)
    torch.testing.assert_close(
        arrival[1, 0], torch.tensor([57.981, 59.318], dtype=torch.float64), atol=0.01, rtol=0
    )
    assert float(arrival[0].max()) <= 60.0


def test_k_photons_against_brute_force():
    """K photons of tungsten at 100 keV on the blocks behind a hole, by a Monte Carlo of the test.

    Photons from a voxel at the isocentre fly through the waist plane, stop at their drawn depth in metal
    (traced in steps of 0.02 mm), and send a K photon to a drawn place on the detector. 15 %, three times
    their error.
    """
    wide = coarse_camera(camera(diameter_mm=1.5), 20.0)
    behind = wide.pairs[wide.pairs[:, 1] == 0, 0]
    metal = Metal.of("tungsten", 100.0)
    arrival = metal_arrivals("tungsten", torch.tensor([100.0], dtype=torch.float64), 2)[0]
    how = MetalSampling(open_rays=200, plate_rays=400, steps=24, stops=6, out_steps=80)
    rays = MetalRays(wide, 0, behind, VoxelGrid((1, 1, 1), 6.0), how)
    found = float(rays.matrix(metal, arrival)[:, :2].sum())
    assert found == pytest.approx(_brute_force(Eye.of(wide, 0), metal, 15_000), rel=0.15)


def _brute_force(eye: Eye, metal: Metal, photons: int) -> float:
    """K photons that reach the blocks behind the first aperture per photon emitted."""
    draw = torch.rand(photons, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = eye.local((draw[:, :3] - 0.5) * 6.0)
    size = 5.0  # mm of the waist plane; what crosses farther out stays in metal or in front
    waist = torch.zeros(photons, 3, dtype=torch.float64)
    waist[:, :2] = eye.centre + (draw[:, 3:5] - 0.5) * size
    away = (waist - start).norm(dim=1)
    heading = (waist - start) / away[:, None]
    weight = size**2 * heading[:, 2] / away.square() / (4 * math.pi)
    point, step = waist - heading * (4.0 / heading[:, 2:]), 0.02
    depth, target = torch.zeros(photons, dtype=torch.float64), -(-draw[:, 5]).log1p()
    alive = torch.ones(photons, dtype=torch.bool)
    for _ in range(450):  # through the plate; septa are out of reach from here
        depth = depth + ((eye.depth(point) > 0) & alive) * metal.attenuation * step
        alive = alive & (depth < target)
        point = torch.where(alive[:, None], point + heading * step, point)
    point, weight = point[~alive], weight[~alive]
    end = torch.full_like(point, eye.detector)
    end[:, :2] = -10.0 * draw[~alive, 6:]  # the first of 2x2 blocks
    way = end - point
    lit = weight * 100.0 * way[:, 2] / way.norm(dim=1) ** 3 / (4 * math.pi)
    length = metal_between(eye, point, end, 200)
    total = 0.0
    for energy, count in zip(metal.k_kev, metal.k_photons, strict=True):
        mu = at_energy(metal.out, metal.energies_kev, energy)
        total += float((lit * torch.exp(-mu * length)).sum() * count)
    return total / photons
