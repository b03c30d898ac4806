"""The spectral factor: lines and continua through the detector."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data_gen.camera import load_camera
from data_gen.forward_model.spectral_response import SpectralResponse
from data_gen.nuclides import bremsstrahlung, decay_chain, photon_lines, tied_groups
from data_gen.nuclides.spectrum import LineSpectrum
from data_gen.scatter.energy_classes import EnergyClasses

CAMERA = load_camera("demo")
CHAIN = decay_chain("Pb-212")
EDGES = torch.linspace(20, 600, 59, dtype=torch.float64)


@pytest.fixture(scope="module")
def recorder() -> SpectralResponse:
    lines = LineSpectrum.of(CHAIN, 20.0, 2700.0)
    return SpectralResponse(CAMERA, lines, tied_groups(CHAIN), EDGES, 600.0)


def test_a_continuum_is_the_mean_of_lines(recorder):
    """Photons spread over 180-240 keV are recorded as the mean of 60 lines there: 3 % of the top."""
    energy = torch.arange(180.5, 240.0, 1.0, dtype=torch.float64)
    truth = CAMERA.response.kernel(energy, EDGES).mean(dim=1).sum(0)
    arrival = torch.tensor([[[180.0, 240.0]]], dtype=torch.float64)
    got = recorder.scattered(
        torch.tensor([238.6, 900.0], dtype=torch.float64), EnergyClasses.evenly(arrival.expand(2, 1, 2), 1)
    )
    shape = got.sum(dim=(0, 1, 2)) / got.sum() * truth.sum()
    # Escape peaks keep their distance from the full energy, which stretching changes by up to 0.5 keV.
    assert float((shape - truth).abs().max() / truth.max()) < 0.03


def test_a_class_is_recorded_as_it_is_filled(recorder):
    """Photons of a class 180-240 keV that all lie in its uppermost part have their peak there."""
    arrivals = EnergyClasses.evenly(torch.tensor([[[180.0, 240.0]]] * 2, dtype=torch.float64), own_lines=1)
    top = torch.zeros_like(arrivals.filling)
    top[..., -1] = 1.0
    references = torch.tensor([238.6, 900.0], dtype=torch.float64)
    even, filled = (
        recorder.scattered(references, EnergyClasses(arrivals.kev, f, arrivals.own_lines))
        for f in (arrivals.filling, top)
    )
    torch.testing.assert_close(filled.sum(), even.sum(), rtol=0.1, atol=0)
    assert float(EDGES[filled.sum((0, 1, 2)).argmax()]) == 230.0


def test_lines_scatter_as_lines(recorder):
    """Photons that keep their energy are recorded as the lines that they are, whatever references they borrow
    from (1e-9); backscattered ones of a line between references, at its own E / (1 + 2 E / 511): 1 keV."""
    references = torch.tensor([60.0, 200.0, 300.0, 580.0, 900.0, 2000.0], dtype=torch.float64)
    back = references / (1 + 2 * references / 511.0)
    arrival = torch.stack((references, back), dim=1)[..., None].expand(-1, -1, 2)
    got = recorder.scattered(references, EnergyClasses.evenly(arrival))
    as_emitted = torch.einsum("lm,olb->mb", recorder.emitted, recorder.kernel)
    torch.testing.assert_close(got[:, 0].sum(0), as_emitted, rtol=1e-9, atol=1e-15)
    alone = recorder.lines.photons_per_decay * ((recorder.lines.energy_kev - 238.6).abs() < 0.1)
    lead = replace(recorder.lines, photons_per_decay=alone)
    fine = torch.linspace(100, 150, 51, dtype=torch.float64)
    peak = (
        SpectralResponse(CAMERA, lead, tied_groups(CHAIN), fine, 600.0)
        .scattered(references, EnergyClasses.evenly(arrival))[:, 1]
        .sum((0, 1))
    )
    assert float(fine[peak.argmax()]) + 0.5 == pytest.approx(238.6 / (1 + 2 * 238.6 / 511.0), abs=1.0)


def test_lines_and_bremsstrahlung_of_the_chain(recorder):
    """Photons above 600 keV are there (Tl-208 2614.5 keV), and the pieces sum to what the betas of their
    member radiate, and its weak lines (1 %)."""
    lines = recorder.lines
    assert float(lines.energy_kev[lines.width_kev == 0].max()) == pytest.approx(2614.5, abs=0.5)
    member = CHAIN.members.index("Bi-212")
    pieces = lines.photons_per_decay[(lines.width_kev > 0) & (lines.member == member)]
    whole = bremsstrahlung("Bi-212", [20.0, 100.0, 500.0, 2700.0]).sum()
    weak = sum(p for p in (x.photons_per_decay for x in photon_lines("Bi-212", 20, 2700)) if p < 1e-4)
    assert float(pieces.sum()) == pytest.approx(float(whole) + weak, rel=0.01)


def test_high_lines_have_no_sharp_image(recorder):
    """Only lines up to 600 keV borrow from the references of sharp images; all borrow behind the plate."""
    references = torch.tensor([80.0, 240.0, 580.0, 900.0, 2000.0], dtype=torch.float64)
    sharp = recorder.sharp(references[:3])
    assert sharp.shape[1] == 3
    leaked = recorder.leaked(references)
    assert float(leaked[3:].sum()) > 0
