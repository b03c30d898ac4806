"""How well are projections denoised: from truth, against an adversary, and without truth by Noise2Noise?

    python scripts/study_denoiser.py DATA_FOLDER WORK_FOLDER [--trainings control noise2noise adversarial]
                                     [--subjects 1000] [--seeds 0] [--steps 1000 ...] [--test-scans 100]

DATA_FOLDER: hspi-generate output=DATA_FOLDER 'dataset.sizes={train: 160, validation: 32, test: 200}'.
Individuals are drawn online by the plan of the data set; its validation scans choose weights and tune the
baselines, its first test scans judge. Every training is a run folder that is gone on with where it was
stopped, and the evaluation is kept once made. Writes docs/results/denoiser.{md,json}.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from hspi_learn.evaluation.tables import Table

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
BATCH = 4
VALIDATIONS = 4
BASELINES = ("noisy", "gaussian", "map_rdp", "linear")
TUNING = {"penalty": "[0.03,0.1,0.3]", "iterations": "[3,5,8]", "postfilter_fwhm_mm": "[0.0,1.5]"}
"""Settings of MAP that are tried: fewer than in the config, since each costs a projection of every scan."""

LIMITS = {"gaussian": 0.9, "map_rdp": 1.0, "supervised": 1.1}
"""What the ratio to each must not exceed: in every window, and in the mean weighted by counts."""


def main(asked: argparse.Namespace) -> None:
    asked.work.mkdir(parents=True, exist_ok=True)
    for kind, steps in zip(asked.trainings, _steps(asked), strict=True):
        for seed in asked.seeds:
            _train(asked, kind, seed, steps)
    _write(asked, _evaluate(asked))


def _steps(asked: argparse.Namespace) -> list[int]:
    """Steps of each training; one number is that of all.

    Raises:
        SystemExit: there are neither one nor as many as trainings.
    """
    steps: list[int] = asked.steps * len(asked.trainings) if len(asked.steps) == 1 else asked.steps
    if len(steps) != len(asked.trainings):
        sys.exit(f"--steps has {len(steps)} numbers; it needs one, or one for each of {asked.trainings}")
    return steps


def _name(kind: str, seed: int) -> str:
    return f"{kind}_s{seed}"


def _run(command: str, log: Path, *arguments: str) -> None:
    """A command, whose output goes to a log.

    Raises:
        SystemExit: it fails.
    """
    call = [sys.executable, "-m", f"hspi_learn.commands.{command}", *arguments]
    with log.open("a") as file:
        if subprocess.run(call, stdout=file, stderr=file, check=False).returncode:
            sys.exit(f"hspi-{command} failed; its last words are in {log}")


def _train(asked: argparse.Namespace, kind: str, seed: int, steps: int) -> None:
    """One training, from its beginning or from where it was stopped; a finished one is kept."""
    folder = asked.work / _name(kind, seed)
    log = folder.with_suffix(".log")
    if (folder / "metrics.json").exists():
        return
    if (folder / "config.yaml").exists():
        _run("train", log, f"resume={folder}")
        return
    epochs = steps * BATCH / asked.subjects
    _run(
        "train",
        log,
        f"data.folder={asked.data}",
        f"run_dir={folder}",
        f"seed={seed}",
        f"experiment=denoising_{kind}",
        "population=online",
        f"data.population.subjects={asked.subjects}",
        f"data.batch_size={BATCH}",
        f"trainer.max_steps={steps}",
        f"trainer.check_val_every_n_epoch={max(1, round(epochs / VALIDATIONS))}",
    )


def _evaluate(asked: argparse.Namespace) -> dict[str, float]:
    """Figures of all trainings and baselines on the test scans; kept once made."""
    names = [_name(kind, seed) for seed in asked.seeds for kind in asked.trainings]
    folder = asked.work / f"report_{asked.test_scans}_{'_'.join(names)}"
    if not (folder / "metrics.json").exists():
        _run(
            "evaluate",
            asked.work / "evaluate.log",
            f"data.folder={asked.data}",
            *(f"+runs.{name}={asked.work / name}" for name in names),
            f"run_dir={folder}",
            "count_fractions=[1.0]",
            "attacked_scans=0",
            f"protocols.denoising.test_scans={asked.test_scans}",
            *(f"protocols.denoising.tuning.map_rdp.{name}={values}" for name, values in TUNING.items()),
            f"protocols.denoising.tuning_scans={asked.tuning_scans}",
            f"workers={asked.workers}",
        )
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


def _windows(numbers: dict[str, float]) -> list[str]:
    """Names of the windows by rising energy."""
    found = {key.split("/")[2] for key in numbers if key.startswith("test/nrmse_ratio/")} - {"all"}
    return sorted(found, key=lambda name: float(name.split("_")[0]))


def _write(asked: argparse.Namespace, numbers: dict[str, float]) -> None:
    rows = {base: [base] for base in BASELINES}
    rows |= {kind: [_name(kind, seed) for seed in asked.seeds] for kind in asked.trainings}
    headline = _headline(asked, numbers)
    told = ", ".join(f"{steps} ({kind})" for kind, steps in zip(asked.trainings, _steps(asked), strict=True))
    command = (
        f"python scripts/study_denoiser.py DATA WORK --trainings {' '.join(asked.trainings)} "
        f"--subjects {asked.subjects} --seeds {_joined(asked.seeds)} --steps {_joined(asked.steps)} "
        f"--tuning-scans {asked.tuning_scans} --test-scans {asked.test_scans}"
    )
    lines = [
        "# How well are projections denoised?",
        "",
        f"`{command}`; commit {_commit()}; {platform.machine()}, 1 thread, torch {torch.__version__}; "
        f"{datetime.date.today():%Y-%m-%d}.",
        "",
        f"{told} steps of batches of {BATCH} on {asked.subjects} individuals drawn online on "
        "200 anatomies, a tenth to all of their counts at each step. `linear` is the Wiener filter in "
        "principal components of the training scans that the first network corrects; `map_rdp` is the "
        "reprojected MAP reconstruction, tuned on validation scans for the error of its projection, and no "
        f"input of any network. A training's row is the mean of {len(asked.seeds)} training(s).",
        "",
        _table(numbers, rows).markdown(),
        "",
        *(
            f"- {key}: {value:.3f}"
            for key, value in headline.items()
            if "/pass" not in key and "kev" not in key
        ),
        "",
        f"MAP was tuned over {TUNING} on {asked.tuning_scans} scans: "
        + ", ".join(f"{name} {numbers.get(f'test/tuned/map_rdp/{name}', math.nan):g}" for name in TUNING)
        + ". A choice at the end of its list might be better beyond it.",
        "",
        *_differences(asked, numbers),
        "",
        "Errors over all pixels are ruled by the anatomy. The spot of a small tumour may be lost, since it "
        "has next to no part in principal components of the population: see the pictures of the evaluation "
        "(`figures/*_panel.png`) before a denoised scan is read for lesions.",
        "",
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "denoiser.md").write_text("\n".join(lines))
    (RESULTS / "denoiser.json").write_text(json.dumps(numbers | headline, indent=1, sort_keys=True) + "\n")
    print("\n".join(lines))


def _headline(asked: argparse.Namespace, numbers: dict[str, float]) -> dict[str, float]:
    """The points that the denoiser is held to, by the first training named, and Noise2Noise against it."""
    names = [_name(asked.trainings[0], seed) for seed in asked.seeds]
    found = {
        f"denoiser/nrmse_ratio/{window}": _mean(numbers, f"test/nrmse_ratio/{window}/{{}}", names)
        for window in ("all", *_windows(numbers))
    }
    found["denoiser/nrmse_ratio_worst_window"] = max(
        v for key, v in found.items() if not key.endswith("/all")
    )
    found["denoiser/nrmse_ratio_to_map_rdp"] = _mean(numbers, "test/nrmse_ratio_to_map_rdp/all/{}", names)
    points = [("worst_window", "gaussian"), ("to_map_rdp", "map_rdp")]
    if "noise2noise" in asked.trainings and "control" in asked.trainings:
        key = "test/projection_nrmse/{}"
        blind, told = (
            _mean(numbers, key, [_name(kind, seed) for seed in asked.seeds])
            for kind in ("noise2noise", "control")
        )
        found["denoiser/nrmse_ratio_noise2noise_to_supervised"] = blind / told
        points.append(("noise2noise_to_supervised", "supervised"))
    for point, limit in points:
        value = found[f"denoiser/nrmse_ratio_{point}"]
        found[f"denoiser/nrmse_ratio_{point}/limit"] = LIMITS[limit]
        found[f"denoiser/nrmse_ratio_{point}/pass"] = float(value <= LIMITS[limit])
    return found


def _differences(asked: argparse.Namespace, numbers: dict[str, float]) -> list[str]:
    """How far each training is from the linear estimate and from MAP, paired over scans."""
    told = []
    for kind in asked.trainings:
        for seed, other in itertools.product(asked.seeds, ("linear", "map_rdp")):
            key = f"test/projection_nrmse_difference/{other}_minus_{_name(kind, seed)}"
            value, low, high = (numbers.get(k, math.nan) for k in (key, f"{key}/low", f"{key}/high"))
            interval = f"95 % interval over scans {low:+.4f} to {high:+.4f}"
            told.append(f"- {other} minus {kind}, seed {seed}: {value:+.4f}, {interval}")
    return told


def _table(numbers: dict[str, float], rows: dict[str, list[str]]) -> Table:
    """NRMSE of each method, in the mean over windows and in each of them."""
    columns = {"all": "test/projection_nrmse/{}"}
    columns |= {window: f"test/projection_nrmse_{window}/{{}}" for window in _windows(numbers)}
    cells = tuple(
        (title, *(_mean(numbers, key, names) for key in columns.values())) for title, names in rows.items()
    )
    caption = (
        "NRMSE of projections against their noise-free expectation, mean over test scans (all: windows too, "
        "weighted by counts)."
    )
    return Table("denoiser", caption, ("method", *columns), cells)


def _joined(values: list[int]) -> str:
    return " ".join(map(str, values))


def _mean(numbers: dict[str, float], key: str, names: list[str]) -> float:
    return statistics.mean(numbers.get(key.format(name), float("nan")) for name in names)


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("work", type=Path)
    parser.add_argument("--trainings", nargs="+", default=["control", "noise2noise", "adversarial"])
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1000])
    parser.add_argument("--tuning-scans", type=int, default=8)
    parser.add_argument("--test-scans", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    main(parser.parse_args())
