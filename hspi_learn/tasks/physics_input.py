"""The physics image (Bq per voxel) that a generator starts from, and the images of a training set kept in
memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_gen.core.cache import content_key
from data_gen.core.parallel import on_all_cores, told
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.data import KeptTensors, fingerprint
from hspi_learn.metrics import evaluated_voxels
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext, scan_context

CODE_VERSION = 2
"""Raised whenever the numbers in the inputs change, so that kept ones are computed again."""

MOST_BYTES = 2**32
"""Memory that scans computed side by side may take, about."""

STATES_A_SCAN = 4
"""What computing a scan takes of memory at most, in states of its object, about."""


class BackProjection(nn.Module):
    """Back-projection of the counts above background, over the sensitivity; a blurred but cheap image.

    Scaled to expect as many counts as were measured. Leakage and scatter are left to the network.

    Args:
        model: the forward model, recording the task's windows.
    """

    def __init__(self, model: HyperspectralForwardModel) -> None:
        super().__init__()
        self.model = model.primary

    @property
    def settings(self) -> dict[str, Any]:
        """All that its images depend on besides the model, the counts and the object, as plain data."""
        return {"method": "back_projection", "version": CODE_VERSION}

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Maps [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        rate = projections / context.duration_s[:, None, None] - self.model.background_rate()
        back = self.model.back_project(rate.clamp_min(0), context.attenuation)
        sensitivity = self.model.sensitivity(context.attenuation)
        image = context.body * back / sensitivity.clamp_min(torch.finfo(back.dtype).tiny)
        seen = (image * sensitivity).sum(dim=(1, 2, 3, 4), keepdim=True)
        measured = rate.sum(dim=(1, 2)).clamp_min(0)[:, None, None, None, None]
        return image * measured / seen.clamp_min(torch.finfo(back.dtype).tiny)


class PhysicsInput(NamedTuple):
    """What a training step needs of a scan besides its counts and truth."""

    initial: Tensor
    """Physics image [batch, map, z, y, x] in Bq per voxel."""
    mask: Tensor
    """Voxels where the error is measured [batch, map, z, y, x], bool."""


class Numbered(Protocol):
    """Scans by number, each without its batch axis, such as :class:`~hspi_learn.data.CountedScans`."""

    def by_object(self) -> Sequence[int]:
        """All numbers; scans of the same object follow each other."""

    def __getitem__(self, index: int, /) -> ScanBatch:
        """A scan."""


class PhysicsInputs:
    """Physics inputs of scans, each computed once: kept in memory, and beside the data set if that is known.

    A scan is known by its content, so that thinned or redrawn counts never meet a stale image. Scans are
    computed one by one, each on one thread: the result does not depend on the batch around them or on the
    machine's cores, and a resumed run sees the same bits. They are kept on the CPU,
    wherever the model lies.

    Args:
        system: the imaging system that ``model`` is of.
        model: the forward model.
        method: makes the physics image. Files are kept if it has ``settings``, as :class:`Osem` has.
        keep_bytes: memory for kept inputs.
    """

    def __init__(
        self,
        system: ImagingSystem,
        model: HyperspectralForwardModel,
        method: Reconstructor,
        keep_bytes: int = 2**30,
    ) -> None:
        self.system, self.model, self.method, self.room = system, model, method, keep_bytes
        self.kept: dict[str, list[NDArray[Any]]] = {}
        self._last_context: tuple[str, ScanContext] | None = None
        self.files: KeptTensors | None = None

    def keep_beside(self, data: Path) -> None:
        """Keep inputs beside this data set from now on, and take those that are kept there."""
        settings = getattr(self.method, "settings", None)
        if settings is None:
            return
        about = {
            "version": CODE_VERSION,
            "system": self.system.to_dict(),
            "materials": self.system.materials,
            "edges_kev": self.model.energy_bins.edges_kev.tolist(),
            "method": settings,
        }
        self.files = KeptTensors(data, content_key(about, {}))

    def moved(self) -> None:
        """Forget what lies where the model lay before it was moved."""
        self._last_context = None

    def prepare(self, scans: Numbered, title: str) -> None:
        """Compute, on all cores, what no file holds yet of these scans; other processes that do so share in.

        Args:
            scans: each without its batch axis.
            title: title of the progress display.
        """
        files = self.files
        if files is None:
            return
        reading = threading.Lock()

        def read(index: int) -> tuple[str, tuple[Tensor, Tensor, Tensor]]:
            with reading:
                scan = scans[index]
            parts = (scan.projections, scan.duration_s, scan.density)
            return fingerprint(*parts), parts

        def make(index: int) -> None:
            name, parts = read(index)
            files.make_if_free(name, lambda: self._computed(*parts)._asdict())

        missing = [index for index in scans.by_object() if files.find(read(index)[0]) is None]
        if missing:
            with told(title, len(missing)) as advance:
                for _ in on_all_cores(make, missing, self._side_by_side()):
                    advance()

    def __call__(self, batch: ScanBatch) -> PhysicsInput:
        """The physics input of a batch, without gradient."""
        return self._joined(batch, self._of_scan)

    def once(self, batch: ScanBatch) -> PhysicsInput:
        """The same of scans that never come again: nothing is looked for or kept."""
        return self._joined(batch, self._computed)

    def image(self, projections: Tensor, duration_s: Tensor, density: Tensor) -> Tensor:
        """The physics image [map, z, y, x] of one scan, kept or fresh; a fresh one is not kept."""
        name = fingerprint(projections, duration_s, density)
        if name in self.kept:
            return torch.from_numpy(self.kept[name][0])
        found = None if self.files is None else self.files.find(name)
        return self._computed(projections, duration_s, density).initial if found is None else found["initial"]

    @staticmethod
    def _joined(batch: ScanBatch, of_scan: Callable[[Tensor, Tensor, Tensor], PhysicsInput]) -> PhysicsInput:
        """The inputs of the scans of a batch along its first axis."""
        scans = [
            of_scan(*parts) for parts in zip(batch.projections, batch.duration_s, batch.density, strict=True)
        ]
        stacked = (torch.stack(parts) for parts in zip(*scans, strict=True))
        return PhysicsInput(*(part.to(batch.projections.device) for part in stacked))

    def _of_scan(self, projections: Tensor, duration_s: Tensor, density: Tensor) -> PhysicsInput:
        """The kept or fresh input of one scan, without the batch dimension."""
        name = fingerprint(projections, duration_s, density)
        if name not in self.kept:
            fresh = self._found(name, projections, duration_s, density)
            size = sum(part.nbytes for part in fresh)
            if size > self.room:
                return fresh
            self.room -= size
            self.kept[name] = [part.numpy() for part in fresh]
        return PhysicsInput(*map(torch.from_numpy, self.kept[name]))

    def _found(self, name: str, *scan: Tensor) -> PhysicsInput:
        """The input of a scan from its file, or fresh."""

        def make() -> PhysicsInput:
            return next(on_all_cores(lambda parts: self._computed(*parts), [scan]))

        if self.files is None:
            return make()
        return PhysicsInput(**self.files.find_or_make(name, lambda: make()._asdict()))

    @torch.no_grad()
    def _computed(self, projections: Tensor, duration_s: Tensor, density: Tensor) -> PhysicsInput:
        """The input of one scan, without the batch dimension, on the CPU."""
        device = self.model.recording.live.device
        context = self._context(density[None].to(device), duration_s[None].to(device))
        initial = self.method.reconstruct(projections[None].to(device), context)
        mask = evaluated_voxels(self.model.primary.sensitivity(context.attenuation), context.body)
        return PhysicsInput(initial[0].detach().cpu(), mask[0].cpu())

    def _context(self, density: Tensor, duration_s: Tensor) -> ScanContext:
        """The context of a scan; scans of one object that follow each other share its attenuation."""
        name = f"{density.device} {fingerprint(density)}"
        last = self._last_context
        if last is not None and last[0] == name:
            return last[1]._replace(duration_s=duration_s)
        context = scan_context(self.model, density, duration_s)
        self._last_context = name, context
        return context

    def _side_by_side(self) -> int:
        """Scans that may be computed at once, by memory."""
        device = self.model.recording.live.device
        state = self.model.attenuation(torch.zeros(1, *self.model.grid.shape, device=device))
        bytes_each = sum(part.nbytes for part in (state.sharp, *state.blocks))
        return max(1, MOST_BYTES // (STATES_A_SCAN * bytes_each))
