"""Can the class of a scan be told from its panel images? A small network beside simple baselines.

    python scripts/study_classification.py DATA WORK [--attacked 120] [--only hot_spots]

Two sets of classes: how many tumours of 3 to 6 mm a mouse has (individuals drawn online on 200 anatomies),
and how a tumour of 8 to 10 mm takes up activity (stored mice). Scans have 1e5 events; test scans are judged
with 1, 0.3 and 0.1 of them, and attacked within a Poisson box. Data sets are made in DATA, trainings and
reports in WORK; each is gone on with where it was stopped. Writes docs/results/classification.{md,json}.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from data_gen.forward_model.line_windows import Windows
from data_gen.phantoms import ORGANS
from hspi_learn.data import ScanDataModule, collate
from hspi_learn.evaluation import thinned_scans
from hspi_learn.evaluation.tables import Table
from hspi_learn.metrics import one_against_rest_auc, separate_lesions, share_interval
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import HotSpots, ScanClasses, UptakePattern

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SHARES = (1.0, 0.3, 0.1)
EVENTS = 1e5
AIM = 0.8
TILES = 10
WIDTHS, RIDGES = (0.25, 0.5, 1.0, 2.0, 4.0), (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Study(NamedTuple):
    """A set of classes, and the data that it is told apart in."""

    title: str
    classes: ScanClasses
    generate: tuple[str, ...]
    train: tuple[str, ...]
    windows: Windows
    steps: int
    online: bool


STUDIES = {
    "hot_spots": Study(
        "How many tumours (3 to 6 mm, 20 to 40 %/g)?",
        HotSpots(),
        ("phantom=mouse_hot_spots", "dataset.sizes={train: 8, validation: 40, test: 120}"),
        ("experiment=classification_hot_spots", "population=online"),
        "lines",
        500,
        True,
    ),
    "patterns": Study(
        "How does a tumour (8 to 10 mm, 20 to 40 %/g) take up activity?",
        UptakePattern(),
        ("phantom=mouse_patterns", "dataset.sizes={train: 320, validation: 48, test: 120}"),
        ("experiment=classification_uptake_pattern", "windows_kev=[20,600]"),
        (20.0, 600.0),
        1500,
        False,
    ),
}
NETWORKS = ("panel_cnn", "panel_linear")


def main(asked: argparse.Namespace) -> None:
    asked.work.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, float] = {}
    kept = RESULTS / "classification.json"
    if kept.exists():
        numbers |= json.loads(kept.read_text())
    for name in asked.only:
        _generate(asked, name)
        for network in NETWORKS:
            _train(asked, name, network)
        found = _evaluate(asked, name) | _kernel_ridge(asked, name)
        found |= _by_size(asked, name) if name == "hot_spots" else {}
        numbers = {key: value for key, value in numbers.items() if not key.startswith(f"{name}/")}
        numbers |= {f"{name}/{key}": value for key, value in found.items()}
        _write(asked, numbers)


def _run(command: str, log: Path, *arguments: str) -> None:
    """A command, whose output goes to a log.

    Raises:
        SystemExit: it fails.
    """
    call = [sys.executable, "-m", f"hspi_learn.commands.{command}", *arguments]
    with log.open("a") as file:
        if subprocess.run(call, stdout=file, stderr=file, check=False).returncode:
            sys.exit(f"hspi-{command} failed; its last words are in {log}")


def _generate(asked: argparse.Namespace, name: str) -> None:
    """The data set, or what is missing of it."""
    folder = asked.data / name
    if not (folder / "manifest.json").exists():
        about = (*STUDIES[name].generate, f"dataset.counts=[{EVENTS},{EVENTS}]", "workers=2")
        _run("generate", asked.work / f"{name}.log", f"output={folder}", *about)


def _train(asked: argparse.Namespace, name: str, network: str) -> None:
    """One training, from its beginning or from where it was stopped; a finished one is kept."""
    folder = asked.work / f"{name}_{network}"
    log = folder.with_suffix(".log")
    if (folder / "metrics.json").exists():
        return
    if (folder / "config.yaml").exists():
        _run("train", log, f"resume={folder}")
        return
    _run(
        "train",
        log,
        f"data.folder={asked.data / name}",
        f"run_dir={folder}",
        *STUDIES[name].train,
        f"network@task.network={network}",
        f"trainer.max_steps={STUDIES[name].steps}",
    )


def _evaluate(asked: argparse.Namespace, name: str) -> dict[str, float]:
    """Figures of both networks on the test scans; kept once made."""
    folder = asked.work / f"{name}_report"
    if not (folder / "metrics.json").exists():
        _run(
            "evaluate",
            asked.work / f"{name}_report.log",
            f"data.folder={asked.data / name}",
            "+data.memory_gib=2",
            "data.batch_size=20",
            *(f"+runs.{network}={asked.work / f'{name}_{network}'}" for network in NETWORKS),
            f"run_dir={folder}",
            f"count_fractions=[{','.join(map(str, SHARES))}]",
            f"attacked_scans={asked.attacked}",
            "threat_model=poisson_box",
            "workers=0",
        )
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return {key.removeprefix("test/"): value for key, value in found.items()}


def _data(asked: argparse.Namespace, name: str) -> ScanDataModule:
    """The scans that the networks see, training ones drawn online where theirs are."""
    from hspi_learn.data import OnlineTraining

    population = OnlineTraining() if STUDIES[name].online else None
    windows = STUDIES[name].windows
    return ScanDataModule(str(asked.data / name), windows, memory_gib=0.0, population=population)


def _features(scans: ScanBatch, shape: tuple[int, ...]) -> Tensor:
    """What the linear network sees of scans, [scan, feature]: square roots of counts, averaged over tiles."""
    stable = (scans.projections + 0.375).sqrt() - 0.375**0.5
    images = stable.mean(dim=2).unflatten(1, shape)
    tiles = functional.adaptive_avg_pool2d(images, TILES).flatten(1)
    return tiles / tiles.mean(dim=1, keepdim=True)


def _seen(asked: argparse.Namespace, name: str, split: str) -> tuple[dict[float, Tensor], Tensor]:
    """Features of a split at each share of the counts, and classes."""
    data = _data(asked, name)
    camera = data.system.camera
    shape = (camera.panels, camera.spec.detector.rows, camera.spec.detector.columns)
    features: dict[float, list[Tensor]] = {share: [] for share in SHARES}
    classes: list[Tensor] = []
    scans = data.windowed(split)
    for number in range(len(scans)):
        batch = collate([scans[number]])
        classes.append(STUDIES[name].classes.of(batch))
        for share in SHARES:
            features[share].append(_features(thinned_scans(batch, share, 0), shape))
    return {share: torch.cat(parts) for share, parts in features.items()}, torch.cat(classes)


def _kernel_ridge(asked: argparse.Namespace, name: str) -> dict[str, float]:
    """Kernel ridge regression of the classes' indicators, its width and ridge tuned on validation scans.

    It is trained and tuned at each share of the counts by itself, which no network is.
    """
    kept = asked.work / f"{name}_kernel_ridge.json"
    if kept.exists():
        found: dict[str, float] = json.loads(kept.read_text())
        return found
    splits = {split: _seen(asked, name, split) for split in ("train", "validation", "test")}
    names = STUDIES[name].classes.names
    numbers: dict[str, float] = {}
    for share in SHARES:
        (train, known), (validation, tuned), (test, true) = (
            (features[share].double(), classes) for features, classes in splits.values()
        )
        usual = torch.cdist(train, train).median()

        def scores(seen: Tensor, width: float, ridge: float, at: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            start, classes, scale = at
            kernel, across = (
                (-((torch.cdist(some, start) / (width * scale)) ** 2) / 2).exp() for some in (start, seen)
            )
            target = functional.one_hot(classes, len(names)).double() - 1 / len(names)
            return across @ torch.linalg.solve(kernel + ridge * torch.eye(len(start)), target)

        at = (train, known, usual)
        tried = {
            setting: float((scores(validation, *setting, at).argmax(1) == tuned).double().mean())
            for setting in itertools.product(WIDTHS, RIDGES)
        }
        best = max(tried, key=lambda setting: tried[setting])
        answer = scores(test, *best, at)
        level = "" if share == 1 else f"_at_{share:g}"
        interval = share_interval(answer.argmax(1) == true)
        numbers |= {
            f"accuracy{level}/kernel_ridge": interval.value,
            f"accuracy{level}/kernel_ridge/low": interval.low,
            f"accuracy{level}/kernel_ridge/high": interval.high,
            f"macro_auc{level}/kernel_ridge": float(one_against_rest_auc(answer.sigmoid(), true).nanmean()),
            f"width{level}/kernel_ridge": best[0],
            f"ridge{level}/kernel_ridge": best[1],
        }
    kept.write_text(json.dumps(numbers, indent=1, sort_keys=True))
    return numbers


def _by_size(asked: argparse.Namespace, name: str) -> dict[str, float]:
    """Accuracy of the network at full counts by the volume of the smallest tumour of a scan."""
    data = _data(asked, name)
    with (asked.work / f"{name}_report" / "tables" / "samples.csv").open() as lines:
        right = {
            int(row["sample"]): float(row["value"])
            for row in csv.DictReader(lines)
            if row["condition"] == "clean"
            and row["share"] == "1"
            and row["method"] == "panel cnn"
            and row["score"] == "accuracy"
        }
    found: dict[str, list[float]] = {}
    for number, value in right.items():
        labels = data.windowed("test")[number].labels[None, None]
        lesions = torch.bincount(separate_lesions(labels == ORGANS.index("tumour")).flatten())[1:]
        smallest = float(lesions.min()) * 1000 * data.system.grid.voxel_volume_ml if len(lesions) else np.inf
        sizes = {"no tumour": np.inf, "60 mm3 and more": 60.0, "30 to 60 mm3": 30.0, "below 30 mm3": 0.0}
        found.setdefault(next(key for key, least in sizes.items() if smallest >= least), []).append(value)
    numbers: dict[str, float] = {}
    for size, values in found.items():
        numbers |= {f"size/{size}/accuracy": float(np.mean(values)), f"size/{size}/scans": float(len(values))}
    return numbers


def _write(asked: argparse.Namespace, numbers: dict[str, float]) -> None:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    lines = [
        "# Can the class of a scan be told from its panel images?",
        "",
        f"`python scripts/study_classification.py DATA WORK --attacked {asked.attacked}`; "
        f"commit {commit.stdout.strip() or 'unknown'}; "
        f"{platform.machine()}, 1 thread, torch {torch.__version__}; {datetime.date.today():%Y-%m-%d}.",
        "",
        "Demo camera, Ra-223, all energies together. `panel_cnn` and `panel_linear` (logistic regression) "
        "are trained by updates of 16 scans, each thinned to a share of 0.1 to 1 of its 1e5 events; kernel "
        "ridge regression is trained and tuned at each share by itself. Intervals are 95 %. "
        "Attack: PGD-5 on the cross entropy within |u| <= 0.3 standard deviations of the expected counts in "
        "every bin; random: one draw at the rim of the same box.",
        "",
        _verdict(numbers),
        "",
    ]
    for name in STUDIES:
        if any(key.startswith(f"{name}/") for key in numbers):
            mice = "1000 drawn mice" if STUDIES[name].online else "the mice of the training split"
            lines += [f"## {STUDIES[name].title}", ""]
            lines += [f"`{' '.join(STUDIES[name].generate)}`; {STUDIES[name].steps} updates on {mice}.", ""]
            lines += _tables(name, numbers)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "classification.md").write_text("\n".join(lines).rstrip() + "\n")
    (RESULTS / "classification.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    print("\n".join(lines))


def _verdict(numbers: dict[str, float]) -> str:
    """Whether the network reaches the accuracy that is asked for, of some classes at all events."""
    found = {name: numbers.get(f"{name}/accuracy/panel_cnn", 0.0) for name in STUDIES}
    best = max(found, key=lambda name: found[name])
    reached = "is reached" if found[best] >= AIM else "is not reached"
    return (
        f"An accuracy of {AIM} at {EVENTS:.0e} events {reached}: the highest is {found[best]:.2f} ({best}). "
        "One training of each, of minutes on a core: more mice and updates have not been tried. What was not "
        "run is a dash."
    )


def _tables(name: str, numbers: dict[str, float]) -> list[str]:
    """Accuracy by events, the classes of the network, and for hot spots the size of the smallest tumour."""
    levels = {share: "" if share == 1 else f"_at_{share:g}" for share in SHARES}

    def found(key: str) -> float:
        return numbers.get(f"{name}/{key}", float("nan"))

    def accuracy(level: str, method: str) -> str:
        value, low, high = (found(f"accuracy{level}/{method}{end}") for end in ("", "/low", "/high"))
        return f"{value:.3f} ({low:.2f} to {high:.2f})" if value == value else "-"

    columns = ("method", *(f"{share * EVENTS:.0e} events" for share in SHARES))
    columns = (*columns, "macro AUC, 1e5", "random, 1e5", "attacked, 1e5")
    rows = [
        (
            method,
            *(accuracy(level, method) for level in levels.values()),
            found(f"macro_auc/{method}"),
            accuracy("", f"{method}_random"),
            accuracy("", f"{method}_attacked"),
        )
        for method in (*NETWORKS, "kernel_ridge")
    ]
    rows.append(("most frequent class", *[f"{found('majority_accuracy'):.3f}"] * 3, 0.5, "-", "-"))
    about = f"Accuracy on {found('samples'):.0f} unseen mice."
    told = [Table("accuracy", about, columns, tuple(rows)).markdown()]
    names = STUDIES[name].classes.names
    by_class = tuple(
        (
            true,
            *(f"{found(f'confusion/panel_cnn/{true}/{predicted}'):.0f}" for predicted in names),
            *(found(f"recall_{true}{level}/panel_cnn") for level in levels.values()),
            found(f"auc_{true}/panel_cnn"),
        )
        for true in names
    )
    recalls = tuple(f"told right, {share * EVENTS:.0e}" for share in SHARES)
    columns = ("true class", *(f"as {predicted}" for predicted in names), *recalls, "AUC, 1e5")
    told.append(
        Table("classes", "The network: scans by predicted class at 1e5 events.", columns, by_class).markdown()
    )
    sizes = ("no tumour", "60 mm3 and more", "30 to 60 mm3", "below 30 mm3")
    if found("accuracy/panel_cnn/low") > found("majority_accuracy") and name == "hot_spots":
        by_size = tuple(
            (size, f"{found(f'size/{size}/scans'):.0f}", found(f"size/{size}/accuracy")) for size in sizes
        )
        about = "The network at 1e5 events by the smallest tumour of a scan."
        told.append(Table("sizes", about, ("smallest tumour", "scans", "accuracy"), by_size).markdown())
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--attacked", type=int, default=120)
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    main(parser.parse_args())
