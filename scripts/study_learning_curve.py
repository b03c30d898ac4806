"""How much do more mice help? One network trained on 160, 1,000 and 5,000 individuals, as many steps each.

    python scripts/study_learning_curve.py DATA_FOLDER WORK_FOLDER [--subjects 160 1000 5000] [--seeds 0]
                                           [--steps 1500] [--side-by-side 2]

DATA_FOLDER: hspi-generate output=DATA_FOLDER 'dataset.sizes={train: 160, validation: 32, test: 200}'.
Individuals are drawn online on 200 anatomies by the plan of the data set; its validation scans choose the
weights, its test scans judge. Every training is a run folder that is gone on with where it was stopped.
Writes docs/results/learning_curve.{md,json}.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from hspi_learn.evaluation.tables import Table

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
BATCH = 4
VALIDATIONS = 8
FIGURES = {
    "NRMSE": "nrmse/{}",
    "tumour error": "tumour_error/{}/{}",
    "tumour bias": "tumour_bias/{}/{}",
    "tumour slope": "tumour_slope/{}/{}",
    "detection AUC": "tumour_auc/{}/{}",
    "false lesions": "false_lesions/{}/{}",
    "organ error": "organ_error/{}/{}",
}


def main(asked: argparse.Namespace) -> None:
    cells = [(n, seed) for seed in asked.seeds for n in sorted(asked.subjects, reverse=True)]
    with ThreadPoolExecutor(asked.side_by_side) as pool:
        list(pool.map(lambda cell: _train(asked, *cell), cells))
    numbers = _evaluate(asked, cells)
    _write(asked, numbers)


def _name(subjects: int, seed: int) -> str:
    return f"n{subjects}_s{seed}"


def _run(command: str, log: Path, *arguments: str) -> None:
    """A command, whose output goes to a log.

    Raises:
        SystemExit: it fails.
    """
    call = [sys.executable, "-m", f"hspi_learn.commands.{command}", *arguments]
    with log.open("a") as file:
        if subprocess.run(call, stdout=file, stderr=file, check=False).returncode:
            sys.exit(f"hspi-{command} failed; its last words are in {log}")


def _train(asked: argparse.Namespace, subjects: int, seed: int) -> None:
    """One training, from its beginning or from where it was stopped; a finished one is kept."""
    folder = asked.work / _name(subjects, seed)
    log = folder.with_suffix(".log")
    asked.work.mkdir(parents=True, exist_ok=True)
    if (folder / "metrics.json").exists():
        return
    if (folder / "config.yaml").exists():
        _run("train", log, f"resume={folder}")
        return
    epochs = asked.steps * BATCH / subjects
    _run(
        "train",
        log,
        f"data.folder={asked.data}",
        f"run_dir={folder}",
        f"seed={seed}",
        "experiment=control",
        "~task.losses.data",
        "~task.losses.count",
        "windows=lines",
        "population=online",
        f"data.population.subjects={subjects}",
        "+data.memory_gib=6",
        f"data.batch_size={BATCH}",
        f"trainer.max_steps={asked.steps}",
        f"trainer.check_val_every_n_epoch={max(1, round(epochs / VALIDATIONS))}",
    )


def _evaluate(asked: argparse.Namespace, cells: list[tuple[int, int]]) -> dict[str, float]:
    """Figures of all trainings on the test scans, beside tuned OSEM and the mean image; kept once made."""
    names = [_name(*cell) for cell in cells]
    folder = asked.work / ("report_" + "_".join(names))
    if not (folder / "metrics.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # of an evaluation that was stopped
        _run(
            "evaluate",
            asked.work / "evaluate.log",
            f"data.folder={asked.data}",
            *(f"+runs.{name}={asked.work / name}" for name in names),
            f"run_dir={folder}",
            "count_fractions=[1.0]",
            "attacked_scans=0",
            "protocols.reconstruction.noise_realisations=0",
            f"workers={asked.side_by_side}",
        )
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


def _write(asked: argparse.Namespace, numbers: dict[str, float]) -> None:
    maps = sorted({key.split("/")[3] for key in numbers if key.startswith("test/tumour_bias/")}, reverse=True)
    tables = [_table(asked, numbers, one) for one in maps]
    command = (
        f"python scripts/study_learning_curve.py DATA WORK --subjects {_joined(asked.subjects)} "
        f"--seeds {_joined(asked.seeds)} --steps {asked.steps}"
    )
    lines = [
        "# How much do more mice help?",
        "",
        f"`{command}`; commit {_commit()}; {platform.machine()}, 1 thread each, torch {torch.__version__}; "
        f"{datetime.date.today():%Y-%m-%d}.",
        "",
        "Residual U-Net, NRMSE alone as its loss, on individuals drawn online on 200 anatomies, "
        f"{asked.steps} steps of batches of {BATCH} for each number of individuals. One row is the mean of "
        f"{len(asked.seeds)} training(s); test scans are those that the data set stores.",
        "",
        *(table.markdown() for table in tables),
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "learning_curve.md").write_text("\n".join(lines) + "\n")
    (RESULTS / "learning_curve.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    print("\n".join(lines))


def _table(asked: argparse.Namespace, numbers: dict[str, float], one: str) -> Table:
    """Figures of one map: mean over trainings of each number of individuals."""
    methods = {f"{n} individuals": [_name(n, s) for s in asked.seeds] for n in sorted(asked.subjects)}
    methods |= {"tuned OSEM": ["osem"], "mean image": ["mean_image"]}
    rows = tuple(
        (title, *(_mean(numbers, f"test/{key}", names, one) for key in FIGURES.values()))
        for title, names in methods.items()
    )
    caption = f"{one}; NRMSE is the median over scans and the mean over maps."
    return Table(f"learning_curve_{one}", caption, ("trained on", *FIGURES), rows)


def _mean(numbers: dict[str, float], key: str, names: list[str], one: str) -> float:
    return statistics.mean(numbers.get(key.format(name, one), float("nan")) for name in names)


def _joined(values: list[int]) -> str:
    return " ".join(map(str, values))


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
    parser.add_argument("--subjects", type=int, nargs="+", default=[160, 1000, 5000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--side-by-side", type=int, default=2)
    main(parser.parse_args())
