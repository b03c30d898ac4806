"""Parts of a camera that recorded nothing where chance does not explain it: panels, and single pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera

LEAST_EXPECTED_COUNTS = 20.0
"""Expected counts from which no count at all is no chance: exp(-20), once in 5e8 times."""

LEAST_SHARE = 0.25
"""Counts per live pixel that a panel sees of what the others do, at least, whatever the object; chosen, no
source."""

MOST_DEVIATIONS = 5.0
"""Standard deviations by which the number of empty pixels may exceed its expectation by chance."""

LEAST_SURPLUS = 0.03
"""Share of the pixels that is told of when it is empty without reason; an image that is a little too smooth
expects fewer empty pixels than there are."""


class EmptyPixels(NamedTuple):
    """Live pixels without a count."""

    silent: tuple[int, ...]
    """Those whose expected counts leave no doubt that they record nothing."""
    found: int
    """All of them."""
    expected: float
    """How many there would be by chance."""
    live: int
    """Pixels that were looked at."""

    @property
    def too_many(self) -> bool:
        """Whether some of them are dead, though low counts may not tell which."""
        surplus = self.found - self.expected
        by_chance = MOST_DEVIATIONS * max(self.expected, 1.0) ** 0.5
        return bool(self.silent) or surplus > max(by_chance, LEAST_SURPLUS * self.live)


def silent_panels(counts: Tensor, camera: Camera, live: Tensor | None = None) -> tuple[int, ...]:
    """Panels that recorded nothing, though their live pixels should have by what the other panels recorded.

    Args:
        counts: of each pixel, [pixel].
        camera: the camera; each rotation position counts as panels of its own.
        live: 0 for pixels that are known to be dead, [pixel]; None: none is.
    """
    panel = camera.pixel_panel
    seeing = torch.ones(len(counts), dtype=torch.float64) if live is None else (live > 0).double()
    own = torch.zeros(camera.panels, dtype=torch.float64)
    pixels = own.index_add(0, panel, seeing)
    total = own.index_add(0, panel, seeing * counts.double())
    heard = total > 0
    if not bool(heard.any()):
        return ()
    expected = LEAST_SHARE * total.sum() / pixels[heard].sum() * pixels
    return tuple((~heard & (expected > LEAST_EXPECTED_COUNTS)).nonzero().flatten().tolist())


def empty_pixels(counts: Tensor, expected: Tensor) -> EmptyPixels:
    """Live pixels without a count, against those that chance leaves empty.

    Args:
        counts: of each pixel, [pixel].
        expected: counts of each pixel by the model and an image of the scan, [pixel]; 0 for dead pixels.
    """
    mean = expected.double()
    live, none = mean > 0, counts == 0
    silent = live & none & (mean > LEAST_EXPECTED_COUNTS)
    by_chance = float(torch.exp(-mean[live]).sum())
    return EmptyPixels(
        tuple(silent.nonzero().flatten().tolist()), int((live & none).sum()), by_chance, int(live.sum())
    )
