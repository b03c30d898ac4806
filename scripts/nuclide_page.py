"""Write docs/nuclides.md: half-lives, branches and photons in use beside those of ICRP-107 and of DDEP.

python scripts/nuclide_page.py
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import radioactivedecay as rd
import xraylib
import yaml
from icrp107_database import get_icrp107_spectrum

from data_gen.nuclides import DecayChain, PhotonLine, decay_chain, photon_lines
from data_gen.nuclides.evaluations import K_GROUPS, EvaluatedPhoton, Evaluation, evaluation
from data_gen.nuclides.lines import icrp107_lines

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "conf" / "nuclide"
PAGE = ROOT / "docs" / "nuclides.md"
LOWEST_KEV, HIGHEST_KEV = 20.0, 2700.0
STRONG = 5e-3
"""Photons per decay of the emitter from which a line is listed."""
WEAK = 1e-4
"""Photons per decay below which a line is part of the pieces; the default of ``LineSpectrum.of``."""
SAME_KEV = 0.5
"""Largest distance at which a line of ICRP-107 is taken for an evaluated one."""
HEAD = """# Nuclear data

Half-lives, branching fractions and photons of the chains in `conf/nuclide`, in use here, in ICRP
Publication 107 (2008; through radioactivedecay and icrp107-database) and in the evaluations of the Decay
Data Evaluation Project (DDEP, Laboratoire National Henri Becquerel, LARA tables as carried by the package
roentgen). Where DDEP has evaluated a nuclide, its numbers are used; everything else is ICRP-107's: the
nuclides that DDEP lacks, the members of a chain, L X-rays, betas (and so bremsstrahlung), and how the
photons of a group of K X-rays are shared out among its lines. Energies of K X-rays are xraylib's.
`scripts/ddep_table.py` writes the table, `data_gen/nuclides/ddep.json`, and `scripts/nuclide_page.py` this
page.

Every description of an imaging system (`system.json`, shards) names the nuclear data that it was made with;
a data set made with others is told of in the log.

## What is in

- Gammas, K and L X-rays of every chain member at {low:g}-{high:g} keV. Lines of fewer than {weak:g} photons
  per decay of their emitter are no lines of their own: their photons are added to the pieces of
  bremsstrahlung of the same member, 32 over that range. No photon is left out; the last table has their
  share.
- Annihilation photons (511 keV, two for each positron): Tb-149 and its progeny, Bi-207.
- Bremsstrahlung of betas, external and internal; not that of conversion and Auger electrons.
- Not in: photons under {low:g} keV, coincidence summing, the range of positrons and betas before they
  radiate.

## Th-227

DDEP has no Th-227, and two sets of yields of its radium K X-rays are about: K-alpha 1 and 2 of {ka1:.2f}
and {ka2:.2f} in 100 decays (ICRP-107, in use) and 2.39 and 1.47. What decides is how many holes the K shell
gets, which internal conversion alone makes. ENSDF (as in paceENSDF of July 2024) gives the gammas of
286.09, 272.91 and 304.50 keV the multipolarity M1+E2, and that of 289.59 keV none, all four without a
conversion coefficient of the K shell. Summed over the gammas that have one, it has {ensdf:g} K electrons in
100 decays, which xraylib's fluorescence yield and radiative rates turn into {low_ka1:.1f} and
{low_ka2:.1f}: the lower set leaves the conversion of these four gammas out. ICRP-107 counts it (M1),
{electrons:.2f} K electrons in all, and its X-rays are what these leave: {from_electrons:.2f} photons in 100
decays for {x_rays:.2f} tabulated. The lower set is therefore not used. Of the higher one, 14 % rest on
289.59 keV being M1, which ENSDF does not say; a measured yield was not found.
"""
ENSDF_K_ELECTRONS = 5.23
"""K electrons in 100 decays of Th-227: ENSDF's gammas times their K conversion coefficients, as in paceENSDF
(github.com/AaronMHurst/pace_ensdf, bee5a22 of July 2024), where a coefficient is given."""
BINDING_KEV = {"Ra": 104.32}
"""Energy of the K shell in ICRP-107 (EADL), which its conversion electrons lack."""


def page() -> str:
    """The whole page."""
    chains = [decay_chain(yaml.safe_load(f.read_text())["nuclide"]) for f in sorted(CONFIGS.glob("*.yaml"))]
    members = list(dict.fromkeys(member for chain in chains for member in chain.members))
    parts = [_head(), _half_lives(members), _branches(chains), _photons(members), _weak(members)]
    return "\n".join(parts)


def _head() -> str:
    """The text above the tables, with what it computes."""
    strong = _by_group(photon_lines("Th-227", 80, 110))
    electrons = k_electrons("Th-227", BINDING_KEV["Ra"])
    bright = xraylib.FluorYield(88, xraylib.K_SHELL)
    ka1, ka2 = (xraylib.RadRate(88, line) for line in (xraylib.KL3_LINE, xraylib.KL2_LINE))
    return HEAD.format(
        low=LOWEST_KEV,
        high=HIGHEST_KEV,
        weak=WEAK,
        ka1=100 * strong["Ra Ka1"],
        ka2=100 * strong["Ra Ka2"],
        ensdf=ENSDF_K_ELECTRONS,
        low_ka1=ENSDF_K_ELECTRONS * bright * ka1,
        low_ka2=ENSDF_K_ELECTRONS * bright * ka2,
        electrons=100 * electrons,
        from_electrons=100 * electrons * bright,
        x_rays=100 * sum(share for group, share in strong.items() if group),
    )


def k_electrons(nuclide: str, binding_kev: float) -> float:
    """Conversion electrons of the K shell per decay by ICRP-107: those that lack its energy from a gamma."""
    gammas = [1000 * float(e) for e in get_icrp107_spectrum(nuclide, "gamma")["energies"]]
    electrons = get_icrp107_spectrum(nuclide, "IE")
    pairs = zip(electrons["energies"], electrons["weights"], strict=True)
    return sum(
        float(share)
        for energy, share in pairs
        if any(abs(1000 * float(energy) - (gamma - binding_kev)) < 0.03 for gamma in gammas)
    )


def _by_group(lines: Iterable[PhotonLine]) -> dict[str, float]:
    """Photons per decay by group of K X-rays; all else under ""."""
    sums: dict[str, float] = defaultdict(float)
    for line in lines:
        sums[line.k_group] += line.photons_per_decay
    return sums


def _half_lives(members: Iterable[str]) -> str:
    rows = []
    for member in members:
        known, old = evaluation(member), float(rd.Nuclide(member).half_life("s"))
        used = decay_chain(member).half_life_s(member)
        evaluated = _time(known.half_life_s, known.half_life_uncertainty_s) if known else "-"
        rows.append((member, _time(used), _time(old), evaluated, known.source if known else "-"))
    return _table("Half-lives", ("nuclide", "in use", "ICRP-107", "DDEP", "evaluation"), rows)


def _time(seconds: float, uncertainty_s: float | None = None) -> str:
    """A time in the largest unit that it fills."""
    units = {
        "a": 365.242198 * 86400,
        "d": 86400,
        "h": 3600,
        "min": 60,
        "s": 1,
        "ms": 1e-3,
        "us": 1e-6,
        "ns": 1e-9,
    }
    unit = next(name for name, size in units.items() if seconds >= size)
    error = "" if uncertainty_s is None else f" ± {uncertainty_s / units[unit]:.2g}"
    return f"{seconds / units[unit]:.5g}{error} {unit}"


def _branches(chains: Iterable[DecayChain]) -> str:
    rows = []
    for parent, child, used in dict.fromkeys(branch for chain in chains for branch in chain.branchings):
        known, nuclide = evaluation(parent), rd.Nuclide(parent)
        old = dict(zip(nuclide.progeny(), nuclide.branching_fractions(), strict=True))[child]
        if abs(used / old - 1) > 1e-4:
            rows.append((parent, child, f"{used:.6g}", f"{old:.6g}", known.source if known else "-"))
    return _table(
        "Branching fractions that differ", ("parent", "child", "in use", "ICRP-107", "evaluation"), rows
    )


def _photons(members: Iterable[str]) -> str:
    rows = [row for member in members if evaluation(member) for row in _of_member(member)]
    about = (
        "Of the nuclides that DDEP has evaluated; all others are as in ICRP-107. "
        f"Lines of {100 * STRONG:g} photons or more in 100 decays of their emitter."
    )
    return _table("Photons in 100 decays", ("nuclide", "keV", "in use", "ICRP-107", "DDEP"), rows, about)


def _of_member(member: str) -> Iterator[tuple[str, ...]]:
    """Rows of one nuclide: groups of K X-rays, then gammas by energy."""
    known = evaluation(member)
    ours = photon_lines(member, LOWEST_KEV, HIGHEST_KEV)
    old = [line for line in icrp107_lines(member) if LOWEST_KEV <= line.energy_kev <= HIGHEST_KEV]
    used, icrp = _by_group(ours), _by_group(old)
    for group in (g for g in dict.fromkeys([*used, *icrp]) if g):
        if max(used[group], icrp[group]) >= STRONG:
            yield member, group, _percent(used[group]), _percent(icrp[group]), _evaluated_group(known, group)
    gammas = _matched([line for line in ours if line.kind == "gamma"], [])
    older = _matched([line for line in old if line.kind == "gamma"], list(gammas))
    for energy in sorted({*gammas, *older}):
        share, before = gammas.get(energy, 0.0), older.get(energy, 0.0)
        if max(share, before) >= STRONG:
            yield member, f"{energy:.2f}", _percent(share), _percent(before), _evaluated_gamma(known, energy)


def _matched(lines: Iterable[PhotonLine], energies: list[float]) -> dict[float, float]:
    """Photons per decay of gammas at the nearest of these energies, or at their own where none is near."""
    sums: dict[float, float] = defaultdict(float)
    for line in lines:
        nearest = min(energies, key=lambda e: abs(e - line.energy_kev), default=line.energy_kev)
        sums[nearest if abs(nearest - line.energy_kev) < SAME_KEV else line.energy_kev] += (
            line.photons_per_decay
        )
    return sums


def _evaluated_group(known: Evaluation | None, group: str) -> str:
    photons = known.photons if known else ()
    return next((_with_error(p) for p in photons if f"{p.element} {p.kind}" == group), "-")


def _evaluated_gamma(known: Evaluation | None, energy_kev: float) -> str:
    photons = known.photons if known else ()
    return next(
        (_with_error(p) for p in photons if p.kind not in K_GROUPS and p.energy_kev == energy_kev), "-"
    )


def _with_error(photon: EvaluatedPhoton) -> str:
    share, error = photon.photons_per_decay, photon.uncertainty
    return _percent(share) + ("" if error is None else f" ± {100 * error:.2g}")


def _percent(share: float) -> str:
    return f"{100 * share:.4g}"


def _weak(members: Iterable[str]) -> str:
    rows = []
    for member in members:
        lines = [line.photons_per_decay for line in photon_lines(member, LOWEST_KEV, HIGHEST_KEV)]
        weak = [share for share in lines if share < WEAK]
        if lines:
            rows.append(
                (
                    member,
                    _percent(sum(lines)),
                    str(len(lines)),
                    str(len(weak)),
                    f"{100 * sum(weak) / sum(lines):.2g} %",
                )
            )
    titles = ("nuclide", "photons in 100 decays", "lines", "weak lines", "share of the photons in weak lines")
    return _table("Weak lines", titles, rows)


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], about: str = "") -> str:
    lines = [f"## {title}", "", *([about, ""] if about else [])]
    lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
