"""Grouping of chain members: which members share one activity map.

Short-lived progeny decays where its parent did, so its activity follows the parent's at the ratio of
transient equilibrium (docs/physics.md, section 2); a longer-lived daughter may migrate and gets a map of its
own. All ratios are dimensionless, half-lives are in s.
"""

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
    """Members of a decay chain that share a few activity maps.

    A map holds the activity of its group's head (the first member) in Bq per voxel; the other members of the
    group follow it at the ratio of transient equilibrium, in which the head itself decays as slowly as the
    longest-lived nuclide that feeds it.

    Args:
        chain: the decay chain.
        groups: members by name of the map, head first; members left out emit nothing in the model.

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
        self.decay_constants: tuple[float, ...] = tuple(_slowest(chain, head) for head in self.heads)
        """Of each map in transient equilibrium, 1/s: that of the longest-lived nuclide that feeds it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps, in order."""
        return tuple(self.members)

    @property
    def heads(self) -> tuple[str, ...]:
        """The member whose activity each map holds."""
        return tuple(tied[0] for tied in self.members.values())

    def to_dict(self) -> dict[str, list[str]]:
        """Plain data that rebuilds the groups."""
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
    """Activity of each member of a group divided by the head's, in transient equilibrium."""
    unknown = [m for m in tied if m not in chain.members]
    if unknown:
        raise UserError(f"groups name {unknown[0]}, which the chain {list(chain.members)} does not hold")
    head = tied[0]
    slowest = _slowest(chain, head)
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


def _slowest(chain: DecayChain, head: str) -> float:
    """Decay constant, 1/s, of the longest-lived of a member and all that it descends from."""
    return min(chain.decay_constant(member) for member in _feeders(chain, head))


def _feeders(chain: DecayChain, head: str) -> set[str]:
    """A member and all members that it descends from."""
    feeders = {head}
    for member in reversed(chain.members):  # children stand behind their parents
        if any(chain.branching(member, child) > 0 for child in feeders):
            feeders.add(member)
    return feeders


def tied_groups(chain: DecayChain, tie_below_s: float = 600.0) -> MemberGroups:
    """Default groups: a member that lives less than ``tie_below_s`` shares the map of its parent.

    Ten minutes puts Fr-221 (4.8 min) with Ac-225, and gives Pb-211 (36 min), Bi-213 (46 min) and Bi-212 (61
    min) maps of their own. Left out are stable members, members that live a thousand times longer than the
    chain's first (Bi-207 after At-211), and groups that emit no photons (Pb-209 after Ac-225), whose maps no
    camera could image.

    Raises:
        UserError: no member emits photons at 20-600 keV.
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
    """Groups of one: every radioactive chain member has a map of its own."""
    return MemberGroups(chain, {m: [m] for m in chain.members if math.isfinite(chain.half_life_s(m))})
