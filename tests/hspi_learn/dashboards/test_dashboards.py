"""What dashboards are told, read back from them, and runs whose dashboard is away."""

import csv as csv_format
import json
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imsave
from pytorch_lightning.loggers import CSVLogger, Logger

from hspi_learn.dashboards import (
    Dashboard,
    dashboard,
    finished,
    log_figure,
    log_results,
    log_run,
    open_csv,
    open_loggers,
    open_mlflow,
    open_tensorboard,
    open_wandb,
    run_links,
    run_name,
    wandb,
    without_passwords,
)
from hspi_learn.dashboards.mlflow import one_slash
from hspi_learn.dashboards.tensorboard import TensorBoardDashboard
from hspi_learn.io.environment import environment
from hspi_learn.io.run_folder import RunFolder

CONFIG = {
    "task": {"generator": {"channels": [4, 8]}, "weight": 0.25},
    "data": {"folder": "http://me:secret@host/mice"},
    "seed": 3,
}


def described(path: Path, **trained: dict[str, str]) -> RunFolder:
    """A run that has just begun."""
    folder = RunFolder(path)
    folder.describe(CONFIG, {}, environment(3, 1, {"manifest.json": "cafe"}, trained=trained))
    return folder


@pytest.fixture
def evaluation(tmp_path: Path) -> RunFolder:
    """A finished evaluation of one training, with a table and a figure."""
    training = described(tmp_path / "training")
    training.logs.mkdir()
    (training.logs / "mlflow_run_id").write_text("an_mlflow_id")
    folder = described(tmp_path / "evaluation", gan=run_links(training))
    folder.write_metrics({"test/nrmse/gan": 0.5, "test/nrmse/gan/Ra-223": 0.25})
    (folder.path / "tables").mkdir()
    (folder.path / "tables" / "counts.csv").write_text("Share,GAN\n1,0.5\n0.3,\n")
    (folder.path / "tables" / "counts.md").write_text("| Share | GAN |\n")
    folder.figures.mkdir()
    imsave(folder.figures / "curve.png", np.linspace(0, 1, 60).reshape(4, 5, 3))
    return folder


def test_tensorboard_is_told_everything(evaluation: RunFolder) -> None:
    """HPARAMS, the facts and the config as text, numbers, tables and figures; no password."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    log_results(evaluation, partial(open_tensorboard, evaluation))
    events = EventAccumulator(str(evaluation.logs / "tensorboard")).Reload()
    assert events.Scalars("test/nrmse/gan")[0].value == 0.5
    assert events.Images("figures/curve")[0].width == 5
    settings = HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    ).session_start_info.hparams
    assert settings["task.weight"].number_value == 0.25
    assert settings["task.generator.channels"].string_value == "[4, 8]"
    assert settings["run.data_sha256"].string_value == "cafe"
    texts = {tag: _text(events, tag) for tag in ("run/text_summary", "config/text_summary")}
    trained = evaluation.trained["gan"]["run_id"]
    assert f"| trained.gan.run_id | {trained} |" in texts["run/text_summary"]
    assert "| machine.processors |" in texts["run/text_summary"]
    assert "    seed: 3" in texts["config/text_summary"]
    assert "http://host/mice" in texts["config/text_summary"]
    assert "secret" not in "".join(texts.values())
    assert "Share" in _text(events, "tables/counts/text_summary")


def _text(events: Any, tag: str) -> str:
    return str(events.Tensors(tag)[0].tensor_proto.string_val[0].decode())


def test_mlflow_is_told_everything(evaluation: RunFolder) -> None:
    """Params, the parent run, metrics that a store of files can hold, artifacts; no password."""
    from mlflow.tracking import MlflowClient

    log_results(evaluation, partial(open_mlflow, evaluation))
    run_id = (evaluation.logs / "mlflow_run_id").read_text()
    client = MlflowClient(f"file:{evaluation.logs / 'mlruns'}")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"test/nrmse.gan": 0.5, "test/nrmse.gan.Ra-223": 0.25}
    assert run.data.params["task.weight"] == "0.25"
    assert run.data.params["data.folder"] == "http://host/mice"
    assert run.data.params["run.data_sha256"] == "cafe"
    assert run.data.params["run.commit"] == json.loads(evaluation.environment_file.read_text())["commit"]
    assert run.data.tags["mlflow.parentRunId"] == "an_mlflow_id"
    assert run.data.tags["trained.gan"] == evaluation.trained["gan"]["run_id"]
    artifacts = evaluation.logs / "mlruns" / run.info.experiment_id / run_id / "artifacts"
    files = sorted(str(p.relative_to(artifacts)) for p in artifacts.rglob("*") if p.is_file())
    assert files == [
        "config.yaml",
        "figures/curve/step_000000.png",
        "tables/counts.csv",
        "tables/counts.md",
    ]
    assert "secret" not in "".join(p.read_text() for p in artifacts.glob("*.yaml"))


def test_wandb_is_told_everything(evaluation: RunFolder) -> None:
    """An offline run: config, group of the training, metrics, image, table, config file; no password."""
    log_results(evaluation, partial(open_wandb, evaluation))
    (run,) = (evaluation.logs / "wandb").glob("offline-run-*")
    assert run.name.endswith(evaluation.run_id)
    kept = (run / f"run-{evaluation.run_id}.wandb").read_bytes()
    for told in ('"weight":0.25', "cafe", evaluation.trained["gan"]["run_id"], "test/nrmse/gan/Ra-223"):
        assert told.encode() in kept, told
    assert b"secret" not in kept
    files = run / "files"
    assert "seed: 3" in (files / "hspi_config.yaml").read_text()
    assert "secret" not in (files / "hspi_config.yaml").read_text()
    (table,) = files.glob("media/table/tables/*.json")
    assert json.loads(table.read_text())["data"] == [[1, 0.5], [0.3, None]]
    assert len(list(files.glob("media/images/figures/*.png"))) == 1


def test_csv_alone(evaluation: RunFolder) -> None:
    """Without a dashboard the numbers are in logs/csv, once."""
    log_results(evaluation, partial(open_csv, evaluation))
    log_results(evaluation, None)
    files = sorted(evaluation.logs.glob("csv/*/metrics.csv"))
    assert [file.parent.name for file in files] == ["version_0", "version_1"]
    with files[0].open() as lines:
        (row,) = csv_format.DictReader(lines)
    assert float(row["test/nrmse/gan"]) == 0.5


def test_names_and_links(tmp_path: Path) -> None:
    """A job of a sweep is called after the sweep; links say under which names dashboards know a run."""
    (tmp_path / "sweep" / "2").mkdir(parents=True)
    (tmp_path / "sweep" / "multirun.yaml").touch()
    job, alone = described(tmp_path / "sweep" / "2"), described(tmp_path / "alone")
    assert (run_name(job), run_name(alone)) == ("sweep/2", "alone")
    assert run_links(job) == {"folder": str(job.path), "run_id": job.run_id, "group": "sweep"}
    assert run_links(RunFolder(tmp_path / "old")) == {"folder": str(tmp_path / "old")}
    assert one_slash("test/nrmse/gan/Ra-223") == "test/nrmse.gan.Ra-223"
    assert one_slash("lr-AdamW") == "lr-AdamW"
    assert without_passwords({"a": ["x"], "b": "s3://k:p@h/@x and me@home"}) == {
        "a": ["x"],
        "b": "s3://h/@x and me@home",
    }


# Dashboards that are away.

Away = Callable[[RunFolder], Logger]


@pytest.fixture
def closed() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is asked without a proxy, and somebody is logged in to W&B."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)


def _run_of_three_steps(
    folder: RunFolder, make: Callable[[], Logger], monkeypatch: pytest.MonkeyPatch
) -> tuple[float, list[str]]:
    """Seconds until the last warning, and all of ours, of a run whose three numbers must be in logs/csv."""
    began, told = time.monotonic(), dict[str, float]()

    def heard(message: Warning | str, *_: Any, **__: Any) -> None:
        if "csv" in str(message) or "W&B" in str(message):
            told[str(message)] = time.monotonic() - began

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", heard)
        with open_loggers(folder, make) as opened:
            log_run(folder, opened, weights=7)
            for step in range(3):
                for logger in opened:
                    logger.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    with (folder.logs / "csv" / "version_0" / "metrics.csv").open() as lines:
        assert [float(row["train/loss"]) for row in csv_format.DictReader(lines)] == [1, 1 / 2, 1 / 3]
    return max(told.values()), list(told)


def test_mlflow_that_is_away(
    tmp_path: Path, closed: str, direct: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed port: one warning without the password, and the run goes on; 10 s."""
    folder, address = described(tmp_path / "run"), closed.replace("//", "//me:secret@")
    seconds, told = _run_of_three_steps(
        folder, partial(open_mlflow, folder, tracking_uri=address), monkeypatch
    )
    assert len(told) == 1
    assert f"MLflow at {closed} does not answer" in told[0]
    assert seconds < 10


def test_wandb_that_is_away(
    tmp_path: Path, closed: str, direct: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed port: one warning, the run is kept offline with its numbers; 10 s."""
    folder = described(tmp_path / "run")
    seconds, told = _run_of_three_steps(
        folder, partial(open_wandb, folder, offline=False, base_url=closed), monkeypatch
    )
    assert len(told) == 1
    assert f"W&B at {closed} does not answer" in told[0]
    (kept,) = folder.logs.glob("wandb/offline-run-*/*.wandb")
    assert b"train/loss" in kept.read_bytes()
    assert seconds < 10


class Fake(BaseHTTPRequestHandler):
    """Enough of a server of MLflow or W&B to start a run; it dies where ``alive`` says so."""

    protocol_version = "HTTP/1.1"
    alive = True
    taken: list[str]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.alive:
            self.close_connection = True
            return
        self.taken.append(self.path)
        answer = self._told(body)
        text = json.dumps(answer or {}).encode()
        self.send_response(200 if answer is not None else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _told(self, body: bytes) -> Any:
        if self.path.endswith("runs/create"):
            return {"run": {"info": {"run_id": "r", "run_uuid": "r", "experiment_id": "1"}, "data": {}}}
        if "experiments/get-by-name" in self.path:
            return {"experiment": {"experiment_id": "1", "name": "e", "lifecycle_stage": "active"}}
        if "file_stream" in self.path or self.path.startswith("/api/2.0"):
            return {}
        if b"UpsertBucket" in body:
            project = {"id": "p", "name": "x", "entity": {"id": "e", "name": "me"}}
            name = json.loads(body)["variables"]["name"]
            bucket = {"id": "b", "name": name, "displayName": "x", "config": "{}", "project": project}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if b"ResumeStatus" in body:
            return {"data": {"model": None}}
        return None

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[tuple[str, type[Fake]]]:
    handler = type("Served", (Fake,), {"taken": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()


def _dying(handler: type[Fake], make: Callable[[], Logger]) -> Logger:
    """The dashboard, opened while its server lived."""
    logger = make()
    logger.log_metrics({"train/loss": 2.0}, 0)
    handler.alive = False
    return logger


def test_mlflow_that_dies_on_the_way(tmp_path: Path, direct: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers reach it until it dies; then it is tried once and at the end, and the run ends well; 10 s."""
    folder = described(tmp_path / "run")
    with served() as (address, handler):
        make = partial(open_mlflow, folder, tracking_uri=address)
        seconds, told = _run_of_three_steps(folder, partial(_dying, handler, make), monkeypatch)
        assert any(path.endswith("runs/log-batch") for path in handler.taken)
    assert len(told) == 2
    assert re.search(r"MLFlow failed .*nothing is sent to it for 30 s", told[0])
    assert re.search(r"MLFlow failed .*nothing is sent to it for 60 s", told[1])
    assert seconds < 10


def test_wandb_that_dies_on_the_way(tmp_path: Path, direct: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends well with a warning, and what W&B lacks is on disk; 10 s."""
    monkeypatch.setattr(wandb, "FINISH_S", 2.0)
    folder = described(tmp_path / "run")
    with served() as (address, handler):
        make = partial(open_wandb, folder, offline=False, base_url=address)
        seconds, told = _run_of_three_steps(folder, partial(_dying, handler, make), monkeypatch)
    assert len(told) == 1, told
    assert f"W&B at {address} answers no more" in told[0]
    (kept,) = folder.logs.glob("wandb/run-*/*.wandb")
    assert b"train/loss" in kept.read_bytes()
    assert seconds < 10


class Broken(CSVLogger):
    """Fails as often as it is asked."""

    asked = 0

    def log_metrics(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        raise ConnectionError("gone")


def test_tries_grow_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure nothing is sent for 30 s, after the next for 60 s, by the clock."""
    now = [1000.0]
    monkeypatch.setattr(dashboard.time, "monotonic", lambda: now[0])
    broken = Broken(tmp_path)
    guarded = TensorBoardDashboard(broken)  # type: ignore[arg-type]
    asked = []
    for second in range(0, 200, 5):
        now[0] = 1000.0 + second
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            guarded.log_metrics({"a": 1.0}, 0)
        if broken.asked > len(asked):
            asked.append(second)
    assert asked == [0, 30, 90]
    now[0] = 1000.0 + 210
    with pytest.warns(UserWarning, match="failed .gone.; nothing is sent to it for 240 s"):
        guarded.log_metrics({"a": 1.0}, 0)


class Recorded(CSVLogger):
    """Tells how it was finished."""

    status = ""

    def finalize(self, status: str) -> None:
        self.status = status


def test_loggers_are_finished_also_when_a_run_fails(tmp_path: Path) -> None:
    """Contract of ``finished``: every logger hears of the failure, and the failure itself comes through."""
    kept = [Recorded(tmp_path), Recorded(tmp_path)]
    with pytest.raises(ZeroDivisionError), finished(kept):
        raise ZeroDivisionError
    assert [logger.status for logger in kept] == ["failed", "failed"]
    with finished(kept):
        pass
    assert [logger.status for logger in kept] == ["success", "success"]


def test_wandb_runs_of_one_process_are_separate(tmp_path: Path) -> None:
    """Two jobs one after another, the first of which fails, have a run each."""
    for name in ("a", "b"):
        folder = described(tmp_path / name)
        try:
            with open_loggers(folder, partial(open_wandb, folder)):
                if name == "a":
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        (run,) = folder.logs.glob("wandb/offline-run-*")
        assert run.name.endswith(folder.run_id)


def test_csv_takes_no_pictures(tmp_path: Path) -> None:
    """A logger without pictures is left alone."""
    logger = CSVLogger(tmp_path)
    assert not isinstance(logger, Dashboard)
    log_figure(logger, "name", Figure(), 0)
    assert not list(tmp_path.rglob("*.png"))
