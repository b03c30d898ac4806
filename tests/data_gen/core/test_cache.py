"""Matrices on disk: kept when they can be, made again when they cannot, never in the way."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from data_gen.core import cache


def made() -> dict[str, torch.Tensor]:
    return {"rows": torch.arange(3.0)}


def test_kept_and_read(tmp_path: Path) -> None:
    """What was made once is read, not made again."""
    cache.cached(tmp_path, "a", made)
    again = cache.cached(tmp_path, "a", lambda: pytest.fail("made again"))
    assert torch.equal(again["rows"], torch.arange(3.0))


def test_truncated_file_is_made_again(tmp_path: Path) -> None:
    """A file that cannot be read is told of and replaced."""
    cache.cached(tmp_path, "a", made)
    (tmp_path / "matrix-a.safetensors").write_bytes(b"half")
    assert torch.equal(cache.cached(tmp_path, "a", made)["rows"], torch.arange(3.0))
    assert cache.cached(tmp_path, "a", dict)


@pytest.mark.parametrize("error", [OSError("disk full"), SafetensorError("No space left on device")])
def test_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Where nothing can be kept the result is there all the same, with a warning and no half-written file."""

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(cache, "save_file", full)
    assert torch.equal(cache.cached(tmp_path, "a", made)["rows"], torch.arange(3.0))
    assert not list(tmp_path.iterdir())
    assert "could not be kept" in caplog.text


def test_made_once_by_those_that_want_it_at_once(tmp_path: Path) -> None:
    """The others wait for the first, and no lock is left behind."""
    calls: list[int] = []

    def slowly() -> dict[str, torch.Tensor]:
        calls.append(1)
        time.sleep(0.1)
        return made()

    threads = [threading.Thread(target=cache.cached, args=(tmp_path, "a", slowly)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["matrix-a.safetensors"]


def test_made_where_no_lock_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems without locks only lose the promise that work is done once."""

    def refused(*_: object, **__: object) -> None:
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(cache.FileLock, "acquire", refused)
    assert torch.equal(cache.cached(tmp_path, "a", made)["rows"], torch.arange(3.0))
    assert (tmp_path / "matrix-a.safetensors").is_file()
