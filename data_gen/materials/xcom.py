"""Mass attenuation of the elements at 800-3000 keV, where xraylib's tables end.

From atomic number and energy in keV: cm2/g by process. Source: NIST XCOM, tabulated in ``xcom.csv``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Process = Literal["photoelectric", "compton", "rayleigh", "pair"]
_PAIR_THRESHOLDS_KEV = {"pair_nucleus": 1022.0, "pair_electron": 2044.0}
_Row = dict[str, float]


def xcom_mass_attenuation(z: int, energy_kev: float, process: Process) -> float:
    """Mass attenuation of an element in cm2/g at 800-3000 keV, by cubic splines through XCOM's own nodes.

    Splines are log-log; pair production is first divided by (1 - threshold/energy)^3, as XCOM itself does.
    "pair" is production at the nucleus and at electrons, 0 below 1022 keV.
    """
    if process != "pair":
        return math.exp(_spline(z, process)(math.log(energy_kev)))
    return sum(_pair(z, kind, energy_kev) for kind in _PAIR_THRESHOLDS_KEV)


def _pair(z: int, kind: str, energy_kev: float) -> float:
    """Pair production at the nucleus or at electrons in cm2/g."""
    threshold = _PAIR_THRESHOLDS_KEV[kind]
    if energy_kev <= threshold:
        return 0.0
    return math.exp(_spline(z, kind)(math.log(energy_kev))) * (1 - threshold / energy_kev) ** 3


@cache
def _spline(z: int, column: str) -> Callable[[float], float]:
    """Logarithm of a column over the logarithm of energy in keV; of a pair column after its division."""
    from scipy.interpolate import CubicSpline  # slow to import, wanted above 800 keV only

    rows = [row for row in _rows()[z] if row[column] > 0]
    energy = _column(rows, "energy_kev")
    values = _column(rows, column) / (1 - _PAIR_THRESHOLDS_KEV.get(column, 0.0) / energy) ** 3
    spline = CubicSpline(np.log(energy), np.log(values))
    return lambda log_energy: float(spline(log_energy))


def _column(rows: list[_Row], name: str) -> NDArray[np.float64]:
    """One column of the table."""
    return np.array([row[name] for row in rows])


@cache
def _rows() -> dict[int, list[_Row]]:
    """The table's rows by atomic number."""
    by_element: dict[int, list[_Row]] = {}
    with Path(__file__).with_name("xcom.csv").open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            by_element.setdefault(int(row.pop("z")), []).append({k: float(v) for k, v in row.items()})
    return by_element
