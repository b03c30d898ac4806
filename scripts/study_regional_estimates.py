"""How well do regional estimates read the activity of whole tumours? By the images of an evaluation.

    python scripts/study_regional_estimates.py REPORT WORK

REPORT is a folder of ``hspi-evaluate`` (predictions.npz, config.yaml, metrics.json). Tumours of its test
scans, and of validation scans that are reconstructed here, are read from each image and from the counts
(``hspi_learn/evaluation/tumour_activity.py``). Each scan is one file in WORK, so that a killed study goes on,
and several processes may share the scans.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from data_gen.core.files import whole_file
from hspi_learn.commands.comparison import Comparison
from hspi_learn.data import KeptTensors
from hspi_learn.evaluation import ReconstructionProtocol, Tuned
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.evaluation.identifiability import bounds_key
from hspi_learn.evaluation.tumour_activity import (
    TumourActivities,
    tumour_activities,
    tumour_activity_numbers,
    tumour_activity_table,
)
from hspi_learn.io.atomic import write_json, write_text
from hspi_learn.visual import method_label


def protocol_of(report: Path) -> ReconstructionProtocol:
    """The comparison that wrote a report."""
    found = Comparison(OmegaConf.load(report / "config.yaml")).protocol
    assert isinstance(found, ReconstructionProtocol)
    return found


def tunings(report: Path, protocol: ReconstructionProtocol) -> dict[str, Tuned]:
    """The settings of the classical methods that the report chose."""
    numbers = json.loads((report / "metrics.json").read_text())
    found = {}
    for name in protocol.classical:
        settings = {
            key.partition("/")[2]: value for key, value in numbers.items() if key.startswith(f"{name}/")
        }
        settings = {key: value for key, value in settings.items() if "_at_" not in key}
        found[name] = Tuned(settings, "", False)
    return found


def missing(scans: Sequence[int], split: str, work: Path) -> Iterator[tuple[int, Path]]:
    """Scans that have no file, each claimed by an empty one so that no other process takes it as well."""
    for number in scans:
        path = work / f"{split}-{number:04d}.pt"
        claim = path.with_suffix(".claimed")
        if path.exists():
            continue
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            continue
        yield number, path
        claim.unlink()


def main(arguments: argparse.Namespace) -> None:
    """Read the tumours of all scans, then write the table."""
    torch.set_num_threads(1)
    report, work = Path(arguments.report), Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    protocol = protocol_of(report)
    model, judge, data = protocol.model, protocol.judge, protocol.data
    tuned = tunings(report, protocol)
    methods = {name: method for name, method in protocol.methods(tuned).items() if name in arguments.methods}
    kept = KeptTensors(data.folder, bounds_key(data.system, model))
    images = np.load(report / "predictions.npz")
    predicted = {name: torch.from_numpy(images[name]) * model.grid.voxel_volume_ml for name in methods}
    for split in arguments.splits:
        seen = data.windowed(split)
        first = arguments.first if split == "test" else 0
        wanted = [n for n in range(first, len(seen)) if float(seen[n].projections.sum()) >= arguments.counts]
        for number, path in missing(wanted[: arguments.scans], split, work):
            scan = protocol.batches.scans(split, [number])
            least_sd = protocol._bound(kept, scan).lesions
            found = {}
            for name, method in methods.items():
                if split == "test":
                    image = predicted[name][number][None]
                else:
                    with torch.no_grad():
                        image = method.reconstruct(
                            scan.projections, ReconstructionCase.of(model, scan).context
                        )
                started = time.process_time()
                found[name] = tumour_activities(model, judge, scan, image, least_sd)._asdict()
                found[name]["cpu_s"] = time.process_time() - started
            with whole_file(path) as part:
                torch.save(found, part)
            print(split, number, flush=True)
    write(work, list(methods), model.groups.names, arguments)


def write(work: Path, methods: Sequence[str], groups: Sequence[str], arguments: argparse.Namespace) -> None:
    """The table and numbers of all scans that are done."""
    readings: dict[str, dict[str, TumourActivities]] = {}
    seconds = []
    for split in ("test", "validation"):
        files = [torch.load(path) for path in sorted(work.glob(f"{split}-*.pt"))]
        for name in methods if files else ():
            parts = [{k: v for k, v in file[name].items() if k != "cpu_s"} for file in files]
            seconds += [file[name]["cpu_s"] for file in files]
            joined = TumourActivities.joined([TumourActivities(**part) for part in parts])
            readings.setdefault(split, {})[name] = joined
    test, validation = readings.get("test", {}), readings.get("validation", {})
    if not test:
        return
    numbers = tumour_activity_numbers(test, validation, groups)
    labels = {name: method_label(name) for name in methods}
    table = tumour_activity_table(test, numbers, groups, labels)
    scans = {split: len(next(iter(by.values())).counts) for split, by in readings.items()}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    about = (
        f"`python scripts/study_regional_estimates.py REPORT WORK --methods {' '.join(methods)} --counts "
        f"{arguments.counts:g} --first {arguments.first}`; commit {commit.strip()}; {platform.machine()}, "
        f"1 thread, torch {torch.__version__}; {time.strftime('%Y-%m-%d')}.\n\nScans of {arguments.counts:g} "
        f"or more events: {scans.get('test', 0)} test scans from number {arguments.first} on, "
        f"{scans.get('validation', 0)} validation scans. {np.median(seconds):.1f} CPU seconds a scan and "
        "method (median)."
    )
    write_text(
        work / "regional_estimates.md", f"# Activity of whole tumours\n\n{about}\n\n{table.markdown()}"
    )
    kept = {name: value for name, value in numbers.items() if np.isfinite(value)}
    facts = {f"scans/{split}": float(count) for split, count in scans.items()}
    write_json(work / "regional_estimates.json", kept | facts | {"cpu_s": float(np.median(seconds))})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report")
    parser.add_argument("work")
    parser.add_argument("--methods", nargs="+", default=["osem"])
    parser.add_argument("--splits", nargs="+", default=["test", "validation"])
    parser.add_argument("--counts", type=float, default=5e4, help="only scans of so many events")
    parser.add_argument("--first", type=int, default=0, help="number of the first test scan")
    parser.add_argument("--scans", type=int, default=None, help="at most so many scans of a split")
    main(parser.parse_args())
