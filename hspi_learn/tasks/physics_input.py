"""The physics image that a generator starts from, and the images of a training set kept in memory."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.metrics import evaluated_voxels
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext, scan_context


class BackProjection(nn.Module):
    """Back-projection of the counts above background, over the sensitivity; a blurred but cheap image.

    Scaled to expect as many counts as were measured. Leakage and scatter are left to the network.

    Args:
        model: the forward model, recording the task's windows.
    """

    def __init__(self, model: HyperspectralForwardModel) -> None:
        super().__init__()
        self.model = model.primary

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


class PhysicsInputs:
    """Physics inputs of scans, each computed once and kept while they fit in memory.

    A scan is known by its content, so that thinned or redrawn counts never meet a stale image. Scans are
    computed one by one: the result does not depend on the batch around them, and a resumed run sees the
    same bits. What is kept lies in the memory of the CPU.

    Args:
        model: the forward model.
        method: makes the physics image.
        keep_bytes: memory for kept inputs.
    """

    def __init__(
        self, model: HyperspectralForwardModel, method: Reconstructor, keep_bytes: int = 2**30
    ) -> None:
        self.model, self.method, self.room = model, method, keep_bytes
        self.kept: dict[bytes, list[NDArray[Any]]] = {}

    def __call__(self, batch: ScanBatch) -> PhysicsInput:
        """The physics input of a batch, without gradient."""
        scans = [
            self._of_scan(*parts)
            for parts in zip(batch.projections, batch.duration_s, batch.density, strict=True)
        ]
        return PhysicsInput(*(torch.stack(parts) for parts in zip(*scans, strict=True)))

    def _of_scan(self, projections: Tensor, duration_s: Tensor, density: Tensor) -> PhysicsInput:
        """The kept or fresh input of one scan, without the batch dimension."""
        key = _fingerprint(projections, duration_s, density)
        if key not in self.kept:
            fresh = self._computed(projections[None], duration_s[None], density[None])
            size = sum(part.nbytes for part in fresh)
            if size > self.room:
                return fresh
            self.room -= size
            self.kept[key] = [part.cpu().numpy() for part in fresh]
        return PhysicsInput(*(torch.from_numpy(part).to(density.device) for part in self.kept[key]))

    @torch.no_grad()
    def _computed(self, projections: Tensor, duration_s: Tensor, density: Tensor) -> PhysicsInput:
        """The input of a batch of one scan, its batch dimension removed."""
        context = scan_context(self.model, density, duration_s)
        initial = self.method.reconstruct(projections, context)
        mask = evaluated_voxels(self.model.primary.sensitivity(context.attenuation), context.body)
        return PhysicsInput(initial[0].detach(), mask[0])


def _fingerprint(*parts: Tensor) -> bytes:
    """A hash of the content of tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
