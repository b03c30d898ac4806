"""Maximum a posteriori with a relative-difference prior between neighbours that are alike in density.

From counts, or events, to activity in Bq per voxel. Sources: neighbours weighted by how alike they are in an
image of the anatomy, Bowsher et al., IEEE Nucl. Sci. Symp. Conf. Rec. (2004) 2488; a Gaussian of their
difference for that weight, Tomasi and Manduchi, Int. Conf. Computer Vision (1998) 839. Prior and algorithm as
in ``map_rdp.py``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.map_rdp import MapRdp, Neighbours, Offset, moved
from hspi_learn.reconstructor import ScanContext


class MapAnatomical(MapRdp):
    """:class:`~hspi_learn.classical.map_rdp.MapRdp` whose neighbours pull as they are alike in density.

    The weight of each pair of voxels is that of ``MapRdp`` times

        exp(-(rho_u - rho_v)^2 / (2 density_width^2)),

    rho being the density that every method is told of. Bowsher et al. keep the B neighbours that are most
    alike, which is one-sided: u may be among v's, and v not among u's. This weight is the same from both
    sides, so that the algorithm's gradient is that of a penalty, and it depends on no count. Where the
    density is one all over the body, images are those of ``MapRdp``, to the bit; the surface of the body is
    treated alike too.

    Args:
        model: the forward model, with the energy windows (or fine bins, for events) to reconstruct from.
        iterations: passes over all subsets.
        subsets: number of subsets.
        penalty: weight of the penalty; 0 is maximum likelihood.
        edge: how much less a large relative difference costs than a small one (gamma of Nuyts et al.).
        density_width_g_cm3: difference in density at which neighbours pull 0.61 times as much.
        relaxation: how fast steps fall.
        postfilter_fwhm_mm: Gaussian smoothing of the last image, within the body; 0 for none.
        tied_iterations: first iterations, of EM, in which maps of short-lived daughters are held at
            equilibrium.

    Raises:
        UserError: a setting outside its range.
    """

    name = "map_anatomical"
    tunable = (*MapRdp.tunable, "density_width_g_cm3")
    version = 1

    def __init__(
        self,
        model: HyperspectralForwardModel,
        iterations: int = 20,
        subsets: int = 6,
        penalty: float = 1.0,
        edge: float = 2.0,
        density_width_g_cm3: float = 0.2,
        relaxation: float = 0.1,
        postfilter_fwhm_mm: float = 0.0,
        tied_iterations: int = 0,
    ) -> None:
        self.density_width_g_cm3 = float(density_width_g_cm3)
        super().__init__(
            model, iterations, subsets, penalty, edge, relaxation, postfilter_fwhm_mm, tied_iterations
        )

    def _check(self) -> None:
        super()._check()
        if not 0 < self.density_width_g_cm3 < math.inf:
            told = f"{self.name}.density_width_g_cm3 is {self.density_width_g_cm3}"
            raise UserError(f"{told}; it needs to be a number of g/cm3 above 0")

    @property
    def settings(self) -> dict[str, Any]:
        """All that its images depend on besides the model, the counts and the object, as plain data."""
        return {**super().settings, "density_width_g_cm3": self.density_width_g_cm3}

    @property
    def told(self) -> str:
        """Its main settings in words."""
        return f"density width {self.density_width_g_cm3:g} g/cm3, {super().told}"

    def neighbours(self, context: ScanContext) -> Neighbours:
        """What the penalty of scans of these objects compares."""
        return AlikeNeighbours(self.model.grid, context.density, self.density_width_g_cm3)


class AlikeNeighbours(Neighbours):
    """The 26 neighbours of a voxel, weighted by one over their distance and by how alike they are.

    Args:
        grid: gives the voxel edges in mm.
        density: [batch, z, y, x] in g/cm3.
        width_g_cm3: standard deviation of the Gaussian of the difference in density.
    """

    def __init__(self, grid: VoxelGrid, density: Tensor, width_g_cm3: float) -> None:
        super().__init__(grid)
        self.density, self.width_g_cm3 = density[:, None], width_g_cm3

    def weight(self, offset: Offset) -> Tensor:
        """Weight of the pair of each voxel with the one at this offset, without counts."""
        apart = (self.density - moved(self.density, offset)) / self.width_g_cm3
        return super().weight(offset) * torch.exp(-apart.square() / 2)
