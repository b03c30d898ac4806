"""Rays that reach a pixel other than through its own aperture: through the plate and through septa.

They are cast on cells of the waist plane, one around each aperture. Lengths are in mm, weights in mm2 as in
``ray_casting.py``. docs/physics.md, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.core.parallel import on_all_cores
from data_gen.projector.collimator_path import between_apertures, waist_on_panel
from data_gen.projector.ray_casting import EDGE_FOLDS, UNROUNDED, CasterFactory, RayCaster
from data_gen.projector.rings import Rings
from data_gen.projector.sampling import RaySampling, place_shifts, root_steps
from data_gen.projector.symmetry import octant
from data_gen.projector.weights import Rows, assembled, threshold


def nearest_apertures(camera: Camera, aperture: Tensor, most: int) -> Tensor:
    """The nearest apertures of the same panel, the own first, [k, candidate]."""
    same = _same_panel(camera, aperture)
    centre = camera.aperture_centre_mm.detach()
    distance = (centre[same] - centre[aperture][:, None]).norm(dim=-1)
    nearest: Tensor = distance.argsort(dim=1, stable=True)[:, :most]
    return same.gather(1, nearest)


def cell_mm(camera: Camera, aperture: Tensor, heading: Tensor, within_mm: float) -> Tensor:
    """Distance from apertures to the border of their cells: the points of the waist plane nearest to them.

    Cells at the panel's rim end where no ray from activity to the detector passes.

    Args:
        camera: the camera.
        aperture: numbers, [k].
        heading: unit vectors (u, v), [k, ray, 2].
        within_mm: largest distance of activity from the isocentre.

    Returns:
        [k, ray] mm.
    """
    border = _rim_mm(camera, aperture, heading, within_mm)
    for other in _same_panel(camera, aperture).unbind(dim=1):
        way = between_apertures(camera, aperture, other)
        towards = (way[:, None] * heading).sum(-1).clamp_min(1e-9)
        halfway = way.square().sum(-1)[:, None] / (2 * towards)
        border = torch.where((other == aperture)[:, None], border, torch.minimum(border, halfway))
    return border


def looks_unhidden(camera: Camera, pairs: Tensor) -> Tensor:
    """Whether no septum hides the aperture from the pixel, [pair] bool."""
    spec = camera.spec
    if not spec.collimator.septa:
        return torch.ones(len(pairs), dtype=torch.bool, device=pairs.device)
    rows, columns = spec.collimator.apertures or (1, 1)
    pixel, aperture = pairs.unbind(dim=1)
    panel = camera.aperture_panel[aperture]
    place = camera.pixel_centre_mm.detach()[pixel]
    row = (place * camera.panel_v[panel]).sum(-1) - spec.panels.axial_mm
    column = (place * camera.panel_u[panel]).sum(-1)
    detector = spec.detector
    block_row = ((row / (detector.rows * detector.pitch_mm) + 0.5) * rows).floor()
    block_column = ((column / (detector.columns * detector.pitch_mm) + 0.5) * columns).floor()
    return (block_row * columns + block_column).long() == aperture % (rows * columns)


def _same_panel(camera: Camera, aperture: Tensor) -> Tensor:
    """All apertures of the panel of each, [k, aperture of panel]."""
    panels = torch.arange(camera.aperture_count, device=aperture.device).reshape(camera.panels, -1)
    return panels[camera.aperture_panel[aperture]]


def _rim_mm(camera: Camera, aperture: Tensor, heading: Tensor, within_mm: float) -> Tensor:
    """Distance to where no ray from activity to the detector passes, [k, ray]."""
    spec = camera.spec
    size = torch.tensor([spec.detector.columns, spec.detector.rows]) * spec.detector.pitch_mm / 2
    size = size.to(heading.device)
    depth = within_mm * torch.linspace(-1, 1, 33, dtype=torch.float64, device=heading.device)
    beside = (within_mm**2 - depth.square()).sqrt()
    behind = spec.panels.detector_mm - spec.collimator.plane_mm
    nearer = 1 - behind / (spec.panels.detector_mm - depth)
    # The isocentre lies off the panel's middle where panels are shifted along the ring's axis.
    ahead = heading.sign()[..., None, :] * depth.new_tensor([0.0, -spec.panels.axial_mm])
    activity = (1 - nearer)[:, None] * (beside[:, None] + ahead)
    farthest = (nearer[:, None] * size + activity).amax(dim=-2)
    room = farthest - heading.sign() * waist_on_panel(camera, aperture)[:, None]
    return (room / heading.abs().clamp_min(1e-9)).amin(dim=-1).clamp_min(0)


PLATE_RAYS_PER_RAY = 4.0
"""Rays through the plate for each one through an aperture, at least."""

RAYS_PER_MM2 = 0.13
"""Rays through the plate per mm2 of a cell: a compact source is imaged by the few rays that happen to meet it
...
"""

MOST_PLATE_RAYS_PER_RAY = 64.0
"""... up to this many: a plate of one aperture is wider than the object."""

RAYS_PER_LINE = 16
"""Rays asked for, of each pair of pixel and aperture, for which a pair of pixel and voxel has a line."""

LINES_AT_ONCE = 200_000
"""Lines held at a time, which bounds the memory."""

MOST_BESIDE = 9
"""Openings that a ray through the plate may pass: that of its own cell and those around it."""


class LeakCaster(RayCaster):
    """Casts the rays that :class:`RayCaster` leaves out, for pairs of a pixel and any aperture of its panel.

    The waist plane is divided into cells, one around each aperture, of the points nearest to it. Through a
    cell pass rays outside the zone around its aperture; and, where septa hide the aperture from the pixel,
    rays through aperture and zone, attenuated by the septa (cross-talk). Where ``leaks_beneath``, rays
    through the pixel's own aperture and zone count as if the plate had no opening. Every path from object to
    pixel is thus counted once, here or there. Nodes move with the apertures, so poses and diameters have
    gradients.

    Args:
        camera: pairs every pixel with every aperture of its panel.
        energy_kev: energy of the photons.
        sampling: numbers of rays.
        everything: rays through the pixel's own aperture too, for energies without a sharp projector.
        within_mm: largest distance of activity from the isocentre; None: anywhere before the plates.
        store: lines shared with casters of other energies.
    """

    order: ClassVar[list[int]] = [0, 1, 2, 3]  # pairs are turned against each other, so that arms do no harm
    most_times: ClassVar[float] = 4.0

    def __init__(
        self,
        camera: Camera,
        energy_kev: float,
        sampling: RaySampling,
        everything: bool = False,
        within_mm: float | None = None,
        store: LineStore | None = None,
    ) -> None:
        super().__init__(camera, energy_kev, sampling)
        plate_mm = camera.spec.collimator.plane_mm - camera.plate_mm / 2
        self.everything = everything
        self.within_mm = plate_mm if within_mm is None else min(within_mm, plate_mm)
        self.plate_rays = self._rays_of_a_cell()
        plate = camera.plate_mm * self.plate_mu
        radius = float(camera.aperture_diameter_mm.detach().median()) / 2
        # Rounded, so that a small change of the diameter moves nodes with the aperture alone.
        first_mm = max(0.1, round(radius + self.edge_mm, 1))
        self.rings = Rings(first_mm, 1 / self.fold_mm, max(0.0, plate - EDGE_FOLDS))
        self._spread()
        self.lines, self.store = max(1, round(sampling.count / RAYS_PER_LINE)), store or LineStore()

    @property
    def numbers(self) -> dict[str, Any]:
        """See :class:`RayCaster`."""
        return super().numbers | {
            "everything": self.everything,
            "plate_rays": self.plate_rays,
            "lines": self.lines,
            "within_mm": self.within_mm,
        }

    @property
    def seen_mm(self) -> tuple[float, float]:
        """0: no width is known of what leaks, so every voxel counts."""
        return 0.0, 0.0

    def _rays_of_a_cell(self) -> int:
        """Rays through the plate for each pair, by the size of the first aperture's cell."""
        turn = torch.linspace(0, 2 * math.pi, 17, dtype=torch.float64)
        heading = torch.stack((turn.cos(), turn.sin()), dim=-1)[None]
        with torch.no_grad():
            reach_mm = float(cell_mm(self.camera, torch.tensor([0]), heading, self.within_mm).median())
        wanted = max(PLATE_RAYS_PER_RAY, RAYS_PER_MM2 * math.pi * reach_mm**2)
        return max(1, round(self.sampling.count * min(wanted, MOST_PLATE_RAYS_PER_RAY)))

    def choose_rays(self, grid: VoxelGrid) -> None:
        """As they are: the image of leakage is smooth, whatever the voxels."""

    def _nodes(self, pairs: Tensor, heading: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes in aperture and zone, and in the rest of the aperture's cell; see :class:`RayCaster`."""
        near = sum(self.counts)
        place, area = super()._nodes(pairs, heading[:, :near], shift)
        aperture = pairs[:, 1]
        first = self.camera.aperture_diameter_mm[aperture, None] / 2 + self.edge_mm
        last = torch.maximum(cell_mm(self.camera, aperture, heading[:, near:], self.within_mm), first)
        share = torch.arange(self.plate_rays, dtype=torch.float64, device=shift.device) + shift[:, None]
        radius, plate_area = self.rings.nodes(first, last, share / self.plate_rays)
        outside = radius[..., None] * heading[:, near:]
        return torch.cat((place, outside), dim=1), torch.cat((area, plate_area), dim=1)

    def _through(self, pairs: Tensor, waist: Tensor, passed: Tensor, passed_whole: Tensor) -> Tensor:
        """All but what :class:`RayCaster` counts through the pixel's own aperture and its zone."""
        if self.everything:
            return passed
        left = passed_whole if self.is_level else torch.zeros_like(passed)
        zone_mm = self.camera.aperture_diameter_mm.detach()[pairs[:, 1]] / 2 + self.edge_mm
        near = waist.detach().norm(dim=-1) < zone_mm[:, None]
        return torch.where(near & looks_unhidden(self.camera, pairs)[:, None], left, passed)

    def weights(self, pairs: Tensor, lines: LeakLines) -> Tensor:
        """First interactions in each pair's pixel per photon from anywhere in each voxel, by photons on these
        lines, [line]."""
        camera, cosine = self.camera, lines.cosine
        per_mm = self.plate_mu / cosine
        passed, passed_whole = torch.exp(-per_mm * lines.plate_mm), torch.exp(-per_mm * camera.plate_mm)
        through = self._through(
            pairs[lines.pair], lines.waist[:, None], passed[:, None], passed_whole[:, None]
        )
        # Depths are drawn evenly, for all energies alike.
        slant = self.detector_mu / cosine
        stopped = slant * camera.detector_thickness_mm * torch.exp(-slant * lines.depth_mm)
        solid = camera.pitch_mm**2 * cosine / (4 * math.pi * lines.distance_mm.square())
        return solid * stopped * through[:, 0] * torch.exp(-per_mm * lines.septa_mm) / self.lines

    def lines_between(self, pairs: Tensor, grid: VoxelGrid) -> LeakLines:
        """Straight lines between points of pixels and of voxels, :attr:`lines` for each two of them, of the
        pair of pixel and aperture whose cell of the plate they cross.

        So each voxel has lines of its own however small it is, where few rays of a pixel meet it. Points are
        spread evenly over both, also over neighbours together, and lines of pairs that mirror each other are
        mirrored.
        """
        camera, aperture = self.camera, pairs[:, 1]
        panel = camera.aperture_panel[aperture]
        axes = torch.stack((camera.panel_u[panel], camera.panel_v[panel], camera.panel_normal[panel]), dim=1)
        centre = camera.aperture_centre_mm[aperture]
        parts = []
        for point, source, depth in self._ends(pairs, axes, grid):
            way = torch.einsum("pkx,pvx->pvk", axes, point - source)
            start = torch.einsum("pkx,pvx->pvk", axes, source - centre[:, None])
            slope = way[..., :2] / way[..., 2:]
            waist = start[..., :2] - slope * start[..., 2:]
            pair, voxel = (self._within_cell(aperture, waist) & (start[..., 2] < 0)).nonzero(as_tuple=True)
            way, waist, slope = way[pair, voxel], waist[pair, voxel], slope[pair, voxel]
            plate, septa = self._paths(pairs[pair], waist[:, None], slope[:, None])
            distance = way.norm(dim=-1)
            found = (plate[:, 0], septa[:, 0], way[:, 2] / distance, distance, depth[pair, voxel], waist)
            parts.append((pair.to(torch.int32), voxel.to(torch.int32), *(part.float() for part in found)))
        return LeakLines(*(torch.cat(same) for same in zip(*parts, strict=True)))

    def _ends(self, pairs: Tensor, axes: Tensor, grid: VoxelGrid) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Ends of each of the lines of pairs and voxels, in the detector and in the voxel [pair, voxel, 3],
        and the depth in the detector [pair, voxel], mm.

        Args:
            pairs: pixel and aperture, [pair, 2].
            axes: (u, v, normal) of their panels, [pair, 3, 3].
            grid: voxels.
        """
        camera, middle = self.camera, grid.centres_mm().reshape(-1, 3)
        pixel, spacing = camera.pixel_centre_mm[pairs[:, 0]], middle.new_tensor(grid.spacing_mm[::-1])
        # Mirrored by the pixel, so that the lines of one are the same for all apertures.
        fold = octant(pixel)
        hand = self._hand(fold, camera.aperture_panel[pairs[:, 1]])
        place = torch.einsum("pkx,px->pk", axes[:, :2], pixel) * hand * (2 / camera.pitch_mm)
        told = torch.cat((place, 100 * axes[:, 2] * fold + UNROUNDED), dim=1).round()
        steps = root_steps(64)[-24:].reshape(4, 6)
        base = place_shifts(told, 6)[:, None]
        base = base + torch.einsum("vx,px,xk->pvk", middle / spacing, fold, steps[:3])
        for number in range(self.lines):
            draw = (base + number * steps[3]) % 1.0
            aside = (draw[..., :2] - 0.5) * camera.pitch_mm * hand[:, None]
            inside = torch.cat((aside, draw[..., 2:3] * camera.detector_thickness_mm), dim=-1)
            point = pixel[:, None] + torch.einsum("pvk,pkx->pvx", inside, axes)
            yield point, middle + (draw[..., 3:] - 0.5) * spacing * fold[:, None], inside[..., 2]

    def _within_cell(self, aperture: Tensor, waist: Tensor) -> Tensor:
        """Whether points (u, v) of the waist plane, from their aperture, [pair, point, 2], are nearer to it
        than to any other."""
        own, nearest = waist.square().sum(-1), torch.ones_like(waist[..., 0], dtype=torch.bool)
        for other in _same_panel(self.camera, aperture).unbind(dim=1):
            way = between_apertures(self.camera, aperture, other)
            nearest &= own <= (waist - way[:, None]).square().sum(-1)
        return nearest

    def _beside(self, aperture: Tensor) -> Tensor:
        """See :class:`RayCaster`."""
        return nearest_apertures(self.camera, aperture, MOST_BESIDE)


@dataclass(frozen=True)
class LeakLines:
    """Lines between points of pixels and of voxels through the plate, float32: what of them is the same at
    every energy, [line] each."""

    pair: Tensor
    """Pair of pixel and aperture, int32."""
    voxel: Tensor
    """Flat index of the voxel, int32."""
    plate_mm: Tensor
    """Path in the plate along the panel's normal."""
    septa_mm: Tensor
    """Path in septa along the panel's normal."""
    cosine: Tensor
    """Of the incidence."""
    distance_mm: Tensor
    """From emission to interaction."""
    depth_mm: Tensor
    """Of the interaction in the detector."""
    waist: Tensor
    """(u, v) where the line crosses the waist plane, from the aperture's centre, [line, 2] mm."""


class LineStore:
    """The lines of a camera and a grid, kept from one energy to the next: their paths in metal cost most."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._parts: list[tuple[Tensor, LeakLines]] = []

    def of(self, caster: LeakCaster, pairs: Tensor, grid: VoxelGrid) -> list[tuple[Tensor, LeakLines]]:
        """Indices of a few pairs at a time, and their lines."""
        key = (caster.camera, grid, len(pairs), caster.lines, caster.sampling.plate_steps)
        if key != self._key:
            chosen = torch.arange(len(pairs)).split(max(1, LINES_AT_ONCE // grid.voxels))
            found = on_all_cores(lambda part: caster.lines_between(pairs[part], grid), chosen)
            self._key, self._parts = key, list(zip(chosen, found, strict=True))
        return self._parts


def leak_rows(
    caster: LeakCaster, pairs: Tensor, grid: VoxelGrid, drop_share: float, dtype: torch.dtype
) -> Rows:
    """The rows of some pairs, from lines between pixels and voxels; see ``weights.build_rows``."""

    def entries(part: tuple[Tensor, LeakLines]) -> tuple[tuple[Tensor, Tensor, Tensor], float, float]:
        """The entries of a few pairs that are kept, the weight of all and that of those left out."""
        chosen, lines = part
        found = torch.zeros(len(chosen) * grid.voxels, dtype=dtype)
        place = lines.pair.to(torch.int64) * grid.voxels + lines.voxel
        found = found.index_add_(0, place, caster.weights(pairs[chosen], lines).to(dtype))
        row, voxel = found.reshape(len(chosen), -1).nonzero(as_tuple=True)
        value = found[row * grid.voxels + voxel]
        keep = value > threshold(row, value, len(chosen), drop_share)[row]
        kept = chosen[row[keep]], voxel[keep].to(torch.int32), value[keep]
        return kept, float(value.sum()), float(value[~keep].sum())

    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    total = lost = 0.0
    for part, weight, dropped in on_all_cores(entries, caster.store.of(caster, pairs, grid)):
        kept.append(part)
        total, lost = total + weight, lost + dropped
    return assembled(kept, len(pairs), lost / total if total else 0.0)


def leak_caster(grid: VoxelGrid, sharp_kev: float = math.inf, share: float = 1.0) -> CasterFactory:
    """Makes casters of what leaks from activity on a grid; above ``sharp_kev``, of everything.

    ``share`` of the rays that are asked for are cast, where there are so many pixels that errors average out.
    """
    within_mm, store = math.hypot(*(edge / 2 for edge in grid.extent_mm)), LineStore()

    def caster(camera: Camera, energy_kev: float, sampling: RaySampling) -> LeakCaster:
        fewer = replace(sampling, rays=max(1, round(share * sampling.count)))
        return LeakCaster(camera, energy_kev, fewer, energy_kev > sharp_kev, within_mm, store)

    return caster
