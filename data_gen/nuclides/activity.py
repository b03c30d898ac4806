"""Activities of the members of a decay chain over time.

From injected activities in Bq and times in s: the activity of each member at a time, or its mean over a
frame. Source: Bateman's equations (docs/physics.md, section 2) with the half-lives and branching fractions of
the chain, solved by propagators, which stay exact where a frame is short.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.nuclides.chain import DecayChain
from data_gen.nuclides.rate_equations import propagators


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
    return _by_member(chain, _atoms(chain, injected_bq, time_s))


def mean_activity(
    chain: DecayChain, injected_bq: Mapping[str, float] | float, start_s: float, end_s: float
) -> dict[str, float]:
    """Mean activity of every member in Bq over a frame; arguments as for :func:`activities_at`.

    Decays are counted by the integral of the rate equations over the frame, not as a difference of atoms,
    which cancels in frames of milliseconds.

    Raises:
        UserError: also for a frame that ends before it starts.
    """
    if not start_s < end_s < math.inf:
        raise UserError(f"frame runs from {start_s} s to {end_s} s; it needs to end after it starts")
    duration_s = end_s - start_s
    lived = propagators(_decay_matrix(chain), duration_s)[1] @ _atoms(chain, injected_bq, start_s)
    return _by_member(chain, lived / duration_s)


def _atoms(chain: DecayChain, injected_bq: Mapping[str, float] | float, time_s: float) -> Tensor:
    """Atoms of every member left or born after ``time_s``, [member]."""
    if not 0 <= time_s < math.inf:
        raise UserError(f"time is {time_s} s after injection; it needs to be finite and 0 or later")
    injected = injected_bq if isinstance(injected_bq, Mapping) else {chain.members[0]: injected_bq}
    atoms = torch.zeros(len(chain.members), dtype=torch.float64)
    for member, activity in injected.items():
        if member not in chain.members:
            raise UserError(f"injected_bq names {member!r}; the chain holds {list(chain.members)}")
        if not 0 <= activity < math.inf:
            raise UserError(
                f"injected_bq of {member} is {activity}; it needs a finite activity of 0 Bq or more"
            )
        atoms[chain.members.index(member)] = activity / chain.decay_constant(member)
    # What has decayed away is 0, up to the rounding of what it was.
    return (atoms + propagators(_decay_matrix(chain), time_s)[0] @ atoms).clamp_min(0.0)


def _by_member(chain: DecayChain, atoms: Tensor) -> dict[str, float]:
    """Activity of every member in Bq."""
    return {
        member: n * chain.decay_constant(member)
        for member, n in zip(chain.members, atoms.tolist(), strict=True)
    }


def _decay_matrix(chain: DecayChain) -> Tensor:
    """M of dN/dt = M N for the atoms of every member, [member, member] in 1/s."""
    constants = torch.tensor([chain.decay_constant(m) for m in chain.members], dtype=torch.float64)
    born = [[chain.branching(parent, child) for parent in chain.members] for child in chain.members]
    share = torch.tensor(born, dtype=torch.float64)
    return (share - torch.eye(len(constants), dtype=torch.float64)) * constants
