"""Cameras and sources for which closed forms exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera, load_camera
from data_gen.camera.binning import seeing_every_aperture
from data_gen.core.grid import VoxelGrid
from data_gen.projector import RayProjector, RaySampling
from data_gen.projector.leak import leak_caster

STOPS_ALL_MM = 500.0
"""CdTe so thick that every photon interacts."""

STOPS_AT_FACE_MM = 1e-3
"""CdTe so thin that photons interact at its face."""


@dataclass(frozen=True)
class Pinhole:
    """One knife edge in a plate before a flat detector; lengths in mm.

    Args:
        height_mm: isocentre to the waist.
        detector_mm: isocentre to the detector's face.
        diameter_mm: diameter of the waist.
        opening_deg: full opening angle.
        plate_mm: thickness of the plate.
        pixels: (rows, columns).
        pitch_mm: edge of the pixels.
        crystal_mm: thickness of the detector.
        material: material of the plate.
        shift_mm: shift of the detector along z, the hole staying where it is.
    """

    height_mm: float = 40.0
    detector_mm: float = 80.0
    diameter_mm: float = 1.0
    opening_deg: float = 90.0
    plate_mm: float = 6.0
    pixels: tuple[int, int] = (24, 24)
    pitch_mm: float = 0.35
    crystal_mm: float = STOPS_ALL_MM
    material: str = "tungsten"
    shift_mm: float = 0.0

    def camera(self) -> Camera:
        """The camera."""
        return Camera.from_dict(
            {
                "name": "pinhole",
                "panels": {
                    "angles_deg": [0.0],
                    "detector_mm": self.detector_mm,
                    "axial_mm": self.shift_mm,
                },
                "collimator": {
                    "material": self.material,
                    "plane_mm": self.height_mm,
                    "plate_mm": self.plate_mm,
                    "shape": "knife_edge",
                    "diameter_mm": self.diameter_mm,
                    "opening_deg": self.opening_deg,
                    "positions_mm": [[-self.shift_mm, 0.0]],
                },
                "detector": _detector(self.pixels, self.pitch_mm, self.crystal_mm),
            }
        )


def ring(
    angles_deg: Sequence[float] = (0.0, 70.0, 200.0),
    blocks: tuple[int, int] = (2, 2),
    pixels: tuple[int, int] = (4, 4),
    pitch_mm: float = 5.0,
    septa: bool = True,
    axial_mm: float = 0.0,
    diameter_mm: float = 0.6,
) -> Camera:
    """Panels of tungsten loft holes in a plate of 8 mm, as in alpha_spect_mini, with few pixels."""
    return Camera.from_dict(
        {
            "name": "ring",
            "panels": {"angles_deg": list(angles_deg), "detector_mm": 38.0, "axial_mm": axial_mm},
            "collimator": {
                "material": "tungsten",
                "plane_mm": 28.0,
                "plate_mm": 8.0,
                "shape": "loft_hole",
                "diameter_mm": diameter_mm,
                "apertures": list(blocks),
                "septa": septa,
            },
            "detector": _detector(pixels, pitch_mm, 2.0),
        }
    )


def _detector(pixels: tuple[int, int], pitch_mm: float, crystal_mm: float) -> dict[str, object]:
    return {
        "material": "CdTe",
        "thickness_mm": crystal_mm,
        "rows": pixels[0],
        "columns": pixels[1],
        "pitch_mm": pitch_mm,
        "response": {"kind": "cdte"},
    }


def point_at(grid: VoxelGrid, index: tuple[int, int, int]) -> Tensor:
    """Activity [1, 1, z, y, x] of 1 Bq in one voxel, float64."""
    activity = torch.zeros(1, 1, *grid.shape, dtype=torch.float64)
    activity[(0, 0, *index)] = 1.0
    return activity


def rays_seen(
    camera: Camera,
    energy_kev: float,
    grid: VoxelGrid,
    activity: Tensor,
    density: Tensor | None = None,
    rays: int = 64,
    plate_steps: int = 8,
) -> Tensor:
    """First interactions [row, column] of a camera of one panel for one photon per decay, ray by ray.

    Args:
        activity: [1, 1, z, y, x] in Bq per voxel.
        density: [z, y, x] in g/cm3; None is a vacuum.
    """
    energies = torch.tensor([energy_kev], dtype=torch.float64)
    projector = RayProjector(camera, grid, energies, sampling=RaySampling(rays, plate_steps))
    body = torch.zeros(grid.shape, dtype=torch.float64) if density is None else density
    with torch.no_grad():
        seen = projector.forward(activity, projector.attenuation(body[None]))
    return seen[0, :, 0, 0].reshape(camera.spec.detector.rows, camera.spec.detector.columns)


def straight_share(camera: Camera, energy_kev: float, grid: VoxelGrid, activity: Tensor, rays: int) -> float:
    """First interactions per photon by all unscattered photons, through aperture and plate together."""
    energies = torch.tensor([energy_kev], dtype=torch.float64)
    plate = RayProjector(
        seeing_every_aperture(camera), grid, energies, sampling=RaySampling(rays), caster=leak_caster(grid)
    )
    with torch.no_grad():
        leaked = plate.forward(activity, plate.attenuation(torch.zeros(1, *grid.shape, dtype=torch.float64)))
    return float(rays_seen(camera, energy_kev, grid, activity, rays=rays).sum() + leaked.sum())


def centroid_mm(image: Tensor, pitch_mm: float) -> tuple[float, float]:
    """Mean (row, column) place of an image, mm from the detector's middle."""
    places = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * pitch_mm for n in image.shape]
    total = image.sum()
    row, column = ((image.sum(1 - axis) * places[axis]).sum() / total for axis in (0, 1))
    return float(row), float(column)


def named_camera(name: str) -> Camera:
    """A camera by name, or one ``pinhole`` of the kind that formulas are about."""
    if name == "pinhole":
        return Pinhole(40.0, 80.0, 1.0, 80.0, 10.0, (80, 80), 0.5, 2.0).camera()
    return load_camera(name)
