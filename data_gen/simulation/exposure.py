"""Injected activity (Bq), start and duration (s) of a scan, chosen for a number of counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.random import Range, log_uniform, uniform


@dataclass(frozen=True)
class Exposure:
    """One scan's injected activity in Bq and its frame."""

    injected_bq: float
    frame: Frame


@dataclass(frozen=True)
class ExposureLimits:
    """Ranges [lowest, highest] that exposures are drawn from.

    Args:
        counts: accepted events that a scan aims at.
        injected_bq: activity that may be injected.
        duration_s: time that a scan may take.
        start_s: time from injection to the start of the scan.
    """

    counts: Range
    injected_bq: Range
    duration_s: Range
    start_s: Range

    def draw(self, rate: Callable[[Frame], tuple[float, float]], generator: torch.Generator) -> Exposure:
        """An exposure that is expected to give a number of counts drawn log-uniformly.

        The duration is drawn log-uniformly too, and the injected activity follows. Where that is beyond
        its limits it stays at the limit and the duration follows; where that is beyond its limits as well,
        the scan has more or fewer counts than it aimed at, as it would have in the laboratory.

        Args:
            rate: accepted events a second in a frame: per Bq injected, and of the background.

        Raises:
            UserError: no activity gives any counts.
        """
        aim = log_uniform(self.counts, generator)
        start = uniform(self.start_s, generator)
        frame = Frame(start, log_uniform(self.duration_s, generator))
        per_bq, background = rate(frame)
        if per_bq <= 0:
            raise UserError("the camera sees no count of this phantom; it needs uptake within the grid")
        wanted = (aim / frame.duration_s - background) / per_bq
        injected = _clamped(wanted, self.injected_bq)
        if injected != wanted:
            duration = _clamped(aim / (injected * per_bq + background), self.duration_s)
            frame = Frame(start, duration)
        return Exposure(injected, frame)


def _clamped(value: float, span: Range) -> float:
    """The nearest value within the range."""
    return min(max(value, span[0]), span[1])
