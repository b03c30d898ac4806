"""Rays from pixels through apertures, each with its quadrature weight: solid angle, transmission and
detection.

Lengths are in mm, weights in mm2. docs/physics.md, sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm
from data_gen.projector.collimator_path import path_in_plate, path_in_septa, waist_on_panel
from data_gen.projector.sampling import RaySampling, place_shifts, spread_points, waist_nodes
from data_gen.projector.symmetry import octant


@dataclass(frozen=True)
class Rays:
    """Rays of pairs of pixel and aperture, float64.

    ``weight`` [pair, ray] mm2: first interactions in the pixel for one photon per mm2 that the object,
    uncollimated, emits along the ray per emission and mm of its length.
    """

    waist_mm: Tensor
    """Where rays cross the waist plane, [pair, ray, 3]."""
    direction: Tensor
    """Unit vectors from the detector into the object, [pair, ray, 3]."""
    weight: Tensor
    """[pair, ray] mm2."""


EDGE_FOLDS = 5.0
"""Sharp images extend into an aperture's edge until transmission has fallen by e this many times; the rest is
leakage.
"""

CasterFactory = Callable[[Camera, float, RaySampling], "RayCaster"]
"""Makes the caster of one energy, in keV."""


CODE_VERSION = 4
"""To be raised whenever the rays change, so that cached matrices made of them are rebuilt."""


class RayCaster(nn.Module):
    """Casts the rays of a camera at one energy.

    phi_q = sum over rays of  dA_q cos(t) D dA_a cos(t) / (4 pi r^2) exp(-mu L)  x  line integral of activity
    per volume: dA_q the pixel's area, D the probability to interact in the detector, dA_a the area of
    waist, r the distance from interaction to waist, t the incidence, L the path in plate and septa. Solid
    angles are thus exact. Depths of interaction are drawn as they are distributed, so that oblique rays blur.
    What penetrates the plate farther from an aperture than :attr:`edge_mm` is left to :class:`LeakCaster`. So
    is, where :func:`leaks_beneath`, what would come through the aperture if it were closed.

    All pairs of pixel and aperture have the same nodes, shifted by a vector of each pair's own
    (:meth:`shifts`); pairs that are mirror images of each other have mirrored rays.

    Args:
        camera: its tensors may require gradients.
        energy_kev: energy of the photons.
        sampling: numbers of rays.
    """

    order: ClassVar[list[int]] = [2, 1, 3, 0]
    """Ratios of the sequence used for angle, pixel (across and along) and depth. Radii ascend with the ray,
    and with the first ratio, nearly 6/7, angles would lie on seven arms.
    """

    most_times: ClassVar[float] = 8.0
    """Largest multiple of the requested rays that is cast, where photons penetrate a wide zone."""

    stream: ClassVar[int] = 0
    """Another number gives other shifts."""

    plate_rays: int = 0
    """Rays beyond the aperture and its edge, for each pair."""

    def __init__(self, camera: Camera, energy_kev: float, sampling: RaySampling) -> None:
        super().__init__()
        self.camera, self.sampling = camera, sampling
        self.detector_mu = float(interaction_attenuation_per_mm(camera.detector_material, energy_kev))
        # Without coherent scatter, which turns photons by a few degrees: nearly all still come through.
        self.plate_mu = float(interaction_attenuation_per_mm(camera.collimator_material, energy_kev))
        # A ray parallel to the axis crosses 2 t / tangent of plate at a distance t from the opening.
        tangent = float(camera.aperture_opening.detach().max())
        self.fold_mm = tangent / (2 * self.plate_mu)
        self.edge_mm = min(EDGE_FOLDS * self.fold_mm, tangent * camera.plate_mm / 2)
        self._spread()

    def _spread(self) -> None:
        """Numbers of rays, and where each of them starts and heads before it is shifted."""
        radius = float(self.camera.aperture_diameter_mm.detach().median()) / 2
        self.counts = self.sampling.split(radius, min(self.fold_mm, self.edge_mm), self.most_times)
        self.rays = sum(self.counts) + self.plate_rays
        points = spread_points(self.rays, 4)[:, self.order]
        turn = 2 * math.pi * points[:, 0]
        self.heading = nn.Buffer(torch.stack((turn.cos(), turn.sin()), dim=-1), persistent=False)
        self.places = nn.Buffer(points[:, 1:], persistent=False)

    heading: Tensor
    """Direction (u, v) from the aperture's centre to each ray's place in the waist plane, [ray, 2]."""
    places: Tensor
    """Where each ray ends: across and along the pixel, as fractions of its edge, and the share of photons
    that interact less deep, [ray, 3] in 0..1."""

    def choose_rays(self, grid: VoxelGrid) -> None:
        """Cast as many rays as these voxels need, if no number was asked for."""
        spec = self.camera.spec
        behind = spec.panels.detector_mm - spec.collimator.plane_mm
        hole_mm = float(self.camera.aperture_diameter_mm.detach().median())
        seen_at_detector = spec.panels.detector_mm * hole_mm + spec.collimator.plane_mm * self.camera.pitch_mm
        self.sampling = self.sampling.chosen(seen_at_detector / behind, min(grid.spacing_mm))
        self._spread()

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything that the rays depend on besides the camera's tensors, as plain data."""
        spec = self.camera.spec
        return {
            "caster": type(self).__name__,
            "rays": [CODE_VERSION, self.stream, *self.counts],
            "order": self.order,
            "most_times": self.most_times,
            "sampling": asdict(self.sampling),
            "attenuation": [self.plate_mu, self.detector_mu],
            "collimator": spec.collimator.model_dump(mode="json"),
            "panels": spec.panels.model_dump(mode="json"),
            "detector": [
                spec.detector.rows,
                spec.detector.columns,
                self.camera.pitch_mm,
                spec.detector.thickness_mm,
            ],
        }

    def seeing(self, camera: Camera) -> RayCaster:
        """The same rays for some pixels of the camera, or for the camera on another device."""
        other = copy(self)
        other.camera = camera
        return other

    def cast(self, pairs: Tensor) -> Rays:
        """The rays of pairs (pixel, aperture) [k, 2]."""
        camera = self.camera
        pixel, aperture = pairs.unbind(dim=1)
        panel = camera.aperture_panel[aperture]
        u, v, normal = camera.panel_u[panel], camera.panel_v[panel], camera.panel_normal[panel]
        centre = camera.aperture_centre_mm[aperture]
        hand, shift = self._hand(self._fold(pairs), panel)[:, None], self.shifts(pairs, 5)
        waist, area = self._nodes(pairs, _turned(self.heading, 2 * math.pi * shift[:, 3]) * hand, shift[:, 4])
        crossing = centre[:, None] + _in_plane(waist, u, v)
        place = (self.places + shift[:, None, :3]) % 1.0
        face = camera.pixel_centre_mm[pixel][:, None]
        face = face + _in_plane((place[..., :2] - 0.5) * camera.pitch_mm * hand, u, v)
        middle = camera.pixel_centre_mm[pixel] - centre
        slant = (middle * normal).sum(-1) / middle.norm(dim=-1)
        point = face + self._depth_mm(place[..., 2], slant[:, None])[..., None] * normal[:, None]
        to_detector = point - crossing
        distance = to_detector.norm(dim=-1)
        rise = (to_detector * normal[:, None]).sum(-1)
        cosine = rise / distance
        slope = _components(to_detector, u, v) / rise[..., None]
        solid = area * cosine / (4 * math.pi * distance.square())
        seen = camera.pitch_mm**2 * cosine * self._stopped(cosine) * solid
        weight = seen * self._transmission(pairs, waist, slope, self.plate_mu / cosine)
        return Rays(crossing, -to_detector / distance[..., None], weight)

    def shifts(self, pairs: Tensor, dimensions: int) -> Tensor:
        """Shift of the nodes of each pair, 0 to 1, [pair, dimensions].

        Told apart by the places of pixel and aperture on their panel and by the panel's direction, all of
        them mirrored into one octant. Rounded, so that small changes of poses do not shift the nodes.
        """
        camera = self.camera
        pixel, aperture = pairs.unbind(dim=1)
        panel = camera.aperture_panel[aperture]
        u, v = camera.panel_u[panel].detach(), camera.panel_v[panel].detach()
        fold = self._fold(pairs)
        hand = self._hand(fold, panel)
        place = _on_axes(camera.pixel_centre_mm.detach()[pixel], u, v) * hand * (2 / camera.pitch_mm)
        hole_mm = _on_axes(camera.aperture_centre_mm.detach()[aperture], u, v) * hand
        facing = 100 * camera.panel_normal[panel].detach() * fold
        told = torch.cat((place, hole_mm + UNROUNDED, facing + UNROUNDED), dim=1).round()
        return place_shifts(torch.cat((told, torch.full_like(told[:, :1], self.stream)), dim=1), dimensions)

    def _fold(self, pairs: Tensor) -> Tensor:
        """Signs of (x, y, z) [pair, 3]: the mirrors that fold a pair's aperture into the first octant."""
        return octant(self.camera.aperture_centre_mm[pairs[:, 1]])

    def _hand(self, fold: Tensor, panel: Tensor) -> Tensor:
        """Signs of (u, v) [pair, 2] that make pairs which mirror each other have mirrored rays."""
        somewhere = fold * fold.new_tensor([0.27, 0.51, 0.82])
        along = _on_axes(somewhere, self.camera.panel_u[panel].detach(), self.camera.panel_v[panel].detach())
        return torch.where(along < 0, -1.0, 1.0).to(torch.float64)

    @property
    def seen_mm(self) -> tuple[float, float]:
        """FWHM of a pixel's response at the isocentre, penetration included, and the waist's part of it."""
        spec = self.camera.spec
        behind = spec.panels.detector_mm - spec.collimator.plane_mm
        larger = spec.panels.detector_mm / behind
        hole_mm = float(self.camera.aperture_diameter_mm.detach().min())
        return larger * (hole_mm + 2 * math.log(2) * self.fold_mm), larger * hole_mm

    @property
    def is_level(self) -> bool:
        """Whether the image of leakage continues beneath sharp images, see :func:`leaks_beneath`."""
        return leaks_beneath(self.camera, self.plate_mu)

    def _nodes(self, pairs: Tensor, heading: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Where rays cross the waist plane, from the aperture's centre, [pair, ray, 2] mm, and the area that
        each stands for, [pair, ray] mm2.

        Args:
            pairs: pixel and aperture, [pair, 2].
            heading: unit vectors, [pair, ray, 2].
            shift: place of the radii in their intervals, 0..1, [pair].
        """
        radius = self.camera.aperture_diameter_mm[pairs[:, 1]] / 2
        distance, area = waist_nodes(radius, self.fold_mm, self.edge_mm, self.counts, shift)
        return distance[..., None] * heading, area

    def _transmission(self, pairs: Tensor, waist: Tensor, slope: Tensor, per_mm: Tensor) -> Tensor:
        """Transmission of plate and septa that these rays contribute, [pair, ray].

        Args:
            pairs: pixel and aperture, [pair, 2].
            waist: (u, v) where rays cross the waist plane, from the aperture's centre, [pair, ray, 2] mm.
            slope: (u, v) of rays per mm towards the detector, [pair, ray, 2].
            per_mm: optical thickness of metal per mm along the panel's normal, [pair, ray].
        """
        plate, septa = self._paths(pairs, waist, slope)
        passed, passed_whole = torch.exp(-per_mm * plate), torch.exp(-per_mm * self.camera.plate_mm)
        return self._through(pairs, waist, passed, passed_whole) * torch.exp(-per_mm * septa)

    def _paths(self, pairs: Tensor, waist: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Paths of rays in plate and in septa along the panel's normal, [pair, ray] mm each; see
        :meth:`_transmission`."""
        camera, (pixel, aperture) = self.camera, pairs.unbind(dim=1)
        normal = camera.panel_normal[camera.aperture_panel[aperture]]
        beside, steps = self._beside(aperture), self.sampling.plate_steps
        plate = path_in_plate(waist, slope, camera, aperture, beside, steps)
        behind = ((camera.pixel_centre_mm[pixel] - camera.aperture_centre_mm[aperture]) * normal).sum(-1)
        septa = path_in_septa(waist + waist_on_panel(camera, aperture)[:, None], slope, behind, camera)
        return plate, septa

    def _through(
        self,
        pairs: Tensor,  # noqa: ARG002
        waist: Tensor,  # noqa: ARG002
        passed: Tensor,
        passed_whole: Tensor,
    ) -> Tensor:
        """Transmission of the plate that these rays contribute, [pair, ray].

        Args:
            pairs: pixel and aperture, [pair, 2].
            waist: where rays cross the waist plane, from the aperture's centre, [pair, ray, 2] mm.
            passed: transmission of the plate on the ray.
            passed_whole: transmission of the plate if it had no opening.
        """
        return passed - passed_whole if self.is_level else passed

    def _beside(self, aperture: Tensor) -> Tensor:
        """Apertures whose openings a ray near ``aperture`` may pass, [pair, candidate]."""
        return aperture[:, None]

    def _stopped(self, cosine: Tensor) -> Tensor:
        """Probability to interact in the detector, by cosine of the incidence."""
        return -torch.expm1(-self.detector_mu * self.camera.detector_thickness_mm / cosine)

    def _depth_mm(self, share: Tensor, cosine: Tensor) -> Tensor:
        """Depths of interaction below which these shares of the photons interact that do."""
        depth: Tensor = -torch.log1p(-share * self._stopped(cosine)) * (cosine / self.detector_mu)
        return depth


UNROUNDED = 0.137
"""Added before rounding, since places are often halfway between whole numbers."""


def leaks_beneath(camera: Camera, plate_per_mm: float) -> bool:
    """Whether sharp images hold only what an opening adds to a whole plate, so that the image of leakage is
    smooth and has no gap: where the plate is thin.
    """
    return plate_per_mm * camera.plate_mm < EDGE_FOLDS


def _turned(heading: Tensor, angle: Tensor) -> Tensor:
    """Unit vectors [ray, 2] turned by angles [pair], [pair, ray, 2]."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    along, across = heading.unbind(dim=-1)
    return torch.stack((cos * along - sin * across, sin * along + cos * across), dim=-1)


def _on_axes(vector: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(u, v) components [k, 2] of vectors [k, 3]."""
    return torch.stack(((vector * u).sum(-1), (vector * v).sum(-1)), dim=-1)


def _in_plane(local: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Vectors [k, ray, 3] of the plane's (u, v) [k or 1, ray, 2]."""
    return local[..., :1] * u[:, None] + local[..., 1:] * v[:, None]


def _components(vector: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(u, v) components [k, ray, 2] of vectors [k, ray, 3]."""
    return torch.stack(((vector * u[:, None]).sum(-1), (vector * v[:, None]).sum(-1)), dim=-1)
