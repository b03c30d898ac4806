"""Tensors kept beside a data set: made once, checked when read, in the cache where data are read-only."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_gen.storage import DERIVED
from hspi_learn.data import KeptTensors

TRUTH = {"initial": torch.arange(6.0).reshape(2, 3), "mask": torch.tensor([True, False])}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptTensors:
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return KeptTensors(tmp_path / "data", "key")


def _same(found: dict[str, torch.Tensor] | None) -> bool:
    return found is not None and all(torch.equal(found[name], TRUTH[name]) for name in TRUTH)


def test_made_once_and_no_lock_is_left(kept: KeptTensors, tmp_path: Path) -> None:
    """The second time it is read, by another reader too; one file lies in the data set's folder."""
    assert kept.find("scan") is None
    assert _same(kept.find_or_make("scan", TRUTH.copy))
    again = KeptTensors(tmp_path / "data", "key").find_or_make("scan", lambda: pytest.fail("made again"))
    assert _same(again)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [Path("data") / DERIVED / "key" / "scan.safetensors"]


@pytest.mark.parametrize("damage", ["truncated", "one number changed", "another tensor left out"])
def test_a_damaged_file_is_made_again(
    kept: KeptTensors, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning that names it; the new file is good."""
    kept.find_or_make("scan", TRUTH.copy)
    path = kept.writable / "scan.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        tensors = load_file(path)
        if damage == "one number changed":
            tensors["initial"][1, 2] += 1
        else:
            del tensors["mask"]
        save_file(tensors, path)
    assert _same(kept.find_or_make("scan", TRUTH.copy))
    assert str(path) in caplog.text
    assert _same(kept.find("scan"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing beside read-only data is kept in the cache folder; what is there is read."""
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    KeptTensors(data, "key").find_or_make("old", TRUTH.copy)
    for folder in (data / DERIVED / "key", data / DERIVED, data):
        folder.chmod(0o555)
    kept = KeptTensors(data, "key")
    assert _same(kept.find("old"))
    assert _same(kept.find_or_make("new", TRUTH.copy))
    assert kept.writable.is_relative_to(tmp_path / "cache")
    for folder in (data, data / DERIVED, data / DERIVED / "key"):
        folder.chmod(0o755)


def test_folder_that_cannot_be_written_to(
    kept: KeptTensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A data set whose folder refuses is left alone."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    other = KeptTensors(tmp_path / "data", "key")
    other.find_or_make("scan", TRUTH.copy)
    assert not (tmp_path / "data" / DERIVED).exists()
    assert _same(other.find("scan"))


def test_a_scan_that_another_is_making_is_passed_over(kept: KeptTensors) -> None:
    """Whoever only wants to help goes on; whoever needs it waits and gets the other's."""
    begun, finish = threading.Event(), threading.Event()

    def slowly() -> dict[str, torch.Tensor]:
        begun.set()
        finish.wait(10)
        return TRUTH.copy()

    other = threading.Thread(target=kept.find_or_make, args=("scan", slowly))
    other.start()
    begun.wait(10)
    kept.make_if_free("scan", lambda: pytest.fail("made twice"))
    threading.Timer(0.2, finish.set).start()
    assert _same(kept.find_or_make("scan", lambda: pytest.fail("made twice")))
    other.join()


def _make_noted(folder: str) -> None:
    def make() -> dict[str, torch.Tensor]:
        (Path(folder) / f"made-by-{os.getpid()}").touch()
        return TRUTH.copy()

    KeptTensors(Path(folder) / "data", "key").find_or_make("scan", make)


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_make_noted, args=(str(tmp_path),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(list(tmp_path.glob("made-by-*"))) == 1
