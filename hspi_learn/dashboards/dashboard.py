"""A dashboard that never stops a run: one that cannot be reached, or that fails on the way, costs a warning
and a few seconds, and the numbers are in ``logs/csv`` all the same.
"""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from ssl import SSLError
from threading import Thread
from typing import Any, Generic, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

from hspi_learn.dashboards.run_names import without_passwords

Wrapped = TypeVar("Wrapped", bound=Logger)
CONNECT_S = 3.0
"""Seconds in which a server must answer at all."""
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
                f"{self.name} failed ({short(error)}); nothing is sent to it for {self._pause_s:g} s, and "
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


def short(error: Exception) -> str:
    """The beginning of an error, in one line."""
    return without_passwords(" ".join(str(error).split()))[:200] or type(error).__name__


def answers(address: str) -> bool:
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
