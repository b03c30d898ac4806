"""Dashboards: one function each, named in ``conf/logger``; all work offline unless told otherwise."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from matplotlib.figure import Figure
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from hspi_learn.io.run_folder import RunFolder


def csv(folder: RunFolder) -> Logger:
    """Metrics as ``logs/csv/version_N/metrics.csv``; a resumed run starts a file of its own."""
    return CSVLogger(folder.logs, name="csv", flush_logs_every_n_steps=1)


def tensorboard(folder: RunFolder) -> Logger:
    """TensorBoard files in ``logs/tensorboard``; see them with ``tensorboard --logdir runs``."""
    return TensorBoardLogger(folder.logs, name="tensorboard", version="")


def wandb(folder: RunFolder, project: str = "hspi-learn", offline: bool = True) -> Logger:
    """Weights & Biases in ``logs/wandb``; an offline run is sent later with ``wandb sync``."""
    # W&B would upload the source and the git diff of whatever checkout the run is started from.
    os.environ.update(
        WANDB_DISABLE_CODE="true", WANDB_DISABLE_GIT="true", WANDB_SILENT="true", WANDB_CONSOLE="off"
    )
    folder.logs.mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        name=folder.path.name, save_dir=folder.logs, project=project, offline=offline, id=folder.run_id
    )


def mlflow(folder: RunFolder, experiment: str = "hspi-learn", tracking_uri: str | None = None) -> Logger:
    """MLflow in ``logs/mlruns``, or on the server at ``tracking_uri``."""
    if tracking_uri is None:
        # MLflow recommends a database instead, which its small package cannot open.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        tracking_uri = f"file:{folder.logs.resolve() / 'mlruns'}"
    known = folder.logs / "mlflow_run_id"
    run_id = known.read_text() if known.is_file() else None
    logger = MLFlowLogger(experiment, folder.path.name, tracking_uri, run_id=run_id)
    folder.logs.mkdir(parents=True, exist_ok=True)
    known.write_text(str(logger.run_id))
    return logger


def shows_figures(logger: Logger) -> bool:
    """Whether a figure can be sent there."""
    return isinstance(logger, (TensorBoardLogger, WandbLogger, MLFlowLogger))


def log_figure(logger: Logger, name: str, figure: Figure, step: int) -> None:
    """Show a figure in the dashboard; CSV has no place for one."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(name, figure, step, close=False)
    elif isinstance(logger, WandbLogger):
        import wandb

        logger.log_metrics({name: wandb.Image(figure)}, step)  # type: ignore[dict-item]
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, figure, f"{name}/step_{step:06d}.png")


@contextmanager
def finished(loggers: Sequence[Logger]) -> Iterator[None]:
    """Finish every logger at the end of the block, also when it fails, so that the next run gets its own."""
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for logger in loggers:
            _finish(logger, status)


def _finish(logger: Logger, status: str) -> None:
    try:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=0 if status == "success" else 1)
    except Exception as error:  # a dashboard that is away must not hide how the run itself ended
        warnings.warn(f"{type(logger).__name__} could not be finished: {error}", stacklevel=2)
