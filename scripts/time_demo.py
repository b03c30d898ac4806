"""Time the demo: so many runs with an empty matrix cache, each followed by one with the matrices kept.

    python scripts/time_demo.py --runs 3 --logs runs/demo_times --results docs/results

Finished runs are read from their logs, so that a study that was stopped goes on. Nothing else should run
on the machine meanwhile: about twenty minutes a pair of runs on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
from datetime import date
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CACHES = {"empty": "empty cache", "kept": "matrices kept"}
STAGE = re.compile(r"^(\S.*?) {2,}(\d+) s$")
"""A line of the table that the demo ends with: name and seconds of a stage."""

DONE = re.compile(r"Done: (.*)/report\.html$", re.MULTILINE)
"""Where a demo's log names its evaluation, which knows the commit."""

Times = dict[str, int]
"""Seconds by stage; the last is the whole."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs with each state of the cache")
    parser.add_argument(
        "--logs", type=Path, default=Path("runs/demo_times"), help="folder of the demos' logs"
    )
    parser.add_argument("--results", type=Path, default=Path("docs/results"), help="folder of the table")
    asked = parser.parse_args()
    asked.logs.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Times]] = {cache: [] for cache in CACHES}
    for number in range(1, asked.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            for cache, times in found.items():
                times.append(timed(asked.logs / f"{cache}_{number}.log", folder))
                print(f"run {number}, {CACHES[cache]}: {times[-1]['All']} s", flush=True)
    write(found, asked.results, commits(asked.logs))


def timed(log: Path, cache: str) -> Times:
    """Seconds by stage of one demo, run now with its matrices in ``cache`` unless its log is there."""
    if not log.is_file():
        unfinished = log.with_suffix(".unfinished")
        with unfinished.open("w", encoding="utf-8") as file:
            environment = os.environ | {"HSPI_CACHE_DIR": cache}
            subprocess.run(
                ["bash", str(CHECKOUT / "scripts" / "demo.sh")], env=environment, stdout=file, check=True
            )
        unfinished.rename(log)
    lines = map(STAGE.match, log.read_text(encoding="utf-8").splitlines())
    times = {line[1]: int(line[2]) for line in lines if line}
    if "All" not in times:
        raise SystemExit(
            f"{log} does not end with the demo's table of times; delete it to run that demo again"
        )
    return times


def commits(logs: Path) -> str:
    """The commit, or commits, that the demos of these logs ran."""
    folders = [DONE.findall(log.read_text(encoding="utf-8"))[-1] for log in sorted(logs.glob("*.log"))]
    files = [CHECKOUT / folder / "environment.json" for folder in folders]
    found = [json.loads(file.read_text(encoding="utf-8"))["commit"] for file in files]
    return ", ".join(sorted({str(commit)[:7] for commit in found}))


def write(found: dict[str, list[Times]], results: Path, commit: str) -> None:
    """Write ``demo_times.md`` and ``demo_times.json``."""
    about = {
        "command": "python scripts/time_demo.py --runs " + str(len(found["empty"])),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}, Python "
        f"{platform.python_version()}",
        "date": date.today().isoformat(),
    }
    stages = list(found["empty"][0])
    median = {
        cache: {stage: statistics.median(run[stage] for run in runs) for stage in stages}
        for cache, runs in found.items()
    }
    header = [
        "stage",
        *(f"{CACHES[cache]}: median" for cache in found),
        *(f"{CACHES[c]}: runs" for c in found),
    ]
    rows = [
        [stage, *(f"{median[c][stage]:g} s" for c in found), *(_listed(found[c], stage) for c in found)]
        for stage in stages
    ]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])
    told = "; ".join(f"{key} {value}" for key, value in about.items() if key != "command")
    text = f"# Time of the demo\n\n`{about['command']}`; {told}.\n\n{table}\n"
    (results / "demo_times.md").write_text(text, encoding="utf-8")
    numbers = {**about, "runs_s": found, "median_s": median}
    (results / "demo_times.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _listed(runs: list[Times], stage: str) -> str:
    return ", ".join(str(run[stage]) for run in runs)


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


if __name__ == "__main__":
    main()
