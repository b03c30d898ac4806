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
from data_gen.materials import interaction_attenuation_per_mm
from data_gen.projector.collimator_path import path_in_plate, path_in_septa, waist_on_panel
from data_gen.projector.sampling import RaySampling, spread_points, waist_nodes
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


class RayCaster(nn.Module):
    """Casts the rays of a camera at one energy.

    phi_q = sum over rays of  dA_q cos(t) D dA_a cos(t) / (4 pi r^2) exp(-mu L)  x  line integral of activity
    per volume: dA_q the pixel's area, D the probability to interact in the detector, dA_a the area of
    waist, r the distance from interaction to waist, t the incidence, L the path in plate and septa. Solid
    angles are thus exact. Depths of interaction are drawn as they are distributed, so that oblique rays blur.
    What penetrates the plate farther from an aperture than :attr:`edge_mm` is left to :class:`LeakCaster`. So
    is, where :func:`leaks_beneath`, what would come through the aperture if it were closed.

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
        radius = float(camera.aperture_diameter_mm.detach().median()) / 2
        self.counts = sampling.split(radius, min(self.fold_mm, self.edge_mm), self.most_times)
        self._spread(sum(self.counts))

    def _spread(self, rays: int) -> None:
        """Where each of the rays starts and heads."""
        self.rays = rays
        spread = spread_points(rays, 4)[:, self.order]
        turn = 2 * math.pi * spread[:, 0]
        self.heading = nn.Buffer(torch.stack((turn.cos(), turn.sin()), dim=-1), persistent=False)
        self.pixel_offset_mm = nn.Buffer((spread[:, 1:3] - 0.5) * self.camera.pitch_mm, persistent=False)
        self.depth_share = nn.Buffer(spread[:, 3], persistent=False)

    heading: Tensor
    """Direction (u, v) from the aperture's centre to each ray's place in the waist plane, [ray, 2]."""
    pixel_offset_mm: Tensor
    """Where each ray meets the pixel's face, from its centre, [ray, 2]."""
    depth_share: Tensor
    """Share of the photons that interact at a smaller depth than each ray ends at, [ray]."""

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything that the rays depend on besides the camera's tensors, as plain data."""
        spec = self.camera.spec
        return {
            "caster": type(self).__name__,
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
        hand = _hand(centre, u, v)[:, None]
        waist, area = self._nodes(pairs, self.heading * hand)
        crossing = centre[:, None] + _in_plane(waist, u, v)
        face = camera.pixel_centre_mm[pixel][:, None] + _in_plane(self.pixel_offset_mm * hand, u, v)
        point = face + self._depth_mm(face, centre, normal)[..., None] * normal[:, None]
        to_detector = point - crossing
        distance = to_detector.norm(dim=-1)
        rise = (to_detector * normal[:, None]).sum(-1)
        cosine = rise / distance
        slope = _components(to_detector, u, v) / rise[..., None]
        plate = path_in_plate(
            waist, slope, camera, aperture, self._beside(aperture), self.sampling.plate_steps
        )
        behind = ((camera.pixel_centre_mm[pixel] - centre) * normal).sum(-1)
        septa = path_in_septa(waist + waist_on_panel(camera, aperture)[:, None], slope, behind, camera)
        per_mm = self.plate_mu / cosine
        through = self._through(pairs, torch.exp(-per_mm * plate), torch.exp(-per_mm * camera.plate_mm))
        solid = area * cosine / (4 * math.pi * distance.square())
        stopped = -torch.expm1(-self.detector_mu * camera.detector_thickness_mm / cosine)
        weight = camera.pitch_mm**2 * cosine * stopped * solid * through * torch.exp(-per_mm * septa)
        return Rays(crossing, -to_detector / distance[..., None], weight)

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

    def _through(self, pairs: Tensor, passed: Tensor, passed_whole: Tensor) -> Tensor:  # noqa: ARG002
        """Transmission of the collimator that these rays contribute, [pair, ray].

        Args:
            pairs: pixel and aperture, [pair, 2].
            passed: transmission of the metal on the ray.
            passed_whole: transmission of the plate if it had no opening.
        """
        return passed - passed_whole if self.is_level else passed

    def _nodes(self, pairs: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        """Where rays cross the waist plane, from the aperture's centre, [pair, ray, 2] mm, and the area that
        each stands for, [pair, ray] mm2; ``heading`` [pair, ray, 2] are unit vectors."""
        radius = self.camera.aperture_diameter_mm[pairs[:, 1]] / 2
        distance, area = waist_nodes(radius, self.fold_mm, self.edge_mm, self.counts)
        return distance[..., None] * heading, area

    def _beside(self, aperture: Tensor) -> Tensor:
        """Apertures whose openings a ray near ``aperture`` may pass, [pair, candidate]."""
        return aperture[:, None]

    def _depth_mm(self, face: Tensor, centre: Tensor, normal: Tensor) -> Tensor:
        """Depths of interaction [pair, ray], at fixed shares of their distribution along the middle ray."""
        middle = face.mean(dim=1) - centre
        cosine = (middle * normal).sum(-1) / middle.norm(dim=-1)
        slant = (self.detector_mu / cosine)[:, None]
        reached = -torch.expm1(-slant * self.camera.detector_thickness_mm)
        depth: Tensor = -torch.log1p(-self.depth_share * reached) / slant
        return depth


def leaks_beneath(camera: Camera, plate_per_mm: float) -> bool:
    """Whether sharp images hold only what an opening adds to a whole plate, so that the image of leakage is
    smooth and has no gap: where the plate is thin.
    """
    return plate_per_mm * camera.plate_mm < EDGE_FOLDS


def _hand(centre: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Signs of (u, v) [pair, 2] that make apertures which mirror each other have mirrored rays."""
    fold = octant(centre)
    somewhere = fold.new_tensor([0.27, 0.51, 0.82])
    along = torch.stack([((axis.detach() * fold) * somewhere).sum(-1) for axis in (u, v)], dim=-1)
    return torch.where(along < 0, -1.0, 1.0).to(torch.float64)


def _in_plane(local: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Vectors [k, ray, 3] of the plane's (u, v) [k or 1, ray, 2]."""
    return local[..., :1] * u[:, None] + local[..., 1:] * v[:, None]


def _components(vector: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(u, v) components [k, ray, 2] of vectors [k, ray, 3]."""
    return torch.stack(((vector * u[:, None]).sum(-1), (vector * v[:, None]).sum(-1)), dim=-1)
