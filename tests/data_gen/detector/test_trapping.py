"""Induced charge against integrals done by other means, and against Hecht."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from data_gen.detector.trapping import drift_way_mm, induced_charge, weighting_potential


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def fourier_potential(to_anode: float, pitch: float, thickness: float) -> float:
    """The same potential as a double integral over wave numbers: sinh(k(d - z)) / sinh(k d) each."""
    k = (np.arange(600) + 0.5) * (12 / pitch / 600) * math.pi
    square = np.sin(k * pitch / 2) / k
    size = np.hypot(k[:, None], k)
    depth = thickness - to_anode
    mode = np.exp(-size * to_anode) * -np.expm1(-2 * size * depth) / -np.expm1(-2 * size * thickness)
    return float((square[:, None] * square * mode).sum() * (k[1] - k[0]) ** 2 * 4 / math.pi**2)


@pytest.mark.parametrize("to_anode", [0.1, 0.25, 0.5, 1.0, 1.7])
def test_weighting_potential_is_the_fourier_solution(to_anode):
    """Laplace's equation solved by Fourier integrals: within 1 % for a 0.25 mm pixel on 2 mm."""
    images = float(weighting_potential(number(to_anode), number(0.25), number(2.0)))
    assert images == pytest.approx(fourier_potential(to_anode, 0.25, 2.0), rel=0.01)


def test_weighting_potential_at_the_electrodes():
    """1 on the pixel and 0 on the cathode, within 1e-6."""
    ends = weighting_potential(torch.tensor([0.0, 2.0], dtype=torch.float64), number(0.25), number(2.0))
    assert ends.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("depth", [0.05, 0.5, 1.2, 1.8, 1.97])
def test_induced_charge_is_its_integral(depth):
    """scipy's adaptive integral of w' exp(-way / drift), within 2e-4."""
    pitch, d, electron, hole = 0.25, 2.0, 40.0, 3.0

    def slope(s: float) -> float:
        h = 1e-6
        low, high = (
            float(weighting_potential(number(d - x), number(pitch), number(d))) for x in (s - h, s + h)
        )
        return (high - low) / (2 * h)

    drawn = quad(lambda s: slope(s) * math.exp(-(s - depth) / electron), depth, d, epsrel=1e-6, limit=60)[0]
    pushed = quad(lambda s: slope(s) * math.exp(-(depth - s) / hole), 0, depth, epsrel=1e-6, limit=60)[0]
    eta = induced_charge(number(d), number(pitch), number(electron), number(hole), number(1.0))
    assert float(eta.at(number(depth))) == pytest.approx(drawn + pushed, abs=2e-4)


@pytest.mark.parametrize("depth", [0.1, 1.0, 1.9])
def test_planar_detector_follows_hecht(depth):
    """A pixel 20 times wider than deep: Hecht's formula [NIM 1932], within 5e-3."""
    d, electron, hole = 2.0, 5.0, 1.0
    hecht = electron / d * -math.expm1(-(d - depth) / electron) + hole / d * -math.expm1(-depth / hole)
    eta = induced_charge(number(d), number(40.0), number(electron), number(hole), number(1.0))
    assert float(eta.at(number(depth))) == pytest.approx(hecht, abs=5e-3)


@pytest.mark.parametrize("field", [0.05, 0.5, 0.999999, 1.0, 1.4])
def test_drift_in_a_rising_field(field):
    """scipy's integral of the mean field over the local one, to 1e-6; the depth itself, bit by bit, where the
    field is uniform."""
    d = 2.0
    for depth in (0.0, 0.3, 1.7, 2.0):
        exact = quad(lambda s: 1 / (field + 2 * (1 - field) * s / d), 0, depth, epsrel=1e-9)[0]
        found = float(drift_way_mm(number(depth), number(d), number(field)))
        assert found == pytest.approx(exact, rel=1e-6)
        assert field != 1 or found == depth


@pytest.mark.parametrize("depth", [0.1, 1.0, 1.9])
def test_planar_detector_in_a_rising_field(depth):
    """Hecht's integrals with the local drift length, by scipy, within 5e-3: near the cathode
    the weak field costs charge."""
    d, electron, hole, field = 2.0, 5.0, 1.0, 0.2

    def lived(begin: float, end: float, drift: float) -> float:
        way = quad(lambda s: 1 / (field + 2 * (1 - field) * s / d), begin, end)[0]
        return math.exp(-abs(way) / drift)

    drawn = quad(lambda s: lived(depth, s, electron) / d, depth, d)[0]
    pushed = quad(lambda s: lived(depth, s, hole) / d, 0, depth)[0]
    eta = induced_charge(number(d), number(40.0), number(electron), number(hole), number(field))
    assert float(eta.at(number(depth))) == pytest.approx(drawn + pushed, abs=5e-3)
    even = induced_charge(number(d), number(40.0), number(electron), number(hole), number(1.0))
    assert depth > 0.1 or float(eta.at(number(depth))) < float(even.at(number(depth)))


@settings(max_examples=20, derandomize=True)
@given(
    electron=st.floats(0.5, 500),
    hole=st.floats(0.05, 50),
    pitch=st.floats(0.05, 3),
    field=st.floats(0.05, 1.5),
)
def test_no_more_charge_is_read_than_freed(electron, hole, pitch, field):
    """eta lies in [0, 1], and longer drift reads more."""
    less = induced_charge(number(2.0), number(pitch), number(electron), number(hole), number(field)).eta
    more = induced_charge(
        number(2.0), number(pitch), number(2 * electron), number(2 * hole), number(field)
    ).eta
    assert ((less >= 0) & (less <= 1 + 1e-9)).all()
    assert (more >= less - 1e-9).all()
