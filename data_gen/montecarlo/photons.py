"""Many photons at once, and the classes of history that they are told apart by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

CLASSES = ("open", "penetrated", "object", "fluorescence", "collimator")
"""What a photon went through: nothing but open apertures; collimator material, without interacting; a
scatter in the object; and in the collimator K fluorescence, or scatter, whatever came before."""
OPEN, PENETRATED, OBJECT, FLUORESCENCE, COLLIMATOR = range(len(CLASSES))


@dataclass(frozen=True)
class Photons:
    """Photons on their way; all fields share their first axis."""

    place: Tensor
    """[n, 3] mm."""
    way: Tensor
    """Unit vectors [n, 3]."""
    energy_kev: Tensor
    weight: Tensor
    """Photons per decay that each stands for, up to the number of histories."""
    history: Tensor
    """Number of the emission that it comes from, int64."""
    line: Tensor
    """Line that it was emitted in, int64."""
    kind: Tensor
    """Index into :data:`CLASSES`, int64."""
    first_pixel: Tensor
    """Of the panel it is at, int64."""

    def __len__(self) -> int:
        return len(self.weight)

    def take(self, chosen: Tensor) -> Photons:
        """Those of a mask or an index."""
        index = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen
        return Photons(*(getattr(self, field.name)[index] for field in fields(self)))

    def having(self, **changes: Tensor) -> Photons:
        """The same photons with some fields exchanged."""
        return replace(self, **changes)


def together(parts: Sequence[Photons]) -> Photons:
    """All photons of some parts, in order."""
    return Photons(*(torch.cat([getattr(p, field.name) for p in parts]) for field in fields(Photons)))
