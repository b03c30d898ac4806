"""Data module: counts against the events on disk, order and resume, and who may be trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyWindows
from data_gen.forward_model.system import ImagingSystem
from data_gen.storage import Manifest, StoredScan
from hspi_learn.data import EpochOrder, ScanDataModule
from hspi_learn.reconstructor import ScanBatch

WINDOWS = [20.0, 100.0, 300.0, 600.0]


@pytest.fixture
def folder(tmp_path: Path, tiny_dataset: Callable[..., Manifest]) -> Path:
    tiny_dataset(tmp_path)
    return tmp_path


def module(folder: Path, **changes: Any) -> ScanDataModule:
    return ScanDataModule(str(folder), WINDOWS, **({"batch_size": 2, "seed": 5} | changes))


def test_batches_hold_what_is_on_disk(
    folder: Path, tiny_system: ImagingSystem, tiny_record: Callable[[int], StoredScan]
) -> None:
    """Every event in exactly one window, truths bit by bit, the empty scan as zeros."""
    data = module(folder)
    assert data.system.fingerprint == tiny_system.fingerprint
    seen = []
    for batch in data.train_dataloader():
        for k, number in enumerate(batch.index.tolist()):
            record = tiny_record(number)
            expected = record.events.histogram(tiny_system.camera.pixel_count, EnergyWindows(WINDOWS))
            assert torch.equal(batch.projections[k], expected)
            assert torch.equal(batch.activity[k], record.activity)
            assert torch.equal(batch.density[k], record.density)
            assert torch.equal(batch.labels[k], record.labels)
            assert float(batch.duration_s[k]) == record.duration_s
            seen.append(number)
    assert sorted(seen) == list(range(10))


def test_events_of_every_split_are_at_hand(folder: Path, tiny_record: Callable[[int], StoredScan]) -> None:
    """Scans are found across shards, and numbers beyond the end are refused."""
    scans = module(folder).scans("train")
    assert len(scans) == 10
    assert [scans.sample(i).number for i in range(10)] == list(range(10))
    assert torch.equal(scans.events(9).pixel, tiny_record(9).events.pixel)
    with pytest.raises(IndexError):
        scans.events(10)
    with pytest.raises(UserError, match="no split 'tset'"):
        module(folder).scans("tset")


def test_validation_is_in_order_and_whole(folder: Path) -> None:
    """Three scans in batches of two."""
    batches = list(module(folder).val_dataloader())
    assert [batch.index.tolist() for batch in batches] == [[0, 1], [2]]


def test_order_follows_from_seed_and_epoch() -> None:
    """Each epoch is a permutation of its own, repeatable; a skipped epoch is another's no more."""
    order, same, other = EpochOrder(50, 1), EpochOrder(50, 1), EpochOrder(50, 2)
    first = list(order)
    order.set_epoch(1)
    assert sorted(first) == list(range(50))
    assert first == list(same)
    assert first != list(other)
    assert first != list(order)
    same.skip(0, 20)
    assert first[20:] == list(same)
    assert len(same) == 50
    same.set_epoch(1)
    assert list(order) == list(same)


def test_memory_limit_changes_nothing_but_time(folder: Path) -> None:
    """Scans kept in memory and scans read again are the same."""
    kept, read = module(folder).windowed("train"), module(folder, memory_gib=0.0).windowed("train")
    for i in (0, 7):
        for _ in range(2):
            assert all(torch.equal(a, b) for a, b in zip(kept[i], read[i], strict=True))


def test_thinning_is_binomial_and_repeatable(folder: Path) -> None:
    """Half the events within five standard deviations, never more than all, the same at each reading.

    That is the scan of half the time, so the model expects as many counts as there are.
    """
    whole, half = module(folder).windowed("train"), module(folder, count_fraction=0.5).windowed("train")
    again = module(folder, count_fraction=0.5, memory_gib=0.0).windowed("train")
    total = sum(float(whole[i].projections.sum()) for i in range(10))
    left = sum(float(half[i].projections.sum()) for i in range(10))
    assert abs(left - total / 2) < 5 * (total / 4) ** 0.5
    assert all(bool((half[i].projections <= whole[i].projections).all()) for i in range(10))
    assert torch.equal(half[3].projections, again[3].projections)
    assert float(half[3].duration_s) == pytest.approx(0.5 * float(whole[3].duration_s))


class SpectralResponse(pl.LightningModule):
    """Learns nothing, notes which scans it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: ScanBatch, batch_idx: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.index.tolist()))
        return self.weight * batch.projections.mean()

    def validation_step(self, batch: ScanBatch, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(pl.Callback):
    """Saves after some steps and then stops as a kill would: with an exception."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise InterruptedError


def fit(data: ScanDataModule, callbacks: list[pl.Callback], resume: Path | None = None) -> SpectralResponse:
    recorder = SpectralResponse()
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=callbacks,
    )
    with contextlib.suppress(InterruptedError):
        trainer.fit(recorder, datamodule=data, ckpt_path=resume, weights_only=True)
    return recorder


# Lightning advises more workers for real loads, and asks torch for what torch calls LeafSpec no more.
@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("step", [2, 5, 7])
def test_a_stopped_run_goes_on_with_the_next_batch(folder: Path, tmp_path: Path, step: int) -> None:
    """Stopped in mid-epoch or after an epoch's last batch, both parts together see what one run sees."""
    undisturbed = fit(module(folder), []).seen
    assert len(undisturbed) == 15
    checkpoint = tmp_path / "last.ckpt"
    before = fit(module(folder), [SaveAt(step, checkpoint)]).seen
    after = fit(module(folder), [], checkpoint).seen
    assert before + after == undisturbed


def test_another_batch_size_cannot_go_on(folder: Path) -> None:
    """Batches counted in one size mean nothing in another."""
    with pytest.raises(UserError, match="batch_size is 2"):
        module(folder).train_dataloader().load_state_dict({"epoch": 0, "batches": 1, "batch_size": 4})


@pytest.mark.parametrize(
    ("provenance", "named"),
    [
        ({"origin": "measured", "subjects": "people", "licence": "x", "deidentified": True}, "consent"),
        ({"origin": "measured", "subjects": "people", "licence": "x", "consent": "yes"}, "deidentified"),
    ],
)
def test_data_that_may_not_be_used_is_refused(
    tmp_path: Path, tiny_dataset: Callable[..., Manifest], provenance: dict[str, Any], named: str
) -> None:
    """Without consent or de-identification nothing of people is read."""
    tiny_dataset(tmp_path, **provenance)
    with pytest.raises(UserError, match=named):
        module(tmp_path)


def test_wrong_data_modules_say_what_is_right(folder: Path, tmp_path: Path) -> None:
    """A folder without data, a changed shard, and numbers out of range."""
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        module(tmp_path / "nowhere")
    with pytest.raises(UserError, match="batch_size"):
        module(folder, batch_size=0)
    with pytest.raises(UserError, match="count_fraction"):
        module(folder, count_fraction=0.0)
    shard = folder / "train-1.h5"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"train-1\.h5 is truncated"):
        module(folder).scans("train")
