"""Unscattered photons: the projector and the leakage that ship compared with the Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.camera.binning import binning_to
from data_gen.core.grid import EnergyBins
from data_gen.forward_model.block_terms import block_corners
from data_gen.montecarlo import CLASSES, Batches, Lines, Tally, simulate
from data_gen.projector import MatrixProjector
from data_gen.scatter import Leakage
from data_gen.validation.objects import Scene, scene
from data_gen.validation.point import Findings, Point
from data_gen.validation.scenes import named_camera
from data_gen.validation.truth import MC, body_of, source_of

_STRAIGHT = [CLASSES.index(name) for name in ("open", "penetrated")]
_COLLIMATOR = CLASSES.index("collimator")

_NEAR_KEV = 0.5
"""Photons that metal scattered and that arrive within this of their energy were scattered coherently: the
models count them as not scattered. A Compton photon of 440 keV that loses less was turned by less than 3
degrees."""


def straight(
    cameras: Sequence[str] = ("pinhole", "alpha_spect_mini"),
    scenes: Sequence[str] = ("point", "off_axis", "cylinder", "mouse"),
    energies_kev: Sequence[float] = (82.0, 154.0, 218.0, 270.0, 440.0),
    photons: int = 600_000,
    seed: int = 0,
) -> Findings:
    """Relative deviation of the first interactions of unscattered photons, over the whole camera; tolerance 3
    %. Photons that metal scattered coherently count as unscattered, as they do in the model.

    Args:
        cameras: names of the cameras.
        scenes: names of the scenes; see :func:`data_gen.validation.objects.scene`.
        energies_kev: energies of the photon lines, simulated one by one.
        photons: photons simulated by the Monte Carlo for each energy.
        seed: random seed of the Monte Carlo.
    """
    points = []
    for name in cameras:
        camera = named_camera(name)
        for what in (scene(s) for s in scenes):
            for energy in energies_kev:
                sampled = _sampled_straight(camera, what, energy, photons, seed)
                modelled = float(_modelled(camera, what, energy).sum())
                points.append(_straight_point(name, what, energy, sampled, modelled))
    return Findings(points)


def panel_images(
    cameras: Sequence[str] = ("pinhole", "demo"),
    scenes: Sequence[str] = ("point", "off_axis", "mouse"),
    energies_kev: Sequence[float] = (82.0, 218.0, 440.0),
    photons: int = 2_000_000,
    seed: int = 0,
    block_mm: float = 1.0,
) -> Findings:
    """Images of unscattered photons on all panels, block by block: difference between model and Monte Carlo
    beyond the latter's own error, over the root mean square of the blocks; tolerance 5 %.

    Of it 3 % is how voxels are read: the Monte Carlo fills them evenly, rays interpolate between centres.

    Args:
        cameras: names of the cameras.
        scenes: names of the scenes; see :func:`data_gen.validation.objects.scene`.
        energies_kev: energies of the photon lines, simulated one by one.
        photons: photons simulated by the Monte Carlo for each energy.
        seed: random seed of the Monte Carlo.
        block_mm: edge of the blocks of pixels that are compared, at most.
    """
    points = []
    for name in cameras:
        camera = named_camera(name)
        factor = binning_to(camera, max(block_mm, camera.pitch_mm))
        block = _block_of(camera, factor)
        for what in (scene(s) for s in scenes):
            for energy in energies_kev:
                tally = _simulated(camera, what, energy, photons, seed, EnergyBins(20.0, 600.0, 1), block)
                seen = tally.interactions.mean[_STRAIGHT, :, 0].sum(0)
                variance = tally.interactions.variance[_STRAIGHT, :, 0].sum(0)
                model = torch.zeros_like(seen).index_add_(0, block, _modelled(camera, what, energy))
                told = f"{name}_{what.name}_{energy:g}kev"
                points.append(_image_point(told, model, seen, variance, factor * camera.pitch_mm))
    return Findings(points)


def _block_of(camera: Camera, factor: int) -> Tensor:
    """Number of the block of ``factor`` x ``factor`` pixels that each pixel lies in, [pixel]."""
    detector = camera.spec.detector
    rows, columns = detector.rows // factor, detector.columns // factor
    row, column = camera.pixel_row // factor, camera.pixel_column // factor
    block: Tensor = (camera.pixel_panel * rows + row) * columns + column
    return block


def _image_point(name: str, model: Tensor, seen: Tensor, variance: Tensor, edge_mm: float) -> Point:
    """Excess of the squared difference over the Monte Carlo's variance, both images of the same total."""
    squared = (model * (seen.sum() / model.sum()) - seen).square().sum()
    size = seen.square().sum()
    value = float(((squared - variance.sum()).clamp_min(0) / size).sqrt())
    noise = 100 * float((variance.sum() / size).sqrt())
    note = f"blocks of {edge_mm:g} mm, shape alone; Monte Carlo error {noise:.2g} %"
    return Point(name, value, 0.05, "image of unscattered photons", MC, note)


def _sampled_straight(camera: Camera, what: Scene, energy_kev: float, photons: int, seed: int) -> Batches:
    axis = EnergyBins(energy_kev - 20 * _NEAR_KEV, energy_kev + 20 * _NEAR_KEV, 40)
    everywhere = torch.zeros(camera.pixel_count, dtype=torch.int64)
    tally = _simulated(camera, what, energy_kev, photons, seed, axis, everywhere)
    coherent = tally.arrivals.values[:, _COLLIMATOR, 19:21].sum(dim=1)
    return Batches(tally.totals.values[:, _STRAIGHT, 0].sum(dim=1) + coherent)


def _simulated(
    camera: Camera, what: Scene, energy_kev: float, photons: int, seed: int, axis: EnergyBins, region: Tensor
) -> Tally:
    """The Monte Carlo of one line."""
    one = Lines(torch.tensor([energy_kev], dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    return simulate(camera, source_of(what), one, photons, seed, body_of(what), axis, region)


def _modelled(camera: Camera, what: Scene, energy_kev: float) -> Tensor:
    """First interactions of unscattered photons a second in each pixel, through its aperture and through
    plate and septa, as the forward model computes them, [pixel]."""
    energies = torch.tensor([energy_kev], dtype=torch.float64)
    sharp, leakage = MatrixProjector(camera, what.grid, energies), Leakage(camera, what.grid, energies)
    activity, density = what.activity[None, None].float(), what.density[None].float()
    with torch.no_grad():
        seen = sharp.forward(activity, sharp.attenuation(density))[0, :, 0, 0]
        leaked = leakage.forward(activity, leakage.state(density))[0, :, 0, 0, 0]
    corner, weight = block_corners(camera, leakage.camera)
    return seen.double() + (leaked.double()[corner] * weight).sum(dim=1)


def _straight_point(camera: str, what: Scene, energy_kev: float, sampled: Batches, modelled: float) -> Point:
    return Point(
        f"{camera}_{what.name}_{energy_kev:g}kev",
        abs(modelled / float(sampled.mean) - 1),
        0.03,
        "first interactions of unscattered photons",
        MC,
        f"whole camera; Monte Carlo error {100 * float(sampled.error / sampled.mean):.2g} %",
    )
