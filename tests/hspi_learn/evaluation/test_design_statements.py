"""What is said of a check by Monte Carlo."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from data_gen.design import GainCheck
from hspi_learn.evaluation.designs import SETTLED, check_statement

PROBLEM = SimpleNamespace(task=SimpleNamespace(wanted="tumour"))


def test_a_settled_check_gives_both_gains() -> None:
    """Gains and error as numbers, and no reservation."""
    told = check_statement(PROBLEM, GainCheck(2.8, 2.69, 0.11))
    assert told == (
        "tumour against all else, in blocks of pixels: gain 2.80 by the model, 2.69 +- 0.11 by Monte Carlo, "
        "scatter included."
    )


@pytest.mark.parametrize(
    "check", [GainCheck(1.5, 1.0, SETTLED), GainCheck(1.5, math.nan, math.nan), GainCheck(1.5, -0.2, 0.01)]
)
def test_an_uncertain_check_says_so(check: GainCheck) -> None:
    """A large error, no number, and a gain that cannot be."""
    assert check_statement(PROBLEM, check).endswith(
        "too uncertain to settle anything; set check_photons higher."
    )
