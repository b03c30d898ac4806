"""Constants of a response as a camera's description gives them."""

from typing import Any

import pytest

from data_gen import UserError, load_camera
from data_gen.camera.detector_response import build_response
from data_gen.camera.spec import DetectorSpec
from data_gen.detector import CdTeResponse, GaussianResponse
from data_gen.materials import MATERIALS, Material


def detector(**response: Any) -> DetectorSpec:
    return DetectorSpec(
        material="CdTe",
        thickness_mm=1.5,
        rows=4,
        columns=4,
        pitch_mm=0.5,
        response={"kind": "cdte"} | response,
    )


def test_words_and_numbers_reach_the_response():
    """Material, thickness and pitch are the detector's; mode is a word, all else numbers."""
    response = build_response(detector(mode="raw", binning=2, bias_v=500), "here")
    assert response == CdTeResponse(1.5, 0.5, mode="raw", binning=2, bias_v=500)


def test_binned_cameras_have_the_physical_pixels_of_the_full_one():
    """Pixels of 0.25 mm under recorded ones of 0.5 mm."""
    for name in ("alpha_spect_mini", "alpha_spect_mini_binned", "demo"):
        response = load_camera(name).response
        assert isinstance(response, CdTeResponse)
        assert response.pixel_pitch_mm / response.binning == 0.25


def test_another_kind_leaves_the_constants_of_the_old_one_behind():
    """The demo's file says binning 2, which a Gaussian response has not; the same kind keeps it."""
    response = load_camera("demo", detector={"response": {"kind": "gaussian", "fwhm_kev": 5.0}}).response
    assert response == GaussianResponse("CdTe", 2.0, fwhm_kev=5.0, pixel_pitch_mm=0.5)
    assert load_camera("demo", detector={"response": {"kind": "cdte"}}).response.binning == 2


def test_a_material_of_ones_own_says_what_it_is(monkeypatch):
    """BGO, which no list of ours knows, is refused as a charge detector because it is a scintillator."""
    fractions = ((8, 0.154), (32, 0.175), (83, 0.671))
    monkeypatch.setitem(MATERIALS, "BGO", Material("BGO", 7.13, fractions, kind="scintillator"))
    with pytest.raises(UserError, match="material is BGO, a scintillator"):
        load_camera("demo", detector={"material": "BGO"})
    monkeypatch.setitem(MATERIALS, "BGO", Material("BGO", 7.13, fractions, kind="semiconductor"))
    assert load_camera("demo", detector={"material": "BGO"}).response.material == "BGO"
    with pytest.raises(TypeError, match="kind"):
        Material("BGO", 7.13, fractions)


@pytest.mark.parametrize("material", ["CdTe", "CZT", "germanium", "silicon"])
def test_semiconductors_are_taken(material):
    """Every semiconductor of the table goes with kind: cdte; a metal does not."""
    assert load_camera("demo", detector={"material": material}).response.material == material
    with pytest.raises(UserError, match="material is gold, a metal"):
        load_camera("demo", detector={"material": "gold"})


@pytest.mark.parametrize("material", ["NaI", "CsI", "LaBr3"])
def test_light_is_not_collected_as_charge(material):
    """A scintillator is refused with the constants of a semiconductor, and taken with a resolution."""
    with pytest.raises(UserError, match=f"material is {material}, a scintillator.* kind: gaussian"):
        load_camera("demo", detector={"material": material})
    taken = load_camera("demo", detector={"material": material, "response": {"kind": "gaussian"}})
    assert taken.response.material == material


@pytest.mark.parametrize(
    ("constants", "reason"),
    [
        ({"mode": 3}, "response.mode is 3; it needs a word"),
        ({"mode": "sum"}, "mode is 'sum'"),
        ({"binning": True}, "response.binning is True"),
        ({"binning": 1.5}, "binning is 1.5; it needs a whole number"),
        ({"addition_pixels": 3}, "addition_pixels is no constant"),
    ],
)
def test_wrong_constants_are_told(constants, reason):
    with pytest.raises(UserError, match=reason):
        build_response(detector(**constants), "here")
