"""Cameras of one panel or a few, small enough for tests of what their metal does."""

from __future__ import annotations

from data_gen.camera import Camera


def lofts(
    angles_deg: tuple[float, ...] = (0.0,), diameter_mm: float = 0.6, septa: bool = True, pixels: int = 8
) -> Camera:
    """Panels of 20 mm with 2x2 loft holes, ``pixels`` along an edge, and septa unless told otherwise."""
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
                "septa": septa,
            },
            "detector": {
                "material": "CdTe",
                "thickness_mm": 2.0,
                "rows": pixels,
                "columns": pixels,
                "pitch_mm": 20.0 / pixels,
                "response": {"kind": "cdte"},
            },
        }
    )


def knife_edge() -> Camera:
    """One knife edge of 1 mm in 6 mm of tungsten."""
    return Camera.from_dict(
        {
            "name": "knife edge",
            "panels": {"angles_deg": (0.0,), "detector_mm": 60.0},
            "collimator": {
                "material": "tungsten",
                "plane_mm": 40.0,
                "plate_mm": 6.0,
                "shape": "knife_edge",
                "diameter_mm": 1.0,
                "opening_deg": 90.0,
                "apertures": [1, 1],
            },
            "detector": {
                "material": "CdTe",
                "thickness_mm": 2.0,
                "rows": 8,
                "columns": 8,
                "pitch_mm": 3.0,
                "response": {"kind": "cdte"},
            },
        }
    )
