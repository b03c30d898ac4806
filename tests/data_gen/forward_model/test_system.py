"""An imaging system survives being written down."""

import json

from data_gen.camera import load_camera
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain


def test_maps_keep_their_order_through_sorted_json() -> None:
    """Map k of a stored truth is map k of the reloaded system, where names sort otherwise too."""
    parts = (decay_chain("Ra-223"), VoxelGrid((4, 4, 4), 1.0), EnergyBins(20.0, 600.0, 58))
    system = ImagingSystem(load_camera("demo"), *parts)
    again = ImagingSystem.from_dict(json.loads(json.dumps(system.to_dict(), sort_keys=True)))
    assert again.groups.names == system.groups.names == ("Ra-223", "Pb-211")
    assert again.fingerprint == system.fingerprint
    swapped = ImagingSystem(load_camera("demo"), *parts, groups=dict(reversed(system.groups.members.items())))
    assert swapped.fingerprint != system.fingerprint
