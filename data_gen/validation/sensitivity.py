"""Sensitivity with penetration: closed forms for knife edges, brute-force integration for lofts and thin
plates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm
from data_gen.validation import formulas
from data_gen.validation.brute_force import Hole, interacting_share
from data_gen.validation.point import Findings, Plot, Point
from data_gen.validation.scenes import STOPS_AT_FACE_MM, Pinhole, point_at, ring, straight_share

_OPENING_DEG = 60.0
"""Full opening angle of the knife edges; chosen, no source."""
_VOXEL_MM = 4.0
"""Voxel edge of the source before finite plates, large against the spacing of rays. Trilinear reading makes
it a tent with a variance of a sixth of its edge squared across the plate, as four points have.
"""


def knife_edges(
    energies_kev: Sequence[float] = (82.0, 140.0, 218.0, 440.0),
    materials: Sequence[str] = ("tungsten", "gold", "lead", "platinum"),
    off_axis_deg: float = 20.0,
    rays: int = 64,
) -> Findings:
    """Against Metzler 2001, on the axis and off it, as the formula asks: plate >= 10/mu, h >= 20 d_se.

    Everywhere mu is the projector's, without coherent scatter.
    """
    points, share, law = [], [], []
    for energy in energies_kev:
        for material in materials if energy == energies_kev[0] else materials[:1]:
            mu = float(interaction_attenuation_per_mm(material, energy))
            for angle in (0.0, -off_axis_deg, off_axis_deg):
                seen, truth = _knife_edge(material, mu, energy, angle, rays)
                points.append(_knife_edge_point(material, energy, angle, seen / truth - 1))
                if material == materials[0] and angle == 0:
                    share.append(seen)
                    law.append(truth)
    energy_axis = np.array(energies_kev)
    curves = {"ray tracing": (energy_axis, np.array(share)), "Metzler 2001": (energy_axis, np.array(law))}
    caption = f"Sensitivity of a knife edge of 1 mm in {materials[0]}, source on the axis at h = 20 d_se."
    axes = ("photon energy [keV]", "first interactions per photon")
    return Findings(points, [Plot("knife_edge", caption, *axes, curves)])


def _knife_edge(
    material: str, mu: float, energy_kev: float, angle_deg: float, rays: int
) -> tuple[float, float]:
    """Share seen and share by the formula."""
    diameter = 1.0
    effective = formulas.diameter_for_sensitivity_mm(diameter, _OPENING_DEG, mu)
    height, plate = max(30.0, 20 * effective), 10 / mu + 1
    spacing = 0.5 * effective
    away = round(height * math.tan(math.radians(angle_deg)) / spacing)
    grid = VoxelGrid((2 * abs(away) + 1, 1, 1), spacing)
    hole = Pinhole(
        height,
        2 * height,
        diameter,
        _OPENING_DEG,
        plate,
        pitch_mm=0.35 * effective,
        crystal_mm=STOPS_AT_FACE_MM,
        material=material,
        shift_mm=-away * spacing,
    )
    source = point_at(grid, (2 * max(away, 0), 0, 0))
    slant = math.hypot(1.0, away * spacing / height)
    crystal_mu = float(interaction_attenuation_per_mm("CdTe", energy_kev))
    stopped = -math.expm1(-crystal_mu * STOPS_AT_FACE_MM * slant)
    seen = straight_share(hole.camera(), energy_kev, grid, source, rays) / stopped
    to_plate = math.degrees(math.asin(1 / slant))
    return seen, formulas.sensitivity(diameter, _OPENING_DEG, mu, height, to_plate)


def _knife_edge_point(material: str, energy_kev: float, angle_deg: float, deviation: float) -> Point:
    side = "axis" if angle_deg == 0 else f"{angle_deg:+g}deg"
    return Point(
        f"{material}_{energy_kev:g}kev_{side}",
        abs(deviation),
        0.02 if angle_deg == 0 else 0.05,
        "d^2 sin^3/16h^2 and its penetration term",
        formulas.METZLER,
        f"knife edge of 1 mm, {_OPENING_DEG:g} degrees, plate 10/mu + 1 mm, h = 20 d_se",
    )


def finite_plates(
    energies_kev: Sequence[float] = (82.0, 154.0, 218.0, 270.0, 440.0),
    pixels: int = 20,
    rays: int = 800,
    nodes: int = 320,
    steps: int = 160,
) -> Findings:
    """Sensitivity of upright and oblique loft holes, and of a knife edge in a thin plate, over brute-force
    integration.

    Args:
        energies_kev: energies of the photons.
        pixels: number of pixels along an edge of the detector of 10 mm.
        rays: number of rays for each pixel and aperture.
        nodes: number of lines along an edge of the field of the brute-force integration.
        steps: number of steps of the brute-force integration through the plate.
    """
    size, pitch = (pixels, pixels), 10.0 / pixels
    straight = ring((0.0,), (1, 1), size, pitch, diameter_mm=0.35)
    scenes = {
        "loft": (straight, 0),
        "loft_off_axis": (straight, 2),
        "oblique_loft": (ring((0.0,), (1, 1), size, pitch, axial_mm=15.0, diameter_mm=0.35), 0),
        "knife_edge": (Pinhole(28.0, 38.0, 0.35, 53.0, 8.0, size, pitch, 2.0).camera(), 0),
    }
    points, curves = [], {}
    for name, (camera, away) in scenes.items():
        ratio = []
        for energy in energies_kev:
            seen, truth = _both_ways(camera, away, energy, rays, nodes, steps)
            ratio.append(seen / truth)
            points.append(_finite_plate_point(name, energy, ratio[-1] - 1))
        curves[name.replace("_", " ")] = (np.array(energies_kev), np.array(ratio))
    caption = "Ray-traced sensitivity over that of lines followed through the plate, 8 mm of tungsten."
    return Findings(points, [Plot("finite_plates", caption, "photon energy [keV]", "ratio", curves)])


def _both_ways(
    camera: Camera, away: int, energy_kev: float, rays: int, nodes: int, steps: int
) -> tuple[float, float]:
    """First interactions per photon of a voxel, so many voxels along z: projector, brute force."""
    grid = VoxelGrid((2 * away + 1, 1, 1), _VOXEL_MM)
    seen = straight_share(camera, energy_kev, grid, point_at(grid, (2 * away, 0, 0)), rays)
    hole, reach = _as_hole(camera, energy_kev), _VOXEL_MM / math.sqrt(6)
    corners = [(0.0, y, away * _VOXEL_MM + z) for y in (-reach, reach) for z in (-reach, reach)]
    return seen, float(np.mean([interacting_share(hole, corner, nodes, steps) for corner in corners]))


def _as_hole(camera: Camera, energy_kev: float) -> Hole:
    """The first aperture of a camera's first panel, at angle 0, in numbers."""
    plate, detector = camera.spec.collimator, camera.spec.detector
    centre, axis = camera.aperture_centre_mm[0].tolist(), camera.aperture_axis[0].tolist()
    across, along = camera.aperture_opening[0].tolist()
    return Hole(
        plate.shape,
        plate.plane_mm,
        plate.plate_mm,
        (centre[1], centre[2]),
        (axis[1] / axis[0], axis[2] / axis[0]),
        plate.diameter_mm / 2,
        (across, along),
        camera.spec.panels.detector_mm,
        (detector.columns * detector.pitch_mm / 2, detector.rows * detector.pitch_mm / 2),
        (0.0, camera.spec.panels.axial_mm),
        float(interaction_attenuation_per_mm(plate.material, energy_kev)),
        detector.thickness_mm,
        float(interaction_attenuation_per_mm(detector.material, energy_kev)),
    )


def _finite_plate_point(name: str, energy_kev: float, deviation: float) -> Point:
    return Point(
        f"{name}_{energy_kev:g}kev",
        abs(deviation),
        0.02,
        "all straight lines from the point to the detector, plate included",
        "brute-force integration in this suite",
        "0.35 mm in 8 mm of tungsten, 28 mm from the source; 2 mm of CdTe, 10 x 10 mm",
    )
