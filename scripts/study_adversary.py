"""Does the adversary help? The main job over several seeds, into docs/results/adversary.{md,json}.

    python scripts/study_adversary.py DATA_FOLDER WORK_FOLDER [SEED ...]

Trains GAN and control for each seed side by side, one thread each, evaluates both beside tuned OSEM, and
gathers the figures of every mouse. Finished runs are kept, so that a stopped study goes on.
"""

from __future__ import annotations

import csv
import datetime
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from hspi_learn.evaluation.tables import Table
from hspi_learn.metrics import Interval, mean_interval
from hspi_learn.visual import method_label

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
WEIGHTS = {"gan": ["experiment=gan"], "control": ["experiment=control"]}
METHODS = ("gan", "control", "osem", "mean_image")


def main(data: str, work: Path, seeds: list[int]) -> None:
    for seed in seeds:
        _train(data, work, seed)
        _evaluate(data, work, seed)
    figures = {seed: json.loads((work / f"report-{seed}" / "metrics.json").read_text()) for seed in seeds}
    differences = torch.stack([_difference(work / f"report-{seed}") for seed in seeds])
    _write(figures, differences, seeds)


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"hspi_learn.commands.{name}", *arguments]


def _train(data: str, work: Path, seed: int) -> None:
    """GAN and control of a seed at once; a finished run is kept."""
    jobs = []
    for name, extra in WEIGHTS.items():
        folder = work / f"{name}-{seed}"
        if not (folder / "model.safetensors").exists():
            arguments = (f"data.folder={data}", f"run_dir={folder}", f"seed={seed}", *extra)
            jobs.append(subprocess.Popen(_command("train", *arguments)))
    codes = [job.wait() for job in jobs]
    if any(codes):
        sys.exit(f"training of seed {seed} failed")


def _evaluate(data: str, work: Path, seed: int) -> None:
    folder = work / f"report-{seed}"
    if not (folder / "metrics.json").exists():
        runs = [f"runs.{name}={work / f'{name}-{seed}'}" for name in WEIGHTS]
        subprocess.run(_command("evaluate", f"data.folder={data}", *runs, f"run_dir={folder}"), check=True)


def _difference(report: Path) -> torch.Tensor:
    """NRMSE of GAN minus control of each test mouse, mean over maps, clean and at full counts, [mouse]."""
    errors: dict[str, dict[int, list[float]]] = {name: {} for name in WEIGHTS}
    names = {method_label(name): name for name in WEIGHTS}
    with (report / "tables" / "mice.csv").open() as file:
        for row in csv.DictReader(file):
            name = names.get(row["method"], "")
            if row["condition"] == "clean" and float(row["share"]) == 1 and name in errors:
                errors[name].setdefault(int(row["mouse"]), []).append(float(row["nrmse"]))
    mice = sorted(errors["gan"])
    gan, control = ([statistics.mean(errors[name][m]) for m in mice] for name in ("gan", "control"))
    return torch.tensor(gan) - torch.tensor(control)


def _write(figures: dict[int, dict[str, float]], differences: torch.Tensor, seeds: list[int]) -> None:
    mean = differences.mean(0)
    overall = mean_interval(mean)
    table = Table(
        "adversary",
        "NRMSE on unseen mice; median over mice, mean and standard deviation over seeds.",
        ("method", "clean", "sd", "attacked", "mean over mice", "worst mouse", "tumours only"),
        tuple(_row(figures, method) for method in METHODS),
    )
    per_seed = {s: mean_interval(d) for s, d in zip(seeds, differences, strict=True)}
    trainings = mean_interval(differences.mean(1))  # how far another seed may lie
    lines = [
        "# Does the adversary help?",
        "",
        f"`python scripts/study_adversary.py DATA WORK {' '.join(map(str, seeds))}` on data of "
        f"`hspi-generate`'s defaults; commit {_commit()}; {_machine()}; {datetime.date.today():%Y-%m-%d}.",
        "",
        table.markdown(),
        "GAN minus control, mean over mice with 95 % t interval:",
        "",
        *(f"- seed {s}: {_told(i)}" for s, i in per_seed.items()),
        f"- mean over seeds, of these networks: {_told(overall)}: {_verdict(overall)}.",
        f"- mean over seeds, 95 % t interval over trainings: {_told(trainings)}: {_verdict(trainings)}.",
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "adversary.md").write_text("\n".join(lines) + "\n")
    numbers = {
        f"seed_{seed}/{key}": value for seed, values in figures.items() for key, value in values.items()
    }
    for name, interval in (("of_these_networks", overall), ("over_trainings", trainings)):
        numbers |= {f"gan_minus_control/{name}/{k}": v for k, v in interval._asdict().items()}
    (RESULTS / "adversary.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    print("\n".join(lines))


def _told(interval: Interval) -> str:
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _verdict(interval: Interval) -> str:
    if not interval.excludes_zero:
        return "no difference is shown"
    return "the adversary helps" if interval.value < 0 else "the adversary harms"


def _row(figures: dict[int, dict[str, float]], method: str) -> tuple[str | float, ...]:
    """A method's figures over the seeds; one that was not attacked has none there."""

    def over(key: str) -> list[float]:
        return [values.get(key, float("nan")) for values in figures.values()]

    clean = over(f"test/nrmse/{method}")
    spread = statistics.stdev(clean) if len(clean) > 1 else float("nan")
    rest = (
        f"nrmse/{method}_attacked",
        f"nrmse_mean/{method}",
        f"nrmse_worst/{method}",
        f"nrmse_tumour/{method}",
    )
    return (method, statistics.mean(clean), spread, *(statistics.mean(over(f"test/{key}")) for key in rest))


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def _machine() -> str:
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), [int(s) for s in sys.argv[3:]] or [0, 1, 2])
