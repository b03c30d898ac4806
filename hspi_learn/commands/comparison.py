"""The parts of an evaluation that processes share: each builds what it needs from the config and keeps it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import track

from data_gen.core.errors import UserError
from data_gen.core.memory import PROCESS_BYTES, check_memory, keep_freed_memory
from data_gen.forward_model.line_windows import Windows
from hspi_learn.configs.build import build
from hspi_learn.configs.runs import load_task
from hspi_learn.data import ScanDataModule
from hspi_learn.evaluation import BoundedAttack, Call, Conditions, EvaluationProtocol
from hspi_learn.tasks import Task


class Comparison:
    """Runs and data of an evaluation, and the protocol that compares them.

    Args:
        config: see ``conf/evaluate.yaml``.

    Raises:
        UserError: a run does not fit the data or the other runs.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        torch.set_num_threads(config.threads)
        folders = {str(name): folder for name, folder in config.runs.items() if folder is not None}
        self.runs: dict[str, Task] = {name: load_task(folder) for name, folder in folders.items()}
        self.data: ScanDataModule = build(config.data, key="data", windows_kev=self._windows())
        for name, run in self.runs.items():
            self._check_system(name, run)
        self.protocol = self._protocol()

    def _windows(self) -> Windows:
        """The windows that every method is given: those of the runs, or the config's without runs."""
        found = {name: run.windows.boundaries_kev for name, run in self.runs.items()}
        if len(set(found.values())) > 1:
            raise UserError(f"runs were trained on different windows ({found}); compare those of the same")
        if found:
            return next(iter(found.values()))
        return "lines" if self.config.windows_kev == "lines" else tuple(self.config.windows_kev)

    def _check_system(self, name: str, run: Task) -> None:
        """Refuse a run that was trained for another camera, nuclide or grid."""
        mine, theirs = self.data.system.to_dict(), run.system.to_dict()
        odd = ", ".join(key for key in mine if mine[key] != theirs[key])
        if odd:
            raise UserError(
                f"runs.{name} was trained for another imaging system than {self.data.folder} was made with "
                f"(they differ in {odd}); it needs data of its own system"
            )

    def _protocol(self) -> EvaluationProtocol:
        """The protocol that the runs' tasks name, or the config's without runs."""
        names = {name: run.protocol for name, run in self.runs.items()}
        if len(set(names.values())) > 1:
            raise UserError(f"runs are evaluated in different ways ({names}); compare those of one task")
        chosen = next(iter(names.values()), self.config.protocol_without_runs)
        node = self.config.protocols.get(chosen)
        if node is None:
            known = ", ".join(str(name) for name in self.config.protocols)
            raise UserError(f"protocols lacks {chosen!r}, which the runs ask for; it has {known}")
        make = build(node, key=f"protocols.{chosen}")
        protocol: EvaluationProtocol = make(runs=self.runs, data=self.data, conditions=self._conditions())
        return protocol

    def _conditions(self) -> Conditions:
        """Count levels and attacks."""
        config = self.config
        fractions = tuple(sorted({1.0, *config.count_fractions}, reverse=True))
        ball = build(config.threat_model, key="threat_model")
        attacks = {}
        for name, node in _named(config.attacks):
            own = config.objectives.get(name)
            objective = build(config.objective, key="objective")
            if own is not None:
                objective = build(own, key=f"objectives.{name}")
            attacks[name] = BoundedAttack(build(node, key=f"attacks.{name}"), ball, objective)
        return Conditions(fractions, attacks, config.attacked_scans, config.seed, _told(config))


def _named(nodes: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Names and nodes; a name without a node is left out."""
    return ((str(name), node) for name, node in nodes.items() if node is not None)


def _told(config: DictConfig) -> str:
    """What the attacks are allowed, in words."""
    attacks = "; ".join(
        f"{name}: {_words(node)}, after {_words(config.objectives.get(name) or config.objective)}"
        for name, node in _named(config.attacks)
    )
    return f"{_words(config.threat_model)} in standard deviations of the counts; {attacks}"


def _words(node: DictConfig) -> str:
    """A node as its name and settings."""
    name = str(node["_target_"]).rpartition(".")[2]
    settings = ", ".join(f"{key!s} {value}" for key, value in node.items() if key != "_target_")
    return f"{name} ({settings})" if settings else name


_here: Comparison | None = None


def _start(config: dict[str, Any]) -> None:
    """Build the comparison of this process, which keeps the memory that it frees."""
    global _here
    keep_freed_memory()
    _here = Comparison(OmegaConf.create(config))


def _call(call: Call) -> Any:
    assert _here is not None
    name, arguments = call
    return getattr(_here.protocol, name)(*arguments)


def _packed(call: Call) -> bytes:
    """The result as bytes: tensors would travel as open files, of which a process may have few."""
    return pickle.dumps(_call(call))


class Pool:
    """Calls methods of a protocol, here or in several processes, results in order."""

    def __init__(self, comparison: Comparison, run: Callable[..., Iterable[Any]], watched: bool) -> None:
        self.comparison, self._run, self._watched = comparison, run, watched

    def map(self, title: str, calls: Sequence[Call]) -> list[Any]:
        """``protocol.name(*arguments)`` for each call (name, arguments), begun in this order."""
        results = self._run(_call, calls)
        return list(track(results, title, total=len(calls)) if self._watched else results)


@contextmanager
def pool(config: DictConfig) -> Iterator[Pool]:
    """A pool of ``config.workers`` processes; 0 or 1 works in this one."""
    check_memory(PROCESS_BYTES * config.workers, f"workers {config.workers}")
    plain: Any = OmegaConf.to_container(config, resolve=True)
    _start(plain)
    assert _here is not None
    if config.workers < 2:
        yield Pool(_here, map, sys.stdout.isatty())
        return
    # Forked processes would inherit locks of threads that they lack.
    with ProcessPoolExecutor(config.workers, get_context("spawn"), _start, (plain,)) as processes:
        yield Pool(_here, partial(_unpacked, processes), sys.stdout.isatty())


def _unpacked(processes: Executor, _: Callable[..., Any], calls: Sequence[Any]) -> Iterator[Any]:
    """Results of the calls, in order, as they come."""
    return map(pickle.loads, processes.map(_packed, calls))
