"""Decay chains and kinetics compared with Bateman's closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_gen.kinetics import CompartmentModel, RegionKinetics
from data_gen.nuclides import DecayChain, activities_at, decay_chain
from data_gen.validation.bateman import Network
from data_gen.validation.point import Findings, Plot, Point

_CHAINS = {
    "ra223": ("Ra-223", "Rn-219", "Po-215", "Pb-211", "Bi-211"),
    "ac225": ("Ac-225", "Fr-221", "At-217", "Bi-213"),
    "pb212": ("Pb-212", "Bi-212"),
}
_LIMIT = 1e-8
"""Tolerance of the relative deviation."""
_HOUR_S = 3600.0
_LEAST = 1e-12
"""Activity, as a share of the injected, below which deviations are taken relative to this."""

_RELEASED = {"Fr-221": 0.4, "Bi-213": 0.7}
"""Fraction of each daughter that is released from the carrier at birth."""

_FREE_PER_H = {
    "Fr-221": {"tumour": {"blood": 6.0}},
    "Bi-213": {"tumour": {"blood": 3.0}, "blood": {"kidneys": 11.0}},
}


def decay(times_h: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)) -> Findings:
    """Chains alone, and Ac-225 bound in a tumour whose free Fr-221 and Bi-213 reach blood and kidneys."""
    points = [
        _chain(name, members, times_h, by)
        for name, members in _CHAINS.items()
        for by in ("activities_at", "kinetics")
    ]
    free, plot = _free_daughters(times_h)
    return Findings([*points, *free], [plot])


def _chain(name: str, members: Sequence[str], times_h: Sequence[float], by: str) -> Point:
    chain = decay_chain(members[0])
    still = RegionKinetics(CompartmentModel(["body"], "body", {}), chain, 1.0)
    worst = 0.0
    for time_h in times_h:
        time_s = time_h * _HOUR_S
        if by == "kinetics":
            activity = dict(zip(chain.members, still.activity([time_s])[0, 0].tolist(), strict=True))
        else:
            activity = activities_at(chain, 1.0, time_s)
        for member in members:
            truth = _activity(chain, _plain_network(chain), members[0], member, time_s)
            worst = max(worst, abs(activity[member] - truth) / max(truth, _LEAST))
    note = f"{', '.join(members)}; {min(times_h):g} to {max(times_h):g} h; {by}"
    return Point(f"{name}_{by}", worst, _LIMIT, "Bateman in 60 digits", "Bateman 1910", note)


def _plain_network(chain: DecayChain) -> Network:
    losses = {member: chain.decay_constant(member) for member in chain.members}
    steps: dict[str, dict[str, float]] = {}
    for parent, child, share in chain.branchings:
        steps.setdefault(parent, {})[child] = share * losses[parent]
    return Network(losses, steps)


def _activity(chain: DecayChain, network: Network, first: str, member: str, time_s: float) -> float:
    """Activity of a member for 1 Bq of the first."""
    atoms = network.atoms(first, member, time_s) / chain.decay_constant(first)
    return atoms * chain.decay_constant(member)


def _free_daughters(times_h: Sequence[float]) -> tuple[list[Point], Plot]:
    chain, regions = decay_chain("Ac-225"), ("tumour", "blood", "kidneys")
    model = CompartmentModel(regions, "tumour", {}, _FREE_PER_H, _RELEASED)
    kinetics = RegionKinetics(model, chain, 1.0)
    network = _free_network(chain, regions)
    seconds = [time_h * _HOUR_S for time_h in times_h]
    found = kinetics.activity(seconds).numpy()
    points, curves = [], {}
    for member in ("Fr-221", "Bi-213"):
        for r, region in enumerate(regions):
            truth = np.array([_in_region(chain, network, member, region, t) for t in seconds])
            if not truth.any():
                continue
            here = found[:, r, chain.members.index(member)]
            points.append(
                Point(
                    f"free_{member.replace('-', '').lower()}_{region}",
                    float(np.abs(here / truth - 1).max()),
                    _LIMIT,
                    "Bateman over all paths in 60 digits",
                    "Bateman 1910",
                    "Ac-225 bound in a tumour, 40 % of Fr-221 and 70 % of Bi-213 leave it",
                )
            )
            curves[f"{member}, {region}"] = (np.array(times_h), here)
    caption = "Daughters of 1 Bq of Ac-225 that is bound in a tumour, where a share of them comes free."
    axes = ("time after injection [h]", "activity [Bq]")
    return points, Plot("free_daughters", caption, *axes, curves, ("log", "log"))


def _in_region(chain: DecayChain, network: Network, member: str, region: str, time_s: float) -> float:
    """Activity of a member in a region, bound and free, for 1 Bq of Ac-225 at the start."""
    states = [s for s in network.losses if s.startswith(f"{member} ") and s.endswith(f" {region}")]
    start = "Ac-225 bound tumour"
    atoms = sum(network.atoms(start, state, time_s) for state in states)
    return atoms / chain.decay_constant("Ac-225") * chain.decay_constant(member)


def _free_network(chain: DecayChain, regions: Sequence[str]) -> Network:
    """The same kinetics as a network of states "member form region", set up independently."""
    losses: dict[str, float] = {}
    steps: dict[str, dict[str, float]] = {}
    for member in ("Ac-225", "Fr-221", "At-217", "Bi-213"):
        for form in ("bound", "free"):
            for region in regions:
                state, constant = f"{member} {form} {region}", chain.decay_constant(member)
                moves = _FREE_PER_H.get(member, {}).get(region, {}) if form == "free" else {}
                away = {f"{member} free {to}": rate / _HOUR_S for to, rate in moves.items()}
                losses[state] = constant + sum(away.values())
                steps[state] = {**away, **_born(chain, member, form, region)}
    return Network(losses, steps)


def _born(chain: DecayChain, parent: str, form: str, region: str) -> Mapping[str, float]:
    """Rates into the daughters of a state, by form."""
    found: dict[str, float] = {}
    for child in ("Fr-221", "At-217", "Bi-213"):
        rate = chain.branching(parent, child) * chain.decay_constant(parent)
        free = 1.0 if form == "free" else _RELEASED.get(child, 0.0)
        for kind, share in (("free", free), ("bound", 1 - free)):
            if rate * share > 0:
                found[f"{child} {kind} {region}"] = rate * share
    return found
