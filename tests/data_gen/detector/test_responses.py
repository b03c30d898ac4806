"""Recorded spectra: sums, widths, escape peaks, sharing, an independent Monte Carlo, gradients."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from contracts.detector_contract import DetectorContract, at
from referees.sampled_response import distant, recorded
from scipy.special import ndtr

from data_gen import UserError
from data_gen.detector import (
    CRYSTALS,
    CdTeResponse,
    DetectorResponse,
    GaussianResponse,
    compton,
    peak_fwhm_kev,
    photoelectric,
)
from data_gen.detector.constants import CONSTANTS

CDTE = CdTeResponse(thickness_mm=2.0, pixel_pitch_mm=0.25)
PIXEL = replace(CDTE, gain_spread_fraction=0.0, offset_spread_kev=0.0)
TYPICAL, AGED = (replace(CDTE, **CRYSTALS[crystal]) for crystal in ("typical", "aged"))
NAI = GaussianResponse("NaI", 9.5)
SHIFTED = GaussianResponse("NaI", 9.5, pixel_pitch_mm=2.5, position_fwhm_mm=3.5)
MODES = [replace(CDTE, mode=mode) for mode in ("addition", "discrimination", "raw")]


def spectrum(response: DetectorResponse, energy: float, edges: torch.Tensor) -> torch.Tensor:
    """Over all offsets, [bin]."""
    return response.kernel(at(energy), edges)[:, 0].sum(0)


class TestAddition(DetectorContract):
    """The default."""

    def response(self) -> CdTeResponse:
        return CDTE


class TestDiscrimination(DetectorContract):
    """Shared events rejected."""

    def response(self) -> CdTeResponse:
        return MODES[1]


class TestRaw(DetectorContract):
    """The leading hit of each event."""

    def response(self) -> CdTeResponse:
        return MODES[2]


class TestBinned(DetectorContract):
    """Four pixels of the anode in one, without calibration spread."""

    def response(self) -> CdTeResponse:
        return replace(PIXEL, binning=2, pixel_pitch_mm=0.5)


class TestTypicalCrystal(DetectorContract):
    """With all terms of a real crystal."""

    def response(self) -> CdTeResponse:
        return TYPICAL


class TestScintillator(DetectorContract):
    """Gaussian in energy."""

    def response(self) -> GaussianResponse:
        return NAI


class TestScintillatorWithPosition(DetectorContract):
    """Gaussian in energy and position."""

    def response(self) -> GaussianResponse:
        return SHIFTED


# CdTe: published figures.


@pytest.mark.parametrize(("energy", "fwhm"), [(122.0, 2.5), (218.0, 3.5)])
def test_peaks_over_all_pixels_are_as_wide_as_published(energy, fwhm):
    """Alpha-SPECT-Mini: 2.5 keV at 122 keV, 3.5 keV at 218 keV; within 2 %."""
    assert float(peak_fwhm_kev(CDTE, energy)) == pytest.approx(fwhm, rel=0.02)


def test_peak_of_a_pixel_is_as_narrow_as_published():
    """Alpha-SPECT-Mini: below 1 keV at 122 keV; not below noise and statistics of pairs alone, 0.67 keV."""
    assert math.hypot(0.4, 2.3548 * math.sqrt(0.1 * 0.00443 * 122)) < float(peak_fwhm_kev(PIXEL, 122.0)) < 1.0


def test_narrow_peak_without_trapping_is_noise_and_fano():
    """Long drift, wide pixels: FWHM^2 = noise^2 + 2.355^2 F w E, within 2 %."""
    ideal = replace(
        PIXEL, pixel_pitch_mm=4.0, mu_tau_electron_cm2_v=10.0, mu_tau_hole_cm2_v=10.0, cloud_um=1.0
    )
    for energy in (60.0, 122.0, 218.0):
        exact = math.hypot(0.4, 2.3548 * math.sqrt(0.1 * 0.00443 * energy))
        assert float(peak_fwhm_kev(ideal, energy)) == pytest.approx(exact, rel=0.02)


def test_escape_peaks_stand_where_they_should():
    """Peaks 23.2 and 27.5 keV below the full-energy peak, within one bin of 0.4 keV, at 82 keV."""
    edges = torch.arange(40, 90, 0.4, dtype=torch.float64)
    counts = spectrum(replace(PIXEL, mode="discrimination"), 82.0, edges)
    centre = (edges[1:] + edges[:-1]) / 2
    full = float(centre[counts.argmax()])
    for lost in (23.17, 27.47):
        near = (centre - (full - lost)).abs() < 1.6
        assert float(centre[near][counts[near].argmax()]) == pytest.approx(full - lost, abs=0.4)


@pytest.mark.parametrize("energy", [60.0, 80.0, 122.0, 140.0])
def test_a_third_to_a_half_of_events_are_shared(energy):
    """30-50 % of events at 60-140 keV and 250 um have a second pixel above threshold, as in practice."""
    lost = MODES[1].losses(at(energy), at(-1e4, 1e4))
    assert 0.3 < float(lost["discriminated"]) < 0.5


def test_linked_hits_are_those_that_discrimination_rejects():
    """At least one linked hit for each event with a second pixel, fewer than two on the mean."""
    wide = at(-1e4, 1e4)
    linked = float(MODES[2].linked(at(122.0), wide).sum())
    rejected = float(MODES[1].losses(at(122.0), wide)["discriminated"])
    assert rejected < linked < 2 * rejected
    assert float(MODES[0].linked(at(122.0), wide).sum()) == 0


# CdTe: other truths.


@pytest.mark.parametrize(
    ("response", "energy", "cuts"),
    [
        *((response, 82.0, (20, 45, 65, 77, 90)) for response in [*MODES, TYPICAL, AGED]),
        *((response, 440.0, (20, 150, 290, 425, 460)) for response in MODES),
        *((response, 440.0, (20, 150, 290, 380, 460)) for response in (TYPICAL, AGED)),
    ],
)
def test_windows_hold_what_photons_followed_one_by_one_leave(response, energy, cuts):
    """An independent Monte Carlo of 25,000 photons: 4 sigma and 3 %, and 4 sigma and 0.002 at each offset."""
    photons = 25_000
    found, pixel = recorded(response, energy, photons, seed=7)
    counted = np.histogram(found, cuts)[0]
    kernel = response.kernel(at(energy), torch.tensor(cuts, dtype=torch.float64))
    expected = kernel[:, 0].sum(0).numpy() * photons
    assert (np.abs(counted - expected) < 4 * np.sqrt(expected + 1) + 0.03 * expected).all()
    whole = response.kernel(at(energy), at(-1e4, 1e4))[:, 0, 0].numpy()
    places = np.bincount(pixel, minlength=9) / photons
    assert (np.abs(places - whole) < 4 * np.sqrt(whole / photons) + 0.002).all()


def test_distant_photons_are_those_that_go_far():
    """60,000 sampled photons of 440 keV: number within 4 sigma and 1 %."""
    photons = 60_000
    energies = distant(CDTE, 440.0, photons, seed=3)
    expected = float(CDTE.distant(at(440.0))) * photons
    assert len(energies) == pytest.approx(expected, abs=4 * math.sqrt(expected) + 0.01 * expected)


def test_compton_continuum_is_smooth():
    """No ripple of the quadrature: the continuum of 440 keV changes by 2 % a keV at most, 60-200 keV."""
    counts = spectrum(CDTE, 440.0, torch.arange(60, 201, 1.0, dtype=torch.float64))
    assert float((counts[1:] / counts[:-1] - 1).abs().max()) < 0.02


@pytest.mark.parametrize(
    "worse", [{"mu_tau_hole_cm2_v": 2e-5}, {"mu_tau_electron_cm2_v": 1e-3}, {"bias_v": 500.0}]
)
def test_a_polarised_or_aged_detector_has_a_longer_tail(worse):
    """Shorter drift moves events from the peak's place, within 1.5 keV of 218, to the tail below."""
    edges = at(150.0, 212.0, 222.0)
    good, bad = (spectrum(response, 218.0, edges) for response in (PIXEL, replace(PIXEL, **worse)))
    assert float(bad[0]) > 1.1 * float(good[0])
    assert float(bad[1]) < float(good[1])


def test_a_higher_threshold_loses_more():
    """Sub-threshold charge: the low side of the peak grows, and so does what is never seen."""
    high = replace(PIXEL, threshold_kev=12.0)
    edges = at(100.0, 120.0, 130.0)
    assert float(spectrum(high, 122.0, edges)[0]) > float(spectrum(PIXEL, 122.0, edges)[0])
    wide = at(-1e4, 1e4)
    lost = [float(r.losses(at(122.0), wide)["below_threshold"]) for r in (PIXEL, high)]
    assert lost[1] > lost[0]


@pytest.mark.parametrize("name", CONSTANTS)
def test_kernel_is_differentiable_in_its_constants(name, monkeypatch):
    """Analytic against numerical gradients in float64 (gradcheck's own tolerances), every constant of a
    crystal with all terms."""
    monkeypatch.setattr(photoelectric, "_POINTS", 256)
    monkeypatch.setattr(compton, "_POINTS", 256)
    edges = at(10.0, 50.0, 81.0, 100.0, 216.0, 217.5, 300.0)

    def kernel(factor: torch.Tensor) -> torch.Tensor:
        return replace(TYPICAL, **{name: factor * getattr(TYPICAL, name)}).kernel(at(82.0, 218.0), edges)

    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kernel, (one,), fast_mode=True)


@pytest.mark.parametrize(
    ("constants", "reason"),
    [
        ({"thickness_mm": 0.0}, "thickness_mm"),
        ({"pixel_pitch_mm": -0.25}, "pixel_pitch_mm"),
        ({"fano": float("nan")}, "fano"),
        ({"threshold_kev": -1.0}, "threshold_kev"),
        ({"bias_v": 0.0}, "bias_v"),
        ({"cathode_field_fraction": 0.0}, "cathode_field_fraction is 0.0; it needs a positive"),
        ({"cathode_field_fraction": 2.0}, "cathode_field_fraction is 2.0; it needs 1.999 at most"),
        ({"gap_loss_fraction": 1.5}, "gap_loss_fraction is 1.5; it needs 1 at most"),
        ({"gap_um": 250.0}, "gap_um is 250; it needs less than a pixel"),
        ({"binning": 0}, "binning"),
        ({"binning": 1.5}, "binning"),
        ({"mode": "sum"}, "mode"),
        ({"material": "CdTee"}, "did you mean 'CdTe'"),
    ],
)
def test_wrong_constants_are_told(constants, reason):
    with pytest.raises(UserError, match=reason):
        CdTeResponse(**({"thickness_mm": 2.0, "pixel_pitch_mm": 0.25} | constants))


# The scintillator.


def test_nai_peak_is_ten_percent_wide():
    """10 % at 140.5 keV, usual for NaI(Tl), within 3 %; and as the root of energy at four times that."""
    assert float(peak_fwhm_kev(NAI, 140.5)) == pytest.approx(14.05, rel=0.03)
    assert float(peak_fwhm_kev(NAI, 562.0)) == pytest.approx(28.1, rel=0.03)


def test_wrong_gaussian_constants_are_told():
    with pytest.raises(UserError, match="fwhm_kev"):
        GaussianResponse("NaI", 9.5, fwhm_kev=0.0)
    with pytest.raises(UserError, match="material"):
        GaussianResponse("NaJ2", 9.5)


@pytest.mark.parametrize(
    ("fwhm_mm", "pitch_mm", "sigma_mm"), [(0.85, 1.0, 0.462), (3.5, 2.5, 1.652), (0.4, 2.5, 0.741)]
)
def test_recorded_position_is_blurred_and_binned_once(fwhm_mm, pitch_mm, sigma_mm):
    """40,000 points are blurred, then binned: sigma of the pixel's place about it. Counts of the points by
    pixel, blurred by the response, have the same within 2 %; nothing is lost."""
    rng, count = np.random.default_rng(5), 40_000
    point = rng.uniform(0, pitch_mm, count)
    measured = point + fwhm_mm / 2.35482 * rng.standard_normal(count)
    exact = float((np.floor(measured / pitch_mm + 0.5) * pitch_mm - point).std())
    assert exact == pytest.approx(sigma_mm, rel=0.02)
    along = along_an_axis(fwhm_mm, pitch_mm)
    assert float(along.sum()) == pytest.approx(1, abs=1e-9)
    step = rng.choice(len(along), count, p=along / along.sum()) - len(along) // 2
    recorded = (np.floor(point / pitch_mm + 0.5) + step) * pitch_mm - point
    assert float(recorded.std()) == pytest.approx(exact, rel=0.02)


def along_an_axis(fwhm_mm: float, pitch_mm: float) -> np.ndarray:
    """Shares of the steps along one axis, [step]."""
    response = GaussianResponse("NaI", 9.5, pixel_pitch_mm=pitch_mm, position_fwhm_mm=fwhm_mm)
    shares = response.kernel(at(140.5), at(-1e9, 1e9))[:, 0, 0].numpy()
    side = math.isqrt(len(shares))
    return shares.reshape(side, side).sum(axis=1)


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5])
@pytest.mark.parametrize(("fwhm", "within"), [(0.85, 0.03), (1.4, 0.02), (2.0, 0.005)])
def test_blurred_image_of_a_spot(fwhm, within, offset):
    """The image of a Gaussian spot of 1.6 pixels FWHM, counted by pixel and blurred, is that of the spot
    blurred and then counted, in every pixel: within 3 % of the largest if the blur is narrower than a
    pixel, 0.5 % for 2 pixels."""
    sd, blur, edges = 1.6 / 2.35482, fwhm / 2.35482, np.arange(-12, 12) - 0.5

    def counted(width: float) -> np.ndarray:
        return np.diff(ndtr((edges - offset) / width))

    found = np.convolve(counted(sd), along_an_axis(fwhm, 1.0), mode="same")
    exact = counted(math.hypot(sd, blur))
    assert np.abs(found - exact).max() < within * exact.max()


def test_wrong_position_resolution_is_told() -> None:
    with pytest.raises(UserError, match="position_fwhm_mm"):
        GaussianResponse("NaI", 9.5, position_fwhm_mm=-1.0)
