"""Activities of the members of a decay chain over time.

From injected activities in Bq and times in s: the activity of each member at a time, or its mean over a
frame. Source: Bateman's equations (docs/physics.md, section 2), with the half-lives and branching fractions
of the chain; each mode of the coupled decays falls with the decay constant of one member (Amaku et al.,
Comput. Phys. Commun. 181 (2010) 21).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_gen.core.errors import UserError
from data_gen.nuclides.chain import DecayChain

Array = NDArray[np.float64]


def activities_at(
    chain: DecayChain, injected_bq: Mapping[str, float] | float, time_s: float
) -> dict[str, float]:
    """Activity of every member in Bq at ``time_s`` after the injection.

    Args:
        chain: the decay chain.
        injected_bq: activity in Bq by member; a number is that of the first member alone, freshly separated.
        time_s: 0 or later, in s.

    Raises:
        UserError: a negative time or activity, or a nuclide outside the chain.
    """
    modes = _modes(chain)
    return _by_member(chain, modes.atoms @ _amplitudes(chain, injected_bq, time_s))


def mean_activity(
    chain: DecayChain, injected_bq: Mapping[str, float] | float, start_s: float, end_s: float
) -> dict[str, float]:
    """Mean activity of every member in Bq over a frame; arguments as for :func:`activities_at`.

    Raises:
        UserError: also for a frame that ends before it starts.
    """
    if not start_s < end_s < math.inf:
        raise UserError(f"frame runs from {start_s} s to {end_s} s; it needs to end after it starts")
    modes, at_start = _modes(chain), _amplitudes(chain, injected_bq, start_s)
    lived = modes.constants * (end_s - start_s)
    return _by_member(chain, modes.atoms @ (at_start * -np.expm1(-lived) / lived))


class _Modes(NamedTuple):
    """The modes of a chain, each an amount of atoms of every member that keeps its proportions."""

    constants: Array
    """Decay constant of each mode in 1/s, that of the member of the same number."""
    atoms: Array
    """Atoms of each member in a mode of amplitude 1, [member, mode]."""
    amplitudes: Array
    """Amplitude of each mode for one atom of a member, [mode, member]: the inverse of ``atoms``."""


@cache
def _modes(chain: DecayChain) -> _Modes:
    """The modes of a chain; its members stand before their progeny, so that both matrices are triangular."""
    count = len(chain.members)
    constants = np.array([chain.decay_constant(member) for member in chain.members])
    born = np.zeros((count, count))
    for parent, child, share in chain.branchings:
        row, column = chain.members.index(child), chain.members.index(parent)
        born[row, column] += share * constants[column]
    atoms, amplitudes = np.eye(count), np.eye(count)
    for gap in range(1, count):
        for old in range(count - gap):
            new = old + gap
            apart = constants[new] - constants[old]
            atoms[new, old] = born[new, old:new] @ atoms[old:new, old] / apart
            amplitudes[new, old] = -amplitudes[new, old + 1 : new + 1] @ born[old + 1 : new + 1, old] / apart
    return _Modes(constants, atoms, amplitudes)


def _amplitudes(chain: DecayChain, injected_bq: Mapping[str, float] | float, time_s: float) -> Array:
    """Amplitude of each mode at a time."""
    if not 0 <= time_s < math.inf:
        raise UserError(f"time is {time_s} s after injection; it needs to be finite and 0 or later")
    injected = injected_bq if isinstance(injected_bq, Mapping) else {chain.members[0]: injected_bq}
    atoms = np.zeros(len(chain.members))
    for member, activity in injected.items():
        if member not in chain.members:
            raise UserError(f"injected_bq names {member!r}; the chain holds {list(chain.members)}")
        if not 0 <= activity < math.inf:
            raise UserError(
                f"injected_bq of {member} is {activity}; it needs a finite activity of 0 Bq or more"
            )
        atoms[chain.members.index(member)] = activity / chain.decay_constant(member)
    modes = _modes(chain)
    fallen: Array = np.exp(-modes.constants * time_s) * (modes.amplitudes @ atoms)
    return fallen


def _by_member(chain: DecayChain, atoms: Array) -> dict[str, float]:
    """Activity of every member in Bq; what has decayed away is 0, up to the rounding of what it was."""
    activities = _modes(chain).constants * atoms
    return {member: max(0.0, float(bq)) for member, bq in zip(chain.members, activities, strict=True)}
