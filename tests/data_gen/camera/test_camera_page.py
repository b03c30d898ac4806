"""The page of camera keys is made from the schema."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_is_current():
    """docs/cameras.md is what the script writes now, and every key that it lists has a meaning."""
    written = runpy.run_path(str(ROOT / "scripts" / "camera_page.py"))["page"]()
    assert (ROOT / "docs" / "cameras.md").read_text(encoding="utf-8") == written, "run scripts/camera_page.py"
    rows = [line for line in written.splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert all(len(row.split(" | ")[-1]) > len(" |") for row in rows)
