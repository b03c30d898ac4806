"""What does an adversary buy, and what does it cost? Error against likeness to truths, over its weight.

    python scripts/study_perception_distortion.py DATA_FOLDER WORK_FOLDER [--games hinge wgan_gp relativistic]
        [--ratios 0.1 0.3 1.0] [--seeds 0] [--subjects 5000] [--steps 1500] [--side-by-side 1]

DATA_FOLDER: hspi-generate output=DATA_FOLDER 'dataset.sizes={train: 160, validation: 32, test: 200}'.
For each seed a control and, for each game of conf/adversary and each ratio of gradients, a training of as
many steps on the same individuals (population=online), evaluated together on the test scans: the control
sharpened by a linear filter stands beside them, and the Frechet distance of the test truths is the floor.
Every training is a run folder WORK_FOLDER/NAME that is gone on with where it was stopped, and one that was
put there under its name (control_s0, hinge_r0p3_s0) is taken as it is. Writes
docs/results/perception_distortion.{md,json,png}.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from hspi_learn.evaluation.tables import Table
from hspi_learn.metrics import Interval, mean_interval
from hspi_learn.visual import method_colour, method_label, save_figure
from hspi_learn.visual.style import paper_figure

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
BATCH = 4
NOT_TRAINED = ("control_sharpened", "osem", "mean_image")
FIGURES = {
    "NRMSE": "nrmse/{}",
    "Frechet distance": "frechet/{}",
    "power": "power_ratio/{}",
    "variation": "total_variation/{}",
}
BY_MAP = {
    "tumour error": "tumour_error/{}/{}",
    "tumour bias": "tumour_bias/{}/{}",
    "detection AUC": "tumour_auc/{}/{}",
    "false lesions": "false_lesions/{}/{}",
    "organ error": "organ_error/{}/{}",
}
Numbers = dict[str, float]


def main(asked: argparse.Namespace) -> None:
    methods = ["control", *(_name(game, ratio) for game in asked.games for ratio in asked.ratios)]
    cells = [(method, seed) for seed in asked.seeds for method in methods]
    with ThreadPoolExecutor(asked.side_by_side) as pool:
        list(pool.map(lambda cell: _train(asked, *cell), cells))
    found = [_evaluate(asked, methods, seed) for seed in asked.seeds]
    _write(asked, methods, found)


def _name(game: str, ratio: float) -> str:
    """Of a method; a dot would open a level of the config."""
    return f"{game}_r{ratio:g}".replace(".", "p")


def _run(command: str, log: Path, *arguments: str) -> None:
    """A command, whose output goes to a log.

    Raises:
        SystemExit: it fails.
    """
    call = [sys.executable, "-m", f"hspi_learn.commands.{command}", *arguments]
    with log.open("a") as file:
        if subprocess.run(call, stdout=file, stderr=file, check=False).returncode:
            sys.exit(f"hspi-{command} failed; its last words are in {log}")


def _train(asked: argparse.Namespace, method: str, seed: int) -> None:
    """One training, from its beginning or from where it was stopped; a finished one is kept."""
    folder = asked.work / f"{method}_s{seed}"
    log = folder.with_suffix(".log")
    asked.work.mkdir(parents=True, exist_ok=True)
    if (folder / "metrics.json").exists():
        return
    if (folder / "config.yaml").exists():
        _run("train", log, f"resume={folder}")
        return
    adversary = ["adversary=none"]
    if method != "control":
        game, _, written = method.rpartition("_r")
        ratio = written.replace("p", ".")
        adversary = [f"adversary={game}", f"task.adversary.gradient_ratio={ratio}", "task.adversary.weight=1"]
    _run(
        "train",
        log,
        f"data.folder={asked.data}",
        f"run_dir={folder}",
        f"seed={seed}",
        *adversary,
        "~task.losses.data",
        "~task.losses.count",
        "windows=lines",
        "population=online",
        f"data.population.subjects={asked.subjects}",
        "data.population.seed=0",
        "+data.memory_gib=2",
        f"data.batch_size={BATCH}",
        f"trainer.max_steps={asked.steps}",
        "trainer.check_val_every_n_epoch=1",
    )


def _evaluate(asked: argparse.Namespace, methods: Sequence[str], seed: int) -> Numbers:
    """Figures of all trainings of a seed on the test scans, beside tuned OSEM; kept once made."""
    folder = asked.work / f"report_s{seed}_{'_'.join(methods)}"
    if not (folder / "metrics.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # of an evaluation that was stopped
        named = (f"{'+' * (m != 'control')}runs.{m}={asked.work / f'{m}_s{seed}'}" for m in methods)
        _run(
            "evaluate",
            asked.work / "evaluate.log",
            f"data.folder={asked.data}",
            *named,
            f"run_dir={folder}",
            "+population=online",
            f"data.population.subjects={asked.subjects}",
            "data.population.seed=0",
            "count_fractions=[1.0]",
            "attacked_scans=0",
            "protocols.reconstruction.noise_realisations=0",
            f"workers={asked.side_by_side}",
        )
    numbers: Numbers = json.loads((folder / "metrics.json").read_text())
    return numbers


def _mean(found: Sequence[Numbers], key: str) -> float:
    return statistics.mean(numbers.get(f"test/{key}", math.nan) for numbers in found)


def _write(asked: argparse.Namespace, methods: Sequence[str], found: Sequence[Numbers]) -> None:
    rows = [*methods[:1], *NOT_TRAINED[:1], *methods[1:], *NOT_TRAINED[1:]]
    maps = sorted({k.split("/")[3] for k in found[0] if k.startswith("test/tumour_bias/")}, reverse=True)
    command = (
        f"python scripts/study_perception_distortion.py DATA WORK --games {_joined(asked.games)} "
        f"--ratios {_joined(asked.ratios)} --seeds {_joined(asked.seeds)} --subjects {asked.subjects} "
        f"--steps {asked.steps}"
    )
    lines = [
        "# What does an adversary buy, and what does it cost?",
        "",
        f"`{command}`; commit {_commit()}; {platform.machine()}, 1 thread each, torch {torch.__version__}; "
        f"{datetime.date.today():%Y-%m-%d}.",
        "",
        f"Residual U-Net, NRMSE as its only other loss, {asked.steps} steps of batches of {BATCH} on "
        f"{asked.subjects} individuals. NAME_rX: the adversary of conf/adversary/NAME.yaml, whose gradient "
        "at the estimate is X (p for the point) times as long as that of the other loss. Figures are means "
        f"over {len(asked.seeds)} training(s); power and variation are ratios to the truth, 1 is ideal; the "
        f"Frechet distance of the test truths is {_mean(found, 'frechet/truth'):.3g}.",
        "",
        _table(
            "perception_distortion", "All voxels, and likeness to truths.", FIGURES, rows, found
        ).markdown(),
        *(_table(one, f"{one}: tumours and organs.", BY_MAP, rows, found, one).markdown() for one in maps),
        "Against the sharpened control, 95 % intervals over mice of the first training"
        + (", and over trainings:" if len(found) > 1 else ":"),
        "",
        *(line for method in methods[1:] for line in _differences(method, found)),
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "perception_distortion.md").write_text("\n".join(lines) + "\n")
    numbers = {
        f"seed_{seed}/{k}": v for seed, one in zip(asked.seeds, found, strict=True) for k, v in one.items()
    }
    (RESULTS / "perception_distortion.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    _draw(asked, found)
    print("\n".join(lines))


def _table(
    name: str, caption: str, figures: dict[str, str], rows: Sequence[str], found: Sequence[Numbers], *of: str
) -> Table:
    cells = tuple((m, *(_mean(found, key.format(m, *of)) for key in figures.values())) for m in rows)
    return Table(name, caption, ("method", *figures), cells)


def _differences(method: str, found: Sequence[Numbers]) -> list[str]:
    """Frechet distance, NRMSE and tumour error of a method minus the sharpened control's."""
    told = []
    for score in ("frechet", "nrmse", "tumour_error"):
        intervals = [_difference(score, method, "control_sharpened", numbers) for numbers in found]
        line = f"- {method}, {score}: {_told(intervals[0])}"
        if len(found) > 1:
            line += f"; {_told(mean_interval(torch.tensor([one.value for one in intervals])))}"
        told.append(line)
    return told


def _difference(score: str, first: str, second: str, numbers: Numbers) -> Interval:
    """A difference that the evaluation took, in this order or in the other."""
    key, turned = (f"test/{score}_difference/{a}_minus_{b}" for a, b in ((first, second), (second, first)))
    if key in numbers:
        return Interval(*(numbers.get(f"{key}{end}", math.nan) for end in ("", "/low", "/high")))
    return Interval(*(-numbers.get(f"{turned}{end}", math.nan) for end in ("", "/high", "/low")))


def _told(interval: Interval) -> str:
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _draw(asked: argparse.Namespace, found: Sequence[Numbers]) -> None:
    """NRMSE against Frechet distance: a line for each game over its ratios, from the control on."""
    with paper_figure(4.5, 3.2) as figure:
        axes = figure.subplots()
        start = _mean(found, "nrmse/control"), _mean(found, "frechet/control")
        for game in asked.games:
            names = [_name(game, ratio) for ratio in asked.ratios]
            points = [start, *((_mean(found, f"nrmse/{n}"), _mean(found, f"frechet/{n}")) for n in names)]
            axes.plot(*zip(*points, strict=True), marker="o", color=method_colour(game), label=game)
        for method in ("control", "control_sharpened", "osem"):
            at = _mean(found, f"nrmse/{method}"), _mean(found, f"frechet/{method}")
            axes.plot(*at, "s", color=method_colour(method), label=method_label(method))
        axes.axhline(_mean(found, "frechet/truth"), color="black", linestyle=":", label="test truths")
        axes.set(xlabel="NRMSE", ylabel="Frechet distance to training truths")
        axes.legend()
        save_figure(figure, RESULTS / "perception_distortion.png")


def _joined(values: Sequence[object]) -> str:
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
    parser.add_argument("--games", nargs="*", default=["hinge", "wgan_gp", "relativistic"])
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--subjects", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--side-by-side", type=int, default=1)
    main(parser.parse_args())
