"""Closed forms for pinholes, as plain numbers.

h is the source's height above the waist, t the angle between its line of sight and the plate, a the opening
angle, d the waist's diameter, mu the plate's attenuation in 1/mm; lengths in mm, angles in degrees.
"""

from __future__ import annotations

import math

METZLER = "Metzler et al., IEEE TMI 20 (2001) 730"
ACCORSI = "Accorsi and Metzler, IEEE TMI 23 (2004) 750"


def sensitivity(d_mm: float, opening_deg: float, mu_per_mm: float, h_mm: float, t_deg: float = 90.0) -> float:
    """Fraction of isotropic photons that pass a knife edge, through the hole or its edge (Metzler et al.
    2001).
    """
    sine = math.sin(math.radians(t_deg))
    tangent = math.tan(math.radians(opening_deg) / 2)
    open_share = d_mm**2 * sine**3 / (16 * h_mm**2)
    inside = 1 - (1 / sine**2 - 1) / tangent**2
    through = inside + mu_per_mm * d_mm / (sine * tangent)
    return open_share + sine**5 * tangent**2 / (8 * (h_mm * mu_per_mm) ** 2) * math.sqrt(inside) * through


def diameter_for_sensitivity_mm(d_mm: float, opening_deg: float, mu_per_mm: float) -> float:
    """Effective diameter for sensitivity, on the axis (Metzler et al. 2001)."""
    tangent = math.tan(math.radians(opening_deg) / 2)
    return math.sqrt(d_mm * (d_mm + 2 * tangent / mu_per_mm) + 2 * (tangent / mu_per_mm) ** 2)


def diameter_for_resolution_mm(d_mm: float, opening_deg: float, mu_per_mm: float) -> float:
    """Effective diameter for resolution (FWHM), on the axis (Accorsi and Metzler 2004)."""
    return d_mm + math.log(2) * math.tan(math.radians(opening_deg) / 2) / mu_per_mm
