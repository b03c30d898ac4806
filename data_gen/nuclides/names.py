"""One spelling for each nuclide."""

from __future__ import annotations

import difflib

import radioactivedecay as rd
from radioactivedecay.utils import NuclideStrError

from data_gen.errors import UserError


def canonical_name(nuclide: str) -> str:
    """The name used everywhere, such as "Ra-223", for spellings such as "Ra223", "ra-223" or "223Ra".

    Raises:
        UserError: ICRP-107 holds no nuclide of that name.
    """
    try:
        name = str(rd.Nuclide(nuclide).nuclide)
    except (NuclideStrError, ValueError, TypeError, AttributeError):
        raise UserError(
            f"nuclide {nuclide!r} is not known; write element and mass number, "
            f"such as {_suggestions(str(nuclide))}"
        ) from None
    return name


def _suggestions(nuclide: str) -> str:
    """Known names that look like this one."""
    known = [str(name) for name in rd.DEFAULTDATA.nuclides]
    close = difflib.get_close_matches(nuclide.strip().capitalize(), known, n=3, cutoff=0.6)
    return " or ".join(f'"{name}"' for name in close or ["Ra-223", "Ac-225"])
