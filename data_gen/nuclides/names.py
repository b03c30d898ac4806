"""Canonical names of nuclides, such as "Ra-223", from the usual spellings."""

from __future__ import annotations

import difflib
import re

import radioactivedecay as rd
from radioactivedecay.utils import NuclideStrError

from data_gen.core.errors import UserError


def canonical_name(nuclide: str) -> str:
    """The name used everywhere, such as "Ra-223", for spellings such as "Ra223", "ra-223" or "223Ra".

    Raises:
        UserError: ICRP-107 holds no nuclide of that name.
    """
    try:
        name = str(rd.Nuclide(nuclide).nuclide)
    except (NuclideStrError, ValueError, TypeError, AttributeError, IndexError, KeyError):
        raise UserError(
            f"nuclide {nuclide!r} is not known; write element and mass number, "
            f"such as {_suggestions(str(nuclide))}"
        ) from None
    return name


def _suggestions(nuclide: str) -> str:
    """Known names similar to this one: of the same element, nearest mass first, if it names an element."""
    known = [str(name) for name in rd.DEFAULTDATA.nuclides]
    element, mass = _parts(nuclide)
    close = sorted(
        (name for name in known if name.partition("-")[0] == element), key=lambda n: abs(_parts(n)[1] - mass)
    )[:3] or difflib.get_close_matches(nuclide.strip().capitalize(), known, n=3, cutoff=0.6)
    return " or ".join(f'"{name}"' for name in close or ["Ra-223", "Ac-225"])


def _parts(nuclide: str) -> tuple[str, int]:
    """Element and mass number as far as a name shows them; "" and 0 where it does not."""
    letters, digits = re.search("[A-Za-z]+", nuclide), re.search("[0-9]+", nuclide)
    return (letters[0].capitalize() if letters else ""), (int(digits[0]) if digits else 0)
