"""MLflow as a dashboard: files in the run's ``logs/mlruns``, or a server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger, MLFlowLogger

from hspi_learn.dashboards.dashboard import CONNECT_S, Dashboard, DashboardError, answers, short
from hspi_learn.dashboards.run_names import run_name, without_passwords
from hspi_learn.io.atomic import write_text
from hspi_learn.io.run_folder import RunFolder, flat_config

REQUEST_S = 5
"""Seconds in which an MLflow server must answer a request."""


class MlflowDashboard(Dashboard[MLFlowLogger]):
    """An MLflow run: settings as params, images and tables as artifacts."""

    def _send_metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        # A store of files cannot hold a/b beside a/b/c; the first slash alone makes the section.
        super()._send_metrics({one_slash(name): value for name, value in metrics.items()}, step)

    def _send_settings(self, settings: Mapping[str, Any], metrics: Sequence[str]) -> None:
        del metrics  # MLflow offers every number of a run for comparison
        self.logger.log_hyperparams(flat_config(settings))

    def _send_config(self, text: str) -> None:
        self.logger.experiment.log_text(self.logger.run_id, text, "config.yaml")

    def _send_image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self.logger.experiment.log_image(self.logger.run_id, pixels, f"{name}/step_{step:06d}.png")

    def _send_table(self, file: Path) -> None:
        for each in (file, file.with_suffix(".md")):
            if each.is_file():
                self.logger.experiment.log_artifact(self.logger.run_id, str(each), "tables")


def open_mlflow(folder: RunFolder, experiment: str = "hspi-learn", tracking_uri: str | None = None) -> Logger:
    """MLflow in ``logs/mlruns``, or on the server at ``tracking_uri``.

    Raises:
        DashboardError: MLflow is not installed, or the server does not answer, or it refuses.
    """
    if find_spec("mlflow") is None:
        raise DashboardError("MLflow is not installed; logger=mlflow needs pip install 'hspi-learn[mlflow]'")
    if tracking_uri is None:
        # MLflow recommends a database instead, which its small package cannot open.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        tracking_uri = f"file:{folder.logs.resolve() / 'mlruns'}"
    # As it comes, MLflow tries for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_S))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = f"MLflow at {without_passwords(tracking_uri)}"
    if tracking_uri.startswith("http") and not answers(tracking_uri):
        raise DashboardError(f"{told} does not answer within {CONNECT_S:g} s")
    known = folder.logs / "mlflow_run_id"
    run_id = known.read_text() if known.is_file() else None
    logger = MLFlowLogger(
        experiment, run_name(folder), tracking_uri, tags=_mlflow_tags(folder), run_id=run_id
    )
    try:
        run_id = str(logger.run_id)
    except Exception as error:
        raise DashboardError(f"{told} starts no run ({short(error)})") from error
    write_text(known, run_id)
    return MlflowDashboard(logger)


def _mlflow_tags(folder: RunFolder) -> dict[str, str]:
    """The run's own id, and the MLflow run of the training that an evaluation is of."""
    trained = folder.trained
    tags = {f"trained.{name}": run["run_id"] for name, run in trained.items() if "run_id" in run}
    tags["run_id"] = folder.run_id
    parents = [run["mlflow_run_id"] for run in trained.values() if "mlflow_run_id" in run]
    return tags | ({"mlflow.parentRunId": parents[0]} if parents else {})


def one_slash(name: str) -> str:
    """A metric's name with dots for all slashes but the first: ``test/nrmse.gan.Pb-211``."""
    section, slash, rest = name.partition("/")
    return section + slash + rest.replace("/", ".")
