"""Sampled counts compared with Poisson statistics, and readout with the closed forms of dead time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from data_gen.camera import Camera
from data_gen.core.events import EventList, Frame
from data_gen.core.grid import EnergyBins
from data_gen.forward_model.event_sampling import draw_counts, events_from_counts
from data_gen.readout import EventReadout, FrameReadout, modules_of
from data_gen.validation.point import Findings, Plot, Point
from data_gen.validation.scenes import Pinhole

_POISSON = "Poisson's distribution"


def poisson(bins: int = 200_000, seed: int = 0) -> Findings:
    """Mean, variance, chi2 per degree of freedom, and equal draws for equal seeds.

    Args:
        bins: with expected counts from 0.1 to 30.
        seed: random seed of the expected counts and of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    expected = torch.exp(
        torch.empty(bins // 100, 100).uniform_(math.log(0.1), math.log(30), generator=generator)
    )
    counts = draw_counts(expected, torch.Generator().manual_seed(seed + 1))
    mean, off = expected.double(), counts.double() - expected.double()
    mean_z = float(off.sum() / mean.sum().sqrt())
    variance_z = float((off.square() - mean).sum() / (mean + 2 * mean.square()).sum().sqrt())
    chi2 = float((off.square() / mean).mean())
    again = draw_counts(expected, torch.Generator().manual_seed(seed + 1))
    axis = EnergyBins(20.0, 620.0, 100)
    few = counts[:200]
    events = events_from_counts(few, axis, (Frame(0, 60), Frame(100, 60)), torch.Generator().manual_seed(2))
    differs = int((events.histogram(len(few), axis) != few).sum())
    note = f"{bins} bins, means 0.1 to 30"
    return Findings(
        [
            Point("mean", abs(mean_z), 4.0, "mean equals the expectation", _POISSON, note, "z"),
            Point("variance", abs(variance_z), 4.0, "variance equals the expectation", _POISSON, note, "z"),
            Point("chi2", abs(chi2 - 1), 0.05, "chi2 / bins = 1", _POISSON, note),
            Point(
                "seed",
                float((again != counts).sum()),
                0.0,
                "same seed, same counts",
                "reproducibility",
                note,
                "bins",
            ),
            Point(
                "events",
                float(differs),
                0.0,
                "events give back their counts",
                "definition of a histogram",
                "20,000 bins",
                "bins",
            ),
        ]
    )


def dead_time(loads: Sequence[float] = (0.05, 0.5, 2.0), events: int = 400_000, seed: int = 0) -> Findings:
    """Dead time of both kinds and pile-up in frames: expected and drawn, against closed forms.

    Args:
        loads: true rate times dead time, or times the frame.
        events: drawn at each load.
        seed: random seed of the draws.
    """
    rate = np.array(loads) / _TAU_S
    points, curves = [], {}
    for kind, law in (
        ("non_paralysable", rate / (1 + rate * _TAU_S)),
        ("paralysable", rate * np.exp(-rate * _TAU_S)),
    ):
        readout = EventReadout(_TAU_S, kind)  # type: ignore[arg-type]
        expected, drawn = _rates(readout, rate, events, seed)
        points += _points(kind, "recorded rate", law, expected, drawn, "Knoll, ch. 4", loads)
        curves[kind.replace("_", " ")] = (rate / 1e3, drawn / 1e3)
    points += _pile_up(np.array(loads), events, seed)
    caption = f"Recorded against true rate, dead time {_TAU_S * 1e6:g} us, {events} drawn events each."
    axes = ("true rate [1000/s]", "recorded rate [1000/s]")
    return Findings(points, [Plot("dead_time", caption, *axes, curves)])


_TAU_S = 1e-5
"""Dead time, and frame time of the frame-based readout; chosen, no source."""


def _camera() -> Camera:
    return Pinhole(pixels=(1, 1)).camera()


def _rates(
    readout: EventReadout | FrameReadout, rate: np.ndarray, events: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recorded rates, expected and drawn, 1/s."""
    layout = modules_of(_camera())
    expected, drawn = [], []
    for true in rate.tolist():
        live = readout.live(torch.tensor([true], dtype=torch.float64), layout)
        expected.append(true * float(live))
        recorded = readout.record(_events(true, events, seed), layout)
        drawn.append(len(recorded) / (events / true))
    return np.array(expected), np.array(drawn)


def _events(rate: float, count: int, seed: int) -> EventList:
    """A Poisson process in one pixel: so many events of 100 keV over their mean duration."""
    generator = torch.Generator().manual_seed(seed)
    number = int(torch.poisson(torch.tensor(float(count), dtype=torch.float64), generator=generator))
    time = torch.rand(number, generator=generator, dtype=torch.float64).sort().values * (count / rate)
    return EventList(torch.zeros(number, dtype=torch.int64), torch.full((number,), 100.0), time)


def _pile_up(loads: np.ndarray, events: int, seed: int) -> list[Point]:
    """Frames that hold anything, and those of them that hold several events."""
    readout = FrameReadout(1 / _TAU_S, keep="sum")
    rate, layout = loads / _TAU_S, modules_of(_camera())
    filled = -np.expm1(-loads) / _TAU_S
    expected, drawn = _rates(readout, rate, events, seed)
    points = _points(
        "frames", "1 - exp(-x) of frames hold an event", filled, expected, drawn, "Poisson", loads
    )
    several = 1 - loads / np.expm1(loads)
    told = [float(readout.pile_up(torch.tensor([r], dtype=torch.float64), layout)) for r in rate]
    seen = [
        float((readout.record(_events(r, events, seed), layout).energy_kev > 150).double().mean())
        for r in rate
    ]
    law = "1 - x/(exp(x) - 1) of filled frames hold several"
    return points + _points("pile_up", law, several, np.array(told), np.array(seen), "Poisson", loads)


def _points(
    name: str,
    truth: str,
    law: np.ndarray,
    expected: np.ndarray,
    drawn: np.ndarray,
    source: str,
    loads: Sequence[float] | np.ndarray,
) -> list[Point]:
    note = f"loads of {', '.join(f'{x:g}' for x in loads)}"
    return [
        Point(f"{name}_expected", float(np.abs(expected / law - 1).max()), 0.01, truth, source, note),
        Point(f"{name}_drawn", float(np.abs(drawn / law - 1).max()), 0.01, truth, source, note),
    ]
