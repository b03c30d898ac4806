"""Unscattered photons: rays of the projector compared with the Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from data_gen.camera import Camera
from data_gen.camera.binning import binned, binning_to, seeing_every_aperture
from data_gen.core.grid import EnergyBins
from data_gen.materials import linear_attenuation_per_mm
from data_gen.montecarlo import CLASSES, Batches, Lines, simulate
from data_gen.projector import RayProjector, RaySampling
from data_gen.projector.leak import leak_caster
from data_gen.projector.ray_casting import CasterFactory, RayCaster
from data_gen.validation.objects import Scene, scene
from data_gen.validation.point import Findings, Point
from data_gen.validation.scenes import named_camera
from data_gen.validation.truth import MC, body_of, source_of

_STRAIGHT = [CLASSES.index(name) for name in ("open", "penetrated")]
_SHARP_MM, _SMOOTH_MM = 1.0, 2.5
"""Pixel edges that unscattered photons are summed on: through apertures, and through the plate; chosen, no
source.
"""


def straight(
    cameras: Sequence[str] = ("pinhole", "alpha_spect_mini"),
    scenes: Sequence[str] = ("point", "off_axis", "cylinder", "mouse"),
    energies_kev: Sequence[float] = (82.0, 154.0, 218.0, 270.0, 440.0),
    photons: int = 600_000,
    rays: int = 64,
    seed: int = 0,
) -> Findings:
    """Relative deviation of the first interactions of unscattered photons, over the whole camera; tolerance 3
    %.

    Args:
        cameras: names of the cameras.
        scenes: names of the scenes; see :func:`data_gen.validation.objects.scene`.
        energies_kev: energies of the photon lines, simulated one by one.
        photons: photons simulated by the Monte Carlo for each energy.
        rays: rays of the projector for each pixel and aperture.
        seed: random seed of the Monte Carlo.
    """
    points = []
    for name in cameras:
        camera = named_camera(name)
        for what in (scene(s) for s in scenes):
            for energy in energies_kev:
                sampled = _sampled_straight(camera, what, energy, photons, seed)
                points.append(
                    _straight_point(name, what, energy, sampled, _traced(camera, what, energy, rays))
                )
    return Findings(points)


def _sampled_straight(camera: Camera, what: Scene, energy_kev: float, photons: int, seed: int) -> Batches:
    one = Lines(torch.tensor([energy_kev], dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    tally = simulate(camera, source_of(what), one, photons, seed, body_of(what), EnergyBins(20.0, 600.0, 1))
    return Batches(tally.totals.values[:, _STRAIGHT, 0].sum(dim=1))


def _traced(camera: Camera, what: Scene, energy_kev: float, rays: int) -> float:
    """Unscattered photons by the ray projector, on coarser pixels, with the rays through plate and septa."""
    energies = torch.tensor([energy_kev], dtype=torch.float64)
    sharp = binned(camera, binning_to(camera, _SHARP_MM))
    smooth = seeing_every_aperture(binned(camera, binning_to(camera, _SMOOTH_MM)))
    with torch.no_grad():
        total = 0.0
        for projector in (
            RayProjector(sharp, what.grid, energies, RaySampling(rays), caster=_with_coherent(RayCaster)),
            RayProjector(
                smooth, what.grid, energies, RaySampling(rays), caster=_with_coherent(leak_caster(what.grid))
            ),
        ):
            kept = projector.attenuation(what.density[None])
            total += float(projector.forward(what.activity[None, None], kept).sum())
    return total


def _with_coherent(make: CasterFactory) -> CasterFactory:
    """Rays that coherent scatter in metal takes away too, as in the Monte Carlo's classes."""

    def caster(camera: Camera, energy_kev: float, sampling: RaySampling) -> RayCaster:
        made = make(camera, energy_kev, sampling)
        made.plate_mu = float(linear_attenuation_per_mm(camera.collimator_material, energy_kev))
        return made

    return caster


def _straight_point(camera: str, what: Scene, energy_kev: float, sampled: Batches, traced: float) -> Point:
    return Point(
        f"{camera}_{what.name}_{energy_kev:g}kev",
        abs(traced / float(sampled.mean) - 1),
        0.03,
        "first interactions of unscattered photons",
        MC,
        f"whole camera; Monte Carlo error {100 * float(sampled.error / sampled.mean):.2g} %",
    )
