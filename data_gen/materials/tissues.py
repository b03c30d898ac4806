"""Tissue classes of an object, and which of them a voxel's density in g/cm3 belongs to.

Densities are cut half way between those of air, lung, soft tissue and cortical bone (ICRU Report 44), except
that spongy bone (1.18 g/cm3) counts as soft tissue.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.materials.attenuation import mass_attenuation

TISSUES: tuple[str, ...] = ("air", "lung", "soft_tissue", "cortical_bone")
"""Tissues by ascending density; a tissue map holds indices into this."""

_LIGHTEST_G_CM3 = (0.15, 0.65, 1.25)
"""Lowest density of lung, soft tissue and bone."""


def tissue_from_density(density: Tensor) -> Tensor:
    """Tissue index (into :data:`TISSUES`) of each voxel, int64, from its density in g/cm3."""
    limits = torch.tensor(_LIGHTEST_G_CM3, dtype=density.dtype, device=density.device)
    return torch.bucketize(density.detach().contiguous(), limits, right=True)


def tissue_mass_attenuation(energies_kev: Tensor) -> Tensor:
    """Total mass attenuation of each tissue at each energy, [tissue, g] in cm2/g, float64."""
    return torch.stack([mass_attenuation(tissue, energies_kev) for tissue in TISSUES])
