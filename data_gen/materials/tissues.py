"""Which tissue a voxel is, told from its density."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.materials.attenuation import mass_attenuation

TISSUES: tuple[str, ...] = ("air", "lung", "soft_tissue", "cortical_bone")
"""Tissues by rising density; a material map holds indices into this."""

_LIGHTEST_G_CM3 = (0.15, 0.65, 1.25)
"""Lightest lung, soft tissue and bone: half way between neighbours, but spongy bone (1.18) counts as soft."""


def tissue_from_density(density: Tensor) -> Tensor:
    """Index into :data:`TISSUES` of each voxel, int64, from density in g/cm3."""
    limits = torch.tensor(_LIGHTEST_G_CM3, dtype=density.dtype, device=density.device)
    return torch.bucketize(density.detach(), limits, right=True)


def tissue_mass_attenuation(energies_kev: Tensor) -> Tensor:
    """Total mass attenuation of each tissue at each energy, [tissue, g] in cm2/g, float64."""
    return torch.stack([mass_attenuation(tissue, energies_kev) for tissue in TISSUES])
