"""Training batches that go on in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from hspi_learn.data.order import EpochOrder
from hspi_learn.data.scans import CountedScans, collate
from hspi_learn.reconstructor import ScanBatch


class TrainingLoader(DataLoader[ScanBatch]):
    """Whole training batches in the order of (seed, epoch).

    Lightning stores :meth:`state_dict` in checkpoints. After a restart it counts the batches that it had
    used itself, and asks the loader to hand out only the others.

    Args:
        scans: the training scans.
        order: order of the scans.
        batch_size: scans in a batch; an incomplete last batch is left out, unless it is the only one.
        workers: processes that read; 0 reads in this one.
    """

    def __init__(self, scans: CountedScans, order: EpochOrder, batch_size: int, workers: int = 0) -> None:
        super().__init__(
            scans,
            batch_size=batch_size,
            sampler=order,
            drop_last=len(scans) >= batch_size,
            num_workers=workers,
            collate_fn=collate,
            # Forked workers would inherit locks of threads that they lack.
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
        )
        self.order = order
        self._used = (0, 0)

    def __iter__(self) -> Iterator[ScanBatch]:  # type: ignore[override]  # torch promises its own iterator class
        # The order may be told of the next epoch before that starts, so its number is noted here.
        epoch, before = self.order.epoch, self.order.skipped // (self.batch_size or 1)
        for used, batch in enumerate(super().__iter__(), start=before + 1):
            self._used = (epoch, used)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch, and batches of it that were handed out."""
        epoch, batches = self._used
        return {"epoch": epoch, "batches": batches, "batch_size": self.batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken.

        Raises:
            UserError: batches had another size.
        """
        if state_dict["batch_size"] != self.batch_size:
            raise UserError(
                f"data.batch_size is {self.batch_size}; a run that started with {state_dict['batch_size']} "
                "can only go on with that"
            )
        self.order.skip(state_dict["epoch"], state_dict["batches"] * state_dict["batch_size"])


class ResumableDataModule(pl.LightningDataModule):
    """A data module whose training batches go on in the middle of an epoch; :meth:`resumable` makes them.

    Lightning restores the state of a loader only where it makes the loader after reading the checkpoint.
    A learning-rate schedule that asks for the length of the training has it made before, so the place in the
    epoch is kept by the data module as well, whose state is always read first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._training: TrainingLoader | None = None
        self._place: dict[str, Any] | None = None

    def resumable(self, loader: TrainingLoader) -> TrainingLoader:
        """A new training loader, at the place of the checkpoint that was read."""
        if self._place is not None:
            loader.load_state_dict(self._place)
            self._place = None
        self._training = loader
        return loader

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch; empty before there is one."""
        return {} if self._training is None else {"training": self._training.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the place for the loader that is made next."""
        self._place = state_dict["training"]
