"""Counts that a camera expects of a point of Ac-225 and its daughters in water, and the transpose."""

import torch

from data_gen import EnergyBins, HyperspectralForwardModel, ModelOptions, VoxelGrid, decay_chain, load_camera

camera, chain = load_camera("demo_coarse"), decay_chain("Ac-225")
quick = ModelOptions(reference_energies=2, scatter_terms=())  # leave it out for all of the physics
grid, bins = VoxelGrid((12, 12, 12), 2.4), EnergyBins(20, 600, 58)  # voxels of 2.4 mm, bins of 10 keV
model = HyperspectralForwardModel(camera, chain, grid, bins, options=quick)
activity = torch.zeros(1, len(model.groups.names), 12, 12, 12)  # Bq per voxel, one map for each chain member
activity[..., 6, 6, 6] = 1e4  # every member in equilibrium
density = torch.ones(1, 12, 12, 12)  # g/cm3
rate = model.A(activity, density)  # counts/s, [batch, pixel, bin]
back = model.A_adjoint(rate, density)  # the exact transpose, shaped like activity
print(f"{float(rate.sum()):.1f} counts/s in {rate.shape[1]} pixels and {rate.shape[2]} bins")
