"""Generation: exposures within limits, counts as expected, the same bytes whatever happened on the way."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.events import EventList, Frame
from data_gen.core.random import seeded_generator
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import mean_activity
from data_gen.phantoms import MousePhantom
from data_gen.readout import EventReadout
from data_gen.simulation.exposure import ExposureLimits
from data_gen.simulation.generate import DatasetPlan, generate
from data_gen.simulation.photopeak import count_photopeak, photopeak_windows
from data_gen.simulation.plan import described
from data_gen.storage import Manifest, ShardReader, StoredScan

ROOT = Path(__file__).parents[3]


def plan(system: ImagingSystem, **changes: Any) -> DatasetPlan:
    settings: dict[str, Any] = {
        "sizes": {"train": 4, "test": 1},
        "counts": [200, 500],
        "injected_bq": [1e3, 1e7],
        "duration_s": [60, 3600],
        "start_s": [3600, 7200],
        "seed": 3,
        "shard_size": 2,
        "options": ModelOptions(scatter_terms=()),
        "phantom": MousePhantom({"soft_tissue": [0.5, 2.0], "liver": [5.0, 10.0]}, freed_fraction=[0.1, 0.3]),
    } | changes
    return DatasetPlan(
        camera=system.camera, chain=system.chain, grid=system.grid, energy_bins=system.energy_bins, **settings
    )


@pytest.fixture(scope="session")
def undisturbed(tiny_system: ImagingSystem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "data"
    generate(plan(tiny_system), folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_data_set_holds_what_the_plan_says(undisturbed: Path, tiny_system: ImagingSystem) -> None:
    """Sizes, exposures within their limits, truths in equilibrium with what was injected."""
    manifest = Manifest.read(undisturbed)
    assert {split: manifest.scans(split) for split in manifest.splits} == {"train": 4, "test": 1}
    assert manifest.system == tiny_system.to_dict()
    windows = photopeak_windows(tiny_system.camera, tiny_system.chain, tiny_system.groups)
    for entry in (entry for shards in manifest.splits.values() for entry in shards):
        reader = ShardReader(manifest.checked_file(undisturbed, entry))
        for i in range(len(reader)):
            scan = reader.scan(i)
            (frame,) = scan.frames
            assert 60 <= frame.duration_s <= 3600
            assert 3600 <= frame.start_s <= 7200
            assert 1e3 <= scan.injected_bq <= 1e7
            # The aim is reachable here, and Poisson counts stay within five standard deviations of it.
            assert 200 - 5 * 200**0.5 < scan.counts < 500 + 5 * 500**0.5
            assert scan.counts_photopeak == count_photopeak(scan.events, windows)
            assert scan.activity is not None
            mean = mean_activity(tiny_system.chain, scan.injected_bq, frame.start_s, frame.end_s)
            parent, lead = scan.activity.sum(dim=(1, 2, 3)).tolist()
            # Redistribution moves progeny but neither makes nor loses it; rel 1e-4 for float32.
            assert lead / parent == pytest.approx(mean["Pb-211"] / mean["Ra-223"], rel=1e-4)
            assert 0 < parent <= mean["Ra-223"]
            scan.events.checked(tiny_system.camera.pixel_count)


def test_a_scan_depends_on_seed_split_and_number_alone(
    undisturbed: Path, tiny_system: ImagingSystem, tmp_path: Path
) -> None:
    """Other sizes and shards give the same scan 3; another seed gives another one."""
    generate(plan(tiny_system, sizes={"train": 5}, shard_size=3), tmp_path / "other")
    generate(plan(tiny_system, sizes={"train": 4}, seed=4), tmp_path / "seed")
    scan = ShardReader(undisturbed / "train-000002.h5").scan(1)
    same = ShardReader(tmp_path / "other" / "train-000003.h5").scan(0)
    new = ShardReader(tmp_path / "seed" / "train-000002.h5").scan(1)
    assert scan.number == same.number == new.number == 3
    assert torch.equal(scan.events.time_s, same.events.time_s)
    assert torch.equal(scan.density, same.density)
    assert not torch.equal(scan.density, new.density)


def test_a_rerun_fills_what_is_missing_or_broken(
    undisturbed: Path, tiny_system: ImagingSystem, tmp_path: Path
) -> None:
    """A lost, a truncated and a half-written shard are made again with the same bytes, the rest is kept."""
    folder = tmp_path / "data"
    generate(plan(tiny_system), folder)
    assert content(folder) == content(undisturbed)
    kept = (folder / "test-000000.h5").stat().st_mtime_ns
    (folder / "train-000000.h5").unlink()
    (folder / "train-000002.h5").write_bytes(b"half")
    (folder / ".train-000000.h5.part").write_bytes(b"killed while writing")
    generate(plan(tiny_system), folder)
    assert content(folder) == content(undisturbed)
    assert (folder / "test-000000.h5").stat().st_mtime_ns == kept


@dataclasses.dataclass(frozen=True)
class Shelled:
    """A family around another one, as phantoms of one's own may be."""

    inner: MousePhantom
    share: float = 0.5

    def __call__(self, grid: Any, generator: torch.Generator) -> Any:
        raise NotImplementedError


def test_a_manifest_says_what_the_scans_were_made_from(undisturbed: Path, tiny_system: ImagingSystem) -> None:
    """Phantom and readout by class and settings, from which they can be made again; exposures as asked."""
    recorded = Manifest.read(undisturbed).plan
    made = plan(tiny_system)
    assert recorded == made.description
    settings = dict(recorded["phantom"])
    assert settings.pop("_target_") == "data_gen.phantoms.MousePhantom"
    assert described(MousePhantom(**settings)) == recorded["phantom"]
    assert recorded["readout"]["_target_"] == "data_gen.readout.EventReadout"
    assert (recorded["counts"], recorded["shard_size"], recorded["packages"]) == ([200, 500], 2, {})
    nested = described(Shelled(made.phantom))  # type: ignore[arg-type]
    assert nested["_target_"] == f"{Shelled.__module__}.Shelled"
    assert nested["inner"] == recorded["phantom"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"packages": {"own": {"version": "2", "sha256": "b" * 64}}}, r"own 1 \(source files a{12}\), whose"),
        ({"packages": {}}, r"differ in packages\)"),
        ({"seed": 4}, r"another plan \(they differ in seed\); choose another"),
        ({"counts": [200, 501]}, r"differ in counts\)"),
        ({"phantom": MousePhantom({"soft_tissue": [0.5, 2.0]})}, r"differ in phantom\)"),
    ],
)
def test_a_data_set_is_not_gone_on_with_by_another_plan(
    tiny_system: ImagingSystem, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    """Changed code of a package is told by its versions, all else by what differs; nothing is written."""
    own = {"packages": {"own": {"version": "1", "sha256": "a" * 64}}}
    first = plan(tiny_system, **own)
    about = {"system": first.system.to_dict(), "splits": {}, "plan_sha256": first.sha256}
    Manifest(**about, seed=first.seed, plan=first.description).write(tmp_path)
    before = content(tmp_path)
    with pytest.raises(UserError, match=told):
        generate(plan(tiny_system, **(own | changes)), tmp_path)
    assert content(tmp_path) == before
    installed = {"packages": {"own": {"version": None, "sha256": "a" * 64}}}
    assert plan(tiny_system, **installed).sha256 == first.sha256  # the same code, not installed


KILLED = """
import json, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from data_gen.simulation.generate import generate
from data_gen.forward_model.system import ImagingSystem
from test_generate import MANY, plan
if __name__ == "__main__":
    system = ImagingSystem.from_dict(json.loads(Path("system.json").read_text()))
    generate(plan(system, **MANY), sys.argv[1], workers=2)
"""
MANY: dict[str, Any] = {"sizes": {"train": 40, "test": 1}, "shard_size": 1}


@pytest.mark.slow
def test_killed_in_mid_generation_and_rerun(tiny_system: ImagingSystem, tmp_path: Path) -> None:
    """kill -9 while two processes work leaves no manifest; a rerun ends with the undisturbed bytes."""
    (tmp_path / "killed.py").write_text(KILLED)
    (tmp_path / "system.json").write_text(json.dumps(tiny_system.to_dict()))
    folder = tmp_path / "data"
    command = [sys.executable, "killed.py", str(folder), str(ROOT), str(Path(__file__).parent)]
    process = subprocess.Popen(command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.h5"))) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 3 <= len(list(folder.glob("*.h5"))) < 41
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        Manifest.read(folder)
    with pytest.raises(UserError, match="another plan"):
        generate(plan(tiny_system), folder)
    time.sleep(0.5)  # the workers end with their parent
    generate(plan(tiny_system, **MANY), folder)
    generate(plan(tiny_system, **MANY), tmp_path / "undisturbed")
    assert content(folder) == content(tmp_path / "undisturbed")


def test_exposures_stay_within_limits_and_reach_the_aim() -> None:
    """counts = (injected x rate + background) x duration to 1e-9 wherever the limits allow it."""
    limits = ExposureLimits((1e3, 1e4), (1e2, 1e6), (10.0, 1000.0), (0.0, 100.0))
    for k in range(50):
        exposure = limits.draw(lambda frame: (1e-3, 0.1), seeded_generator(k))
        counts = (exposure.injected_bq * 1e-3 + 0.1) * exposure.frame.duration_s
        assert 1e2 <= exposure.injected_bq <= 1e6
        assert 10 <= exposure.frame.duration_s <= 1000
        assert 1e3 * (1 - 1e-9) <= counts <= 1e4 * (1 + 1e-9)
    weak = limits.draw(lambda frame: (1e-9, 0.0), seeded_generator(0))
    assert (weak.injected_bq, weak.frame.duration_s) == (1e6, 1000.0)
    with pytest.raises(UserError, match="sees no count"):
        limits.draw(lambda frame: (0.0, 1.0), seeded_generator(0))


def test_photopeak_windows_hold_the_strong_lines(tiny_system: ImagingSystem) -> None:
    """For Ra-223 they hold the K X-rays at 81.07 and 83.78 keV (DDEP) and not the valley at 110 keV."""
    windows = photopeak_windows(tiny_system.camera, tiny_system.chain, tiny_system.groups)
    assert list(windows) == sorted(windows)
    energies = torch.tensor([81.07, 83.78, 110.0, 30.0])
    for energy, expected in zip(energies, (1, 1, 0, 0), strict=True):
        one = EventList(torch.zeros(1, dtype=torch.int64), energy[None], torch.zeros(1, dtype=torch.float64))
        assert count_photopeak(one, windows) == expected, float(energy)
    assert all(high - low < 12 for low, high in windows)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sizes": {"train": 0}}, "dataset.sizes"),
        ({"counts": [10, 5]}, "dataset.counts"),
        ({"duration_s": [0, 5]}, "dataset.duration_s"),
        ({"shard_size": 0}, "dataset.shard_size"),
    ],
)
def test_wrong_plans_say_what_is_right(
    tiny_system: ImagingSystem, changes: dict[str, Any], named: str
) -> None:
    """Each mistake is told with its key."""
    with pytest.raises(UserError, match=named):
        plan(tiny_system, **changes)


def test_folders_of_others_are_left_alone(tiny_system: ImagingSystem, tmp_path: Path) -> None:
    """Nothing is written beside files that are not the plan's."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        generate(plan(tiny_system), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="workers is -1"):
        generate(plan(tiny_system), tmp_path / "new", workers=-1)


def test_frame_ends_after_it_starts() -> None:
    """A frame without duration is no frame."""
    with pytest.raises(UserError, match="positive duration"):
        Frame(0.0, 0.0)


def test_a_slow_readout_loses_events(tiny_system: ImagingSystem, tmp_path: Path) -> None:
    """Dead for a tenth of the mean gap, a module loses a tenth of its events: n / (1 + n tau), 3 sigma."""
    ideal = plan(tiny_system, sizes={"train": 1}, counts=[2000, 2001])
    first = _scan(ideal, tmp_path / "ideal")
    rate = len(first.events) / first.frames[0].duration_s / 4  # four panels, a module each
    slow = dataclasses.replace(ideal, readout=EventReadout(0.1 / rate))
    assert slow.sha256 != ideal.sha256
    lost = 1 - len(_scan(slow, tmp_path / "slow").events) / len(first.events)
    assert lost == pytest.approx(0.1 / 1.1, abs=0.02)


def _scan(of: DatasetPlan, folder: Path) -> StoredScan:
    manifest = generate(of, folder)
    (entry,) = manifest.splits["train"]
    return ShardReader(manifest.checked_file(folder, entry)).scan(0)
