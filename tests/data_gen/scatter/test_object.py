"""Scatter in the object against its contract and against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xraylib
from contracts.scatter_contract import ScatterCase, ScatterContract

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_probability, linear_attenuation_per_mm, material_named
from data_gen.scatter import ObjectScatter, ScatterSampling
from data_gen.scatter.collimation import collimation

FEW = ScatterSampling(voxel_mm=9.0, block_mm=30.0, order=3, classes=2, twice_order=1, twice_classes=1)
SMALL = VoxelGrid((5, 4, 6), (4.0, 5.0, 4.5))


def pinhole(septa: bool = False, angles_deg: tuple[float, ...] = (0.0,)) -> Camera:
    """Panels of a wide hole, or of 2x2 holes between septa."""
    shape = {"shape": "loft_hole", "apertures": [2, 2], "septa": True, "diameter_mm": 0.6}
    hole = {"shape": "knife_edge", "opening_deg": 80.0, "positions_mm": [[0.0, 0.0]], "diameter_mm": 2.0}
    return Camera.from_dict(
        {
            "name": "pinhole",
            "panels": {"angles_deg": angles_deg, "detector_mm": 38.0},
            "collimator": {
                "material": "gold",
                "plane_mm": 28.0,
                "plate_mm": 8.0,
                **(shape if septa else hole),
            },
            "detector": {
                "material": "CdTe",
                "thickness_mm": 2.0,
                "rows": 20,
                "columns": 20,
                "pitch_mm": 2.0,
                "response": {"kind": "gaussian", "fwhm_kev": 5.0},
            },
        }
    )


class TestObjectScatter(ScatterContract):
    def case(self, dtype: torch.dtype) -> ScatterCase:
        energies = torch.tensor([82.0, 440.0], dtype=torch.float64)
        term = ObjectScatter(pinhole(septa=True, angles_deg=(0.0, 70.0)), SMALL, energies, FEW)
        return ScatterCase(term, shape=(2, 2, *SMALL.shape), dtype=dtype)


def test_nothing_scatters_in_vacuum():
    """No density, no scatter. Without attenuation to speak of, scatter grows with the density, and what
    scatters twice with its square (1e-4)."""
    term = ObjectScatter(pinhole(), SMALL, torch.tensor([218.0]), FEW)
    activity = torch.ones(1, 1, *SMALL.shape, dtype=torch.float64)
    soft = torch.full((1, *SMALL.shape), 2)
    seen = [
        term.forward(activity, term.state(torch.full((1, *SMALL.shape), density, dtype=torch.float64), soft))
        for density in (0.0, 1e-6, 2e-6)
    ]
    assert float(seen[0].abs().max()) == 0.0
    once, twice = slice(0, 1 + FEW.classes), slice(1 + FEW.classes, None)
    torch.testing.assert_close(seen[2][:, :, :, once], 2 * seen[1][:, :, :, once], rtol=1e-4, atol=0)
    torch.testing.assert_close(seen[2][:, :, :, twice], 4 * seen[1][:, :, :, twice], rtol=1e-4, atol=0)


def test_kept_table_of_fluence_changes_no_value(monkeypatch):
    """Blocks and sources with the table's parts kept, and made anew each time: the same bits."""
    density = torch.full((1, *SMALL.shape), 1.1)
    activity = torch.rand(1, 2, *SMALL.shape, generator=torch.Generator().manual_seed(4))
    found = []
    for room in (2**26, 0):
        monkeypatch.setattr("data_gen.scatter.single_scatter.MOST_KEPT_BYTES", room)
        term = ObjectScatter(pinhole(), SMALL, torch.tensor([154.0]), FEW)
        state = term.state(density)
        seen = term.forward(activity, state)
        found.append((seen, term.adjoint(seen, state), term.forward(activity, state)))
    for kept, fresh in zip(*found, strict=True):
        torch.testing.assert_close(kept, fresh, rtol=0, atol=0)


def test_mirror_images():
    """Source and object mirrored in z give the mirrored image (1e-6 of its peak, rays being mirrored)."""
    camera = pinhole(septa=True, angles_deg=(0.0, 180.0))
    term = ObjectScatter(camera, SMALL, torch.tensor([154.0]), FEW)
    draw = torch.rand(2, *SMALL.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    density, activity = draw[:1] + 0.7, draw[None, 1:]
    seen = term.forward(activity, term.state(density))
    mirrored = term.forward(activity.flip(2), term.state(density.flip(1)))
    rows = term.camera.spec.detector.rows
    image = seen.unflatten(1, (2, rows, -1)).flip(2).flatten(1, 3)
    torch.testing.assert_close(mirrored, image, rtol=0, atol=1e-6 * float(seen.max()))


class BruteForce:
    """First-order scatter of a point source in a ball of soft tissue, integrated along random flights.

    Truth of its own: the ball is exact, rays leave the source evenly, cross sections are xraylib's at each
    angle. A wide hole sees a point in proportion to its solid angle and the detector's stopping power.
    """

    def __init__(self, energy_kev: float, source_mm: np.ndarray, radius_mm: float, flights: int) -> None:
        self.energy, self.radius = energy_kev, radius_mm
        draw = np.random.default_rng(1).normal(size=(flights, 3))
        heading = draw / np.linalg.norm(draw, axis=1, keepdims=True)
        chord = self.to_surface(source_mm, heading)
        depth = chord * np.random.default_rng(2).random(flights)
        place = source_mm + depth[:, None] * heading
        out = _to_hole(place)
        cosine = np.clip((out * heading).sum(axis=1), -1, 1)
        arrival = energy_kev / (1 + energy_kev / 510.99895 * (1 - cosine))
        # Coherent scatter turns photons by a few degrees: on their way it takes none away.
        sent = 4 * np.pi * chord * np.exp(-_mu_without_coherent(energy_kev) * depth)
        lost, lost_coherent = (
            self.to_surface(place, out) * _mu_without_coherent(e) for e in (arrival, energy_kev)
        )
        angle = np.arccos(cosine)
        compton, rayleigh = (
            _by_angle(cross_section, energy_kev, angle)
            for cross_section in (xraylib.DCS_Compt, xraylib.DCS_Rayl)
        )
        straight = _to_hole(source_mm[None])
        through = np.exp(-_mu(energy_kev) * self.to_surface(source_mm[None], straight))
        primary = (through * _seen(source_mm[None], energy_kev))[0]
        self.arrival = arrival
        self.compton = sent * compton * np.exp(-lost) * _seen(place, arrival) / primary / flights
        self.rayleigh = float(
            np.mean(sent * rayleigh * np.exp(-lost_coherent) * _seen(place, energy_kev)) / primary
        )

    def to_surface(self, place: np.ndarray, heading: np.ndarray) -> np.ndarray:
        along = (place * heading).sum(axis=-1)
        inside = along**2 - (place**2).sum(axis=-1) + self.radius**2
        return -along + np.sqrt(np.maximum(inside, 0))


HOLE = np.array([28.0, 0.0, 0.0])
TISSUE = material_named("soft_tissue").mass_fractions


def _to_hole(place: np.ndarray) -> np.ndarray:
    return (HOLE - place) / np.linalg.norm(HOLE - place, axis=1, keepdims=True)


def _mu(energy_kev: np.ndarray | float) -> np.ndarray:
    """Total attenuation of soft tissue at 1 g/cm3, 1/mm."""
    return _by_energy(xraylib.CS_Total, energy_kev)


def _mu_without_coherent(energy_kev: np.ndarray | float) -> np.ndarray:
    """Attenuation of soft tissue at 1 g/cm3 by absorption and Compton scatter alone, 1/mm."""
    return _mu(energy_kev) - _by_energy(xraylib.CS_Rayl, energy_kev)


def _by_energy(cross_section: object, energy_kev: np.ndarray | float) -> np.ndarray:
    """A cross section of soft tissue at 1 g/cm3, 1/mm."""
    assert callable(cross_section)
    nodes = np.geomspace(40.0, 450.0, 200)
    values = [0.1 * sum(w * cross_section(z, e) for z, w in TISSUE) for e in nodes]
    return np.interp(energy_kev, nodes, values)


def _by_angle(cross_section: object, energy_kev: float, angle: np.ndarray) -> np.ndarray:
    """Differential cross section of soft tissue at 1 g/cm3, 1/mm/sr."""
    assert callable(cross_section)
    nodes = np.linspace(0.01, np.pi, 700)
    values = [0.1 * sum(w * cross_section(z, energy_kev, a) for z, w in TISSUE) for a in nodes]
    return np.interp(angle, nodes, values)


def _seen(place: np.ndarray, energy_kev: np.ndarray | float) -> np.ndarray:
    """In proportion to what a round hole across x and the detector behind it see.

    The hole is as wide as its edges let it be, d^2 + 2 d t / mu + 2 t^2 / mu^2, d being 2 mm and t the
    tangent of half its opening (Metzler 2001, Accorsi and Metzler 2004).
    """
    away = np.linalg.norm(HOLE - place, axis=1)
    cosine = (HOLE - place)[:, 0] / away
    nodes = np.geomspace(85.0, 450.0, 100)  # above gold's K edge
    stopped = interaction_probability("CdTe", torch.as_tensor(nodes), 2.0).numpy()
    depth = -np.log1p(-np.interp(energy_kev, nodes, stopped))
    edge = np.tan(np.radians(40.0)) / linear_attenuation_per_mm("gold", torch.as_tensor(nodes)).numpy()
    width = np.interp(energy_kev, nodes, 4.0 + 4.0 * edge + 2.0 * edge**2)
    return width * cosine / away**2 * -np.expm1(-depth / cosine)


BALL = VoxelGrid((21, 21, 21), 26.0 / 21)


def _ball() -> torch.Tensor:
    """Density of a ball of 12 mm, its edge smoothed by sub-voxels."""
    shift = torch.cartesian_prod(
        *[torch.linspace(-0.4, 0.4, 5, dtype=torch.float64) * BALL.spacing_mm[0]] * 3
    )
    inside = [(BALL.centres_mm() + s).norm(dim=-1) < 12.0 for s in shift]
    return torch.stack(inside).double().mean(dim=0)[None]


def _sensitivity(energy_kev: float) -> float:
    """First interactions of the whole detector per photon from the isocentre, in air.

    Of the ball's voxels together, each in proportion to what is seen from there: few rays see a single one.
    """
    grid = VoxelGrid((13, 13, 13), 2.0)
    place = grid.centres_mm().reshape(-1, 3).numpy()
    inside = np.linalg.norm(place, axis=1) < 12.0
    seen = (
        collimation(pinhole(), grid, torch.tensor([energy_kev], dtype=torch.float64))[0].double().sum(dim=0)
    )
    expected = _seen(place[inside], energy_kev) / _seen(0 * HOLE[None], energy_kev)
    return float(seen.numpy()[inside].sum() / expected.sum())


@pytest.mark.parametrize(("voxel", "tolerance"), [((10, 10, 10), 0.02), ((13, 16, 10), 0.02)])
def test_point_source_in_a_ball_against_brute_force(voxel, tolerance):
    """Scatter over primary of a wide hole at 154 keV, in all and in five classes of arrival energy.

    The primary is what the projector's rays see of the ball's voxels, moved to the source by the inverse
    square. 2 % are allowed in all, 4 % for a class.
    """
    term = ObjectScatter(pinhole(), BALL, torch.tensor([154.0]), ScatterSampling(classes=5, twice_classes=0))
    activity = torch.zeros(1, 1, *BALL.shape, dtype=torch.float64)
    activity[(0, 0, *voxel)] = 1.0
    source = BALL.centres_mm()[voxel].numpy()
    soft = torch.full((1, *BALL.shape), 2)
    seen = term.forward(activity, term.state(_ball(), soft))[0, :, 0, :, 0].sum(dim=0).numpy()
    truth = BruteForce(154.0, source, 12.0, 200_000)
    line = _to_hole(source[None])
    through = float(np.exp(-_mu(154.0) * truth.to_surface(source[None], line))[0])
    primary = _sensitivity(154.0) * through * _seen(source[None], 154.0)[0] / _seen(0 * HOLE[None], 154.0)[0]
    edges = term.arrivals.kev[0, 1:].numpy()
    classes = [truth.compton[(truth.arrival >= a) & (truth.arrival < b)].sum() for a, b in edges]
    expected = np.array([truth.rayleigh, *classes])
    found = seen / primary
    assert found.sum() == pytest.approx(expected.sum(), rel=tolerance)
    np.testing.assert_allclose(found[1:], expected[1:], rtol=2 * tolerance)


def test_later_scatters_grow_with_the_power_of_the_density():
    """Without attenuation to speak of, what a third and a fourth scatter add grows with the third and fourth
    power of the density (1e-2), and the third is less than the second."""
    activity = torch.ones(1, 1, *SMALL.shape, dtype=torch.float64)
    soft = torch.full((1, *SMALL.shape), 2)
    by_order = []
    for density in (1e-5, 2e-5):
        seen = []
        for later in range(3):
            sampling = replace(FEW, later_scatters=later)
            term = ObjectScatter(pinhole(), SMALL, torch.tensor([218.0]), sampling)
            state = term.state(torch.full((1, *SMALL.shape), density, dtype=torch.float64), soft)
            seen.append(float(term.forward(activity, state)[:, :, :, 1 + FEW.classes :].sum()))
        by_order.append(np.diff([0.0, *seen]))
    np.testing.assert_allclose(by_order[1] / by_order[0], [4.0, 8.0, 16.0], rtol=1e-2)
    assert by_order[0][0] > by_order[0][1] > by_order[0][2] > 0
