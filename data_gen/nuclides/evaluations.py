"""Half-lives, branching fractions and photons that were evaluated after ICRP-107, from ``ddep.json``.

Of a nuclide: half-life in s, fraction of the decays to each child, photon energies in keV and photons per
decay. Source: Decay Data Evaluation Project (DDEP), Laboratoire National Henri Becquerel; the laboratory and
the year of each evaluation stand beside it. docs/nuclides.md shows both beside each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

_TABLE = Path(__file__).with_name("ddep.json")

K_GROUPS = ("Ka2", "Ka1", "Kb1", "Kb2")
"""Groups of K X-rays: K-L2, K-L3, all K-M, and all K-N, K-O and K-P."""


class EvaluatedPhoton(NamedTuple):
    """Photons of one energy, or of one group of K X-rays at their mean energy."""

    energy_kev: float
    photons_per_decay: float
    uncertainty: float | None
    """Standard uncertainty of ``photons_per_decay``; None where none is given."""
    kind: str
    """"gamma", "annihilation" or one of :data:`K_GROUPS`."""
    element: str
    """Symbol of the element that emits a K X-ray; of the progeny for gammas."""


@dataclass(frozen=True)
class Evaluation:
    """The evaluated decay of one nuclide.

    Args:
        source: laboratory and year of the evaluation.
        half_life_s: half-life in s.
        half_life_uncertainty_s: its standard uncertainty in s.
        branches: fraction of the decays by child.
        photons: of this nuclide alone, in ascending energy.
    """

    source: str
    half_life_s: float
    half_life_uncertainty_s: float
    branches: Mapping[str, float]
    photons: tuple[EvaluatedPhoton, ...]


def evaluation(nuclide: str) -> Evaluation | None:
    """What DDEP evaluated of a nuclide (by its canonical name); None where the table has nothing."""
    return _evaluations().get(nuclide)


@cache
def nuclear_data() -> str:
    """Name of the nuclear data in use: another one whenever a half-life, branch or yield may differ."""
    table = hashlib.sha256(_TABLE.read_bytes()).hexdigest()[:8]
    return f"DDEP {table}, icrp107-database {version('icrp107-database')}"


@cache
def _evaluations() -> dict[str, Evaluation]:
    """All of the table, by nuclide."""
    content = json.loads(_TABLE.read_text(encoding="utf-8"))
    return {
        nuclide: Evaluation(**{**parts, "photons": tuple(EvaluatedPhoton(*p) for p in parts["photons"])})
        for nuclide, parts in content.items()
    }
