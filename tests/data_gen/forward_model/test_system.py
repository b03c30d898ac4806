"""An imaging system survives being written down."""

import json
from typing import Any

import pytest
import torch

from data_gen.camera import load_camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain
from data_gen.projector import RayProjector, RaySampling


def test_maps_keep_their_order_through_sorted_json() -> None:
    """Map k of a stored truth is map k of the reloaded system, where names sort otherwise too."""
    parts = (decay_chain("Ra-223"), VoxelGrid((4, 4, 4), 1.0), EnergyBins(20.0, 600.0, 58))
    system = ImagingSystem(load_camera("demo"), *parts)
    again = ImagingSystem.from_dict(json.loads(json.dumps(system.to_dict(), sort_keys=True)))
    assert again.groups.names == system.groups.names == ("Ra-223", "Pb-211")
    assert again.fingerprint == system.fingerprint
    swapped = ImagingSystem(load_camera("demo"), *parts, groups=dict(reversed(system.groups.members.items())))
    assert swapped.fingerprint != system.fingerprint


def _system(options: ModelOptions) -> ImagingSystem:
    parts = (decay_chain("Ra-223"), VoxelGrid((4, 4, 4), 1.0), EnergyBins(20.0, 600.0, 58))
    return ImagingSystem(load_camera("demo"), *parts, options=options)


def test_options_are_written_as_the_first_data_sets_knew_them() -> None:
    """The keys of data sets and runs made before; rays and projector only where they are not the usual ones,
    so that the same data set has the same bytes."""
    first = {"most_energy_groups": 6, "secondary": ["leakage"], "scatter_voxel_mm": 4.8}
    known = {"camera", "nuclide", "nuclear_data", "groups", "grid", "energy_bins"}
    written = _system(ModelOptions(6, ("leakage",), 4.8)).to_dict()
    assert {key: value for key, value in written.items() if key not in known} == first
    assert ImagingSystem.from_dict(written).options == ModelOptions(6, ("leakage",), 4.8)
    rays = ModelOptions(6, ("leakage",), 4.8, RaySampling(16, 4), "ray")
    written = json.loads(json.dumps(_system(rays).to_dict()))
    assert {key: value for key, value in written.items() if key not in known} == first | {
        "ray_sampling": {"rays": 16, "plate_steps": 4},
        "projector": "ray",
    }
    assert ImagingSystem.from_dict(written).options == rays
    del written["secondary"]
    with pytest.raises(UserError, match=r"lacks \['secondary'\]"):
        ImagingSystem.from_dict(written)


def test_other_nuclear_data_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A description made with other half-lives and yields is read and told of; its own, or none, is not."""
    written = _system(ModelOptions()).to_dict()
    ImagingSystem.from_dict(written)
    ImagingSystem.from_dict({key: value for key, value in written.items() if key != "nuclear_data"})
    assert not caplog.records
    ImagingSystem.from_dict(written | {"nuclear_data": "ICRP-107"})
    assert "half-lives and yields of ICRP-107" in caplog.text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reference_energies": 0}, "reference_energies is 0"),
        ({"scatter_terms": ("leak",)}, r"scatter_terms is \['leak'\]"),
        ({"scatter_terms": ("leakage", "leakage")}, "each once"),
        ({"scatter_voxel_mm": 0.0}, "scatter_voxel_mm is 0.0"),
        ({"projector": "rays"}, "projector is 'rays'; it needs one of"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], told: str) -> None:
    """Key, value, and what would be right."""
    with pytest.raises(UserError, match=told):
        ModelOptions(**options)


def test_the_options_choose_the_projector() -> None:
    """By name, with the rays asked for."""
    options = ModelOptions(1, (), ray_sampling=RaySampling(3, 2), projector="ray")
    system = _system(options)
    energy = torch.tensor([218.0], dtype=torch.float64)
    projector = options.projector_factory(system.camera, system.grid, energy)
    assert isinstance(projector, RayProjector)
    assert projector.casters[0].sampling == RaySampling(3, 2)


def test_dead_pixels_belong_to_the_system() -> None:
    """Kept through plain data and other options; those that the camera lacks are told."""
    system = _system(ModelOptions(1, ()))
    holed = system.with_dead_pixels([7, 3, 7])
    assert holed.dead_pixels == (3, 7)
    assert holed.live is not None
    assert holed.live.nonzero().numel() == system.camera.pixel_count - 2
    again = ImagingSystem.from_dict(json.loads(json.dumps(holed.to_dict())))
    assert again.dead_pixels == holed.with_options(ModelOptions(2, ())).dead_pixels == (3, 7)
    assert holed.with_dead_pixels([]).to_dict() == system.to_dict()
    for pixels, told in (
        ([9600], "holds 9600"),
        ([-1], "holds -1"),
        ([0.5], "whole numbers"),
        ("3", "whole"),
    ):
        with pytest.raises(UserError, match=f"dead_pixels .*{told}"):
            system.with_dead_pixels(pixels)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="holds all 9600 pixels"):
        system.with_dead_pixels(range(9600))
