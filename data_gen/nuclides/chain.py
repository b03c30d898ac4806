"""Decay chains: members, half-lives in s and branching fractions.

Source: members are those of ICRP Publication 107, through the package radioactivedecay; half-lives and
branching fractions are DDEP's where it has evaluated the nuclide (``evaluations.py``), else ICRP-107's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import radioactivedecay as rd

from data_gen.core.errors import UserError
from data_gen.nuclides.evaluations import evaluation
from data_gen.nuclides.names import canonical_name


@dataclass(frozen=True)
class DecayChain:
    """A radioactive nuclide and its radioactive progeny; activities over time follow from these numbers.

    Args:
        members: names, the injected nuclide first, every parent before its progeny, stable ends left out.
        half_lives_s: half-life of each member in s.
        branchings: (parent, child, fraction of the parent's decays) between members.
    """

    members: tuple[str, ...]
    half_lives_s: tuple[float, ...]
    branchings: tuple[tuple[str, str, float], ...]

    def half_life_s(self, member: str) -> float:
        """Half-life of a member in s."""
        return self.half_lives_s[self._index(member)]

    def decay_constant(self, member: str) -> float:
        """Decay constant of a member in 1/s."""
        return math.log(2) / self.half_life_s(member)

    def branching(self, parent: str, child: str) -> float:
        """Fraction of the parent's decays that produce the child directly; 0 without such a branch."""
        return sum(share for a, b, share in self.branchings if (a, b) == (parent, child))

    def _index(self, member: str) -> int:
        if member not in self.members:
            raise UserError(f"{member!r} is no member of the chain {list(self.members)}")
        return self.members.index(member)


def decay_chain(nuclide: str) -> DecayChain:
    """The decay chain of a nuclide, in any usual spelling ("Ra-223", "ra223", "223Ra").

    Raises:
        UserError: the nuclide is unknown or stable.
    """
    first = canonical_name(nuclide)
    if math.isinf(rd.Nuclide(first).half_life("s")):
        raise UserError(
            f"nuclide {nuclide!r} is stable; a decay chain needs a radioactive one, such as Ra-223"
        )
    members = tuple(reversed(_progeny_first(first, {})))
    half_lives = tuple(map(_half_life_s, members))
    branchings = tuple((m, c, share) for m in members for c, share in _children(m) if c in members)
    return DecayChain(members, half_lives, branchings)


def _half_life_s(member: str) -> float:
    """Half-life of a radioactive nuclide."""
    known = evaluation(member)
    return known.half_life_s if known else float(rd.Nuclide(member).half_life("s"))


def _progeny_first(member: str, seen: dict[str, None]) -> list[str]:
    """Members in the order in which a depth-first search leaves them: every child before its parents."""
    if member not in seen:
        # The main branch is walked last, so that it stands first once the order is reversed.
        for child, _ in sorted(_children(member), key=lambda branch: branch[1]):
            _progeny_first(child, seen)
        seen[member] = None
    return list(seen)


def _children(member: str) -> list[tuple[str, float]]:
    """Radioactive nuclides that a member decays to, with their fractions; spontaneous fission left out."""
    nuclide, known = rd.Nuclide(member), evaluation(member)
    evaluated = known.branches if known else {}
    branches = zip(nuclide.progeny(), nuclide.branching_fractions(), strict=True)
    return [
        (str(child), evaluated.get(child, float(share)))
        for child, share in branches
        if child != "SF" and math.isfinite(rd.Nuclide(child).half_life("s"))
    ]
