"""Which members of a decay chain share one activity map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.nuclides.lines import photon_lines

if TYPE_CHECKING:
    from data_gen.nuclides.chain import DecayChain


class MemberGroups:
    """Chain members tied to a few free activity maps.

    A map holds the activity of its group's head (the first member) in Bq per voxel; the other members
    follow it at the ratio of transient equilibrium, which holds while they live too briefly to wander.
    In that equilibrium the head itself falls as slowly as the longest-lived nuclide that feeds it.

    Args:
        chain: the decay chain.
        groups: name to members, head first; members left out emit nothing in the model.

    Raises:
        UserError: an unknown member, a member in two groups, or a member that outlives its head.
    """

    def __init__(self, chain: DecayChain, groups: Mapping[str, Sequence[str]]) -> None:
        self.members: dict[str, tuple[str, ...]] = {name: tuple(tied) for name, tied in groups.items()}
        self._ratios = {
            m: r for tied in self.members.values() for m, r in _ratios_to_head(chain, tied).items()
        }
        tied = [m for group in self.members.values() for m in group]
        if len(set(tied)) != len(tied) or not tied:
            raise UserError(
                f"groups {self.members} need each chain member at most once, and at least one member"
            )
        self._chain_members = chain.members

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps, in order."""
        return tuple(self.members)

    @property
    def heads(self) -> tuple[str, ...]:
        """The member whose activity each map holds."""
        return tuple(tied[0] for tied in self.members.values())

    def to_dict(self) -> dict[str, list[str]]:
        """Plain names that rebuild the groups."""
        return {name: list(tied) for name, tied in self.members.items()}

    @property
    def weights(self) -> Tensor:
        """Activity of each chain member per activity of each map, [member, map], float64."""
        weights = torch.zeros(len(self._chain_members), len(self.members), dtype=torch.float64)
        for column, tied in enumerate(self.members.values()):
            for member in tied:
                weights[self._chain_members.index(member), column] = self._ratios[member]
        return weights


def _ratios_to_head(chain: DecayChain, tied: Sequence[str]) -> dict[str, float]:
    """Activity of each tied member over the head's in transient equilibrium."""
    unknown = [m for m in tied if m not in chain.members]
    if unknown:
        raise UserError(f"groups name {unknown[0]}, which the chain {list(chain.members)} does not hold")
    head = tied[0]
    slowest = min(chain.decay_constant(member) for member in _feeders(chain, head))
    ratios = {head: 1.0}
    for member in (m for m in chain.members if m in tied and m != head):
        constant = chain.decay_constant(member)
        if constant <= chain.decay_constant(head):
            raise UserError(f"{member} outlives {head}, the head of its group; give it a group of its own")
        fed = sum(chain.branching(parent, member) * r for parent, r in ratios.items())
        if fed == 0:
            raise UserError(
                f"{member} is not fed by {head} through its group {list(tied)}; give it a group of its own"
            )
        ratios[member] = fed * constant / (constant - slowest)
    return ratios


def _feeders(chain: DecayChain, head: str) -> set[str]:
    """A member and all that it follows from."""
    feeders = {head}
    for member in reversed(chain.members):  # children stand behind their parents
        if any(chain.branching(member, child) > 0 for child in feeders):
            feeders.add(member)
    return feeders


def tied_groups(chain: DecayChain, tie_below_s: float = 600.0) -> MemberGroups:
    """Groups told from half-lives: a member living less than ``tie_below_s`` stays where its parent decayed.

    Ten minutes ties Fr-221 (4.8 min) to Ac-225 and frees Pb-211 (36 min), Bi-213 (46 min), Bi-212 (61 min).
    Left out are stable members, members that outlive the chain's first by a thousand times (Bi-207 after
    At-211), and groups that emit no photon at all (Pb-209 after Ac-225): no camera could tell their maps.
    """
    groups: dict[str, list[str]] = {}
    group_of: dict[str, str] = {}
    longest = 1000.0 * chain.half_life_s(chain.members[0])
    for member in chain.members:
        half_life = chain.half_life_s(member)
        parents = [p for p in chain.members if p in group_of and chain.branching(p, member) > 0]
        if not math.isfinite(half_life) or half_life > longest:
            continue
        group_of[member] = member
        if parents:
            head = group_of[max(parents, key=lambda p: chain.branching(p, member))]
            if half_life < min(tie_below_s, chain.half_life_s(head)):
                group_of[member] = head
        groups.setdefault(group_of[member], []).append(member)
    seen = {head: tied for head, tied in groups.items() if any(photon_lines(m) for m in tied)}
    if not seen:
        raise UserError(
            f"{chain.members[0]} and its progeny emit no photons at 20-600 keV; choose a nuclide that does"
        )
    return MemberGroups(chain, seen)


def each_member(chain: DecayChain) -> MemberGroups:
    """Every radioactive chain member has a map of its own."""
    return MemberGroups(chain, {m: [m] for m in chain.members if math.isfinite(chain.half_life_s(m))})
