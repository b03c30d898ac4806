"""Training scans that are drawn: the same from files, from memory and anew; who may ask for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.forward_model.system import ImagingSystem
from data_gen.phantoms import DerenzoPhantom, MousePhantom
from data_gen.readout import EventReadout
from data_gen.simulation import DatasetPlan
from data_gen.simulation.generate import generate
from data_gen.storage import Manifest
from hspi_learn.data import OnlineScans, OnlineTraining, ScanDataModule

WINDOWS = [20.0, 100.0, 300.0, 600.0]
MOUSE = MousePhantom({"soft_tissue": (0.5, 1.5), "tumour": (10.0, 40.0)}, tumours=(0, 2))


def _plan(system: ImagingSystem, **changes: Any) -> DatasetPlan:
    spans = {"counts": (500.0, 2000.0), "injected_bq": (1.0, 1e9), "duration_s": (600.0, 3600.0)}
    plan = DatasetPlan(
        system.camera,
        system.chain,
        MOUSE,
        system.grid,
        system.energy_bins,
        {"validation": 1},
        options=system.options,
        **spans,
    )
    return dataclasses.replace(plan, **changes)


@pytest.fixture
def folder(tmp_path: Path, tiny_system: ImagingSystem) -> Path:
    """A data set of one validation scan: there are no training scans to read."""
    generate(_plan(tiny_system), tmp_path)
    return tmp_path


def _module(folder: Path, **population: Any) -> ScanDataModule:
    drawn = OnlineTraining(**{"subjects": 5, "anatomies": 2, "sites": 2} | population)
    return ScanDataModule(str(folder), WINDOWS, batch_size=2, seed=5, population=drawn)


def _scans(folder: Path, **population: Any) -> OnlineScans:
    scans = _module(folder, **population).windowed("train")
    assert isinstance(scans, OnlineScans)
    return scans


def _files(folder: Path) -> dict[Path, int]:
    """What is kept beside the data set, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "inputs").rglob("*.safetensors")}


def test_drawn_scans_are_the_same_however_they_are_made(folder: Path, tmp_path: Path) -> None:
    """Made when asked for, prepared on all cores, or read from files: bit by bit, and files are made once."""
    asked = _scans(folder)
    first = [asked[i] for i in range(5)]
    prepared = _scans(folder)
    written = _files(folder)
    assert len(written) == 5 + 2
    prepared.prepare()
    assert _files(folder) == written
    for path in written:
        path.unlink()
    prepared.prepare()
    assert len(_files(folder)) == 5 + 2
    for number in (3, 0, 4):
        assert all(torch.equal(a, b) for a, b in zip(prepared[number], first[number], strict=True))


def test_a_scan_does_not_depend_on_how_many_there_are(folder: Path) -> None:
    """Individual 3 of 5 is individual 3 of 50."""
    few, many = _scans(folder), _scans(folder, subjects=50)
    assert all(torch.equal(a, b) for a, b in zip(few[3], many[3], strict=True))


def test_scans_of_one_body_follow_each_other(folder: Path) -> None:
    """Numbers 0, 2, 4 are on the first of two bodies and share its density; the truths differ."""
    scans = _scans(folder)
    assert scans.by_object() == [0, 2, 4, 1, 3]
    assert torch.equal(scans[0].density, scans[2].density)
    assert not torch.equal(scans[0].activity, scans[2].activity)
    assert not torch.equal(scans[0].density, scans[1].density)


def test_only_training_scans_are_drawn(folder: Path) -> None:
    """Validation scans are those that are stored."""
    plain = ScanDataModule(str(folder), WINDOWS, batch_size=2, seed=5)
    drawn, stored = _module(folder).windowed("validation")[0], plain.windowed("validation")[0]
    assert all(torch.equal(a, b) for a, b in zip(drawn, stored, strict=True))


def test_fresh_scans_never_come_again(folder: Path) -> None:
    """Three epochs of five are 15 individuals, none in a file; the third epoch can be gone on with."""
    module = _module(folder, fresh=True)
    loader, seen = module.train_dataloader(), []
    for epoch in range(3):
        loader.order.set_epoch(epoch)
        seen += [number for batch in loader for number in batch.index.tolist()]
    assert len(seen) == len(set(seen)) == 3 * 4  # an incomplete last batch is left out
    assert max(seen) >= 10
    assert len(_files(folder)) == 2
    other = _module(folder, fresh=True).train_dataloader()
    other.load_state_dict({"epoch": 2, "batches": 1, "batch_size": 2})
    other.order.set_epoch(2)
    assert [number for batch in other for number in batch.index.tolist()] == seen[-2:]


def test_there_is_an_end(folder: Path) -> None:
    """As many as were asked for, so that a loop over them ends; fresh ones go on."""
    assert len(list(_scans(folder))) == 5  # type: ignore[call-overload]  # by __getitem__, as loaders do
    with pytest.raises(IndexError, match="no individual 5"):
        _scans(folder)[5]
    assert int(_scans(folder, fresh=True)[5].index) == 5


def test_what_cannot_be_drawn_is_told(tmp_path: Path, tiny_system: ImagingSystem) -> None:
    """A readout that loses events, phantoms without regions, a data set without a plan, thinning."""
    slow = _plan(tiny_system, readout=EventReadout(1e-5))
    rods = _plan(tiny_system, phantom=DerenzoPhantom())
    for name, plan, told in (("slow", slow, "readout=ideal"), ("rods", rods, "needs one of regions")):
        generate(plan, tmp_path / name)
        with pytest.raises(UserError, match=told):
            _scans(tmp_path / name)
    generate(_plan(tiny_system), tmp_path / "good")
    manifest = Manifest.read(tmp_path / "good")
    strange = {**manifest.plan, "phantom": {**manifest.plan["phantom"], "wings": 2}}
    manifest.model_copy(update={"plan": strange}).write(tmp_path / "good")
    with pytest.raises(UserError, match=r"no MousePhantom that is known here .*wings"):
        _scans(tmp_path / "good")
    with pytest.raises(UserError, match=r"population\.subjects 1000000000000"):
        OnlineTraining(subjects=10**12)
    Manifest.read(tmp_path / "good").model_copy(update={"plan": {}}).write(tmp_path / "good")
    with pytest.raises(UserError, match="has no plan"):
        _scans(tmp_path / "good")
    with pytest.raises(UserError, match=r"count_fraction is 0\.5 with population=online"):
        ScanDataModule(
            str(tmp_path / "slow"), WINDOWS, count_fraction=0.5, population=OnlineTraining(subjects=1)
        )
    with pytest.raises(UserError, match=r"population\.subjects is 0"):
        OnlineTraining(subjects=0)


def test_counts_of_another_range_than_the_plans(folder: Path) -> None:
    """A range of 5,000 to 20,000 counts for 500 to 2,000: ten times as many in every scan, within six SD;
    what the plan says of all else stays."""
    exposure = {"counts": (5000.0, 20000.0)}
    few, many = _scans(folder), _scans(folder, exposure=exposure)
    for number in range(3):
        scans = few[number], many[number]
        counts = [float(scan.projections.sum()) for scan in scans]
        assert counts[1] / counts[0] == pytest.approx(10.0, rel=6 / counts[0] ** 0.5)
        assert torch.equal(scans[0].labels, scans[1].labels)
        assert float(scans[0].duration_s) == float(scans[1].duration_s)


def test_unknown_ranges_are_told() -> None:
    with pytest.raises(UserError, match=r"population\.exposure holds 'count'"):
        OnlineTraining(exposure={"count": (1.0, 2.0)})
    with pytest.raises(UserError, match=r"population\.exposure\.counts"):
        OnlineTraining(exposure={"counts": (2.0, 1.0)})
