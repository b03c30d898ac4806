"""Read one scan of a shard with h5py and numpy alone: python read_shard.py DATA_FOLDER/test-000000.h5."""

import json
import sys

import h5py
import numpy as np

if __name__ == "__main__":
    with h5py.File(sys.argv[1]) as shard:
        first, end = shard["events/offsets"][0:2]  # rows of the events of the first scan
        pixel, energy_kev = shard["events/pixel"][first:end], shard["events/energy_kev"][first:end]
        density = shard["objects/density_g_cm3"][0]  # [z, y, x]
        activity = shard["truths/activity_bq"][0]  # [map, z, y, x], Bq per voxel; measured data have none
        system = json.loads(shard["system"][:].tobytes())  # camera, nuclide, groups, grid, energy range
    spectrum, edges_kev = np.histogram(energy_kev, bins=58, range=(20, 600))
    print(
        f"{len(energy_kev)} events in {len(np.unique(pixel))} pixels of the camera {system['camera']['name']}"
    )
    print(f"fullest bin from {edges_kev[spectrum.argmax()]:.0f} keV; mean density {density.mean():.2f} g/cm3")
    for (head, members), maps in zip(system["groups"], activity, strict=True):
        print(f"{maps.sum():.0f} Bq of {head}; its map is shared by {', '.join(members)}")
