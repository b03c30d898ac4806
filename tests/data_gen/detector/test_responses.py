"""Recorded spectra: sums, widths, escape peaks, thresholds, gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import UserError
from data_gen.detector import CdTeResponse, DetectorResponse, GaussianResponse

CDTE = CdTeResponse(thickness_mm=2.0, pixel_pitch_mm=0.25)
NAI = GaussianResponse("NaI", 9.5)


def spectrum(response: DetectorResponse, energy: float, edges: torch.Tensor) -> torch.Tensor:
    return response.kernel(torch.tensor([energy], dtype=torch.float64), edges)[0, 0]


def measured_fwhm(response: DetectorResponse, energy: float) -> float:
    """Full width at half maximum of the full-energy peak, read off a spectrum of 0.05 keV bins."""
    edges = torch.arange(energy - 40, energy + 40, 0.05, dtype=torch.float64)
    counts = spectrum(response, energy, edges)
    high = (counts > counts.max() / 2).nonzero().flatten()
    return float(edges[high[-1] + 1] - edges[high[0]])


@pytest.mark.parametrize(("energy", "fwhm"), [(122.0, 2.5), (218.0, 3.5)])
def test_cdte_peaks_are_as_wide_as_published(energy, fwhm):
    """Alpha-SPECT-Mini, all pixels together: 2.5 keV at 122, 3.5 keV at 218 keV; within 4 % (two bins)."""
    assert measured_fwhm(CDTE, energy) == pytest.approx(fwhm, rel=0.04)


def test_nai_peak_is_ten_percent_wide():
    """10 % at 140.5 keV, usual for NaI(Tl), within 3 %; and as the root of energy at four times that."""
    assert measured_fwhm(NAI, 140.5) == pytest.approx(14.05, rel=0.03)
    assert measured_fwhm(NAI, 562.0) == pytest.approx(28.1, rel=0.03)


@settings(max_examples=15)
@given(energy=st.floats(20, 600), response=st.sampled_from([CDTE, NAI]))
def test_at_most_one_event_a_photon(energy, response):
    """Probabilities are 0 or more and sum to 1 at most, on any axis."""
    counts = spectrum(response, energy, torch.linspace(0, 700, 141, dtype=torch.float64))
    assert (counts >= 0).all()
    assert float(counts.sum()) <= 1 + 1e-12


@pytest.mark.parametrize("energy", [20.0, 82.0, 218.0, 440.0, 600.0])
def test_nothing_is_lost_without_a_threshold(energy):
    """One bin that is wide enough holds every photon, within 1e-6."""
    edges = torch.tensor([-1e4, 1e4], dtype=torch.float64)
    assert float(spectrum(NAI, energy, edges)) == pytest.approx(1, abs=1e-6)


def test_wide_bins_hold_what_fine_bins_hold():
    """Windows are sums of fine bins, across the threshold too, within 1e-5."""
    fine = torch.linspace(0, 600, 1201, dtype=torch.float64)
    windows = torch.tensor([0.0, 5.0, 9.0, 30.0, 70.0, 100.0, 600.0], dtype=torch.float64)
    energies = torch.tensor([25.0, 82.0, 218.0, 440.0], dtype=torch.float64)
    coarse = CDTE.kernel(energies, windows)[0]
    cumulative = torch.nn.functional.pad(CDTE.kernel(energies, fine)[0].cumsum(1), (1, 0))
    at = (windows * 2).long()
    assert torch.allclose(coarse, cumulative[:, at].diff(dim=1), atol=1e-5, rtol=0)


def test_escape_peaks_stand_where_they_should():
    """Peaks 23.2 and 27.5 keV below an 82 keV line, within 0.3 keV, in a detector of low noise."""
    sharp = CdTeResponse(2.0, 0.25, electronic_noise_kev=0.4, gain_spread_fraction=0.0, offset_spread_kev=0.0)
    edges = torch.arange(40, 70, 0.1, dtype=torch.float64)
    counts = spectrum(sharp, 82.0, edges)
    centre = (edges[1:] + edges[:-1]) / 2
    for lost in (23.17, 27.47):
        near = (centre - (82.0 - lost)).abs() < 2
        peak = centre[near][counts[near].argmax()]
        assert float(peak) == pytest.approx(82.0 - lost, abs=0.3)


def test_compton_continuum_is_smooth():
    """No ripple of the quadrature: the continuum of 440 keV changes by 1 % a keV at most, 60-200 keV."""
    counts = spectrum(CDTE, 440.0, torch.arange(60, 201, 1.0, dtype=torch.float64))
    assert float((counts[1:] / counts[:-1] - 1).abs().max()) < 0.01


def test_threshold_is_half_at_its_energy():
    """Half of what is recorded at the threshold passes, within 2 %; 6 sigma above it, all."""
    edges = torch.tensor([39.9, 40.1, 50.0, 51.0], dtype=torch.float64)
    passed = spectrum(CdTeResponse(2.0, 0.25, threshold_kev=40.0, threshold_width_kev=1.0), 218.0, edges)
    free = spectrum(CdTeResponse(2.0, 0.25, threshold_kev=0.0), 218.0, edges)
    assert float(passed[0] / free[0]) == pytest.approx(0.5, rel=0.02)
    assert float(passed[2]) == pytest.approx(float(free[2]), rel=1e-6)


def test_kernel_is_differentiable_in_its_constants():
    """Analytic against numerical gradients in float64 (gradcheck's own tolerances)."""
    energies = torch.tensor([82.0, 218.0], dtype=torch.float64)
    edges = torch.tensor([10.0, 50.0, 81.0, 100.0, 217.0, 300.0], dtype=torch.float64)

    def kernel(*constants: torch.Tensor) -> torch.Tensor:
        return CdTeResponse(*constants).kernel(energies, edges)

    values = (2.0, 0.25, 1500.0, 3.3e-3, 2e-4, 293.0, 10.0, 0.00443, 0.1, 1.8, 12.0, 0.8)
    constants = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values)
    assert torch.autograd.gradcheck(kernel, constants)


def test_kernel_has_the_shape_of_the_contract():
    """[offset, line, bin], float64."""
    for response in (CDTE, NAI):
        kernel = response.kernel(torch.tensor([82.0, 218.0]), torch.tensor([20.0, 100.0, 200.0, 600.0]))
        assert kernel.shape == (len(response.offsets), 2, 3)
        assert kernel.dtype == torch.float64


@pytest.mark.parametrize(
    ("constants", "reason"),
    [
        ({"thickness_mm": 0.0}, "thickness_mm"),
        ({"pixel_pitch_mm": -0.25}, "pixel_pitch_mm"),
        ({"fano": float("nan")}, "fano"),
        ({"threshold_kev": -1.0}, "threshold_kev"),
        ({"binning": 0}, "binning"),
        ({"mode": "sum"}, "mode"),
        ({"material": "CdTee"}, "did you mean 'CdTe'"),
    ],
)
def test_wrong_constants_are_told(constants, reason):
    with pytest.raises(UserError, match=reason):
        CdTeResponse(**({"thickness_mm": 2.0, "pixel_pitch_mm": 0.25} | constants))


def test_wrong_gaussian_constants_are_told():
    with pytest.raises(UserError, match="fwhm_kev"):
        GaussianResponse("NaI", 9.5, fwhm_kev=0.0)
    with pytest.raises(UserError, match="material"):
        GaussianResponse("NaJ2", 9.5)


@pytest.mark.parametrize("fwhm_mm", [3.0, 3.5, 6.0])
def test_position_is_gaussian_about_the_interaction(fwhm_mm: float) -> None:
    """Truth: variance sd^2 + pitch^2 / 6 for sd above half a pitch, to 3 %; 1 % lost at most."""
    pitch_mm = 2.5
    response = GaussianResponse("NaI", 9.5, pixel_pitch_mm=pitch_mm, position_fwhm_mm=fwhm_mm)
    wide = torch.tensor([0.0, 1000.0], dtype=torch.float64)
    share = response.kernel(torch.tensor([140.5], dtype=torch.float64), wide)[:, 0, 0]
    sharp = GaussianResponse("NaI", 9.5).kernel(torch.tensor([140.5], dtype=torch.float64), wide)
    assert 0.99 < float(share.sum() / sharp.sum()) <= 1
    row = torch.tensor([float(offset[0]) for offset in response.offsets], dtype=torch.float64)
    variance = float((share * (row * pitch_mm) ** 2).sum() / share.sum())
    assert variance == pytest.approx(fwhm_mm**2 / (8 * math.log(2)) + pitch_mm**2 / 6, rel=0.03)


def test_wrong_position_resolution_is_told() -> None:
    with pytest.raises(UserError, match="position_fwhm_mm"):
        GaussianResponse("NaI", 9.5, position_fwhm_mm=-1.0)
