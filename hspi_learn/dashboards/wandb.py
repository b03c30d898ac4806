"""Weights & Biases as a dashboard: files in the run's ``logs/wandb``, offline unless told otherwise."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger, WandbLogger

from hspi_learn.dashboards.dashboard import CONNECT_S, Dashboard, DashboardError, answers, short
from hspi_learn.dashboards.run_names import run_group, run_name
from hspi_learn.io.run_folder import RunFolder

INIT_S = 6.0
"""Seconds in which W&B must have started a run; with CONNECT_S it stays below ten."""
FINISH_S = 30.0
"""Seconds for which a run waits at its end until W&B has been sent everything."""


class WandbDashboard(Dashboard[WandbLogger]):
    """A W&B run; ``run.finish`` ends it, so that the next job of a sweep gets its own."""

    def _end(self, status: str) -> None:
        import wandb

        super()._end(status)
        run = self.logger.experiment
        if not run.offline and not answers(run.settings.base_url):
            warnings.warn(
                f"W&B at {run.settings.base_url} answers no more; after {FINISH_S:g} s what it lacks is left "
                f"in {run.settings.sync_dir}, to be sent with wandb sync",
                stacklevel=2,
            )
        run.finish(exit_code=0 if status == "success" else 1)
        wandb.teardown()  # waits until W&B's service has written all of the run to disk

    def _send_settings(self, settings: Mapping[str, Any], metrics: Sequence[str]) -> None:
        del metrics  # W&B offers every number of a run for comparison
        self.logger.log_hyperparams(dict(settings))

    def _send_config(self, text: str) -> None:
        file = Path(self.logger.experiment.dir) / "hspi_config.yaml"  # config.yaml is W&B's own
        file.write_text(text, encoding="utf-8")
        self.logger.experiment.save(str(file), base_path=str(file.parent), policy="now")

    def _send_image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        import wandb

        self.logger.log_metrics({name: wandb.Image(pixels)}, step)  # type: ignore[dict-item]

    def _send_table(self, file: Path) -> None:
        import wandb

        columns, rows = _rows(file)
        table = wandb.Table(columns=[*columns], data=rows, allow_mixed_types=True)
        self.logger.log_metrics({f"tables/{file.stem}": table}, 0)  # type: ignore[dict-item]


def open_wandb(
    folder: RunFolder, project: str = "hspi-learn", offline: bool = True, base_url: str | None = None
) -> Logger:
    """Weights & Biases in ``logs/wandb``; an offline run is sent later with ``wandb sync``.

    A run that is to be online and cannot be, since the server does not answer in time or nobody is logged
    in, goes on offline after a warning.

    Args:
        folder: folder of the run.
        project: in which W&B lists the run.
        offline: keep everything on this machine.
        base_url: address of the server; None for W&B's own, or what the environment says.

    Raises:
        DashboardError: W&B does not run on this machine.
    """
    # W&B would upload the source and the git diff of whatever checkout the run is started from.
    os.environ.update(
        WANDB_DISABLE_CODE="true",
        WANDB_DISABLE_GIT="true",
        WANDB_SILENT="true",
        WANDB_CONSOLE="off",
        WANDB_ERROR_REPORTING="false",
    )
    import wandb as library

    folder.logs.mkdir(parents=True, exist_ok=True)
    try:
        environment = library.setup().settings
        address = base_url or environment.base_url
        if offline or environment.mode not in (None, "online", "run"):
            return _wandb_run(folder, project, mode="offline" if offline else environment.mode)
        reason = f"does not answer within {CONNECT_S:g} s"
        if answers(address):
            bounds: dict[str, Any] = {"init_timeout": INIT_S, "finish_timeout": FINISH_S, "base_url": address}
            try:
                return _wandb_run(folder, project, settings=library.Settings(**bounds))
            except Exception as error:  # W&B has a class of its own for each reason
                reason = f"starts no run ({short(error)})"
                library.teardown()  # or its service would hold the run's id
        warnings.warn(
            f"W&B at {address} {reason}; the run is kept in {folder.logs / 'wandb'}, to be sent with "
            "wandb sync",
            stacklevel=2,
        )
        return _wandb_run(folder, project, mode="offline")
    except Exception as error:
        raise DashboardError(f"W&B starts no run ({short(error)})") from error


def _wandb_run(folder: RunFolder, project: str, **how: Any) -> Logger:
    """A W&B run that is started."""
    logger = WandbLogger(
        name=run_name(folder),
        save_dir=folder.logs,
        project=project,
        id=folder.run_id,
        group=run_group(folder),
        **how,
    )
    _ = logger.experiment
    return WandbDashboard(logger)


def _rows(file: Path) -> tuple[list[str], list[list[float | str | None]]]:
    """Columns and rows of a CSV file: numbers as numbers, an empty field as None."""
    with file.open(encoding="utf-8", newline="") as lines:
        columns, *rows = csv.reader(lines)
    return columns, [[_cell(text) for text in row] for row in rows]


def _cell(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None
