"""Kinetics of regions against closed forms, other solvers, and conservation."""

import math

import numpy as np
import pytest
import radioactivedecay as rd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from referees.icrp107 import icrp107_chain
from scipy.integrate import solve_ivp

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.kinetics import CompartmentModel, RegionKinetics, load_kinetics
from data_gen.nuclides import DecayChain, decay_chain

HOUR = 3600.0
STILL = CompartmentModel(("body",), "body", {})
AC_FR_BI = DecayChain(
    ("Ac-225", "Fr-221", "Bi-213"),
    (864000.0, 294.0, 2735.4),
    (("Ac-225", "Fr-221", 1.0), ("Fr-221", "Bi-213", 1.0)),
)
MOUSE = CompartmentModel(
    ("blood", "tumour", "kidneys"),
    "blood",
    {"blood": {"tumour": 0.02, "kidneys": 0.01}, "tumour": {"blood": 0.005}},
    {
        "Fr-221": {"blood": {"kidneys": 3.0}, "tumour": {"blood": 2.0}},
        "Bi-213": {"blood": {"kidneys": 1.5}, "tumour": {"blood": 0.2}, "kidneys": {"blood": 0.05}},
    },
    {"Fr-221": 0.8, "Bi-213": 0.9},
)


def _bateman(constants, injected_bq, time):
    """Activity of the last of an unbranched chain, sum of exponentials (Bateman 1910)."""
    total = 0.0
    for i, k in enumerate(constants):
        rest = math.prod(other - k for j, other in enumerate(constants) if j != i)
        total += math.exp(-k * time) / rest
    return injected_bq * math.prod(constants[1:]) * total


def test_one_compartment_is_the_bateman_equation():
    """Bateman's closed form for Ac-225 -> Fr-221 -> Bi-213, 1e-8 relative (found: 1e-12)."""
    kinetics = RegionKinetics(STILL, AC_FR_BI, 1e4)
    constants = [AC_FR_BI.decay_constant(m) for m in AC_FR_BI.members]
    for time in (600.0, HOUR, 24 * HOUR, 30 * 24 * HOUR):
        found = kinetics.activity([time])[0, 0]
        for k in range(3):
            assert float(found[k]) == pytest.approx(_bateman(constants[: k + 1], 1e4, time), rel=1e-8)


@pytest.mark.parametrize("nuclide", ["Ac-225", "Ra-223", "Th-227", "At-211", "Pb-212"])
def test_full_chains_are_those_of_radioactivedecay(nuclide):
    """An independent package, on a chain with its own half-lives (ICRP-107), members down to microseconds:
    activity and frame mean, 1e-8 relative."""
    chain = icrp107_chain(nuclide)
    kinetics = RegionKinetics(STILL, chain, 1e4)
    time, frame = 2 * chain.half_lives_s[0], Frame(3000.0, 1800.0)
    fresh = rd.Inventory({chain.members[0]: 1e4}, "Bq")
    now = fresh.decay(time, "s").activities("Bq")
    decays = fresh.decay(frame.start_s, "s").cumulative_decays(frame.duration_s, "s")
    found, averaged = kinetics.activity([time])[0, 0], kinetics.frame_means([frame])[0, 0]
    for k, member in enumerate(chain.members):
        assert float(found[k]) == pytest.approx(now[member], rel=1e-8)
        assert float(averaged[k]) == pytest.approx(decays[member] / frame.duration_s, rel=1e-8)


def _written_out(time, y):
    """Ac-Fr-Bi with free daughters, each equation by hand; atoms, 1/s. y: bound and free by member."""
    ac_b, ac_t, ac_k, fr_b, fr_t, fr_k, bi_b, bi_t, bi_k, fb, ft, fk, bb, bt, bk = y
    la, lf, lb = (math.log(2) / h for h in (864000.0, 294.0, 2735.4))
    bt_, bk_, tb_ = 0.02 / HOUR, 0.01 / HOUR, 0.005 / HOUR
    out = bt_ + bk_
    return [
        -(la + out) * ac_b + tb_ * ac_t,
        -(la + tb_) * ac_t + bt_ * ac_b,
        -la * ac_k + bk_ * ac_b,
        0.2 * la * ac_b - (lf + out) * fr_b + tb_ * fr_t,
        0.2 * la * ac_t - (lf + tb_) * fr_t + bt_ * fr_b,
        0.2 * la * ac_k - lf * fr_k + bk_ * fr_b,
        0.1 * lf * fr_b - (lb + out) * bi_b + tb_ * bi_t,
        0.1 * lf * fr_t - (lb + tb_) * bi_t + bt_ * bi_b,
        0.1 * lf * fr_k - lb * bi_k + bk_ * bi_b,
        0.8 * la * ac_b - (lf + 3 / HOUR) * fb + 2 / HOUR * ft,
        0.8 * la * ac_t - (lf + 2 / HOUR) * ft,
        0.8 * la * ac_k - lf * fk + 3 / HOUR * fb,
        0.9 * lf * fr_b + lf * fb - (lb + 1.5 / HOUR) * bb + 0.2 / HOUR * bt + 0.05 / HOUR * bk,
        0.9 * lf * fr_t + lf * ft - (lb + 0.2 / HOUR) * bt,
        0.9 * lf * fr_k + lf * fk - (lb + 0.05 / HOUR) * bk + 1.5 / HOUR * bb,
    ]


@pytest.mark.parametrize("hours", [0.5, 24.0])
def test_free_daughters_are_those_of_scipy(hours):
    """Equations written out and integrated by scipy's DOP853 at rtol 1e-12: 1e-8 relative."""
    start = np.zeros(15)
    start[0] = 1e4 / AC_FR_BI.decay_constant("Ac-225")
    kinetics = RegionKinetics(MOUSE, AC_FR_BI, 1e4)
    end = hours * HOUR
    truth = solve_ivp(_written_out, (0, end), start, method="DOP853", rtol=1e-12, atol=1e-9).y[:, -1]
    found = kinetics.atoms(end)
    for form in range(2):
        members = (0, 1, 2) if form == 0 else (1, 2)
        for k in members:
            place = 3 * k if form == 0 else 9 + 3 * (k - 1)
            assert found[form, :, k].tolist() == pytest.approx(truth[place : place + 3].tolist(), rel=1e-8)


def test_free_bismuth_in_the_kidney_closed_form():
    """Ac stays in the tumour, Bi leaves to the kidney at rate r: r / (lambda + r) decays there; 1e-10."""
    chain = DecayChain(("Ac-225", "Bi-213"), (864000.0, 2735.4), (("Ac-225", "Bi-213", 1.0),))
    model = CompartmentModel(
        ("tumour", "kidneys"), "tumour", {}, {"Bi-213": {"tumour": {"kidneys": 0.4}}}, {"Bi-213": 1.0}
    )
    decays = RegionKinetics(model, chain, 1e4).decays()
    rate, bismuth = 0.4 / HOUR, chain.decay_constant("Bi-213")
    atoms = 1e4 / chain.decay_constant("Ac-225")
    assert float(decays[0, 0]) == pytest.approx(atoms, rel=1e-12)
    assert float(decays[1, 1]) == pytest.approx(atoms * rate / (rate + bismuth), rel=1e-10)
    assert float(decays[0, 1]) == pytest.approx(atoms * bismuth / (rate + bismuth), rel=1e-10)


def test_frames_sum_to_the_integral():
    """Mean times duration over frames that touch equals decays from first to last, 1e-12; and to scipy's."""
    kinetics = RegionKinetics(MOUSE, AC_FR_BI, 1e4)
    frames = [Frame(0.0, 60.0), Frame(60.0, 3540.0), Frame(3600.0, 82800.0)]
    summed = sum(f.duration_s * mean for f, mean in zip(frames, kinetics.frame_means(frames), strict=True))
    torch.testing.assert_close(summed, kinetics.decays(0.0, 86400.0), rtol=1e-12, atol=0)
    times = np.linspace(3600.0, 7200.0, 401)
    curve = kinetics.activity(times.tolist())
    weights = torch.ones(401, dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    simpson = (weights[:, None, None] * curve).sum(0) * (9.0 / 3)
    torch.testing.assert_close(kinetics.decays(3600.0, 7200.0), simpson, rtol=1e-8, atol=0)


@pytest.mark.parametrize("nuclide", ["Ac-225", "At-211"])
def test_decays_for_good(nuclide):
    """All that is injected decays once in each unbranched step: branchings alone, 1e-10."""
    chain = decay_chain(nuclide)
    kinetics = RegionKinetics(STILL, chain, 1e4)
    atoms = {chain.members[0]: 1e4 / chain.decay_constant(chain.members[0])}
    for child in chain.members[1:]:
        atoms[child] = sum(atoms[p] * chain.branching(p, child) for p in atoms)
    assert kinetics.decays()[0].tolist() == pytest.approx([atoms[m] for m in chain.members], rel=1e-10)
    late = kinetics.decays(0.0, 400 * max(chain.half_lives_s))
    torch.testing.assert_close(late, kinetics.decays(), rtol=1e-9, atol=0)


@settings(max_examples=12, derandomize=True)
@given(
    st.lists(st.floats(0.0, 20.0), min_size=12, max_size=12),
    st.floats(0.0, 1.0),
    st.floats(1.0, 1e6),
)
def test_atoms_are_conserved(rates, share, time):
    """For any rates: atoms left + decayed = injected + born, member by member, 1e-9; nothing is negative."""
    names = ("a", "b", "c")
    pairs = [(s, t) for s in names for t in names if s != t]
    tables = []
    for part in (rates[:6], rates[6:]):
        table = {name: {} for name in names}
        for (source, target), rate in zip(pairs, part, strict=True):
            table[source][target] = rate
        tables.append(table)
    model = CompartmentModel(names, "a", tables[0], {"Fr-221": tables[1]}, {"Fr-221": share, "Bi-213": share})
    kinetics = RegionKinetics(model, AC_FR_BI, {"Ac-225": 1e4, "Bi-213": 10.0}, {"Fr-221": 5.0})
    left, gone = kinetics.atoms(time).sum((0, 1)), kinetics.decays(0.0, time).sum(0)
    put_in = kinetics.atoms(0.0).sum((0, 1))
    put_in[1:] += gone[:-1]
    torch.testing.assert_close(left + gone, put_in, rtol=1e-9, atol=0)
    assert bool((kinetics.atoms(time) >= 0).all())


def test_regions_without_exchange_do_not_matter():
    """Moving atoms between regions leaves their total as Bateman has it, 1e-10."""
    apart = RegionKinetics(MOUSE, AC_FR_BI, 1e4).activity([5 * HOUR])[0].sum(0)
    torch.testing.assert_close(apart, RegionKinetics(STILL, AC_FR_BI, 1e4).activity([5 * HOUR])[0, 0])


def test_the_mouse_in_the_box():
    """Schwartz et al. 2011: kidneys hold far more Bi-213 than Ac-225; the tumour loses some; blood clears."""
    model, chain = load_kinetics("ac225_antibody_mouse"), decay_chain("Ac-225")
    kinetics = RegionKinetics(model, chain, 1e4)
    day = dict(zip(model.regions, kinetics.activity([72 * HOUR])[0][:, [0, 3]].tolist(), strict=True))
    assert chain.members[3] == "Bi-213"
    assert day["kidneys"][1] > 3 * day["kidneys"][0]
    assert 0.5 * day["tumour"][0] < day["tumour"][1] < day["tumour"][0]
    assert day["blood"][1] < 0.5 * day["blood"][0]
    injected = 1e4 * math.exp(-chain.decay_constant("Ac-225") * 72 * HOUR)
    assert sum(a for a, _ in day.values()) == pytest.approx(injected, rel=1e-10)
    assert 0.02 < day["tumour"][0] / injected < 0.06


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: CompartmentModel((), "a", {}), "names"),
        (lambda: CompartmentModel(("a", "a"), "a", {}), "once"),
        (lambda: CompartmentModel(("blood",), "bloood", {}), "did you mean blood"),
        (lambda: CompartmentModel(("a", "b"), "a", {"a": {"b": -1.0}}), r"a\.b"),
        (lambda: CompartmentModel(("a", "b"), "a", {"a": {"b": math.nan}}), r"a\.b"),
        (lambda: CompartmentModel(("a", "b"), "a", {"a": {"a": 1.0}}), "another region"),
        (lambda: CompartmentModel(("a",), "a", {}, {}, {"Bi-213": 1.5}), "share"),
        (
            lambda: RegionKinetics(CompartmentModel(("a",), "a", {}, {}, {"Bi213": 1.0}), AC_FR_BI, 1.0),
            "Bi213",
        ),
        (lambda: RegionKinetics(STILL, AC_FR_BI, {"Ra-223": 1.0}), "Ra-223"),
        (lambda: RegionKinetics(STILL, AC_FR_BI, -1.0), "-1"),
        (lambda: RegionKinetics(STILL, AC_FR_BI, 1.0, {"Bi-213": math.nan}), "free_bq"),
        (lambda: RegionKinetics(STILL, AC_FR_BI, 1.0).activity([-1.0]), "time"),
        (lambda: RegionKinetics(STILL, AC_FR_BI, 1.0).decays(5.0, 5.0), "decays run"),
        (lambda: load_kinetics("no_such"), "no_such"),
    ],
)
def test_mistakes_are_told(made, told):
    with pytest.raises(UserError, match=told):
        made()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1, 2]", "keys and values"),
        ("regions: [a]\ninjected_into: a", "carrier_per_h"),
        ("regions: [a]\ninjected_into: a\ncarrier_per_h: {}\nrate: 1", "rate is no key"),
        ("regions: [a]\ninjected_into: a\ncarrier_per_h: [1]", "form"),
        ("a: [", "no YAML"),
    ],
)
def test_wrong_files_are_told(tmp_path, text, told):
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        load_kinetics(path)
