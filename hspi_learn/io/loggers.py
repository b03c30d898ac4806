"""Loggers of a run: ``logs/csv`` always, and the dashboard that ``logger=`` chooses from ``conf/logger``.

A dashboard never stops the run: one that cannot be reached, or that fails on the way, costs a warning and
a few seconds, and the numbers are in ``logs/csv`` all the same. All work offline unless told otherwise.
"""

from __future__ import annotations

import csv as csv_format
import os
import re
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLError
from threading import Thread
from typing import Any, Generic, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from hspi_learn.io.atomic import write_text
from hspi_learn.io.run_folder import RunFolder, flat_config, read_config, read_json

Wrapped = TypeVar("Wrapped", bound=Logger)
CONNECT_S = 3.0
"""Seconds in which a server must answer at all."""
INIT_S = 6.0
"""Seconds in which W&B must have started a run; with CONNECT_S it stays below ten."""
REQUEST_S = 5
"""Seconds in which an MLflow server must answer a request."""
FINISH_S = 30.0
"""Seconds for which a run waits at its end until W&B has been sent everything."""
PAUSE_S = 30.0
"""Seconds without a try after a dashboard's first failure; each further failure doubles them."""


class DashboardError(Exception):
    """A dashboard could not be opened; the message is a sentence for people."""


class Dashboard(Logger, Generic[Wrapped]):
    """A Lightning logger of which every failure becomes a warning, and which takes images and tables too.

    After a failure nothing is sent for ``PAUSE_S``, and twice as long after each further one, so that a
    server that hangs cannot hold up a training.

    Args:
        logger: Lightning's own logger, which the failures come from.
    """

    def __init__(self, logger: Wrapped) -> None:
        super().__init__()
        self.logger = logger
        self._pause_s, self._paused_until = PAUSE_S, 0.0

    @property
    def name(self) -> str:
        """What the dashboard is called."""
        return type(self.logger).__name__.removesuffix("Logger")

    @property
    def version(self) -> None:
        """None: a run folder has one run in each dashboard."""
        return None

    @property
    def experiment(self) -> Any:
        """The dashboard's own object, unguarded: a SummaryWriter, a W&B run or an MLflow client."""
        return self.logger.experiment  # type: ignore[attr-defined]

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name."""
        self._attempt(lambda: self._send_metrics(metrics, step))

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Settings by name; a task that saves its hyperparameters calls this through Lightning."""
        self._attempt(lambda: self._send_settings(dict(params), ()))

    def log_run(self, settings: Mapping[str, Any], config: str, metrics: Sequence[str] = ()) -> None:
        """What the run is.

        Args:
            settings: nested; each dashboard flattens them its own way.
            config: the text of the config file.
            metrics: names of the numbers that runs are compared by.
        """
        self._attempt(lambda: self._send_settings(settings, metrics))
        self._attempt(lambda: self._send_config(config))

    def log_image(self, name: str, pixels: NDArray[Any], step: int) -> None:
        """An image [row, column, channel], uint8, or float in 0 to 1."""
        opaque = pixels[..., :3]
        whole = opaque if opaque.dtype == np.uint8 else np.round(255 * opaque).astype(np.uint8)
        self._attempt(lambda: self._send_image(name, whole, step))

    def log_table(self, file: Path) -> None:
        """A table in CSV; its Markdown, if there is any, lies beside it under the same name."""
        self._attempt(lambda: self._send_table(file))

    def save(self) -> None:
        """Write what is kept in memory."""
        self._attempt(self.logger.save)

    def finalize(self, status: str) -> None:
        """Called by Lightning after each fit or validation; more may follow."""
        self._attempt(lambda: self.logger.finalize(status))

    def finish(self, status: str) -> None:
        """The end of the run: success or failed. This is tried also after a recent failure."""
        self._paused_until = 0.0
        self._attempt(lambda: self._end(status))

    def _end(self, status: str) -> None:
        self.logger.finalize(status)

    def _attempt(self, send: Callable[[], None]) -> None:
        """Send, unless a failure is too recent; a failure is told and not raised."""
        if time.monotonic() < self._paused_until:
            return
        try:
            send()
        except Exception as error:  # whatever a dashboard does must not stop a training of days
            self._paused_until = time.monotonic() + self._pause_s
            warnings.warn(
                f"{self.name} failed ({_short(error)}); nothing is sent to it for {self._pause_s:g} s, and "
                "the run goes on with its numbers in logs/csv",
                stacklevel=3,
            )
            self._pause_s *= 2

    def _send_metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        self.logger.log_metrics(dict(metrics), step)

    @abstractmethod
    def _send_settings(self, settings: Mapping[str, Any], metrics: Sequence[str]) -> None: ...

    @abstractmethod
    def _send_config(self, text: str) -> None: ...

    @abstractmethod
    def _send_image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None: ...

    @abstractmethod
    def _send_table(self, file: Path) -> None: ...


class TensorBoardDashboard(Dashboard[TensorBoardLogger]):
    """Scalars, images, texts, and settings under HPARAMS."""

    def _send_settings(self, settings: Mapping[str, Any], metrics: Sequence[str]) -> None:
        from torch.utils.tensorboard.summary import hparams

        plain = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in flat_config(settings).items()
        }
        # Of the metrics only the names are taken: HPARAMS shows the latest scalar of each.
        for summary in hparams(plain, dict.fromkeys(metrics, 0.0)):
            self.logger.experiment._get_file_writer().add_summary(summary)
        run = settings.get("run", {})
        rows = "".join(f"| {key} | {value} |\n" for key, value in flat_config(run).items())
        self.logger.experiment.add_text("run", f"| | |\n|---|---|\n{rows}", 0)

    def _send_config(self, text: str) -> None:
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        self.logger.experiment.add_text("config", indented, 0)

    def _send_image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self.logger.experiment.add_image(name, pixels, step, dataformats="HWC")

    def _send_table(self, file: Path) -> None:
        markdown = file.with_suffix(".md")
        shown = markdown if markdown.is_file() else file
        self.logger.experiment.add_text(f"tables/{file.stem}", shown.read_text(encoding="utf-8"), 0)


class WandbDashboard(Dashboard[WandbLogger]):
    """A W&B run; ``run.finish`` ends it, so that the next job of a sweep gets its own."""

    def _end(self, status: str) -> None:
        import wandb

        super()._end(status)
        run = self.logger.experiment
        if not run.offline and not _answers(run.settings.base_url):
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


def csv(folder: RunFolder) -> Logger:
    """Metrics as ``logs/csv/version_N/metrics.csv``; a resumed run starts a file of its own."""
    return CSVLogger(folder.logs, name="csv", flush_logs_every_n_steps=1)


def tensorboard(folder: RunFolder) -> Logger:
    """TensorBoard files in ``logs/tensorboard``; see them with ``tensorboard --logdir runs``."""
    return TensorBoardDashboard(TensorBoardLogger(folder.logs, name="tensorboard", version=""))


def wandb(
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
        if _answers(address):
            bounds: dict[str, Any] = {"init_timeout": INIT_S, "finish_timeout": FINISH_S, "base_url": address}
            try:
                return _wandb_run(folder, project, settings=library.Settings(**bounds))
            except Exception as error:  # W&B has a class of its own for each reason
                reason = f"starts no run ({_short(error)})"
                library.teardown()  # or its service would hold the run's id
        warnings.warn(
            f"W&B at {address} {reason}; the run is kept in {folder.logs / 'wandb'}, to be sent with "
            "wandb sync",
            stacklevel=2,
        )
        return _wandb_run(folder, project, mode="offline")
    except Exception as error:
        raise DashboardError(f"W&B starts no run ({_short(error)})") from error


def _wandb_run(folder: RunFolder, project: str, **how: Any) -> Logger:
    """A W&B run that is started."""
    logger = WandbLogger(
        name=run_name(folder),
        save_dir=folder.logs,
        project=project,
        id=folder.run_id,
        group=_group(folder),
        **how,
    )
    _ = logger.experiment
    return WandbDashboard(logger)


def mlflow(folder: RunFolder, experiment: str = "hspi-learn", tracking_uri: str | None = None) -> Logger:
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
    if tracking_uri.startswith("http") and not _answers(tracking_uri):
        raise DashboardError(f"{told} does not answer within {CONNECT_S:g} s")
    known = folder.logs / "mlflow_run_id"
    run_id = known.read_text() if known.is_file() else None
    logger = MLFlowLogger(
        experiment, run_name(folder), tracking_uri, tags=_mlflow_tags(folder), run_id=run_id
    )
    try:
        run_id = str(logger.run_id)
    except Exception as error:
        raise DashboardError(f"{told} starts no run ({_short(error)})") from error
    write_text(known, run_id)
    return MlflowDashboard(logger)


def _mlflow_tags(folder: RunFolder) -> dict[str, str]:
    """The run's own id, and the MLflow run of the training that an evaluation is of."""
    trained = folder.trained
    tags = {f"trained.{name}": run["run_id"] for name, run in trained.items() if "run_id" in run}
    tags["run_id"] = folder.run_id
    parents = [run["mlflow_run_id"] for run in trained.values() if "mlflow_run_id" in run]
    return tags | ({"mlflow.parentRunId": parents[0]} if parents else {})


def _short(error: Exception) -> str:
    """The beginning of an error, in one line."""
    return without_passwords(" ".join(str(error).split()))[:200] or type(error).__name__


def _answers(address: str) -> bool:
    """Whether anything answers there in ``CONNECT_S``, through the proxy if the environment names one."""
    found = []

    def ask() -> None:
        try:
            with urlopen(without_passwords(address), timeout=CONNECT_S):
                found.append(True)
        except HTTPError:  # an answer, though not a friendly one
            found.append(True)
        except URLError as error:  # a certificate of one's own is for the dashboard to judge
            found.extend([True] if isinstance(error.reason, SSLError) else [])
        except (OSError, ValueError):
            pass

    # A thread, since looking up a name knows no timeout.
    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(CONNECT_S)
    return bool(found)


@contextmanager
def open_loggers(folder: RunFolder, make: Callable[[], Logger] | None) -> Iterator[list[Logger]]:
    """The loggers of a run: ``logs/csv``, and the dashboard if it can be opened; finished with the block.

    Args:
        folder: folder of the run, which describes itself already.
        make: opens what the config chooses; None for CSV alone.
    """
    loggers = [csv(folder)]
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


def run_links(folder: RunFolder) -> dict[str, str]:
    """Under which names the dashboards know a run, for the runs that build on it."""
    if not folder.environment_file.is_file():
        return {"folder": str(folder.path)}
    links = {"folder": str(folder.path), "run_id": folder.run_id, "group": _group(folder)}
    known = folder.logs / "mlflow_run_id"
    return links | ({"mlflow_run_id": known.read_text()} if known.is_file() else {})


def run_name(folder: RunFolder) -> str:
    """The name that people see: the folder's, with that of the sweep before it."""
    return f"{folder.sweep.name}/{folder.path.name}" if folder.sweep else folder.path.name


def _group(folder: RunFolder) -> str:
    """What W&B shows together: the jobs of a sweep, and a training with its evaluations."""
    groups = [run["group"] for run in folder.trained.values() if "group" in run]
    return groups[0] if groups else (folder.sweep or folder.path).name


Data = TypeVar("Data")


def without_passwords(value: Data) -> Data:
    """Text, or all text in a mapping, with ``user:password@`` taken out of addresses."""
    if isinstance(value, str):
        return re.sub(r"://[^/@\s]*@", "://", value)  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {key: without_passwords(item) for key, item in value.items()}  # type: ignore[return-value]
    return value


def one_slash(name: str) -> str:
    """A metric's name with dots for all slashes but the first: ``test/nrmse.gan.Pb-211``."""
    section, slash, rest = name.partition("/")
    return section + slash + rest.replace("/", ".")


def _rows(file: Path) -> tuple[list[str], list[list[float | str | None]]]:
    """Columns and rows of a CSV file: numbers as numbers, an empty field as None."""
    with file.open(encoding="utf-8", newline="") as lines:
        columns, *rows = csv_format.reader(lines)
    return columns, [[_cell(text) for text in row] for row in rows]


def _cell(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None
