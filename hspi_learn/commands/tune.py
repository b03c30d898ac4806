"""Search for the settings of a training or of a classical method: ``hspi-tune data.folder=FOLDER``.

Each trial is judged on validation scans only: a training by its watched metric, a classical method by its
median NRMSE.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_gen.core.errors import UserError
from data_gen.core.memory import PROCESS_BYTES, check_memory
from hspi_learn.commands.entry import run_command
from hspi_learn.commands.train import TrainSettings
from hspi_learn.configs.schema import Node

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from hspi_learn.evaluation.tables import Table
    from hspi_learn.io.run_folder import RunFolder
    from hspi_learn.tuning import Place, Search, SearchPlan, TrialRecord

WAIT_S = 0.2
"""Between two looks at whether a trial has ended."""


@dataclass(frozen=True)
class TuneSettings(TrainSettings):
    """Keys of ``conf/tune.yaml``: those of a training, and those of the search."""

    search: Node
    validation_scans: int
    classical: Node | None = None


def tune(config: DictConfig, resume: bool = False) -> dict[str, float]:
    """Search as the config says; returns what ``metrics.json`` holds.

    Args:
        config: see ``conf/tune.yaml``.
        resume: go on with the search in ``run_dir``; trials that were stopped go on, too.

    Raises:
        UserError: the config or the data is not what it needs to be, or no trial came to its end.
    """
    from hspi_learn.configs.build import build
    from hspi_learn.io.run_folder import RunFolder
    from hspi_learn.tuning import Search

    plan: SearchPlan = build(config.search, key="search")
    check_memory(PROCESS_BYTES * plan.side_by_side, f"search.side_by_side {plan.side_by_side}")
    present = _present(config, plan)
    _check_candidates(config, plan)
    folder = RunFolder.existing(config.run_dir) if resume else RunFolder.fresh(config.run_dir)
    if not resume:
        _describe(folder, config)
    search = Search(folder.path, plan, _direction(config))
    _run(config, search, present)
    return _publish(folder, search)


def _present(config: DictConfig, plan: SearchPlan) -> dict[str, Any]:
    """Values of what is searched in the config as it stands.

    Raises:
        UserError: a key is not in the config.
    """
    found = {}
    for key in plan.settings:
        try:
            value = OmegaConf.select(config, key, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise UserError(f"search.space names {key}, which is no key of the config") from error
        if value is None and "classical" in key and config.get("classical") is None:
            raise UserError(f"search.space names {key}; it needs a method, as in classical=osem")
        if value is None:
            raise UserError(
                f"search.space names {key}, which has no value in the config; it needs one to vary"
            )
        found[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return found


def _check_candidates(config: DictConfig, plan: SearchPlan) -> None:
    """Refuse what would fail in the midst of the search: candidates and ends of ranges are checked."""
    from hspi_learn.configs.check import check_config

    for key, setting in plan.settings.items():
        for value in setting.ends:
            check_config(_with_values(config, {key: value}), TuneSettings)


def _with_values(config: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """The config with other values at some keys."""
    other: DictConfig = OmegaConf.create(OmegaConf.to_container(config, resolve=True))  # type: ignore[assignment]
    for key, value in values.items():
        OmegaConf.update(other, key, value, merge=False)
    return other


def _direction(config: DictConfig) -> Literal["min", "max"]:
    """Whether a trial's lowest or highest value is best."""
    from hspi_learn.configs.targets import locate

    if config.get("classical") is not None:
        return "min"
    task = locate(config.task["_target_"], "task")
    watched = getattr(task, "watched", None)
    if watched is None:
        raise UserError(f"task is {config.task['_target_']}, which watches no metric; it needs a Task")
    return watched.direction  # type: ignore[no-any-return]


def _describe(folder: RunFolder, config: DictConfig) -> None:
    """Write down what is searched before it starts; the config comes last."""
    import yaml

    from data_gen.core.files import sha256_of
    from data_gen.storage import MANIFEST
    from hspi_learn.configs.packages import packages_used
    from hspi_learn.io.atomic import write_json, write_text
    from hspi_learn.io.environment import environment

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    settings = {str(key): value for key, value in plain.items()}
    manifest = Path(config.data.folder) / MANIFEST
    if not manifest.is_file():
        raise UserError(f"data.folder is {config.data.folder}, which holds no {MANIFEST}")
    hashes = {str(manifest): sha256_of(manifest)}
    about = environment(config.seed, config.threads, hashes, packages_used(settings))
    write_json(folder.environment_file, about)
    write_text(folder.config_file, yaml.safe_dump(settings, sort_keys=False))


# Trials, each in a process of its own: nothing of one is left in another, a killed one harms no other.


def _run(config: DictConfig, search: Search, present: Mapping[str, Any]) -> None:
    """Run all trials that are missing, those first that were stopped."""
    stopped = [trial for trial in search.trials if trial.state == "running"]
    waiting = [(search.place(trial.number), trial.settings) for trial in stopped]
    running: dict[Place, BaseProcess] = {}
    try:
        while waiting or running or len(search.trials) < search.plan.trials:
            more = waiting or len(search.trials) < search.plan.trials
            if more and len(running) < search.plan.side_by_side:
                place, values = waiting.pop(0) if waiting else search.propose(present)
                running[place] = _started(config, place, values)
                continue
            time.sleep(WAIT_S)
            for place in [place for place, process in running.items() if not process.is_alive()]:
                _ended(search, place, running.pop(place))
    finally:
        for process in running.values():
            process.terminate()


def _started(config: DictConfig, place: Place, values: Mapping[str, Any]) -> BaseProcess:
    """The process of a trial."""
    other = _with_values(config, values)
    other.run_dir = str(Path(place.folder) / "trials" / f"{place.number:04d}")
    plain = OmegaConf.to_container(other)
    process = multiprocessing.get_context("spawn").Process(target=_trial, args=(plain, place))
    process.start()
    return process


def _ended(search: Search, place: Place, process: BaseProcess) -> None:
    """Tell of a trial that has ended, also of one that was killed."""
    process.join()
    trial = search.trials[place.number]
    if trial.state == "running":
        place.give_up(f"its process ended with status {process.exitcode}")
        trial = search.trials[place.number]
    settings = ", ".join(f"{key} {_told(value)}" for key, value in trial.settings.items())
    outcome = f"{trial.value:.4g}" if trial.state == "finished" else trial.state
    print(
        f"trial {trial.number}: {outcome} ({settings}){': ' + trial.told if trial.told else ''}", flush=True
    )


def _trial(plain: dict[str, Any], place: Place) -> None:
    """One trial, in its own process."""
    from data_gen.core.memory import keep_freed_memory
    from data_gen.core.parallel import end_with_parent
    from hspi_learn.tuning import Pruned

    keep_freed_memory()
    end_with_parent()
    config = OmegaConf.create(plain)
    try:
        value = _trained(config, place) if config.get("classical") is None else _reconstructed(config, place)
        if not math.isfinite(value):
            raise UserError(f"it found {value}, which is no number to compare")
        place.finish(value)
    except Pruned:
        place.give_up()
    except UserError as error:
        place.give_up(str(error))


def _trained(config: DictConfig, place: Place) -> float:
    """The watched metric of a training; one that was stopped goes on."""
    from hspi_learn.commands.train import train
    from hspi_learn.configs.check import check_config
    from hspi_learn.configs.targets import locate
    from hspi_learn.tuning import ReportValidation

    metric: str = locate(config.task["_target_"], "task").watched.metric  # type: ignore[attr-defined]
    for key in ("search", "classical", "validation_scans"):
        config.pop(key, None)
    checked = OmegaConf.create(check_config(config, TrainSettings))
    begun = (Path(config.run_dir) / "config.yaml").is_file()
    return train(checked, resume=begun, callbacks=[ReportValidation(place, metric)])[metric]


def _reconstructed(config: DictConfig, place: Place) -> float:
    """Median NRMSE of a classical method over validation scans."""
    import torch

    from hspi_learn.configs.build import build
    from hspi_learn.data import collate
    from hspi_learn.evaluation.judge import JudgedError
    from hspi_learn.reconstructor import scan_context

    torch.set_num_threads(config.threads)
    windows = config.windows_kev if config.windows_kev == "lines" else tuple(config.windows_kev)
    data = build(config.data, key="data", windows_kev=windows)
    model = data.system.forward_model(data.windows)
    method = build(config.classical, key="classical", model=model)
    error, found = JudgedError(model), []
    scans = data.windowed("validation")
    for number in range(min(config.validation_scans, len(scans))):
        batch = collate([scans[number]])
        context = scan_context(model, batch.density, batch.duration_s)
        with torch.no_grad():
            estimate = method.reconstruct(batch.projections, context)
            found.append(float(error(estimate, batch, context)))
        place.report(statistics.median(found), number)
    return statistics.median(found)


# What was found.


def _publish(folder: RunFolder, search: Search) -> dict[str, float]:
    """Write the table of trials and the best settings, and tell them."""
    import yaml

    from hspi_learn.io.atomic import write_text

    trials, best = search.trials, search.best
    table = _table(search, trials)
    for kind, text in (("csv", table.csv()), ("md", table.markdown())):
        write_text(folder.path / "tables" / f"trials.{kind}", text)
    if best is None:
        told = next((trial.told for trial in trials if trial.told), "none was finished")
        raise UserError(f"no trial of the search in {folder.path} came to its end; the first said: {told}")
    edges = search.at_edge(best)
    settings = yaml.safe_dump(_nested(best.settings), sort_keys=False)
    about = f"# Trial {best.number} of a search: {best.value:.6g} on validation scans."
    write_text(folder.path / "best.yaml", f"# @package _global_\n{about}\n{settings}")
    states = [trial.state for trial in trials]
    numbers = {"best/value": best.value, "best/trial": float(best.number), "best/at_edge": float(len(edges))}
    numbers |= {f"trials/{state}": float(states.count(state)) for state in ("finished", "pruned", "failed")}
    folder.write_metrics(numbers)
    chosen = ", ".join(f"{key}={_told(value)}" for key, value in best.settings.items())
    print(f"{folder.path}: best is trial {best.number}, {best.value:.4g}, with {chosen}")
    if edges:
        print(f"{', '.join(edges)} lie at the edge of what was searched: search farther there")
    return numbers


def _table(search: Search, trials: list[TrialRecord]) -> Table:
    """All trials, the best first."""
    from hspi_learn.evaluation.tables import Table

    sign = 1 if search.direction == "min" else -1
    order = sorted(
        trials, key=lambda t: (t.state != "finished", sign * t.value if t.state == "finished" else 0)
    )
    rows: tuple[tuple[str | float, ...], ...] = tuple(
        (
            str(t.number),
            t.state,
            t.value,
            t.seconds,
            *(_told(t.settings.get(key, "")) for key in search.settings),
        )
        for t in order
    )
    columns = ("trial", "state", "value", "seconds", *search.settings)
    return Table("trials", "Trials of the search, the best first.", columns, rows)


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a tree."""
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        *above, last = key.split(".")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def _told(value: Any) -> str:
    """A value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """The command line."""
    run_command("tune", tune, TuneSettings, resume=partial(tune, resume=True))


if __name__ == "__main__":
    main()
