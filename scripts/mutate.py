"""Plant faults in the code, one at a time, and tell which of them no test notices.

    pip install cosmic-ray
    python scripts/mutate.py --faults 200 --seed 0 --workers 2 --results docs/results

Faults are drawn from all that cosmic-ray can plant in :data:`TESTS`: another operator, comparison or
number, a condition turned round, a decorator or a loop left out. Each worker has a copy of the checkout, and
the tests beside the code, which have to pass without a fault, are to notice it. Finished faults are kept in
``--session``, so that a run that was stopped goes on; ``--again`` tests those once more that nothing noticed.
``docs/results/mutation_equivalent.json``, if there is one, tells which survivors change nothing that anybody
could see, and why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from pathlib import Path
from typing import Any

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

CHECKOUT = Path(__file__).resolve().parent.parent

TESTS = {
    "hspi_learn/attacks": ["tests/hspi_learn/attacks"],
    "hspi_learn/configs": ["tests/hspi_learn/configs"],
    "hspi_learn/evaluation": ["tests/hspi_learn/evaluation"],
    "hspi_learn/losses": ["tests/hspi_learn/losses", "tests/hspi_learn/tasks"],
    "hspi_learn/metrics": ["tests/hspi_learn/metrics", "tests/hspi_learn/evaluation"],
    "hspi_learn/tasks": ["tests/hspi_learn/tasks"],
    "data_gen/storage": ["tests/data_gen/storage", "tests/hspi_learn/data"],
}
"""Packages, and the tests beside each."""

SKIPPED = ("BitOr", "RShift", "LShift", "BitXor")
"""Parts of operators' names that are left out: ``|`` stands in annotations, which nothing reads."""

TIMEOUT_S = 600.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=int, default=200, help="faults that are planted")
    parser.add_argument("--seed", type=int, default=0, help="random seed of their choice")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="faults tested side by side")
    parser.add_argument("--session", type=Path, default=Path("runs/mutation.jsonl"), help="finished faults")
    parser.add_argument("--results", type=Path, help="folder of mutation.md and mutation.json")
    parser.add_argument("--again", action="store_true", help="test earlier survivors once more")
    asked = parser.parse_args()
    asked.session.parent.mkdir(parents=True, exist_ok=True)
    faults = drawn(asked.faults, asked.seed)
    done = finished(asked.session)
    survivors = {name for name, found in done.items() if found["outcome"] == "survived"}
    earlier = survivors if asked.again else set()
    done = {name: found for name, found in done.items() if name not in earlier}
    waiting = [fault for fault in faults if name_of(fault) not in done]
    with ProcessPoolExecutor(asked.workers, initializer=copy_checkout) as pool:
        for broken in filter(None, pool.map(failing, sorted({package_of(fault) for fault in waiting}))):
            sys.exit(f"{broken} fail without a fault; they need to pass first")
        tests = [pool.submit(planted, fault) for fault in waiting]
        for test in as_completed(tests):
            found = test.result()
            found["again"] = found["fault"] in earlier
            done[found["fault"]] = found
            with asked.session.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            print(f"{len(done)} of {len(faults)}: {found['outcome']:9} {found['fault']}", flush=True)
    tested = [done[name_of(fault)] for fault in faults]
    unnoticed = sum(each["outcome"] == "survived" for each in tested)
    print(f"{unnoticed} of {len(tested)} faults were noticed by no test")
    if asked.results:
        write(tested, asked, asked.results)


def drawn(count: int, seed: int) -> list[MutationSpec]:
    """Faults drawn from all that could be planted, in a fixed order."""
    os.chdir(CHECKOUT)
    files = [path for package in TESTS for path in sorted(Path(package).rglob("*.py"))]
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/all.sqlite", WorkDB.Mode.create) as work:
        init(files, work, {})
        every = [item.mutations[0] for item in work.work_items]
    kept = [fault for fault in every if not any(part in fault.operator_name for part in SKIPPED)]
    kept.sort(key=name_of)
    print(f"{count} of {len(kept)} possible faults")
    return random.Random(seed).sample(kept, min(count, len(kept)))


def name_of(fault: MutationSpec) -> str:
    """File, line and column, and what is done there."""
    row, column = fault.start_pos
    return f"{fault.module_path}:{row}:{column} {fault.operator_name.rpartition('/')[2]} {fault.occurrence}"


def finished(session: Path) -> dict[str, dict[str, Any]]:
    """Faults that an earlier run has tested, by name."""
    if not session.is_file():
        return {}
    lines = [json.loads(line) for line in session.read_text(encoding="utf-8").splitlines()]
    return {found["fault"]: found for found in lines}


def copy_checkout() -> None:
    """Give this worker a copy of all tracked files, and make it the place where it works."""
    folder = Path(tempfile.mkdtemp(prefix="mutation-"))
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    os.chdir(folder)
    before = os.environ.get("PYTHONPATH", "")
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), before))), "OMP_NUM_THREADS": "1"}


def package_of(fault: MutationSpec) -> str:
    """The package of :data:`TESTS` that a fault lies in."""
    return next(package for package in TESTS if str(fault.module_path).startswith(package + "/"))


def testing(package: str) -> str:
    """The command that runs the tests beside a package until one fails."""
    tests = " ".join(TESTS[package])
    return f"{sys.executable} -m pytest -q -x -p no:cacheprovider -m 'not slow and not gpu' {tests}"


def failing(package: str) -> str | None:
    """The tests beside a package if they fail in this worker's copy as it is."""
    run = subprocess.run(shlex.split(testing(package)), capture_output=True, check=False)
    return " ".join(TESTS[package]) if run.returncode else None


def planted(fault: MutationSpec) -> dict[str, Any]:
    """Plant one fault in this worker's copy, and run the tests beside it until one fails."""
    result = mutate_and_test([fault], testing(package_of(fault)), TIMEOUT_S)
    outcome = result.test_outcome or result.worker_outcome
    return {"fault": name_of(fault), "outcome": outcome.value, "diff": _changed(result.diff or "")}


def _changed(diff: str) -> list[str]:
    """The lines that a fault takes away and puts in."""
    lines = diff.splitlines()
    return [line for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]


def write(found: list[dict[str, Any]], asked: argparse.Namespace, results: Path) -> None:
    """Write ``mutation.md``, with every survivor, and ``mutation.json``."""
    results.mkdir(parents=True, exist_ok=True)
    known = results / "mutation_equivalent.json"
    reasons = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    survivors = [each for each in found if each["outcome"] == "survived"]
    open_ones = [each for each in survivors if each["fault"] not in reasons]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.strip()
    summary: dict[str, Any] = {
        "command": f"python scripts/mutate.py --faults {asked.faults} --seed {asked.seed}",
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": date.today().isoformat(),
        "faults": len(found),
        "noticed": len(found) - len(survivors),
        "noticed_only_again": sum(bool(each.get("again")) for each in found if each["outcome"] != "survived"),
        "survived_and_equivalent": len(survivors) - len(open_ones),
        "survived": len(open_ones),
    }
    told = "; ".join(f"{key} {summary[key]}" for key in ("commit", "machine", "date"))
    lines = [
        "# Faults planted in the code",
        "",
        f"`{summary['command']}`; {told}.",
        "",
        f"{summary['faults']} faults: {summary['noticed']} noticed by a test, of which "
        f"{summary['noticed_only_again']} by tests that were written after a first run; {len(survivors)} by "
        f"none, of which {summary['survived_and_equivalent']} change nothing that anybody could see.",
        "",
        "| fault | change | changes nothing, since |",
        "| --- | --- | --- |",
    ]
    for each in sorted(survivors, key=lambda survivor: str(survivor["fault"])):
        change = "<br>".join(f"`{line.replace('|', chr(92) + '|')}`" for line in each["diff"])
        lines.append(f"| {each['fault']} | {change} | {reasons.get(each['fault'], '')} |")
    (results / "mutation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps({**summary, "each": found}, indent=1)
    (results / "mutation.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
