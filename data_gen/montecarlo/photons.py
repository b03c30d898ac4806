"""Photons in flight, many at once, and the classes that their histories are counted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

CLASSES = ("open", "penetrated", "object", "fluorescence", "collimator")
"""Histories that are counted separately.

open: only through open apertures; penetrated: through collimator material, without interacting; object:
scattered in the object; fluorescence: a K X-ray of the collimator; collimator: scattered in the collimator,
whatever came before.
"""
OPEN, PENETRATED, OBJECT, FLUORESCENCE, COLLIMATOR = range(len(CLASSES))


@dataclass(frozen=True)
class Photons:
    """Photons in flight; all fields share their first axis."""

    position: Tensor
    """[n, 3] mm."""
    direction: Tensor
    """Unit vectors [n, 3]."""
    energy_kev: Tensor
    weight: Tensor
    """Photons per decay that each stands for, times the number of histories."""
    history: Tensor
    """Index of the emission that it descends from, int64."""
    line: Tensor
    """Index of the line that it was emitted in, int64."""
    kind: Tensor
    """Index into :data:`CLASSES`, int64."""
    first_pixel: Tensor
    """Index of the first pixel of the panel that it is at, int64."""

    def __len__(self) -> int:
        return len(self.weight)

    def take(self, chosen: Tensor) -> Photons:
        """Those selected by a mask or an index."""
        index = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen
        return Photons(*(getattr(self, field.name)[index] for field in fields(self)))

    def with_fields(self, **changes: Tensor) -> Photons:
        """The same photons with some fields replaced."""
        return replace(self, **changes)


def concatenated(parts: Sequence[Photons]) -> Photons:
    """All photons of several parts, in order."""
    return Photons(*(torch.cat([getattr(p, field.name) for p in parts]) for field in fields(Photons)))
