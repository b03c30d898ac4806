"""Loggers of a run: ``logs/csv`` always, and one dashboard (TensorBoard, Weights & Biases, MLflow)."""

from hspi_learn.dashboards.dashboard import Dashboard, DashboardError
from hspi_learn.dashboards.mlflow import open_mlflow
from hspi_learn.dashboards.run_loggers import (
    finished,
    log_figure,
    log_results,
    log_run,
    open_csv,
    open_loggers,
    shows_figures,
)
from hspi_learn.dashboards.run_names import run_group, run_links, run_name, without_passwords
from hspi_learn.dashboards.tensorboard import open_tensorboard
from hspi_learn.dashboards.wandb import open_wandb

__all__ = [
    "Dashboard",
    "DashboardError",
    "finished",
    "log_figure",
    "log_results",
    "log_run",
    "open_csv",
    "open_loggers",
    "open_mlflow",
    "open_tensorboard",
    "open_wandb",
    "run_group",
    "run_links",
    "run_name",
    "shows_figures",
    "without_passwords",
]
