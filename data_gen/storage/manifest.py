"""The manifest of a data set: its shards with their hashes, its imaging system, its origin and licence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data_gen.core.errors import UserError
from data_gen.core.files import sha256_of, whole_file
from data_gen.core.foreign_files import read_json
from data_gen.storage.schema import SCHEMA_VERSION

MANIFEST = "manifest.json"

DERIVED = "inputs"
"""Folder beside the shards for what trainings compute of them; no part of the data set."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ShardEntry(_Strict):
    """One shard: its file name in the folder, its number of scans, and the hash of its content."""

    file: str
    scans: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("file")
    @classmethod
    def _plain_name(cls, file: str) -> str:
        """A manifest may not point out of its folder."""
        if not file or PurePath(file).name != file or file.startswith("."):
            raise ValueError("a shard is named by a plain file name in the folder of its manifest")
        return file


class Provenance(_Strict):
    """Where scans come from and how they may be used.

    Args:
        origin: "simulated" or "measured".
        subjects: "none", "animals" or "people": who was measured.
        licence: under which the data may be used, an SPDX name or a sentence.
        consent: for people, what they agreed to, in a sentence.
        deidentified: for people, whether names, dates and faces were removed.
    """

    origin: Literal["simulated", "measured"] = "simulated"
    subjects: Literal["none", "animals", "people"] = "none"
    licence: str = "CC0-1.0"
    consent: str = ""
    deidentified: bool = False

    @field_validator("licence")
    @classmethod
    def _stated(cls, licence: str) -> str:
        """Nobody may use data of no licence."""
        if not licence.strip():
            raise ValueError("data need a licence: an SPDX name or a sentence")
        return licence


class Manifest(_Strict):
    """A complete data set: only a finished one has a ``manifest.json``.

    Args:
        system: the imaging system as plain data (``ImagingSystem.to_dict``).
        splits: shards by split, in the order of their scans.
        seed: random seed of the data set.
        plan_sha256: hash of everything that determines the scans.
        schema_version: schema version of the shards.
        provenance: origin, licence, consent.
        plan: what a simulation was told besides system, sizes and seed: phantom and readout by class and
            settings, ranges of exposures, version and SHA-256 of packages of others. Empty for measured
            scans, and in data sets of before these were recorded.
    """

    system: dict[str, Any]
    splits: dict[str, tuple[ShardEntry, ...]]
    seed: int
    plan_sha256: str
    schema_version: int = SCHEMA_VERSION
    provenance: Provenance = Provenance()
    plan: dict[str, Any] = {}

    @model_validator(mode="after")
    def _each_shard_once(self) -> Manifest:
        """What is trained on may not be what is tested on."""
        shards = [entry for entries in self.splits.values() for entry in entries]
        for column in ("file", "sha256"):
            counted = Counter(getattr(shard, column) for shard in shards)
            for value, times in counted.most_common(1):
                if times > 1:
                    raise ValueError(
                        f"{column} {value} is listed {times} times; a shard belongs to one split, once"
                    )
        return self

    def scans(self, split: str) -> int:
        """Number of scans in a split."""
        return sum(entry.scans for entry in self.splits[split])

    def write(self, folder: Path, name: str = MANIFEST) -> None:
        """Write it into the data set's folder, whole or not at all."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True)
        with whole_file(folder / name) as part:
            part.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, name: str = MANIFEST) -> Manifest:
        """The manifest of a data set.

        Raises:
            UserError: there is none, or it is not one of this version.
        """
        path = Path(folder) / name
        if not path.is_file():
            raise UserError(f"{folder} holds no {name}; it needs a data set that hspi-generate finished")
        try:
            data = read_json(path)
        except UserError:
            raise
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read as JSON ({error}); write the data set again") from error
        version = data.get("schema_version") if isinstance(data, Mapping) else None
        if version != SCHEMA_VERSION:
            raise UserError(f"{path} has schema_version {version}; this program reads {SCHEMA_VERSION}")
        try:
            # As JSON, in which a list may be a tuple, but "3" is no number.
            return cls.model_validate_json(json.dumps(data), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            found = f": {where} is {repr(first['input'])[:80]}" if where else ""
            raise UserError(f"{path}{found}; {first['msg'].removeprefix('Value error, ')}") from error

    def checked_file(self, folder: Path, entry: ShardEntry) -> Path:
        """The path of a shard whose content is what the manifest says.

        Raises:
            UserError: it is missing, truncated or changed.
        """
        path = folder / entry.file
        if not path.is_file():
            raise UserError(f"{path} is missing; run hspi-generate again, it fills what is missing")
        if sha256_of(path) != entry.sha256:
            raise UserError(
                f"{path} is truncated or was changed: its hash is not that of {MANIFEST}; "
                "run hspi-generate again, it replaces what is broken"
            )
        return path
