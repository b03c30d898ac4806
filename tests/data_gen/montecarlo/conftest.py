"""Cameras that see much of what is emitted, and beams of photons."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from data_gen.camera import Camera
from data_gen.montecarlo.photons import OPEN, Photons


@pytest.fixture
def wide_camera() -> Callable[..., Camera]:
    """Builds a panel of 24x24 pixels of 1 mm, 30 mm away; keys change the collimator."""

    def build(angles_deg: tuple[float, ...] = (0.0,), **collimator: Any) -> Camera:
        plate = {"material": "tungsten", "plane_mm": 20.0, "plate_mm": 4.0, **collimator}
        return Camera.from_dict(
            {
                "name": "wide",
                "panels": {"angles_deg": list(angles_deg), "detector_mm": 30.0},
                "collimator": plate,
                "detector": {
                    "material": "CdTe",
                    "thickness_mm": 2.0,
                    "rows": 24,
                    "columns": 24,
                    "pitch_mm": 1.0,
                    "response": {"kind": "cdte"},
                },
            }
        )

    return build


@pytest.fixture
def pinhole(wide_camera: Callable[..., Camera]) -> Camera:
    """One knife edge of 1 mm."""
    return wide_camera(shape="knife_edge", diameter_mm=1.0, opening_deg=70.0, positions_mm=[[0.0, 0.0]])


@pytest.fixture
def lofts(wide_camera: Callable[..., Camera]) -> Camera:
    """Four wide loft holes with septa."""
    return wide_camera(shape="loft_hole", diameter_mm=2.5, apertures=[2, 2], septa=True)


def beam(
    count: int, energy_kev: float, position: tuple[float, float, float], direction: tuple[float, float, float]
) -> Photons:
    """Photons alike, of weight 1, each a history of its own."""
    direction = torch.tensor(direction, dtype=torch.float64)
    zeros = torch.zeros(count, dtype=torch.int64)
    return Photons(
        torch.tensor(position, dtype=torch.float64).expand(count, 3).clone(),
        (direction / direction.norm()).expand(count, 3).clone(),
        torch.full((count,), energy_kev, dtype=torch.float64),
        torch.ones(count, dtype=torch.float64),
        torch.arange(count),
        zeros,
        torch.full_like(zeros, OPEN),
        zeros,
    )
