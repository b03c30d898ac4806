"""The order in which training goes through the scans: a seeded permutation in each epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from data_gen.core.random import seeded_generator


class EpochOrder(Sampler[int]):
    """A permutation that depends on (seed, epoch) alone, and that can start in the middle.

    Lightning calls :meth:`set_epoch` before each epoch. Its length is always that of a whole epoch, since
    a resumed Lightning counts the batches that it had seen before.

    Args:
        count: number of scans.
        seed: random seed of all permutations.
        fresh: whether no scan comes twice: epoch e brings those from e * count on.
    """

    def __init__(self, count: int, seed: int, fresh: bool = False) -> None:
        self.count, self.seed, self.fresh = count, seed, fresh
        self.epoch = 0
        self._skipped = (0, 0)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count, generator=seeded_generator(self.seed, "order", self.epoch))
        first = self.epoch * self.count if self.fresh else 0
        yield from (first + order[self.skipped :]).tolist()

    @property
    def skipped(self) -> int:
        """Scans left out of the epoch that comes next."""
        epoch, scans = self._skipped
        return scans if epoch == self.epoch else 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next."""
        self.epoch = epoch

    def skip(self, epoch: int, scans: int) -> None:
        """Leave out the first scans of one epoch, which were seen before the run was stopped."""
        self._skipped = (epoch, scans)
