"""Classes of scans, told from their truth: how many hot spots there are, or how a tumour takes up activity.

A class follows from labels alone, which every simulated scan of every camera, nuclide and phantom has, so
that classes cost nothing and mean the same in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.phantoms import ORGANS, PATTERNS
from hspi_learn.metrics import separate_lesions

TUMOUR, NECROSIS = ORGANS.index("tumour"), ORGANS.index("necrosis")

LEAST_OFFSET = 0.25
"""Distance of the middle of the necrosis from that of its lesion, in radii of a ball of the lesion's volume,
from which on it is said to fill a half: of half a ball it is 3/8, of a core or a band 0; chosen between both.
"""

LEAST_SPREAD = 0.37
"""Mean square distance of the necrosis from its own middle over the square of that radius, from which on it
is said to be a band: of a core of relative size s it is 3/5 s^2, 0.29 for 0.7, of a band 0.53 in the median;
chosen between both.
"""


class ScanClasses(Protocol):
    """Which classes there are, and which one a scan is of."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, two or more: letters, digits and ``_`` alone."""

    def of(self, batch: Any) -> Tensor:
        """Class of each sample [batch], int64, an index into ``names``.

        Raises:
            UserError: a sample is of no class.
        """


@dataclass(frozen=True)
class HotSpots:
    """By the number of hot spots: lesions (tumour and its necrosis) that do not touch, also at corners.

    Args:
        most: so many hot spots and more are one class, called ``many``; 3 makes none, one, two and many.

    Raises:
        UserError: there would be fewer than two classes, or more than names for them.
    """

    most: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.most <= len(_NUMBERS):
            raise UserError(f"classes.most is {self.most}; it needs 1 to {len(_NUMBERS)}")

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`ScanClasses`."""
        return (*_NUMBERS[: self.most], "many" if self.most > 1 else "some")

    def of(self, batch: Any) -> Tensor:
        """See :class:`ScanClasses`."""
        counted = [int(_numbered(labels)[0].max()) for labels in batch.labels]
        return torch.tensor(counted, device=batch.labels.device).clamp_max(self.most)


_NUMBERS = ("none", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class UptakePattern:
    """By where the necrosis of the largest lesion lies; see ``data_gen.phantoms.PatternedMouse``.

    Nowhere is ``uniform``, in the middle ``necrotic_core``, on one side ``half``, in a band ``two_lobes``.

    Args:
        patterns: the patterns that are told apart, two or more of ``data_gen.phantoms.PATTERNS``.

    Raises:
        UserError: a pattern is unknown or named twice, or there are fewer than two.
    """

    patterns: Sequence[str] = PATTERNS

    def __post_init__(self) -> None:
        if len({*self.patterns} & {*PATTERNS}) != len(self.patterns) or len(self.patterns) < 2:
            raise UserError(
                f"classes.patterns is {list(self.patterns)}; it needs two or more of {', '.join(PATTERNS)}, "
                "each once"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`ScanClasses`."""
        return tuple(self.patterns)

    def of(self, batch: Any) -> Tensor:
        """See :class:`ScanClasses`.

        Raises:
            UserError: a scan has no tumour, or one of a pattern that is none of the classes.
        """
        found = []
        for labels, scan in zip(batch.labels, batch.index.tolist(), strict=True):
            numbers, inside = _numbered(labels)
            if not bool((numbers > 0).any()):
                raise UserError(f"scan {scan} has no tumour; classes=uptake_pattern needs one in each scan")
            largest = numbers == 1 + int(torch.bincount(numbers.flatten())[1:].argmax())
            pattern = pattern_of(largest, inside == NECROSIS)
            if pattern not in self.patterns:
                raise UserError(
                    f"the tumour of scan {scan} is {pattern}; classes.patterns is {list(self.patterns)} and "
                    "needs it among them"
                )
            found.append(self.names.index(pattern))
        return torch.tensor(found, device=batch.labels.device)


def pattern_of(lesion: Tensor, necrosis: Tensor) -> str:
    """The pattern of a lesion, one of ``data_gen.phantoms.PATTERNS``, from voxels as long as they are wide.

    Args:
        lesion: voxels of the lesion with its necrosis, [z, y, x], bool.
        necrosis: voxels of any necrosis, [z, y, x], bool.
    """
    whole, dead = (mask.nonzero().double() for mask in (lesion, lesion & necrosis))
    if not len(dead):
        return "uniform"
    radius = (3 * len(whole) / (4 * math.pi)) ** (1 / 3)
    middle = dead.mean(dim=0)
    if float((middle - whole.mean(dim=0)).norm()) >= LEAST_OFFSET * radius:
        return "half"
    spread = float((dead - middle).square().sum(dim=1).mean())
    return "two_lobes" if spread >= LEAST_SPREAD * radius**2 else "necrotic_core"


def _numbered(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the lesions of a scan by voxel, from 1, and its labels, cut to a box around the lesions.

    Args:
        labels: organ of each voxel [z, y, x].
    """
    lesion = (labels == TUMOUR) | (labels == NECROSIS)
    places = lesion.nonzero()
    if not len(places):
        return torch.zeros(1, 1, 1, dtype=torch.int64), labels[:1, :1, :1]
    box = tuple(
        slice(low, high + 1)
        for low, high in zip(places.amin(0).tolist(), places.amax(0).tolist(), strict=True)
    )
    return separate_lesions(lesion[box][None, None])[0], labels[box]
