"""Decay chains and activities against closed-form Bateman solutions and evaluated half-lives."""

import math
from pathlib import Path

import pytest
import radioactivedecay as rd
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from referees.icrp107 import icrp107_chain

from data_gen import UserError, decay_chain
from data_gen.nuclides import activities_at, mean_activity

CONFIGS = Path(__file__).parents[3] / "conf" / "nuclide"


@pytest.mark.parametrize("spelling", ["Ra-223", "Ra223", "ra-223", "ra223", "223Ra", "RA-223"])
def test_spellings_are_one_nuclide(spelling):
    assert decay_chain(spelling) == decay_chain("Ra-223")


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_named_chains_put_parents_before_progeny(config):
    """Every config builds; parents stand before progeny; shares of a parent's decays sum to 1 at most."""
    content = yaml.safe_load(config.read_text())
    assert content.pop("_target_") == "data_gen.nuclides.decay_chain"
    chain = decay_chain(**content)
    assert chain.members[0].replace("-", "").lower() == config.stem
    for index, parent in enumerate(chain.members):
        assert 0 < chain.half_life_s(parent) < math.inf
        assert all(chain.branching(parent, earlier) == 0 for earlier in chain.members[: index + 1])
        assert sum(chain.branching(parent, child) for child in chain.members) <= 1 + 1e-9


def test_branchings_of_bi_213():
    """DDEP: 2.09 % alpha to Tl-209, the rest beta to Po-213; 1e-6."""
    chain = decay_chain("Ac-225")
    assert chain.branching("Bi-213", "Tl-209") == pytest.approx(0.0209, rel=1e-6)
    assert chain.branching("Bi-213", "Po-213") == pytest.approx(0.9791, rel=1e-6)
    assert chain.branching("Ac-225", "Bi-213") == 0


def test_activities_follow_bateman():
    """Parent and first daughter against the two-member solution in closed form, within 1e-6."""
    chain, time_s = decay_chain("Ac-225"), 900.0
    a, b = chain.decay_constant("Ac-225"), chain.decay_constant("Fr-221")
    activity = activities_at(chain, 1e4, time_s)
    assert activity["Ac-225"] == pytest.approx(1e4 * math.exp(-a * time_s), rel=1e-6)
    daughter = 1e4 * b / (b - a) * (math.exp(-a * time_s) - math.exp(-b * time_s))
    assert activity["Fr-221"] == pytest.approx(daughter, rel=1e-6)


@settings(max_examples=20)
@given(start_s=st.floats(0, 1e6), first_s=st.floats(60, 1e5), second_s=st.floats(60, 1e5))
def test_mean_activities_join(start_s, first_s, second_s):
    """Decays of two frames add up to those of both together, within 1e-6 of the injected activity."""
    chain = decay_chain("Th-227")
    middle_s, end_s = start_s + first_s, start_s + first_s + second_s
    whole = mean_activity(chain, 1.0, start_s, end_s)
    first, second = mean_activity(chain, 1.0, start_s, middle_s), mean_activity(chain, 1.0, middle_s, end_s)
    for member in chain.members:
        joined = (first[member] * first_s + second[member] * second_s) / (end_s - start_s)
        assert whole[member] == pytest.approx(joined, rel=1e-6, abs=1e-6)


@settings(max_examples=20)
@given(start_s=st.floats(0, 1e6), duration_s=st.floats(10, 1e5))
def test_mean_activity_of_the_parent_is_exact(start_s, duration_s):
    """The mean of the injected nuclide is that of an exponential, within 1e-6."""
    chain = decay_chain("Ra-223")
    mean = mean_activity(chain, 100.0, start_s, start_s + duration_s)["Ra-223"]
    constant = chain.decay_constant("Ra-223")
    exact = (
        -100.0 * math.exp(-constant * start_s) * math.expm1(-constant * duration_s) / (constant * duration_s)
    )
    assert mean == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("nuclide", ["Ac-225", "Ra-223", "Th-227", "At-211", "Pb-212"])
def test_activities_are_those_of_radioactivedecay(nuclide):
    """An independent package, on a chain with its own half-lives and branches (ICRP-107), members down to
    microseconds: activity and mean over a frame, 1e-9 of the injected activity and 1e-6 relative."""
    chain = icrp107_chain(nuclide)
    start_s = 2 * chain.half_lives_s[0]
    later = rd.Inventory({chain.members[0]: 1.0}, "Bq").decay(start_s, "s")
    now, decays = later.activities("Bq"), later.cumulative_decays(1800.0, "s")
    found = activities_at(chain, 1.0, start_s)
    mean = mean_activity(chain, 1.0, start_s, start_s + 1800.0)
    for member in chain.members:
        assert found[member] == pytest.approx(now[member], rel=1e-6, abs=1e-9)
        assert mean[member] == pytest.approx(decays[member] / 1800.0, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("nuclide", ["Ac-225", "Ra-223", "Bi-213"])
def test_short_frames_have_the_activity_of_their_moment(nuclide):
    """The mean over a millisecond, an hour after injection, is the activity of that moment: 1e-6, members
    that live for microseconds included."""
    chain = decay_chain(nuclide)
    now = activities_at(chain, 1e4, 3600.0)
    mean = mean_activity(chain, 1e4, 3600.0, 3600.001)
    for member in chain.members:
        assert mean[member] == pytest.approx(now[member], rel=1e-6, abs=1e-9)


def test_injected_progeny_add_up():
    """The Bateman equations are linear: progeny injected along with the parent add to it, within 1e-9."""
    chain = decay_chain("Pb-212")
    both = activities_at(chain, {"Pb-212": 5.0, "Bi-212": 3.0}, 1800.0)
    apart = [activities_at(chain, {m: a}, 1800.0) for m, a in (("Pb-212", 5.0), ("Bi-212", 3.0))]
    for member in chain.members:
        assert both[member] == pytest.approx(sum(part[member] for part in apart), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("nuclide", ["Ra-999", "radium", "Rs-223", "", "os.system", "225", "-"])
def test_unknown_nuclide_is_told_with_a_suggestion(nuclide):
    with pytest.raises(UserError, match="is not known; write element and mass number, such as"):
        decay_chain(nuclide)


def test_stable_nuclide_is_told():
    with pytest.raises(UserError, match="stable"):
        decay_chain("Pb-207")


@pytest.mark.parametrize(
    ("injected", "start_s", "end_s"),
    [({"Cs-137": 1.0}, 0, 1), (-1.0, 0, 1), (math.nan, 0, 1), (1.0, 5, 5), (1.0, -1, 5), (1.0, 0, math.inf)],
)
def test_wrong_frames_and_activities_are_told(injected, start_s, end_s):
    with pytest.raises(UserError):
        mean_activity(decay_chain("Ra-223"), injected, start_s, end_s)


@pytest.mark.parametrize("start_s", [3600.0, 86400.0])
@pytest.mark.parametrize("duration_s", [1e-3, 1e-6])
def test_mean_activity_of_frames_of_a_millisecond(start_s: float, duration_s: float) -> None:
    """Next to nothing decays meanwhile: the mean is the activity of the moment by Bateman, within 1e-4."""
    chain = decay_chain("Ra-223")
    mean = mean_activity(chain, 1e4, start_s, start_s + duration_s)
    now = activities_at(chain, 1e4, start_s + duration_s / 2)
    for member in ("Ra-223", "Rn-219", "Pb-211", "Bi-211", "Tl-207"):
        assert mean[member] == pytest.approx(now[member], rel=1e-4)


def test_the_first_milliseconds_of_a_daughter() -> None:
    """Rn-219 grows from nothing as A lambda t / 2 over the frame [0, t], 1e-4 for t of a millisecond."""
    chain = decay_chain("Ra-223")
    mean = mean_activity(chain, 1e4, 0.0, 1e-3)["Rn-219"]
    assert mean == pytest.approx(1e4 * chain.decay_constant("Rn-219") * 1e-3 / 2, rel=1e-4)
