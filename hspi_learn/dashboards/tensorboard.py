"""TensorBoard as a dashboard: files in the run's ``logs/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from hspi_learn.dashboards.dashboard import Dashboard
from hspi_learn.io.run_folder import RunFolder, flat_config


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


def open_tensorboard(folder: RunFolder) -> Logger:
    """TensorBoard files in ``logs/tensorboard``; see them with ``tensorboard --logdir runs``."""
    return TensorBoardDashboard(TensorBoardLogger(folder.logs, name="tensorboard", version=""))
