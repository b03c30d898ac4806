"""OSEM with a system matrix that was exported and read back."""

from __future__ import annotations

import pytest
import torch

from data_gen.core.grid import EnergyBins, EnergyWindows, VoxelGrid
from data_gen.forward_model import ImagingSystem, ModelOptions
from data_gen.nuclides import decay_chain
from data_gen.projector import MeasuredMatrixFile, RaySampling, export_matrix
from hspi_learn.classical import Osem
from hspi_learn.reconstructor import scan_context


@pytest.mark.slow
def test_the_same_image(tiny_system, tmp_path, monkeypatch):
    """Counts of the matrix projector give the same OSEM image (1e-5 of the largest voxel) when
    the matrix comes from the file that was exported of it, leakage and its rays included."""
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path / "cache"))
    options = {"reference_energies": 2, "scatter_terms": ("leakage",), "ray_sampling": RaySampling(12, 4)}
    grid, windows = VoxelGrid((4, 4, 4), 4.0), EnergyWindows([60, 100, 220, 260, 600])

    def model(projector):
        parts = (tiny_system.camera, decay_chain("Pb-212"), grid, EnergyBins(20.0, 600.0, 58))
        return ImagingSystem(*parts, options=ModelOptions(**options, projector=projector)).forward_model(
            windows
        )

    ours = model("matrix")
    export_matrix(ours.projector, tmp_path / "matrix.h5")
    theirs = model(MeasuredMatrixFile(str(tmp_path / "matrix.h5")))
    density, duration_s = torch.ones(1, *grid.shape), torch.tensor([600.0])
    activity = 1e5 * torch.rand(
        1, len(ours.groups.names), *grid.shape, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        context = scan_context(ours, density, duration_s)
        counts = ours.expected_counts(activity, context.attenuation, duration_s).round()
        one = Osem(ours, iterations=2, subsets=2).reconstruct(counts, context)
        other = Osem(theirs, iterations=2, subsets=2).reconstruct(
            counts, scan_context(theirs, density, duration_s)
        )
    assert float(one.max()) > 0
    torch.testing.assert_close(other, one, rtol=0, atol=1e-5 * float(one.max()))
