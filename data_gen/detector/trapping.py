"""Induced charge of a pixel with trapping of electrons and holes, as a function of depth.

Lengths are in mm; the field rises evenly from cathode to anode, or is uniform. Sources: Shockley-Ramo theorem
with the weighting potential of a square pixel (method of images); trapping as in Hecht, Z. Phys. 77 (1932)
235; small pixels: Barrett, Eskin and Barber, Phys. Rev. Lett. 75 (1995) 156.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_STEPS = 200
"""Steps in depth, finer towards the anode; chosen, no source."""
_IMAGES = 400
"""Mirror images of the pixel in the method of images; chosen, no source."""


@dataclass(frozen=True)
class InducedCharge:
    """Induced charge per created charge as a function of depth: eta on a mesh, finer towards the anode."""

    thickness_mm: Tensor
    eta: Tensor

    def at(self, depth_mm: Tensor) -> Tensor:
        """eta at depths below the cathode, of the shape of ``depth_mm``."""
        to_anode = (1 - depth_mm / self.thickness_mm).clamp(1e-12, 1)
        place = (1 - to_anode.sqrt()) * _STEPS
        below = place.detach().to(torch.int64).clamp_max(_STEPS - 1)
        return torch.lerp(self.eta[below], self.eta[below + 1], place - below)


def weighting_potential(to_anode_mm: Tensor, pitch_mm: Tensor, thickness_mm: Tensor) -> Tensor:
    """Weighting potential on the centre line of a square pixel, 1 at the anode and 0 at the cathode.

    The solid angle of the pixel over 2 pi (a plate at 1 V in a plane at 0 V), and its images in the two
    electrodes, which put the cathode at 0 V.
    """
    half = pitch_mm / 2

    def alone(height: Tensor) -> Tensor:
        return 2 / math.pi * torch.atan2(half**2, height * torch.sqrt(height**2 + 2 * half**2))

    shift = 2 * thickness_mm * torch.arange(_IMAGES, dtype=torch.float64)
    near = to_anode_mm[..., None]
    return (alone(shift + near) - alone(shift + 2 * thickness_mm - near)).sum(-1)


def drift_way_mm(depth_mm: Tensor, thickness_mm: Tensor, cathode_field: Tensor) -> Tensor:
    """Length in a uniform field of the same voltage that takes charge as long as from the cathode to a depth.

    The field rises evenly, from ``cathode_field`` times its mean at the cathode to 2 - ``cathode_field``
    times at the anode, as space charge makes it in Schottky diodes of CdTe, the more so the longer the bias
    is on (Cola and Farella, Appl. Phys. Lett. 94 (2009) 102113). Equal to the depth in a uniform field.
    """
    rise = 2 * (1 - cathode_field) / cathode_field * depth_mm / thickness_mm
    uneven = rise.abs() > 1e-6
    some = torch.where(uneven, rise, 1.0)
    return depth_mm / cathode_field * torch.where(uneven, torch.log1p(some) / some, 1 - rise / 2)


def induced_charge(
    thickness_mm: Tensor,
    pitch_mm: Tensor,
    electron_drift_mm: Tensor,
    hole_drift_mm: Tensor,
    cathode_field: Tensor,
) -> InducedCharge:
    """eta(x) = int_x^d w'(s) exp(-(u(s) - u(x)) / l_e) ds + int_0^x w'(s) exp(-(u(x) - u(s)) / l_h) ds.

    Args:
        thickness_mm: d.
        pitch_mm: edge of a pixel of the anode.
        electron_drift_mm: l_e, mean drift length of electrons until they are trapped, in a uniform field.
        hole_drift_mm: l_h, of holes.
        cathode_field: field at the cathode over its mean, which sets u; see :func:`drift_way_mm`.
    """
    fraction = 1 - (1 - torch.linspace(0, 1, _STEPS + 1, dtype=torch.float64)) ** 2
    depth = thickness_mm * fraction
    potential = weighting_potential(thickness_mm - depth, pitch_mm, thickness_mm)
    rise, middle = potential.diff(), (depth[1:] + depth[:-1]) / 2
    drifted, start = (drift_way_mm(place, thickness_mm, cathode_field) for place in (middle, depth))
    way = drifted - start[:, None]
    electrons = torch.exp(-way.clamp_min(0) / electron_drift_mm) * (way > 0)
    holes = torch.exp(way.clamp_max(0) / hole_drift_mm) * (way <= 0)
    return InducedCharge(thickness_mm, (electrons + holes) @ rise)
