"""Scans of mirrored bodies are mirrored scans, by the forward model itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyWindows
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.data import mirrored_pixels
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks.mirrored_scans import mirrored


def test_a_mirrored_body_has_mirrored_counts(tiny_system: ImagingSystem) -> None:
    """Expected counts of volumes that are mirrored along x and z, against the mirrored ones: 2 % of
    their norm, since rays through voxels of 4 mm are few, where they differ by 8 % and more unmirrored."""
    model = tiny_system.forward_model(EnergyWindows([60.0, 150.0, 400.0]))
    generator = torch.Generator().manual_seed(0)
    shape = (1, *tiny_system.grid.shape)
    density = 0.5 + torch.rand(shape, generator=generator)
    activity = torch.rand((1, len(tiny_system.groups.names), *shape[1:]), generator=generator)
    labels, time = torch.randint(5, shape, generator=generator), torch.full((1,), 100.0)
    counts = model.expected_counts(activity, model.attenuation(density), time)
    scan = ScanBatch(counts, time, density, activity, labels, torch.zeros(1, dtype=torch.int64))
    yes = torch.ones(1, dtype=torch.bool)
    for axis, dimension in (("x", -1), ("z", -3)):
        pixels = mirrored_pixels(tiny_system.camera, axis)
        found = mirrored(scan, axis, pixels, yes)
        torch.testing.assert_close(found.labels, labels.flip(dimension))
        expected = model.expected_counts(found.activity, model.attenuation(found.density), time)
        assert float((found.projections - expected).norm() / expected.norm()) < 0.02
        assert float((counts - expected).norm() / expected.norm()) > 0.08
        assert torch.equal(mirrored(found, axis, pixels, yes).projections, counts)
        assert torch.equal(mirrored(scan, axis, pixels, ~yes).projections, counts)


def test_a_camera_without_that_symmetry_is_refused(tiny_system: ImagingSystem) -> None:
    """Apertures moved along z by 1 mm: x still mirrors it, z does not."""
    camera = tiny_system.camera
    moved = camera.aperture_centre_mm + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    odd = replace(camera, aperture_centre_mm=moved)
    assert len(mirrored_pixels(odd, "x")) == camera.pixel_count
    with pytest.raises(UserError, match="along which the camera tiny is no mirror image of itself"):
        mirrored_pixels(odd, "z")
    with pytest.raises(UserError, match="mirror_axes holds 'w'"):
        mirrored_pixels(camera, "w")
