"""Reference energies at which the geometry is computed, and weights that interpolate lines between them.

Energies are in keV. The weights fit a line's transmission through the collimator by those of the two
neighbouring reference energies, never across a K edge of the collimator. docs/physics.md, section 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.materials import (
    interaction_attenuation_per_mm,
    interaction_probability,
    k_edges_kev,
    linear_attenuation_per_mm,
)
from data_gen.nuclides.spectrum import LineSpectrum
from data_gen.projector.ray_casting import EDGE_FOLDS, leaks_beneath

TISSUE_MM = 10.0
"""Tissue that photons typically cross."""

FAR = 100.0
"""A distance larger than between any two lines."""


def reference_energies(camera: Camera, lines: LineSpectrum, most: int) -> Tensor:
    """At most ``most`` energies of lines, ascending, [g] keV, between which the other lines are interpolated.

    Chosen greedily, so that the most detected lines have the smallest interpolation error in two quantities:
    the size of an aperture with its penetrated edge, and the transmission of tissue. Each side of a
    K edge of the collimator that has lines gets a reference energy.
    """
    energy, which = torch.unique(lines.energy_kev, return_inverse=True)
    emitted = torch.zeros_like(energy).index_add(0, which, lines.photons_per_decay)
    radius = float(camera.aperture_diameter_mm.detach().median()) / 2
    edge = float(camera.aperture_opening.detach().max()) / interaction_attenuation_per_mm(
        camera.collimator_material, energy
    )
    tissue = TISSUE_MM * linear_attenuation_per_mm("soft_tissue", energy)
    stopped = interaction_probability(camera.detector_material, energy, camera.detector_thickness_mm)
    look = 2 * (radius + edge).log() - tissue
    side = torch.bucketize(
        energy, torch.tensor(k_edges_kev(camera.collimator_material), dtype=torch.float64), right=True
    )
    chosen: Tensor = energy[_chosen(look + FAR * side, emitted * stopped * look.exp(), side, most)]
    return chosen


def _chosen(look: Tensor, weight: Tensor, side: Tensor, most: int) -> Tensor:
    """Which lines are reference energies, [line] bool."""
    chosen = torch.zeros(len(look), dtype=torch.bool)
    for part in side.unique():
        chosen[torch.where(side == part, weight, -1.0).argmax()] = True
    while int(chosen.sum()) < min(most, len(look)):
        costs = torch.stack([_distance(look, chosen, extra) @ weight for extra in range(len(look))])
        chosen[int(torch.where(chosen, torch.inf, costs).argmin())] = True
    return chosen


def _distance(look: Tensor, chosen: Tensor, extra: int) -> Tensor:
    """Interpolation error of each line with one more reference energy, up to a factor, [line]."""
    with_extra = chosen.clone()
    with_extra[extra] = True
    gap = look[:, None] - look[with_extra]
    below = torch.where(gap >= 0, gap, FAR).amin(dim=1)
    above = torch.where(gap <= 0, -gap, FAR).amin(dim=1)
    # Between two: as interpolation errs; beyond: as far as to the nearest.
    between = (below < FAR / 2) & (above < FAR / 2)
    return torch.where(between, below * above, torch.minimum(below, above))


RIM_MM = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
"""Steps of collimator path of rays through the sloping edge of an opening."""

LARGEST_WEIGHT = 100.0
"""Larger weights mean that neither the reference energy nor the line is transmitted to a relevant degree."""

TOTAL_WEIGHT = 100.0
"""Weight in the fit of all photons together, relative to those through each thickness of collimator."""


PhotonPath = Literal["aperture", "leakage", "emission"]


class _Between(NamedTuple):
    """The references next to each line on its side of the K edges; if there is but one, it is both."""

    low: Tensor
    high: Tensor

    @property
    def alone(self) -> Tensor:
        return self.low == self.high

    def weights(self, first: Tensor, second: Tensor, references: int) -> Tensor:
        """Weights [line, g] from those of ``low`` and ``high``, [line] each."""
        table = torch.zeros(len(first), references, dtype=torch.float64)
        line = torch.arange(len(first))
        table[line, self.low] = first
        return table.index_put((line, self.high), torch.where(self.alone, 0.0, second), accumulate=True)


def interpolation_weights(
    camera: Camera, energy_kev: Tensor, reference_kev: Tensor, path: PhotonPath = "emission"
) -> Tensor:
    """Weights [line, g] with which results at the reference energies are summed to those of each line.

    Args:
        camera: the camera.
        energy_kev: energies of the lines, [line].
        reference_kev: reference energies, [g].
        path: ``aperture`` fits first interactions through apertures, ``leakage`` those through plate and
            septa (both by non-negative least squares over path lengths in the collimator); ``emission``
            interpolates emitted photons linearly in log energy, so that weights sum to 1.
    """
    if path == "emission":
        near = _between(camera, energy_kev, reference_kev)
        low, high = reference_kev[near.low], reference_kev[near.high]
        above = torch.where(near.alone, 0.0, (energy_kev / low).log() / (high / low).log())
        return near.weights(1 - above, above, len(reference_kev))
    around = _Around.of(camera)
    if path == "aperture":
        return _fitted(energy_kev, reference_kev, camera, around.sharp)
    return _fitted(energy_kev, reference_kev, camera, lambda e: around.seen(e) - around.sharp(e))


@dataclass(frozen=True)
class _Around:
    """Collimator paths of rays around one aperture, mm, and the area of waist that each stands for, mm2,
    [path].

    Differentiable in the mean diameter of the apertures, and in their widest opening.
    """

    camera: Camera
    rim_mm: Tensor
    """Ends of the steps of the slope of the opening; the open waist comes before them, [step + 1]."""
    path_mm: Tensor
    area_mm2: Tensor

    @classmethod
    def of(cls, camera: Camera) -> _Around:
        plate, panel = camera.spec.collimator, camera.spec.detector
        radius, slope = camera.aperture_diameter_mm.mean() / 2, camera.aperture_opening.amax() / 2
        rim = torch.tensor([*(r for r in RIM_MM if r < plate.plate_mm), plate.plate_mm], dtype=torch.float64)
        disks = math.pi * (radius + slope * rim).square()
        nearer = plate.plane_mm / camera.spec.panels.detector_mm
        panel_mm2 = panel.rows * panel.columns * (nearer * panel.pitch_mm) ** 2
        flat = (panel_mm2 * camera.panels / camera.aperture_count - disks[-1:]).clamp_min(0)
        path = [0.0, *((rim[1:] + rim[:-1]) / 2).tolist(), plate.plate_mm, 1.15 * plate.plate_mm]
        area = [disks[:1], disks.diff(), flat / 2, flat / 2]
        if plate.septa:
            path, area = [*path, plate.septa_mm, 2 * plate.septa_mm], [*area, disks[:1], disks[:1]]
        return cls(camera, rim, torch.tensor(path, dtype=torch.float64), torch.cat(area))

    def seen(self, energy_kev: Tensor) -> Tensor:
        """Area times transmission times detection probability, [energy, path] mm2."""
        camera = self.camera
        mu = interaction_attenuation_per_mm(camera.collimator_material, energy_kev)[:, None]
        stopped = interaction_probability(camera.detector_material, energy_kev, camera.detector_thickness_mm)
        # What is nothing anyway stays above 0, since ratios are fitted.
        return (stopped[:, None] * self.area_mm2 * torch.exp(-mu * self.path_mm)).clamp_min(1e-60)

    def sharp(self, energy_kev: Tensor) -> Tensor:
        """The part of :meth:`seen` that is in the sharp image; see ``RayCaster``."""
        mu = interaction_attenuation_per_mm(self.camera.collimator_material, energy_kev)[:, None]
        inside = ((EDGE_FOLDS / mu - self.rim_mm[:-1]) / self.rim_mm.diff()).clamp(0, 1)
        beyond = inside.new_zeros(len(inside), len(self.path_mm) - 1 - inside.shape[1])
        near = torch.cat((torch.ones_like(mu), inside, beyond), dim=1)
        beneath = torch.tensor([[leaks_beneath(self.camera, float(m))] for m in mu])
        above = -torch.expm1((mu * (self.path_mm - self.camera.plate_mm)).clamp_max(0))
        return self.seen(energy_kev) * near * torch.where(beneath, above, 1.0)


def _fitted(
    energy_kev: Tensor, reference_kev: Tensor, camera: Camera, seen: Callable[[Tensor], Tensor]
) -> Tensor:
    """Non-negative least-squares weights by which ``seen`` [energy, path] of the reference energies
    approximates that of a line, path by path and, with more weight, in total.
    """
    near = _between(camera, energy_kev, reference_kev)
    line, references = seen(energy_kev), seen(reference_kev)
    total = line.sum(dim=1, keepdim=True).clamp_min(1e-60)

    def told(seen: Tensor) -> Tensor:
        parts = seen / total
        return torch.cat((parts, math.sqrt(TOTAL_WEIGHT) * parts.sum(dim=1, keepdim=True)), dim=1)

    a, b, wanted = told(references[near.low]), told(references[near.high]), told(line)
    aa, bb, ab = (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)
    to_a, to_b = (a * wanted).sum(1), (b * wanted).sum(1)
    determinant = (aa * bb - ab * ab).clamp_min(1e-12 * aa * bb)
    first, second = (to_a * bb - to_b * ab) / determinant, (to_b * aa - to_a * ab) / determinant
    first_alone = near.alone | (second < 0)
    second_alone = ~near.alone & (first < 0)
    first = torch.where(first_alone, to_a / aa, first.clamp_min(0)).clamp_max(LARGEST_WEIGHT)
    second = torch.where(second_alone, to_b / bb, second.clamp_min(0)).clamp_max(LARGEST_WEIGHT)
    return near.weights(
        torch.where(second_alone, 0.0, first), torch.where(first_alone, 0.0, second), len(reference_kev)
    )


def _between(camera: Camera, energy_kev: Tensor, reference_kev: Tensor) -> _Between:
    """The reference energies around each line; one beyond a K edge of the collimator counts only if
    all are.
    """
    edges = torch.tensor(k_edges_kev(camera.collimator_material), dtype=torch.float64)
    side = torch.bucketize(energy_kev, edges, right=True)[:, None]
    usable = torch.bucketize(reference_kev, edges, right=True) == side
    usable = usable | ~usable.any(dim=1, keepdim=True)
    gap = energy_kev[:, None].log() - reference_kev.log()
    below = torch.where(usable & (gap >= 0), gap, torch.inf)
    above = torch.where(usable & (gap < 0), -gap, torch.inf)
    low, high = below.argmin(dim=1), above.argmin(dim=1)
    low = torch.where(below.amin(dim=1).isinf(), high, low)
    return _Between(low, torch.where(above.amin(dim=1).isinf(), low, high))
