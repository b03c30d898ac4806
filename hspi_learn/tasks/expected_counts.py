"""Noise-free expectations of scans by their truth, computed once and kept beside the data set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.cache import content_key
from data_gen.core.parallel import on_all_cores, told
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.data import KeptTensors, OnlineScans, fingerprint
from hspi_learn.reconstructor import ScanBatch

CODE_VERSION = 1
"""Raised whenever the expectations change, so that kept ones are computed again."""


class NumberedScans(Protocol):
    """Scans by their number, each without its batch axis."""

    def __getitem__(self, number: int, /) -> ScanBatch:
        """A scan."""


class ExpectedCounts:
    """Expected counts of scans, background included.

    Rates are kept, in counts a second, under a hash of activity and density: a scan that was stopped early
    shares the rate of the whole. They are kept on the CPU, wherever the model lies.

    Args:
        system: the imaging system that ``model`` is of.
        model: the forward model.
    """

    def __init__(self, system: ImagingSystem, model: HyperspectralForwardModel) -> None:
        self.system, self.model = system, model
        self.files: KeptTensors | None = None

    def keep_beside(self, data: Path) -> None:
        """Keep expectations beside this data set from now on, and take those that are kept there."""
        about = {
            "version": CODE_VERSION,
            "system": self.system.to_dict(),
            "materials": self.system.materials,
            "edges_kev": self.model.energy_bins.edges_kev.tolist(),
        }
        self.files = KeptTensors(data, content_key({"kind": "expected_rates", **about}, {}))

    def prepare(
        self,
        scans: NumberedScans,
        title: str,
        numbers: Sequence[int],
    ) -> None:
        """Compute, on all cores, what no file holds yet of these scans.

        Individuals that were drawn online tell their rates by the images of their anatomies: milliseconds.

        Args:
            scans: each without its batch axis.
            title: title of the progress display.
            numbers: of those that are wanted; scans of the same object best follow each other.
        """
        files, reading = self.files, threading.Lock()
        if files is None:
            return

        def read(number: int) -> ScanBatch:
            with reading:
                return scans[number]

        def make(number: int) -> None:
            scan = read(number)

            def rate() -> dict[str, Tensor]:
                if isinstance(scans, OnlineScans):
                    return {"rate": scans.expected_counts(number) / scan.duration_s}
                return {"rate": self._rate(scan.activity, scan.density)}

            files.make_if_free(_name(scan), rate)

        missing = [number for number in numbers if not files.holds(_name(read(number)))]
        if missing:
            with told(title, len(missing)) as advance:
                for _ in on_all_cores(make, missing):
                    advance()

    def __call__(self, batch: ScanBatch) -> Tensor:
        """Expected counts [batch, pixel, window] of a batch, where its counts lie."""
        return self._joined(batch, self._of_scan)

    def once(self, batch: ScanBatch) -> Tensor:
        """The same of scans that never come again: nothing is looked for or kept."""
        return self._joined(batch, self._rate)

    @staticmethod
    @torch.no_grad()
    def _joined(batch: ScanBatch, rate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        scans = zip(batch.activity, batch.density, strict=True)
        rates = torch.stack([rate(*scan) for scan in scans]).to(batch.projections)
        return batch.duration_s.to(rates)[:, None, None] * rates

    def _of_scan(self, activity: Tensor, density: Tensor) -> Tensor:
        def make() -> dict[str, Tensor]:
            return {"rate": self._rate(activity, density)}

        if self.files is None:
            return make()["rate"]
        return self.files.find_or_make(fingerprint(activity, density), make)["rate"]

    def _rate(self, activity: Tensor, density: Tensor) -> Tensor:
        """Counts a second [pixel, window] of one scan, on the CPU."""
        device = self.model.recording.live.device
        state = self.model.attenuation(density[None].to(device))
        one = torch.ones(1, dtype=activity.dtype, device=device)
        return self.model.expected_counts(activity[None].to(device), state, one)[0].cpu()


def _name(scan: ScanBatch) -> str:
    return fingerprint(scan.activity, scan.density)
