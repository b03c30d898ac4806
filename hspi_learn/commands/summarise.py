"""Many runs in one table: ``hspi-summarise RUNS...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from data_gen.core.errors import UserError
from hspi_learn.commands.entry import run_command

if TYPE_CHECKING:
    from hspi_learn.evaluation.trainings import Summary

_MOST_ROWS = 40
"""Rows that are printed; all are in the files."""


@dataclass(frozen=True)
class SummariseSettings:
    """Keys of ``conf/summarise.yaml``."""

    runs: tuple[str, ...] | str
    metrics: tuple[str, ...] | None
    run_dir: str


def summarise(config: DictConfig) -> None:
    """Write and print the table of runs.

    Args:
        config: see ``conf/summarise.yaml``.

    Raises:
        UserError: a folder is missing, no run is finished, or none has such metrics.
    """
    from hspi_learn.evaluation.trainings import summarise_runs
    from hspi_learn.io.run_folder import RunFolder

    folder = RunFolder.fresh(config.run_dir)
    given = [config.runs] if isinstance(config.runs, str) else list(config.runs)
    patterns = None if config.metrics is None else list(config.metrics)
    summary = summarise_runs(run_folders(given), patterns)
    if not summary.rows:
        reasons = " ".join(summary.statements())
        wanted = "" if patterns is None else f" with metrics {', '.join(patterns)}"
        raise UserError(
            f"runs is {', '.join(given)}; it needs a finished run{wanted}. {reasons}".rstrip(" .")
        )
    show_summary(summary, folder.path)


def summarise_sweep(folder: Path) -> None:
    """Write and print the table of a sweep's jobs into its folder; a sweep without jobs has none."""
    from hspi_learn.evaluation.trainings import summarise_runs

    jobs = sweep_jobs(folder)
    if jobs:
        show_summary(summarise_runs(jobs), folder)


def show_summary(summary: Summary, folder: Path) -> None:
    """Write the files of a summary into a folder and print its first rows."""
    from hspi_learn.evaluation import print_result

    summary.write(folder)
    table, told = summary.table(), summary.statements()
    if not table.rows:
        print("\n".join(told))
        return
    more = len(table.rows) - _MOST_ROWS
    if more > 0:
        table = replace(table, rows=table.rows[:_MOST_ROWS])
        told = [f"{more} rows more are in the report; choose some with metrics=[NAME,PATTERN].", *told]
    print_result(table, told, folder / "summary.md")


def run_folders(given: Sequence[str]) -> list[Path]:
    """Run folders for what was asked for: patterns filled in, and a sweep replaced by its jobs.

    Raises:
        UserError: a name is no folder, or a pattern fits none.
    """
    found: list[Path] = []
    for name in given:
        # Path.glob takes no absolute pattern.
        folders = [Path(path) for path in sorted(glob(name))] if has_magic(name) else [Path(name)]  # noqa: PTH207
        folders = [folder for folder in folders if folder.is_dir()]
        if not folders:
            raise UserError(f"runs holds {name}, which is no folder; it needs folders of runs")
        for folder in folders:
            found += sweep_jobs(folder) if (folder / "multirun.yaml").is_file() else [folder]
    return list(dict.fromkeys(found))


def sweep_jobs(folder: Path) -> list[Path]:
    """The folders of a sweep's jobs, 0, 1, 2, ..., in their order."""
    jobs = [job for job in folder.glob("*") if job.is_dir() and job.name.isdigit()]
    return sorted(jobs, key=lambda job: int(job.name))


def with_folders_as_key(arguments: Sequence[str]) -> list[str]:
    """The arguments with all bare folders in one ``runs=[...]``, quoted as Hydra reads it."""
    bare = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if "=" not in argument and not argument.startswith("-") and not before.startswith("--")
    ]
    if not bare:
        return list(arguments)
    quoted = ",".join("'" + name.replace("'", "\\'") + "'" for name in bare)
    return [*(argument for argument in arguments if argument not in bare), f"runs=[{quoted}]"]


def main() -> None:
    """The command line."""
    sys.argv[1:] = with_folders_as_key(sys.argv[1:])
    run_command("summarise", summarise, SummariseSettings)


if __name__ == "__main__":
    main()
