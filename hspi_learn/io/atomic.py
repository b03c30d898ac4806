"""Text and JSON files that appear whole or not at all, whatever kills the writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_gen.core.files import whole_file


def write_text(path: Path, text: str) -> None:
    """Write a text file, its folder too if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, keys sorted."""
    write_text(path, json.dumps(data, indent=2, sort_keys=True) + "\n")
