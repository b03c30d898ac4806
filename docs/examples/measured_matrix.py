"""Export a data set's system matrix, and build a forward model on it: python measured_matrix.py FOLDER."""

import sys
from dataclasses import replace

import torch

from data_gen import HyperspectralForwardModel, ImagingSystem
from data_gen.projector import MeasuredMatrixFile, export_matrix
from data_gen.storage import Manifest

if __name__ == "__main__":
    system = ImagingSystem.from_dict(Manifest.read(sys.argv[1]).system)
    model = system.forward_model()
    content = export_matrix(model.projector, "matrix.h5")
    matrix = content.matrices[0]  # scipy.sparse, [pixel, voxel], first interactions per photon in air
    print(f"{len(content.energies_kev)} energies; at the first {matrix.nnz} entries of {matrix.shape}")
    options = replace(system.options, projector=MeasuredMatrixFile("matrix.h5"))
    about = (system.camera, system.chain, system.grid, system.energy_bins, system.groups)
    measured = HyperspectralForwardModel(*about, options=options)
    activity = torch.rand(1, len(system.groups.names), *system.grid.shape)  # Bq per voxel
    density = torch.ones(1, *system.grid.shape)  # g/cm3
    rates = [each.A(activity, density) for each in (model, measured)]
    print(
        f"largest difference {float((rates[0] - rates[1]).abs().max() / rates[0].max()):.0e} of the largest"
    )
