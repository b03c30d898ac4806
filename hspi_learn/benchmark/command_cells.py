"""Cells that run a command of ours in a folder of its own: data sets, trainings and evaluations of a study.

An argument names the folder of another cell as ``{NAME}``: ``data.folder={mice}``. That cell's key is part of
this one's, so that whatever changes it runs everything after it again, into new folders.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from data_gen.core.errors import UserError
from data_gen.validation.keys import cell_key
from data_gen.validation.point import Findings, Point

Command = Literal["generate", "train", "tune", "evaluate"]

COMMAND_TARGET = "hspi_learn.benchmark.command_cell"
"""What the config of such a cell calls."""

REFERENCE = re.compile(r"\{(\w+)\}")
"""Stands for the folder of the cell of that name."""

OWN_KEYS = ("run_dir", "output", "resume", "hydra", "logger", "packages")
"""Keys that a cell's arguments may not set: where results go is the suite's affair."""


def command_cell(
    command: Command, arguments: Sequence[str], folder: str = "", figures: Sequence[str] = ()
) -> Findings:
    """Run a command, or go on with it where it was stopped, or take what it has finished.

    Args:
        command: which one: ``train`` is hspi-train.
        arguments: ``key=value`` as on its command line.
        folder: the data set or run folder that it writes; filled in by the suite.
        figures: names or patterns of the numbers of its ``metrics.json`` that are the cell's points.

    Raises:
        UserError: an argument says where to write or asks for an option, or the command fails.
    """
    for argument in arguments:
        key = re.split(r"[=.@]", argument.lstrip("+~"), maxsplit=1)[0]
        if argument.startswith("-") or key in OWN_KEYS:
            raise UserError(
                f"arguments holds {argument}; it needs key=value, and no {', '.join(OWN_KEYS)}: "
                "the suite says where results go"
            )
    path = Path(folder)
    numbers = path / "metrics.json"
    if command == "generate" or not numbers.exists():
        call = [sys.executable, "-m", command_module(command), *_begun(command, path, arguments)]
        ended = subprocess.run(call, check=False).returncode
        if ended:
            raise UserError(f"hspi-{command} ended with exit status {ended}; its own words stand above")
    found: dict[str, float] = json.loads(numbers.read_text()) if numbers.exists() else {}
    kept = [name for name in sorted(found) if any(fnmatchcase(name, pattern) for pattern in figures)]
    return Findings([Point(name, found[name], None, "", f"hspi-{command}") for name in kept])


def command_module(command: str) -> str:
    """The module of a command, where its code starts."""
    return f"hspi_learn.commands.{command}"


def _begun(command: Command, folder: Path, arguments: Sequence[str]) -> list[str]:
    """The arguments of a call that begins in a folder, or goes on there."""
    if command == "generate":  # goes on by itself
        return [*arguments, f"output={folder}"]
    if command == "evaluate" and folder.exists():  # keeps what is dear beside the data set
        shutil.rmtree(folder)
    if (folder / "config.yaml").exists():
        return [f"resume={folder}"]
    return [*arguments, f"run_dir={folder}"]


class LinkedCells:
    """The cells of a suite by name, with keys and folders, some of which name others' folders.

    Args:
        nodes: config of each cell.
        data: name to hash of every file that the suite reads.
        work: folder that holds the folders of cells.
        module_of: the module where a cell's code starts, from its name and config.
    """

    def __init__(
        self,
        nodes: Mapping[str, Any],
        data: Mapping[str, str],
        work: Path,
        module_of: Callable[[str, Mapping[str, Any]], str],
    ) -> None:
        self.nodes, self.data, self.work, self.module_of = nodes, data, work, module_of
        self._keys: dict[str, str] = {}
        self._asking: list[str] = []

    def key(self, name: str) -> str:
        """Hash of a cell: its config, data, code, and the keys of the cells that it names.

        Raises:
            UserError: cells name each other in a circle.
        """
        if name in self._asking:
            raise UserError(f"cells name each other in a circle: {' -> '.join([*self._asking, name])}")
        if name not in self._keys:
            self._asking.append(name)
            node = self.nodes[name]
            before = {other: self.key(other) for other in self.before(name)}
            about = {**node, "before": before} if before else node
            self._keys[name] = cell_key(about, self.data, self.module_of(name, node))
            self._asking.pop()
        return self._keys[name]

    def before(self, name: str) -> list[str]:
        """The cells that a cell names, in the order of the suite."""
        named = set(self._named(self.nodes[name]))
        return [other for other in self.nodes if other in named]

    def folder(self, name: str) -> Path:
        """The folder of a cell that runs a command."""
        return self.work / f"{name}-{self.key(name)}"

    def node(self, name: str) -> dict[str, Any]:
        """The config of a cell with all folders filled in."""
        filled: dict[str, Any] = self._filled(self.nodes[name])
        if filled["_target_"] == COMMAND_TARGET:
            filled["folder"] = str(self.folder(name))
        return filled

    def _is_reference(self, name: str) -> bool:
        node = self.nodes.get(name)
        return node is not None and node["_target_"] == COMMAND_TARGET

    def _filled(self, part: Any) -> Any:
        """A part of a config with folders in place of names."""
        if isinstance(part, Mapping):
            return {key: self._filled(value) for key, value in part.items()}
        if isinstance(part, (list, tuple)):
            return [self._filled(value) for value in part]
        if not isinstance(part, str):
            return part
        return REFERENCE.sub(
            lambda found: str(self.folder(found[1])) if self._is_reference(found[1]) else found[0], part
        )

    def _named(self, part: Any) -> Iterator[str]:
        """The cells whose folders a part of a config names."""
        if isinstance(part, Mapping):
            part = list(part.values())
        if isinstance(part, (list, tuple)):
            for value in part:
                yield from self._named(value)
        elif isinstance(part, str):
            yield from (name for name in REFERENCE.findall(part) if self._is_reference(name))
