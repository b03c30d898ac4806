"""The ray-traced projector against the textbook of pinholes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm, mass_attenuation
from data_gen.projector import MatrixProjector, RayProjector, RaySampling

VOXEL = VoxelGrid((1, 1, 1), 1.0)


def pinhole(
    height_mm: float, diameter_mm: float = 1.0, opening_deg: float = 90.0, plate_mm: float = 6.0
) -> Camera:
    """One knife edge over a detector that stops everything and covers its whole image of the isocentre."""
    return Camera.from_dict(
        {
            "name": "pinhole",
            "panels": {"angles_deg": [0.0], "detector_mm": 2 * height_mm},
            "collimator": {
                "material": "tungsten",
                "plane_mm": height_mm,
                "plate_mm": plate_mm,
                "shape": "knife_edge",
                "diameter_mm": diameter_mm,
                "opening_deg": opening_deg,
                "positions_mm": [[0.0, 0.0]],
            },
            "detector": {
                "material": "CdTe",
                "thickness_mm": 500.0,
                "rows": 24,
                "columns": 24,
                "pitch_mm": 0.35,
                "response": {"kind": "cdte"},
            },
        }
    )


def sensitivity(
    camera: Camera, energy_kev: float, grid: VoxelGrid = VOXEL, density: float = 0.0
) -> torch.Tensor:
    """First interactions per photon from the middle voxel."""
    projector = RayProjector(camera, grid, torch.tensor([energy_kev]), sampling=RaySampling(64))
    activity = torch.zeros(1, 1, *grid.shape, dtype=torch.float64)
    activity[0, 0, *(n // 2 for n in grid.shape)] = 1.0
    object_density = torch.full((1, *grid.shape), density, dtype=torch.float64)
    return projector.forward(activity, projector.attenuation(object_density)).sum()


@pytest.mark.parametrize(
    ("energy_kev", "diameter_mm", "opening_deg"),
    [(82.0, 1.0, 90.0), (140.0, 1.0, 90.0), (140.0, 0.6, 60.0), (218.0, 1.0, 60.0)],
)
def test_on_axis_sensitivity(energy_kev, diameter_mm, opening_deg):
    """d_se^2 / (16 h^2) with d_se of Metzler 2001, plate >= 10/mu, h >= 20 d_se: within 2 %."""
    mu = float(interaction_attenuation_per_mm("tungsten", energy_kev))
    tangent = math.tan(math.radians(opening_deg) / 2)
    effective = math.sqrt(diameter_mm * (diameter_mm + 2 * tangent / mu) + 2 * tangent**2 / mu**2)
    height = max(30.0, 20 * effective)
    camera = pinhole(height, diameter_mm, opening_deg, plate_mm=10 / mu + 1)
    expected = effective**2 / (16 * height**2)
    assert float(sensitivity(camera, energy_kev)) == pytest.approx(expected, rel=0.02)


def test_inverse_square():
    """Four times fewer photons at twice the distance: within 0.5 %."""
    near, far = sensitivity(pinhole(40.0), 82.0), sensitivity(pinhole(80.0), 82.0)
    assert float(near / far) == pytest.approx(4.0, rel=0.005)


@pytest.mark.parametrize("projector", [RayProjector, MatrixProjector])
def test_slab_attenuation(projector, tmp_path, monkeypatch):
    """8 mm of tissue before the pinhole take exp(-mu 8 mm), seen nearly head on: within 0.5 %."""
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path))
    grid = VoxelGrid((11, 11, 33), 1.0)
    camera = pinhole(60.0)
    model = projector(camera, grid, torch.tensor([82.0]), sampling=RaySampling(48))
    activity = torch.zeros(1, 1, *grid.shape)
    activity[0, 0, 5, 5, 16] = 1.0
    density = torch.zeros(1, *grid.shape)
    density[..., 20:28] = 1.0
    through = model.forward(activity, model.attenuation(density)).sum()
    free = model.forward(activity, model.attenuation(torch.zeros_like(density))).sum()
    mu = 0.1 * float(mass_attenuation("soft_tissue", 82.0))
    assert float(through / free) == pytest.approx(math.exp(-8 * mu), rel=0.005)


def test_gradient_in_diameter_and_pose():
    """Autograd against central differences through diameter, aperture and pixel positions (float64, 1e-4),
    and the diameter's against the derivative of d_se^2 (2 %)."""
    camera = pinhole(40.0)
    diameter = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def seen(d: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        moved = replace(
            camera,
            aperture_diameter_mm=d,
            aperture_centre_mm=camera.aperture_centre_mm + s,
            pixel_centre_mm=camera.pixel_centre_mm + 0.5 * s,
        )
        return sensitivity(moved, 140.0)

    slope = torch.autograd.grad(seen(diameter, shift), (diameter, shift))
    step = 1e-5
    for k, part in enumerate((diameter, *shift.detach().unbind())):
        plus, minus = (
            (diameter + sign * step, shift)
            if k == 0
            else (diameter, shift + sign * step * torch.eye(3)[k - 1])
            for sign in (1, -1)
        )
        with torch.no_grad():
            numeric = float(seen(*plus) - seen(*minus)) / (2 * step)
        exact = float(slope[0]) if k == 0 else float(slope[1][k - 1])
        assert exact == pytest.approx(numeric, rel=1e-4, abs=1e-8), part
    mu, tangent = float(interaction_attenuation_per_mm("tungsten", 140.0)), 1.0
    assert float(slope[0]) == pytest.approx((2 + 2 * tangent / mu) / (16 * 40.0**2), rel=0.02)
