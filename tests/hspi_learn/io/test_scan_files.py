"""Scans from files: shards, events and counts, and what is wrong with the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.core.grid import EnergyWindows
from data_gen.storage import Manifest
from hspi_learn.io.scan_files import Histogram, read_scan

PIXEL = np.array([3, 0, 3, 7])
ENERGY = np.array([81.0, 218.0, 440.0, 82.0])


def _write(path: Path, **columns: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **columns)
        return path
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.mark.parametrize("name", ["events.h5", "events.npz"])
def test_events_come_back(tmp_path: Path, name: str) -> None:
    """Columns as written; times are not needed, and the time measured may stand beside."""
    scan = read_scan(_write(tmp_path / name, pixel=PIXEL, energy_kev=ENERGY, duration_s=60.0))
    assert isinstance(scan.data, EventList)
    assert scan.data.pixel.tolist() == PIXEL.tolist()
    assert scan.duration_s == 60
    counts = scan.checked(8).histogram(8, EnergyWindows([70.0, 100.0, 500.0]))
    assert counts[3].tolist() == [1, 1]
    assert float(counts.sum()) == 4


@pytest.mark.parametrize("name", ["counts.hdf5", "counts.npz"])
def test_counts_are_summed_into_windows(tmp_path: Path, name: str) -> None:
    """Bins merge into windows whose edges they share; a window edge inside of a bin is refused."""
    counts = np.arange(12.0).reshape(3, 4)
    scan = read_scan(_write(tmp_path / name, counts=counts, edges_kev=np.array([20, 60, 70, 100, 600.0])))
    assert isinstance(scan.data, Histogram)
    assert scan.duration_s is None
    found = scan.checked(3).histogram(3, EnergyWindows([20.0, 70.0, 600.0]))
    assert np.array_equal(found, counts.reshape(3, 2, 2).sum(2))
    with pytest.raises(UserError, match="lacks 80 keV"):
        scan.histogram(3, EnergyWindows([20.0, 80.0, 600.0]))
    with pytest.raises(UserError, match="counts has 3 pixels; this camera has 4"):
        scan.checked(4)


def test_shards_bring_all_they_know(tmp_path: Path, tiny_dataset: Callable[..., Manifest]) -> None:
    """Events, time over all frames, density and system; a scan that is not there is told."""
    manifest = tiny_dataset(tmp_path)
    scan = read_scan(tmp_path / "train-0.h5", 1)
    assert scan.system == manifest.system
    assert scan.duration_s == 91
    assert scan.density is not None
    with pytest.raises(UserError, match=r"scan is 9; .* holds the scans 0 to 3"):
        read_scan(tmp_path / "train-0.h5", 9)


def test_an_empty_scan_is_told(tmp_path: Path, tiny_dataset: Callable[..., Manifest]) -> None:
    """Scan 2 of the tiny set has no events."""
    tiny_dataset(tmp_path)
    with pytest.raises(UserError, match="scan 2 holds no counts at 20-600 keV"):
        read_scan(tmp_path / "train-0.h5", 2).histogram(144, EnergyWindows([20.0, 600.0]))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"counts": -np.ones((2, 1)), "edges_kev": [1.0, 2.0]}, "negative counts"),
        ({"counts": np.full((2, 1), np.nan), "edges_kev": [1.0, 2.0]}, "NaN or infinite counts"),
        ({"counts": np.ones((2, 3)), "edges_kev": [1.0, 2.0]}, r"they need \[pixel, bin\] and \[bin \+ 1\]"),
        ({"counts": np.ones((2, 1)), "edges_kev": [2.0, 1.0]}, "rising energies"),
        ({"pixel": PIXEL / 2, "energy_kev": ENERGY}, r"whole numbers \[event\]"),
        ({"pixel": PIXEL, "energy_kev": ENERGY[:2]}, "one length"),
        ({"pixel": PIXEL, "energy_kev": ENERGY, "duration_s": -1.0}, "positive time"),
        ({"pixel": PIXEL}, "holds pixel; it needs pixel and energy_kev, or counts and edges_kev"),
        ({"other": PIXEL}, "holds nothing known"),
    ],
)
def test_wrong_values_are_told(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    """One sentence with what is wrong."""
    with pytest.raises(UserError, match=reason):
        read_scan(_write(tmp_path / "scan.h5", **columns))


def test_wrong_pixels_and_energies_are_told(tmp_path: Path) -> None:
    """Events of a larger camera, or with NaN energies."""
    scan = read_scan(_write(tmp_path / "a.h5", pixel=PIXEL, energy_kev=ENERGY))
    with pytest.raises(UserError, match=r"pixel indices span 0\.\.7; this camera has 0\.\.3"):
        scan.checked(4)
    scan = read_scan(_write(tmp_path / "b.h5", pixel=PIXEL, energy_kev=ENERGY * np.nan))
    with pytest.raises(UserError, match="energy_kev holds negative, NaN"):
        scan.checked(8)


def test_broken_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """Missing, truncated, pickled, and links to other files: nothing is followed or executed."""
    with pytest.raises(UserError, match="is missing"):
        read_scan(tmp_path / "none.h5")
    whole = _write(tmp_path / "whole.h5", pixel=PIXEL, energy_kev=ENERGY)
    (tmp_path / "cut.h5").write_bytes(whole.read_bytes()[:900])
    with pytest.raises(UserError, match="truncated"):
        read_scan(tmp_path / "cut.h5")
    np.savez(tmp_path / "objects.npz", pixel=np.array([object()]), energy_kev=ENERGY)
    with pytest.raises(UserError, match="holds Python objects"):
        read_scan(tmp_path / "objects.npz")
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["energy_kev"] = ENERGY
        file["pixel"] = h5py.ExternalLink("whole.h5", "pixel")
    with pytest.raises(UserError, match="pixel lies in another file"):
        read_scan(tmp_path / "linked.h5")


def test_rebinning_conserves_counts() -> None:
    """Windows over the whole axis keep every count of a pixel, exactly."""
    counts = torch.randint(9, (5, 30), generator=torch.Generator().manual_seed(0)).float()
    axis = EnergyWindows(torch.linspace(20, 600, 31).tolist())
    total = Histogram(counts, axis).on(EnergyWindows([20.0, 600.0]), "x")
    assert torch.equal(total[:, 0], counts.sum(1))


SECONDS = np.linspace(0.0, 1800.0, 400)
MANY = {"pixel": np.arange(400) % 8, "energy_kev": np.full(400, 81.0)}


@pytest.mark.parametrize(
    ("times", "duration_s"),
    [(SECONDS, 1.8), (SECONDS, 900.0), (SECONDS * 1e3, 1800.0), (SECONDS * 1e9, 1800.0), (SECONDS, 1.8e6)],
)
def test_times_that_do_not_fit_the_duration_are_refused(
    tmp_path: Path, times: np.ndarray, duration_s: float
) -> None:
    """Kiloseconds, half the scan, ms, ns, and a duration in ms: activity would be wrong by that factor."""
    path = _write(tmp_path / "scan.h5", **MANY, time_s=times, duration_s=duration_s)
    with pytest.raises(UserError, match=r"time_s spans .* s, but duration_s is .* s; both need to be in s"):
        read_scan(path)
    with pytest.raises(UserError, match="duration_s"):
        read_scan(_write(tmp_path / "no_duration.h5", **MANY, time_s=times)).checked_duration_s(duration_s)


@pytest.mark.parametrize("start", [0.0, 1.7e9])
def test_times_may_begin_anywhere(tmp_path: Path, start: float) -> None:
    """Seconds since the injection or since 1970; a file without times, or with few, says nothing of units."""
    scan = read_scan(_write(tmp_path / "a.h5", **MANY, time_s=SECONDS + start, duration_s=1800.0))
    assert scan.duration_s == 1800
    assert read_scan(_write(tmp_path / "b.h5", **MANY, duration_s=1.0)).duration_s == 1
    few = {name: column[:9] for name, column in {**MANY, "time_s": SECONDS}.items()}
    assert read_scan(_write(tmp_path / "c.h5", **few, duration_s=1e6)).duration_s == 1e6


@pytest.mark.parametrize("data", ["events", "counts"])
def test_dead_pixels_of_a_file(tmp_path: Path, data: str) -> None:
    """Their numbers are read, and their counts left out when asked; whole numbers alone will do."""
    columns = {"pixel": PIXEL, "energy_kev": ENERGY}
    if data == "counts":
        columns = {"counts": np.eye(8), "edges_kev": np.arange(9.0)}
    scan = read_scan(_write(tmp_path / "a.h5", **columns, dead_pixels=np.array([3, 5]))).checked(8)
    assert scan.dead_pixels == (3, 5)
    before, after = scan.counts_by_pixel(8), scan.without(scan.dead_pixels).counts_by_pixel(8)
    assert float(before[3]) > 0
    assert after.tolist() == [n if p not in (3, 5) else 0 for p, n in enumerate(before.tolist())]
    with pytest.raises(UserError, match="dead_pixels is float64"):
        read_scan(_write(tmp_path / "b.h5", **columns, dead_pixels=np.array([0.5])))


def test_small_windows_beside_large_ones_keep_their_counts() -> None:
    """7 counts behind 3e7 in one pixel: sums in single precision gave 8 or 6."""
    counts = torch.tensor([[1.5e7, 1.5e7, 7.0, 2.0]])
    axis = EnergyWindows([20.0, 60.0, 100.0, 110.0, 600.0])
    found = Histogram(counts, axis).on(EnergyWindows([20.0, 100.0, 110.0, 600.0]), "x")
    assert found.tolist() == [[3e7, 7.0, 2.0]]
