"""Files from strangers: what they would grow to is counted before any of it becomes data.

A few lines of YAML can stand for more values than any memory holds, JSON can nest deeper than Python calls
itself, and an archive or an image of a few kilobytes can claim gigabytes. Each is refused in a sentence,
before anything is allocated.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from data_gen.core.errors import UserError
from data_gen.core.memory import check_memory

VALUE_COST = 50
"""Characters that a value counts as besides its own; chosen, no source."""

MOST_COST = 1_000_000
"""Characters that a config may hold once all in it is filled in: some 20,000 values; chosen, no source."""

DEEPEST = 40
"""Most mappings and lists of a YAML or JSON file inside each other; chosen, no source."""

JSON_BYTES = 30
"""Memory that a byte of JSON may need as Python objects (an empty list of three characters takes 64)."""

MOST_COMPRESSION = 1100
"""Bytes that one compressed byte can stand for: deflate gives 1032 at most (zlib.net/zlib_tech.html)."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Plain data of a YAML file.

    Raises:
        UserError: it would grow beyond what a config may hold.
        yaml.YAMLError: it is no YAML of plain data.
        UnicodeDecodeError: it is no UTF-8.
    """
    text = _checked_text(path)
    return yaml.safe_load(text)


def check_yaml(path: Path) -> None:
    """Check a YAML file that a library is going to read; see :func:`read_yaml`."""
    _checked_text(path)


def _checked_text(path: Path) -> str:
    if path.stat().st_size > MOST_COST:
        raise _too_large(path)
    text = path.read_text(encoding="utf-8")
    _count(text, path)
    return text


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path} stands for more than {MOST_COST} characters or {MOST_COST // VALUE_COST} values, aliases "
        "filled in; a config needs to be smaller"
    )


def _count(text: str, path: Path) -> None:
    """Refuse YAML that would grow beyond :data:`MOST_COST`, from its events alone: nothing is built of it."""
    costs: dict[str, int] = {}  # of what each anchor stands for
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # anchor and cost so far
    for event in yaml.parse(text, Loader=_Loader):
        anchor = getattr(event, "anchor", None)
        cost = VALUE_COST
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, cost))
            if len(open_nodes) > DEEPEST:
                raise UserError(f"{path} nests deeper than {DEEPEST} levels; a config needs fewer")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, cost = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in open_nodes):
                raise UserError(f"{path} contains itself by the alias *{anchor}; a config needs plain values")
            anchor, cost = None, costs.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent):
            cost += len(event.value)
        else:
            continue
        if anchor is not None:
            costs[anchor] = cost
        outer, before = open_nodes[-1]
        open_nodes[-1] = (outer, before + cost)
        if before + cost > MOST_COST:
            raise _too_large(path)


def read_json(path: Path) -> Any:
    """Plain data of a JSON file; see :func:`json_data`.

    Raises:
        UserError: it needs more memory than is allowed.
        ValueError: it is no JSON in UTF-8.
        OSError: it cannot be read.
    """
    check_memory(JSON_BYTES * path.stat().st_size, str(path))
    return json_data(path.read_bytes(), str(path))


def json_data(text: bytes, source: str) -> Any:
    """Plain data of JSON text.

    Raises:
        UserError: it needs more memory than is allowed.
        ValueError: it is no JSON in UTF-8, or nests too deeply.
    """
    check_memory(JSON_BYTES * len(text), source)
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("lists or objects nest too deeply") from error


def check_claim(path: Path, claimed_bytes: int, stored_bytes: int, times: float, memory: float = 1.0) -> None:
    """Refuse a file that claims more data than it can hold, or more than fits into memory.

    Args:
        path: the file.
        claimed_bytes: size of its data by its own header.
        stored_bytes: what is there of it, compressed or not.
        times: bytes that one stored byte can stand for, see :data:`MOST_COMPRESSION`.
        memory: bytes of memory that are needed for each byte of data.

    Raises:
        UserError: it does.
    """
    if claimed_bytes > times * stored_bytes:
        raise UserError(
            f"{path} claims {claimed_bytes / 1e9:.3g} GB of data, of which it holds {stored_bytes} bytes; "
            "it needs to be a whole file"
        )
    check_memory(memory * claimed_bytes, str(path))


def check_archive(path: Path, names: Collection[str] | None = None, stored: bool = False) -> None:
    """Check the sizes that a zip archive claims (``.npz`` of numpy, checkpoints of torch).

    Args:
        path: the archive.
        names: parts that are going to be read, without ``.npy``; None: all.
        stored: refuse compressed parts.

    Raises:
        UserError: it claims more than it can hold or than fits into memory, or an array of another size than
            its part of the archive.
        zipfile.BadZipFile: it is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        parts = [p for p in archive.infolist() if names is None or p.filename.removesuffix(".npy") in names]
        compressed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
        if stored and compressed:
            raise UserError(f"{path} holds {compressed[0]} compressed, which this program never writes")
        times = MOST_COMPRESSION if compressed else 1.0
        # What is there of the parts is no more than the file, whatever they claim, and however often.
        held = min(path.stat().st_size, sum(part.compress_size for part in parts))
        check_claim(path, sum(part.file_size for part in parts), held, times)
        for part in parts:
            if part.filename.endswith(".npy"):
                _check_array(archive, part, path)


def _check_array(archive: zipfile.ZipFile, part: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an array whose header claims another size than its part of the archive has."""
    from numpy.lib import format as npy  # a third of a second that --help does without

    with archive.open(part) as file:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise UserError(f"{path}: {part.filename} is of npy version {version}; it needs 1.0 or 2.0")
        shape, _, dtype = read(file)
        size = dtype.itemsize
        for length in shape:
            size *= length
        if not dtype.hasobject and file.tell() + size != part.file_size:
            raise UserError(
                f"{path}: {part.filename} claims the shape {shape}, which is not what it holds; "
                "it needs whole arrays"
            )


def check_volume(image: Any, path: Path) -> None:
    """Check the size that a NIfTI image claims, before any voxel of it is read.

    Args:
        image: as ``nibabel`` opened it.
        path: its file.

    Raises:
        UserError: it claims more than its file can hold, or than fits into memory as float64 and float32.
    """
    itemsize = image.get_data_dtype().itemsize
    values = 1
    for length in image.shape:
        values *= int(length)
    times = MOST_COMPRESSION if path.suffix == ".gz" else 1.0
    check_claim(path, values * itemsize, path.stat().st_size, times, memory=(itemsize + 12) / itemsize)
