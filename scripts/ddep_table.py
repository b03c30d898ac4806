"""Write data_gen/nuclides/ddep.json: half-lives, branches and photons of the Decay Data Evaluation Project.

    python scripts/ddep_table.py

Source: the LARA tables of the Laboratoire National Henri Becquerel (www.lnhb.fr), which the package roentgen
(Apache-2.0, one of the dev extras) carries. Taken are the members of the chains in conf/nuclide that it has.
Roentgen is no dependency of the program itself: it drags in astropy.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "data_gen" / "nuclides" / "ddep.json"
SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "a": 365.242198 * 86400.0}
KINDS = {"g": "gamma", "g511": "annihilation", "XKa2": "Ka2", "XKa1": "Ka1", "XK'b1": "Kb1", "XK'b2": "Kb2"}


def table() -> str:
    """The whole table as JSON, one line for each photon."""
    from data_gen.nuclides import decay_chain

    names = {
        yaml.safe_load(file.read_text())["nuclide"] for file in (ROOT / "conf" / "nuclide").glob("*.yaml")
    }
    members = sorted({member for name in names for member in decay_chain(name).members})
    found = {member: evaluated(lara_file(member)) for member in members if lara_file(member).is_file()}
    return "{\n" + ",\n".join(map(_entry, found, found.values())) + "\n}\n"


def lara_file(nuclide: str) -> Path:
    """The table of a nuclide, which need not exist."""
    spec = find_spec("roentgen")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "lara" / f"{nuclide}.lara.txt"


def evaluated(file: Path) -> dict[str, Any]:
    """The fields of ``data_gen.nuclides.evaluations.Evaluation`` from a LARA table."""
    rows = [
        [cell.strip() for cell in line.split(";")] for line in file.read_text(encoding="utf-8").splitlines()
    ]
    header = {row[0]: row[1:] for row in rows if row[0] and not row[0][0].isdigit()}
    # The first line has the half-life in the evaluation's own unit, the second the same rounded in s.
    unit, half_life = next(
        (key[11:-1], value) for key, value in header.items() if key.startswith("Half-life (")
    )
    branches = header["Daughter(s)"]
    photons = [photon(row) for row in rows if len(row) >= 6 and row[4] in KINDS]
    return {
        "source": "; ".join(header["Reference"]),
        "half_life_s": _product(half_life[0], SECONDS[unit]),
        "half_life_uncertainty_s": _product(half_life[1], SECONDS[unit]),
        "branches": {
            child: _product(share, 0.01) for child, share in zip(branches[1::3], branches[2::3], strict=True)
        },
        "photons": sorted(photons, key=lambda p: p[0]),
    }


def photon(row: list[str]) -> list[Any]:
    """The fields of ``data_gen.nuclides.evaluations.EvaluatedPhoton`` from a row of emissions."""
    energy, _, intensity, uncertainty, kind, origin = row[:6]
    share = _product(uncertainty, 0.01) if uncertainty else None
    return [float(energy), _product(intensity, 0.01), share, KINDS[kind], origin.partition("-")[0]]


def _product(text: str, factor: float) -> float:
    """A number of the table in another unit, without digits that the table does not have."""
    return float(f"{float(text) * factor:.8g}")


def _entry(nuclide: str, parts: dict[str, Any]) -> str:
    """One nuclide as JSON."""
    photons = ",\n    ".join(map(json.dumps, parts["photons"]))
    head = ",\n  ".join(f'"{key}": {json.dumps(value)}' for key, value in parts.items() if key != "photons")
    return f'"{nuclide}": {{\n  {head},\n  "photons": [\n    {photons}\n  ]\n}}'


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
