"""Charge, pixels and thresholds against closed forms."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data_gen.camera import Camera
from data_gen.detector import CRYSTALS, CdTeResponse
from data_gen.detector.charge import charge_transport
from data_gen.detector.trapping import induced_charge
from data_gen.montecarlo.charge import ChargeModel, Hits, induction_table, weighting_potential
from data_gen.montecarlo.crystal import Deposits
from data_gen.montecarlo.panel import Panel, rotation_positions

COUNT = 20_000
PITCH = 0.25


def test_potential_of_a_small_pixel() -> None:
    """Truth: the Fourier integral of a square pixel between two plates, by quadrature; to 1e-3."""
    d, p = 2.0, PITCH
    nodes, weights = np.polynomial.legendre.leggauss(1200)
    k = 75.0 * (nodes + 1) / p  # up to where the pixel's spectrum has died away at these depths
    w = 75.0 * weights / p
    kx, ky = np.meshgrid(k, k)
    size = np.hypot(kx, ky)
    area = np.outer(w, w) * 4 * np.sin(kx * p / 2) * np.sin(ky * p / 2) / (kx * ky) / math.pi**2
    for depth in (1.0, 1.7, 1.9):
        ratio = np.exp(-size * (d - depth)) * (1 - np.exp(-2 * size * depth)) / (1 - np.exp(-2 * size * d))
        expected = float((area * ratio).sum())
        assert float(weighting_potential(np.array([depth]), d, p)[0]) == pytest.approx(expected, abs=1e-3)


def test_potential_at_the_electrodes() -> None:
    """Truth: 0 at the cathode, 1 at the pixel."""
    ends = weighting_potential(np.array([0.0, 2.0]), 2.0, PITCH)
    assert ends[0] == pytest.approx(0.0, abs=1e-6)
    assert ends[1] == pytest.approx(1.0, abs=1e-6)


def test_hecht_in_the_planar_limit() -> None:
    """Truth: Hecht's equation for a pixel 10 times as wide as the crystal is deep; to 0.2 %."""
    d, bias, electron, hole = 2.0, 300.0, 1e-3, 1e-4
    table = induction_table(d, 20.0, bias, electron, hole)
    depth = torch.tensor([0.2, 1.0, 1.8], dtype=torch.float64)
    le, lh = 100 * electron * bias / d, 100 * hole * bias / d
    expected = le / d * (1 - torch.exp(-(d - depth) / le)) + lh / d * (1 - torch.exp(-depth / lh))
    assert torch.allclose(table.at(depth), expected, rtol=2e-3)


def _panel(camera: Camera) -> Panel:
    """The camera's panel with pixels of 0.25 mm."""
    panel = rotation_positions(camera, torch.device("cpu"))[0][0]
    return replace(panel, pitch_mm=PITCH, columns=96)


def _record(camera: Camera, position: torch.Tensor, energy_kev: float, **constants: Any) -> Hits:
    """Hits of one deposit for each of some places [n, 3]; no noise, trapping or spread unless asked for."""
    quiet: dict[str, Any] = {
        "electronic_noise_kev": 1e-6,
        "gain_spread_fraction": 0.0,
        "offset_spread_kev": 0.0,
        "fano": 0.0,
        "mu_tau_electron_cm2_v": 1e3,
        "mu_tau_hole_cm2_v": 1e3,
        "threshold_width_kev": 0.0,
    }
    response = CdTeResponse(2.0, PITCH, **{**quiet, **constants})
    energy = torch.full((len(position),), energy_kev, dtype=torch.float64)
    deposits = Deposits(torch.arange(len(position)), position, energy)
    return ChargeModel(response, _panel(camera)).record(deposits, position, torch.Generator().manual_seed(4))


def _over_a_pixel(depth_mm: float) -> torch.Tensor:
    """Places spread evenly over the pixel beside the middle, at a depth, [n, 3]."""
    random = torch.rand(COUNT, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * PITCH
    random[:, 2] = 30.0 + depth_mm
    return random


def test_shared_fraction(pinhole: Camera) -> None:
    """Truth: a neighbour is over threshold where more than t / E of the cloud lies in it: within s of an
    edge, s = sigma times the normal quantile of 1 - t / E: 1 - (1 - 2 s / p)^2 of events; z < 4, 0.01 for
    corners.
    """
    energy, threshold, cloud = 100.0, 4.0, 12.0
    diffusion = 2 * 8.617333262e-5 * 293.0 / 1500.0 * 2.0 * 1.5
    sigma = math.sqrt((cloud / 1000) ** 2 + diffusion)
    reach = sigma * float(torch.special.ndtri(torch.tensor(1 - threshold / energy, dtype=torch.float64)))
    expected = 1 - (1 - 2 * reach / PITCH) ** 2
    hits = _record(
        pinhole, _over_a_pixel(0.5), energy, mode="discrimination", threshold_kev=threshold, cloud_um=cloud
    )
    found = 1 - len(hits.event) / COUNT
    assert abs(found - expected) < 4 * math.sqrt(expected / COUNT) + 0.01
    assert 0.3 < found < 0.5  # the facts' share for 250 um


def test_addition_restores_the_energy(pinhole: Camera) -> None:
    """Truth: with no threshold and no trapping the 3x3 sum is the energy, to 0.1 keV of 60."""
    hits = _record(pinhole, _over_a_pixel(0.3), 60.0, threshold_kev=0.0, cloud_um=20.0)
    assert len(hits.event) == COUNT
    assert float((hits.energy_kev - 60.0).abs().max()) < 0.1


def test_raw_hits_share_the_energy(pinhole: Camera) -> None:
    """Truth: one first hit a photon; it and the linked ones add up to the energy; linked ones are smaller."""
    hits = _record(pinhole, _over_a_pixel(0.3), 60.0, threshold_kev=0.0, cloud_um=20.0, mode="raw")
    total = torch.zeros(COUNT, dtype=torch.float64).index_add_(0, hits.event, hits.energy_kev)
    assert int((~hits.linked).sum()) == COUNT
    assert float((total - 60.0).abs().max()) < 0.15
    first = hits.energy_kev[~hits.linked][torch.argsort(hits.event[~hits.linked])]
    assert bool((hits.energy_kev[hits.linked] <= first[hits.event[hits.linked]] + 1e-4).all())


def test_event_lies_where_the_charge_is(pinhole: Camera) -> None:
    """Truth: deposits over a pixel of row 48, column 48 are recorded there but for those at its border."""
    hits = _record(pinhole, _over_a_pixel(0.3), 60.0)
    assert float((hits.pixel == 48 * 96 + 48).double().mean()) > 0.99


def test_noise_and_threshold(pinhole: Camera) -> None:
    """Truth: at the middle of a pixel, noise of 1.5 keV FWHM; half of 10 keV passes 10 keV; z < 4."""
    position = torch.zeros(COUNT, 3, dtype=torch.float64) + PITCH / 2
    position[:, 2] = 31.0
    hits = _record(pinhole, position, 40.0, electronic_noise_kev=1.5, threshold_kev=10.0, cloud_um=5.0)
    sigma = 1.5 / math.sqrt(8 * math.log(2))
    assert abs(float(hits.energy_kev.std()) - sigma) < 4 * sigma / math.sqrt(2 * COUNT)
    hits = _record(pinhole, position, 10.0, electronic_noise_kev=1.5, threshold_kev=10.0, cloud_um=5.0)
    assert abs(len(hits.event) / COUNT - 0.5) < 4 * 0.5 / math.sqrt(COUNT) + 0.01


def test_fano_width(pinhole: Camera) -> None:
    """Truth: sigma^2 = F w E, 0.38 keV FWHM at 60 keV for F = 0.1; z < 4."""
    position = torch.zeros(COUNT, 3, dtype=torch.float64) + PITCH / 2
    position[:, 2] = 31.0
    sigma = float(_record(pinhole, position, 60.0, fano=0.1, cloud_um=5.0).energy_kev.std())
    assert abs(sigma - 0.163) < 4 * 0.163 / math.sqrt(2 * COUNT) + 0.001


def test_distant_charge_is_a_linked_hit(pinhole: Camera) -> None:
    """Truth: 20 keV where it first interacts, 60 keV 1 mm away: an event of 20, a linked hit of 60."""
    position = torch.tensor(
        [[PITCH / 2, PITCH / 2, 31.0], [PITCH / 2 + 1.0, PITCH / 2, 31.0]], dtype=torch.float64
    )
    deposits = Deposits(
        torch.zeros(2, dtype=torch.int64), position, torch.tensor([20.0, 60.0], dtype=torch.float64)
    )
    response = CdTeResponse(2.0, PITCH, gain_spread_fraction=0.0, offset_spread_kev=0.0)
    for mode in ("addition", "discrimination", "raw"):
        charge = ChargeModel(replace(response, mode=mode), _panel(pinhole))
        hits = charge.record(deposits, position[:1], torch.Generator().manual_seed(1))
        assert hits.linked.tolist() == [False, True]
        assert hits.energy_kev.tolist() == pytest.approx([20.0, 60.0], rel=0.04)
        assert (hits.pixel[1] - hits.pixel[0]).item() == 4


def test_each_added_pixel_has_an_offset_of_its_own(pinhole: Camera) -> None:
    """Truth: on the border of two pixels, half of 100 keV in each: offsets of 0.66 keV and gains of 0.5 % add
    to sqrt(2) of 0.66 keV and 0.25 keV; z < 4."""
    position = torch.zeros(COUNT, 3, dtype=torch.float64) + PITCH / 2
    position[:, 0], position[:, 2] = PITCH, 31.0
    hits = _record(pinhole, position, 100.0, offset_spread_kev=0.66, gain_spread_fraction=0.005)
    sigma = math.sqrt(2) * math.hypot(0.66, 0.25)
    assert abs(float(hits.energy_kev.std()) - sigma) < 4 * sigma / math.sqrt(2 * COUNT)


@pytest.mark.parametrize("field", [0.2, 1.4])
def test_induction_in_a_rising_field(field: float) -> None:
    """Truth: the deterministic table, another integral of the same; to 1e-3."""
    found = induction_table(2.0, PITCH, 700.0, 1e-3, 2e-5, field)
    ways = (torch.tensor(100 * m * 700.0 / 2.0, dtype=torch.float64) for m in (1e-3, 2e-5))
    d, pitch, cathode = (torch.tensor(x, dtype=torch.float64) for x in (2.0, PITCH, field))
    depth = torch.linspace(0.0, 1.9, 20, dtype=torch.float64)
    assert torch.allclose(found.at(depth), induced_charge(d, pitch, *ways, cathode).at(depth), atol=1e-3)


def test_a_typical_crystal_shares_and_loses_as_computed(pinhole: Camera) -> None:
    """Truth: the deterministic charge transport at the same places, 150 keV each: mean sum of signals to
    0.1 keV, share of events with a second pixel over threshold to 4 sigma and 0.003."""
    typical: dict[str, Any] = dict(CRYSTALS["typical"])
    place, energy, depth = _over_a_pixel(0.5), 150.0, torch.tensor(0.5, dtype=torch.float64)
    response = CdTeResponse(2.0, PITCH, **typical)
    local = torch.column_stack((place[:, :2] - PITCH / 2, depth.expand(COUNT)))
    at = torch.full((COUNT,), energy, dtype=torch.float64)
    expected = energy * charge_transport(response).signals(local, 3, at, at)
    found = _record(pinhole, place, energy, threshold_kev=0.0, **typical)
    assert float(found.energy_kev.mean()) == pytest.approx(float(expected.sum(1).mean()), abs=0.1)
    alone = _record(pinhole, place, energy, threshold_kev=4.0, mode="discrimination", **typical)
    shared = float((expected > 4.0).sum(1).gt(1).double().mean())
    assert abs(1 - len(alone.event) / COUNT - shared) < 4 * math.sqrt(shared / COUNT) + 0.003
