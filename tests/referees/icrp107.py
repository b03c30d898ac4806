"""Decay chains with the half-lives and branching fractions of ICRP-107 alone, from radioactivedecay."""

from __future__ import annotations

import radioactivedecay as rd

from data_gen.nuclides import DecayChain, decay_chain


def icrp107_chain(nuclide: str) -> DecayChain:
    """The members of the chain in use, with ICRP-107's numbers."""
    chain = decay_chain(nuclide)
    half_lives = tuple(float(rd.Nuclide(member).half_life("s")) for member in chain.members)
    shares = ((a, b, float(rd.DEFAULTDATA.branching_fraction(a, b))) for a, b, _ in chain.branchings)
    return DecayChain(chain.members, half_lives, tuple(shares))
