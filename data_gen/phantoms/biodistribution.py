"""Checked tables of concentration ranges by organ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from data_gen.core.errors import UserError
from data_gen.core.random import Range, checked_range
from data_gen.phantoms.phantom import ORGANS


def checked_biodistribution(key: str, table: Mapping[str, Sequence[float]]) -> dict[str, Range]:
    """Organ to [lowest, highest] of 0 or more, as plain tuples.

    Raises:
        UserError: an organ that no phantom has, or a range that is none.
    """
    return {checked_organ(key, organ): checked_range(f"{key}.{organ}", span) for organ, span in table.items()}


def checked_organ(key: str, organ: str) -> str:
    """The organ's name.

    Raises:
        UserError: not one of ``ORGANS``, or the outside.
    """
    known = ORGANS[1:]
    if organ not in known:
        close = difflib.get_close_matches(organ, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise UserError(f"{key} names the organ {organ!r}; {hint}")
    return organ
