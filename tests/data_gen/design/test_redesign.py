"""Redesigned cameras against plane geometry."""

import pytest
import torch

from data_gen import UserError, load_camera
from data_gen.design import redesigned

CAMERA = load_camera("demo_coarse")


def parameters(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_apertures_stay_between_block_and_isocentre():
    """At another plane: as far along the normal as asked, 1e-12 mm, on the line through the isocentre."""
    camera = redesigned(CAMERA, *parameters(0.9, 23.0))
    normal = camera.panel_normal[camera.aperture_panel]
    assert (camera.aperture_centre_mm * normal).sum(-1).tolist() == pytest.approx([23.0] * 24, abs=1e-12)
    crossed = torch.linalg.cross(camera.aperture_centre_mm, CAMERA.aperture_centre_mm)
    assert float(crossed.abs().max()) < 1e-9
    assert camera.aperture_diameter_mm.tolist() == [0.9] * 24


def test_lofts_still_show_their_block():
    """Along the wall before the waist runs the ray to the block's edge, 5 mm from its middle (1e-12 mm)."""
    camera = redesigned(CAMERA, *parameters(1.2, 25.0))
    reach = -1.2 / 2 + camera.aperture_opening * (38.0 - 25.0)
    assert reach.flatten().tolist() == pytest.approx([5.0] * 48, abs=1e-12)


def test_the_rest_stays():
    """Pixels, poses and response are the camera's own; the spec tells the new plate."""
    camera = redesigned(CAMERA, *parameters(0.5, 26.0), "gold")
    assert torch.equal(camera.pixel_centre_mm, CAMERA.pixel_centre_mm)
    assert camera.response is CAMERA.response
    assert camera.spec.collimator.plate_mm == CAMERA.spec.collimator.plate_mm
    assert (camera.collimator_material, camera.spec.collimator.plane_mm) == ("gold", 26.0)


def test_gradients_of_the_geometry():
    """Centres, diameters and openings against finite differences, float64 (gradcheck)."""

    def geometry(diameter, plane):
        camera = redesigned(CAMERA, diameter, plane)
        return camera.aperture_centre_mm, camera.aperture_diameter_mm, camera.aperture_opening

    at = [p.requires_grad_(True) for p in parameters(0.7, 27.0).unbind()]
    assert torch.autograd.gradcheck(geometry, at)


@pytest.mark.parametrize(
    ("values", "material", "told"),
    [
        ((0.5, 35.0), None, "plane_mm in 4-34"),
        ((0.5, 3.0), None, "plane_mm in 4-34"),
        ((0.0, 28.0), None, "a diameter above 0"),
        ((float("nan"), 28.0), None, "a diameter above 0"),
        ((0.5, 28.0), "tungstn", "did you mean 'tungsten'"),
    ],
)
def test_impossible_designs_are_told(values, material, told):
    with pytest.raises(UserError, match=told):
        redesigned(CAMERA, *parameters(*values), material)
