"""Cameras from YAML: geometry, who sees whom, and what is said of mistakes."""

from __future__ import annotations

import copy

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.camera import Camera, camera_names, load_camera
from data_gen.core.errors import UserError
from data_gen.projector.collimator_path import axis_slope, path_in_plate


@pytest.mark.parametrize("name", camera_names())
def test_named_cameras_rebuild_from_plain_data(name):
    """Every camera in the box loads, and its plain data gives the same tensors and the same fingerprint."""
    camera = load_camera(name)
    again = Camera.from_dict(camera.to_dict())
    assert camera.name == name
    assert again.fingerprint == camera.fingerprint
    assert torch.equal(again.pixel_centre_mm, camera.pixel_centre_mm)
    assert torch.equal(again.pairs, camera.pairs)
    assert len(set(camera.pairs[:, 0].tolist())) == camera.pixel_count


def test_default_camera_is_the_published_one():
    """Alpha-SPECT-Mini: six panels, 96 apertures, 153,600 pixels; apertures at +-3.7 and +-11.1 mm, and
    every loft aimed at the isocentre from its block's centre (0.05 mm, 1e-12)."""
    camera = load_camera("alpha_spect_mini")
    assert (camera.panels, camera.aperture_count, camera.pixel_count) == (6, 96, 153_600)
    heights = camera.aperture_centre_mm[:, 2].unique()
    torch.testing.assert_close(heights, torch.tensor([-11.1, -3.7, 3.7, 11.1]).double(), atol=0.05, rtol=0)
    own = camera.pixel_centre_mm[camera.pairs[:, 0][camera.pairs[:, 1] == 5]].mean(dim=0)
    assert torch.linalg.cross(own, camera.aperture_centre_mm[5]).norm() < 1e-10
    torch.testing.assert_close(own / own.norm(), camera.aperture_axis[5], atol=1e-12, rtol=0)


def test_binned_camera_has_every_other_pixel():
    """Binning 2x2 keeps the panels: four pixels' mean position is the binned pixel's."""
    fine, binned = load_camera("alpha_spect_mini"), load_camera("alpha_spect_mini_binned")
    mean = fine.pixel_centre_mm.reshape(6, 80, 2, 80, 2, 3).mean(dim=(2, 4)).reshape(-1, 3)
    torch.testing.assert_close(mean, binned.pixel_centre_mm, atol=1e-12, rtol=0)


@settings(max_examples=30)
@given(row=st.integers(-3, 3), column=st.integers(-3, 3))
def test_neighbours_go_there_and_back(row, column):
    """A step and its opposite lead back; a step is ``pitch`` long on the panel."""
    camera = load_camera("demo")
    there, back = camera.neighbours((row, column)), camera.neighbours((-row, -column))
    inside = (there >= 0).nonzero()[:, 0]
    assert torch.equal(back[there[inside]], inside)
    moved = camera.pixel_centre_mm[there[inside]] - camera.pixel_centre_mm[inside]
    panel = camera.pixel_panel[inside]
    step = camera.pitch_mm * (row * camera.panel_v[panel] + column * camera.panel_u[panel])
    torch.testing.assert_close(moved, step, atol=1e-12, rtol=0)


def test_rotation_shares_the_scan():
    """A head at n stops is n panels that look for 1/n of the scan each."""
    camera = load_camera("nai_pinhole")
    assert camera.panels == 30
    one_panel = camera.pixel_count // camera.panels
    assert float(camera.time_fraction.sum()) == pytest.approx(one_panel)


@settings(max_examples=40)
@given(
    row=st.floats(-0.999, 0.999), column=st.floats(-0.999, 0.999),
    radius=st.floats(0, 0.999), angle=st.floats(0, 6.3),
)  # fmt: skip
def test_a_block_sees_the_whole_waist_and_its_neighbour_does_not(row, column, radius, angle):
    """From anywhere on its own block, any point of the waist is seen through no material; from the middle of
    the next block, through some (definition of the loft hole)."""
    camera = load_camera("demo")
    waist_radius = float(camera.aperture_diameter_mm[0]) / 2
    turn = torch.tensor(angle, dtype=torch.float64)
    waist = radius * waist_radius * torch.stack((turn.cos(), turn.sin()))[None, None]

    def path(row_mm: float, column_mm: float) -> float:
        on_block = torch.tensor([[[column_mm, row_mm]]], dtype=torch.float64)
        slope = (on_block - waist) / 10.0 + axis_slope(camera, torch.tensor([0]))
        return float(path_in_plate(waist, slope, camera, torch.tensor([0]), torch.tensor([[0]]), 8))

    assert path(5 * row, 5 * column) < 1e-9
    assert path(10.0, 5 * column) > 1.0


def _changed(**changes: object) -> dict:
    data = copy.deepcopy(load_camera("demo").to_dict())
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = data
        for step in parents:
            part = part[step]
        part[last] = value
    return data


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"collimator__diametre_mm": 0.3}, "collimator.diametre_mm"),
        ({"collimator__diameter_mm": float("nan")}, "collimator.diameter_mm is nan"),
        ({"collimator__shape": "oval"}, "collimator.shape is 'oval'"),
        ({"collimator__material": "unobtainium"}, "unobtainium"),
        ({"detector__rows": 41}, "multiples"),
        ({"detector__pitch_mm": -1}, "detector.pitch_mm is -1"),
        ({"detector__response": {"kind": "cdt"}}, "detector.response.kind is 'cdt'"),
        ({"detector__response": {"kind": "cdte", "fanno": 0.1}}, "did you mean fano"),
        ({"detector__response": {"kind": "cdte", "fano": "high"}}, "detector.response.fano is 'high'"),
        ({"panels__detector_mm": 30}, "panels.detector_mm"),
        ({"collimator__opening_deg": 60}, "opening_deg"),
    ],
)
def test_mistakes_are_named(changes, named):
    """One sentence with the key, the value and what would be right."""
    with pytest.raises(UserError) as error:
        Camera.from_dict(_changed(**changes), source="my_camera.yaml")
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_files_and_names(tmp_path):
    """A camera is a name or a YAML file; a near miss is suggested; a file that is none is told."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(_changed(name="mine")))
    assert load_camera(path).name == "mine"
    with pytest.raises(UserError, match="did you mean demo"):
        load_camera("demmo")
    path.write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="keys and values"):
        load_camera(path)
    path.write_text("a: [")
    with pytest.raises(UserError, match="no YAML"):
        load_camera(path)


def test_some_keys_of_a_camera_change(tmp_path):
    """Changes reach the key that they name, lists are replaced whole, and nothing else changes."""
    changed = load_camera(
        "demo",
        name="mine",
        collimator={"diameter_mm": 0.5},
        panels={"angles_deg": [0.0, 90.0]},
        detector={"response": {"electronic_noise_kev": 1.0}},
    )
    expected = load_camera("demo").to_dict()
    expected["name"] = "mine"
    expected["collimator"]["diameter_mm"] = 0.5
    expected["panels"]["angles_deg"] = [0.0, 90.0]
    expected["detector"]["response"]["electronic_noise_kev"] = 1.0
    assert changed.to_dict() == expected
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(expected))
    again = load_camera(tmp_path / "own.yaml", collimator={"diameter_mm": 0.6})
    assert float(again.aperture_diameter_mm[0]) == 0.6
    assert again.response.electronic_noise_kev == 1.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"collimator": {"diametr_mm": 0.5}},
            "collimator.diametr_mm is no key of a camera; did you mean diameter_mm",
        ),
        ({"panels": {"rotation": {"steps": 3, "arc": 9}}}, "did you mean arc_deg"),
        ({"detector": {"response": {"noise_kev": 1.0}}}, "detector.response.noise_kev is no constant"),
        ({"collimator": {"diameter_mm": "wide"}}, "collimator.diameter_mm is 'wide'"),
        ({"collimator": {"aperture": [1, 1]}}, "did you mean apertures"),
        ({"detector": {"hue": 1}}, "it needs one of ['material', 'thickness_mm'"),
    ],
)
def test_mistaken_changes_are_told(changes, told):
    """One sentence with the camera's file, the key, and what it could have been."""
    with pytest.raises(UserError) as error:
        load_camera("demo", **changes)
    assert str(error.value).startswith("demo")
    assert told in str(error.value)
