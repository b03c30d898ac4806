"""The loggers of a run, opened and finished: ``logs/csv`` always, and the dashboard that ``logger=`` chooses
from ``conf/logger``; what they are told of the run and of its results.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from pytorch_lightning.loggers import CSVLogger, Logger

from hspi_learn.dashboards.dashboard import Dashboard, DashboardError
from hspi_learn.dashboards.run_names import without_passwords
from hspi_learn.io.run_folder import RunFolder, read_config, read_json


def open_csv(folder: RunFolder) -> Logger:
    """Metrics as ``logs/csv/version_N/metrics.csv``; a resumed run starts a file of its own."""
    return CSVLogger(folder.logs, name="csv", flush_logs_every_n_steps=1)


@contextmanager
def open_loggers(folder: RunFolder, make: Callable[[], Logger] | None) -> Iterator[list[Logger]]:
    """The loggers of a run: ``logs/csv``, and the dashboard if it can be opened; finished with the block.

    Args:
        folder: folder of the run, which describes itself already.
        make: opens what the config chooses; None for CSV alone.
    """
    loggers = [open_csv(folder)]
    with finished(loggers):
        try:
            chosen = make() if make else None
        except DashboardError as error:
            warnings.warn(f"{error}; the run goes on with its numbers in logs/csv", stacklevel=3)
            chosen = None
        if isinstance(chosen, Dashboard):
            loggers.append(chosen)
        yield loggers


@contextmanager
def finished(loggers: Sequence[Logger]) -> Iterator[None]:
    """Finish every logger at the end of the block, also when it fails, so that the next run gets its own."""
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for logger in loggers:
            if isinstance(logger, Dashboard):
                logger.finish(status)
            else:
                logger.finalize(status)


def log_run(
    folder: RunFolder, loggers: Sequence[Logger], metrics: Sequence[str] = (), **facts: float | str
) -> None:
    """Tell the dashboards what the run is: its config, commit, machine, data, and the runs that it evaluates.

    Args:
        folder: folder of the run, which describes itself already.
        loggers: loggers of the run.
        metrics: names of the numbers that runs are compared by.
        facts: what else is known by now, such as the number of weights.
    """
    about = read_json(folder.environment_file)
    kept = ("run_id", "commit", "machine", "python", "packages", "trained")
    run = {key: about[key] for key in kept if about.get(key)}
    run |= {"data_sha256": ", ".join(about["data"].values()), "versions": about["versions"], **facts}
    settings = without_passwords(read_config(folder.path) | {"run": run})
    config = without_passwords(folder.config_file.read_text(encoding="utf-8"))
    for logger in loggers:
        if isinstance(logger, Dashboard):
            logger.log_run(settings, config, metrics)


def log_results(folder: RunFolder, make: Callable[[], Logger] | None) -> None:
    """Log a finished run that is no training: what it is, ``metrics.json``, its tables and its figures.

    Args:
        folder: folder of the run, with tables in ``tables/*.csv`` and figures in ``figures/*.png``.
        make: see :func:`open_loggers`.
    """
    numbers = folder.metrics()
    with open_loggers(folder, make) as loggers:
        log_run(folder, loggers)
        for logger in loggers:
            logger.log_metrics(numbers, 0)
            if isinstance(logger, Dashboard):
                for table in sorted((folder.path / "tables").glob("*.csv")):
                    logger.log_table(table)
                for figure in sorted(folder.figures.glob("*.png")):
                    logger.log_image(f"figures/{figure.stem}", imread(figure), 0)


def shows_figures(logger: Logger) -> bool:
    """Whether a figure can be sent there."""
    return isinstance(logger, Dashboard)


def log_figure(logger: Logger, name: str, figure: Figure, step: int) -> None:
    """Show a figure in the dashboard; CSV has no place for one."""
    if isinstance(logger, Dashboard):
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        logger.log_image(name, np.asarray(canvas.buffer_rgba()), step)
