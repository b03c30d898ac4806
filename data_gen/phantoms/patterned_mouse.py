"""Mice whose tumours follow a known pattern of uptake, and keep apart from each other.

Patterns are where the necrosis lies, which takes up next to nothing: nowhere, in the middle, on one side, or
in a band that leaves two lobes. Their shapes are our choice, after what autoradiographs of tumours show.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from data_gen.core.errors import UserError
from data_gen.core.random import checked_range, uniform
from data_gen.phantoms.anatomy import BodyPlan, Solid
from data_gen.phantoms.mouse import MousePhantom
from data_gen.phantoms.shapes import Ellipsoid, Point, Shape, Slice
from data_gen.phantoms.voxelise import Tissue

PATTERNS = ("uniform", "necrotic_core", "half", "two_lobes")
"""Patterns of uptake of a tumour."""

CORE_SIZE = (0.55, 0.70)
"""Size of a necrotic core relative to its tumour."""

HALF_OFFSET = (-0.15, 0.15)
"""Where a half begins, from the middle of the tumour, in radii."""

BAND_HALF_WIDTH = (0.30, 0.45)
"""Half the width of the band between two lobes, in radii."""


@dataclass(frozen=True)
class PatternedMouse(MousePhantom):
    """A :class:`MousePhantom` whose tumours have patterns of uptake and do not touch each other.

    What a tumour lacks uptake in is an organ of its own, ``necrosis``, so that its pattern can be told from
    the labels. ``tumours: [0, 3]`` draws none, one, two and three equally often.

    Args:
        patterns: patterns that tumours have, one as often as another; some of :data:`PATTERNS`.
        necrosis_uptake: uptake of necrosis relative to the rest of its tumour.
        gap_mm: least distance between tumours, along x, y or z.

    Raises:
        UserError: a pattern is unknown or there is none, or see :class:`MousePhantom`.
    """

    patterns: Sequence[str] = PATTERNS
    necrosis_uptake: Sequence[float] = (0.0, 0.1)
    gap_mm: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.patterns if name not in PATTERNS]
        if unknown or not self.patterns or isinstance(self.patterns, str):
            raise UserError(
                f"phantom.patterns is {self.patterns!r}; it needs one or more of {', '.join(PATTERNS)}"
            )
        object.__setattr__(self, "patterns", tuple(self.patterns))
        span = checked_range("phantom.necrosis_uptake", self.necrosis_uptake, most=1.0)
        object.__setattr__(self, "necrosis_uptake", span)
        if not 0 <= self.gap_mm < math.inf:
            raise UserError(f"phantom.gap_mm is {self.gap_mm}; it needs 0 or more")

    @property
    def distance_mm(self) -> float:  # type: ignore[override]  # a constant of the class above
        """Least distance between the boxes around places for tumours."""
        return self.gap_mm

    def _tumours(self, body: BodyPlan, generator: torch.Generator) -> Iterator[Solid]:
        """The tumours of one mouse."""
        fewest, most = self.tumours
        count = int(torch.randint(fewest, most + 1, (), generator=generator))
        for tumour in self._places(body, count, generator):
            yield from tumour

    def _tumour(self, body: BodyPlan, number: int, generator: torch.Generator) -> list[Solid]:
        """One tumour, and its necrosis if the pattern has one."""
        whole, _ = super()._tumour(body, number, generator)
        assert isinstance(whole.shape, Ellipsoid)
        pattern = self.patterns[int(torch.randint(len(self.patterns), (), generator=generator))]
        necrosis = _necrosis(whole.shape, pattern, generator)
        return [whole] if necrosis is None else [whole, Solid("tumour", necrosis, "core")]

    def _tissues(self, parts: Sequence[tuple[str, str]], generator: torch.Generator) -> Iterator[Tissue]:
        """As in any mouse, but a tumour's core is necrosis and the rest of it is even."""
        vital: Tissue | None = None
        for (organ, zone), tissue in zip(parts, super()._tissues(parts, generator), strict=True):
            if organ == "tumour" and zone == "whole":
                vital = tissue
            if organ == "tumour" and zone == "core" and vital is not None:
                low, high = self.necrosis_uptake
                share = uniform((float(low), float(high)), generator)
                yield dataclasses.replace(
                    vital,
                    organ="necrosis",
                    uptake_per_ml=share * vital.uptake_per_ml,
                    freed_per_ml=share * vital.freed_per_ml,
                )
            else:
                yield tissue


def _necrosis(tumour: Ellipsoid, pattern: str, generator: torch.Generator) -> Shape | None:
    """The part of a tumour that takes up nothing; None: there is no such part."""
    if pattern == "uniform":
        return None
    if pattern == "necrotic_core":
        size = uniform(CORE_SIZE, generator)
        a, b, c = tumour.semi_axes
        return dataclasses.replace(tumour, semi_axes=(size * a, size * b, size * c))
    normal = _direction(generator)
    middle = sum(n * c for n, c in zip(normal, tumour.centre, strict=True))
    radius = math.prod(tumour.semi_axes) ** (1 / 3)
    if pattern == "half":
        return Slice(tumour, normal, (middle + radius * uniform(HALF_OFFSET, generator), math.inf))
    half_width = radius * uniform(BAND_HALF_WIDTH, generator)
    return Slice(tumour, normal, (middle - half_width, middle + half_width))


def _direction(generator: torch.Generator) -> Point:
    """A unit vector, every direction alike."""
    z, angle = uniform((-1.0, 1.0), generator), uniform((0.0, 2 * math.pi), generator)
    across = math.sqrt(1 - z * z)
    return across * math.cos(angle), across * math.sin(angle), z
