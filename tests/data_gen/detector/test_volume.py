"""The way out of the detector against closed forms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expn

from data_gen.detector.volume import AddedVolume


def volume(thickness: float, pixel: float, width: float) -> AddedVolume:
    return AddedVolume(*(torch.tensor(v, dtype=torch.float64) for v in (thickness, pixel, width)))


def test_escape_through_a_face_is_the_exponential_integral():
    """From depth z of a wide thick slab a share E2(mu z)/2 of isotropic photons gets out, within 0.002."""
    slab = volume(20.0, 1.0, 1e6)
    edges = slab._layer_edges_mm()
    depth = (edges[1:] + edges[:-1]) / 2
    mu = 0.8
    escape = slab.isotropic_escape(torch.tensor([mu], dtype=torch.float64))[0]
    exact = expn(2, mu * depth.numpy()) / 2 + expn(2, mu * (20 - depth.numpy())) / 2
    assert escape.tolist() == pytest.approx(exact.tolist(), abs=0.002)


@given(mu=st.floats(0.01, 50), thickness=st.floats(0.5, 10))
def test_depths_follow_the_exponential(mu, thickness):
    """Shares of layers sum to 1 and fall as exp(-mu z): the first half's share is exact, within 1e-9."""
    box = volume(thickness, 0.25, 0.75)
    shares = box.depth_shares(torch.tensor([mu], dtype=torch.float64))[0]
    edges = box._layer_edges_mm()
    assert float(shares.sum()) == pytest.approx(1, abs=1e-9)
    exact = torch.expm1(-mu * edges[10]) / torch.expm1(torch.tensor(-mu * thickness, dtype=torch.float64))
    assert float(shares[:10].sum()) == pytest.approx(float(exact), abs=1e-9)


@given(mu=st.floats(0.01, 20), width=st.floats(0.3, 3))
def test_a_larger_box_keeps_more(mu, width):
    """Escape is a probability, and falls as the box grows."""
    attenuation = torch.tensor([mu], dtype=torch.float64)
    small = volume(2.0, 0.25, width).isotropic_escape(attenuation)
    large = volume(2.0, 0.25, 2 * width).isotropic_escape(attenuation)
    assert ((small >= 0) & (small <= 1)).all()
    assert (large <= small).all()
