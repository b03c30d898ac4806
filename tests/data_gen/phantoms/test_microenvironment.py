"""Uptake inside a tumour."""

import math

import pytest
import torch
from contracts.phantom_contract import GRID as CONTRACT_GRID
from contracts.phantom_contract import PhantomContract

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.phantoms import ORGANS, Microenvironment, MicroenvironmentPhantom, MousePhantom, uneven_uptake
from data_gen.phantoms.microenvironment import gaussian_field, vessel_distance

GRID = VoxelGrid((40, 44, 48), 0.05)
INF = math.inf


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _plain(**changed: float) -> Microenvironment:
    """Even uptake but for what is asked."""
    neutral = {"spread": 0.0, "positive_share": 1.0, "penetration_mm": INF, "core_radius": 0.0, "rim_mm": 0.0}
    return Microenvironment(**{**neutral, **changed})


def _radius(grid: VoxelGrid, centre: tuple[float, float, float]) -> torch.Tensor:
    return (grid.centres_mm() - torch.tensor(centre).double()).norm(dim=-1)


def tumour_uptake(
    grid: VoxelGrid,
    centre: tuple[float, float, float],
    radius_mm: float,
    constants: Microenvironment,
    generator: torch.Generator,
    fine_mm: float = 0.05,
) -> torch.Tensor:
    """The relative uptake of a ball."""
    return uneven_uptake(_radius(grid, centre) <= radius_mm, grid, constants, generator, fine_mm)


@pytest.mark.parametrize("seed", [0, 1])
def test_mean_is_one_and_the_outside_is_cold(seed):
    """Mean over the voxels inside is 1 to 1e-12; nothing outside; nothing negative."""
    centre = (0.1, -0.05, 0.0)
    uptake = tumour_uptake(GRID, centre, 0.9, Microenvironment(), _seeded(seed))
    inside = _radius(GRID, centre) <= 0.9
    assert float(uptake[inside].mean()) == pytest.approx(1.0, rel=1e-12)
    assert float(uptake[~inside].abs().max()) == 0
    assert float(uptake.min()) >= 0


def test_an_even_tumour_is_even():
    """With every factor neutral the uptake is 1 in each voxel inside."""
    uptake = tumour_uptake(GRID, (0.0, 0.0, 0.0), 0.9, _plain(), _seeded())
    inside = _radius(GRID, (0.0, 0.0, 0.0)) <= 0.9
    torch.testing.assert_close(uptake, inside.double(), rtol=1e-12, atol=0)


def test_the_core_is_cold_and_the_rim_is_hot():
    """Asked for 0.05 within half the radius and 2 in the last 0.2 mm, relative to between; 1e-12.

    Depths are told from voxels of 0.05 mm, so half a voxel to each side is left out.
    """
    constants = _plain(core_radius=0.5, core_uptake=0.05, rim_mm=0.2, rim_uptake=2.0)
    uptake = tumour_uptake(GRID, (0.0, 0.0, 0.0), 0.9, constants, _seeded())
    radius = _radius(GRID, (0.0, 0.0, 0.0))
    between = uptake[(radius > 0.48) & (radius < 0.66)]
    middle = float(between.mean())
    assert float(between.std()) < 1e-12
    assert float(uptake[radius < 0.42].max()) == pytest.approx(0.05 * middle, rel=1e-12)
    assert float(uptake[(radius > 0.73) & (radius < 0.9)].min()) == pytest.approx(2 * middle, rel=1e-12)
    alive = tumour_uptake(GRID, (0.0, 0.0, 0.0), 0.9, Microenvironment(), _seeded())
    assert float(alive[radius < 0.42].mean()) < 0.1 * float(alive[(radius > 0.48) & (radius < 0.9)].mean())


def test_clusters_have_the_size_asked_for():
    """Correlation exp(-(r / l)^2) at half, one and one and a half l, within 0.05 (about 2e3 clusters)."""
    field = gaussian_field((60, 60, 60), (0.05, 0.05, 0.05), 0.2, _seeded(3))
    assert float(field.mean()) == pytest.approx(0.0, abs=0.1)
    assert float(field.var()) == pytest.approx(1.0, abs=0.1)
    for lag in (2, 4, 6):
        truth = math.exp(-((lag * 0.05 / 0.2) ** 2))
        for axis in range(3):
            near, far = field.narrow(axis, 0, 60 - lag), field.narrow(axis, lag, 60 - lag)
            assert float((near * far).mean() / field.var()) == pytest.approx(truth, abs=0.05)


def test_clusters_are_millimetres_on_any_grid():
    """Voxels of unlike edges: the same length along each axis, within 0.06."""
    field = gaussian_field((30, 60, 120), (0.1, 0.05, 0.025), 0.2, _seeded(4))
    for axis, lag in ((0, 2), (1, 4), (2, 8)):
        size = field.shape[axis]
        near, far = field.narrow(axis, 0, size - lag), field.narrow(axis, lag, size - lag)
        assert float((near * far).mean() / field.var()) == pytest.approx(math.exp(-1), abs=0.06)


def test_the_share_of_cells_that_take_up_is_that_asked_for():
    """Gaussian threshold: 70 % of the tumour is not empty, within 0.05 (500 clusters); log-normal spread."""
    grid = VoxelGrid((60, 60, 60), 0.05)
    constants = _plain(positive_share=0.7, spread=0.5, cluster_mm=0.1)
    uptake = tumour_uptake(grid, (0.0, 0.0, 0.0), 1.4, constants, _seeded(5))
    inside = uptake[_radius(grid, (0.0, 0.0, 0.0)) <= 1.4]
    assert float((inside > 0).double().mean()) == pytest.approx(0.7, abs=0.05)
    even = tumour_uptake(grid, (0.0, 0.0, 0.0), 1.4, _plain(spread=0.5, cluster_mm=0.1), _seeded(5))
    logs = even[_radius(grid, (0.0, 0.0, 0.0)) <= 1.4].log()
    assert float(logs.std()) == pytest.approx(0.5, rel=0.05)


def test_vessels_are_as_dense_as_asked_for():
    """Poisson lines: P(farther than d from all) = exp(-pi (d / s)^2), within 0.02 (200 draws: 4 sd)."""
    points = 2 * torch.rand(100, 3, generator=_seeded(6), dtype=torch.float64) - 1
    away = torch.cat([vessel_distance(points, 2.0, 0.5, _seeded(seed)) for seed in range(200)])
    for distance in (0.1, 0.25, 0.4):
        truth = math.exp(-math.pi * (distance / 0.5) ** 2)
        assert float((away > distance).double().mean()) == pytest.approx(truth, abs=0.02)


def test_uptake_falls_with_distance_from_vessels():
    """Mean over its largest value, vessels 0.3 mm apart: int 2 pi d / s^2 exp(-pi (d/s)^2 - d/p) dd, 10 %."""
    grid = VoxelGrid((50, 50, 50), 0.05)
    constants = _plain(penetration_mm=0.1, vessel_spacing_mm=0.3)
    steps = torch.linspace(0, 2, 20001, dtype=torch.float64)
    density = 2 * math.pi * steps / 0.09 * torch.exp(-math.pi * steps.square() / 0.09 - steps / 0.1)
    truth = float(torch.trapezoid(density, steps))
    found = []
    for seed in range(3):
        uptake = tumour_uptake(grid, (0.0, 0.0, 0.0), 1.2, constants, _seeded(seed))
        found.append(1.0 / float(uptake.max()))
    assert sum(found) / 3 == pytest.approx(truth, rel=0.1)


def test_coarse_voxels_hold_the_mean_of_the_fine_ones():
    """The same tumour on 0.05 and 0.2 mm: block means, 1e-12; its mean stays 1."""
    fine_grid, coarse_grid = VoxelGrid((48, 48, 48), 0.05), VoxelGrid((12, 12, 12), 0.2)
    tumour = _radius(coarse_grid, (0.0, 0.0, 0.0)) <= 1.0
    cut = tumour.repeat_interleave(4, 0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    fine = uneven_uptake(cut, fine_grid, Microenvironment(), _seeded(8))
    coarse = uneven_uptake(tumour, coarse_grid, Microenvironment(), _seeded(8))
    blocks = fine.reshape(12, 4, 12, 4, 12, 4).mean(dim=(1, 3, 5))
    torch.testing.assert_close(coarse, blocks, rtol=1e-12, atol=1e-12)
    assert float(coarse[tumour].mean()) == pytest.approx(1.0, rel=1e-12)


def test_the_same_seed_gives_the_same_tumour():
    """Bit for bit; another seed gives another one."""
    one, same, other = (
        tumour_uptake(GRID, (0.0, 0.0, 0.0), 0.9, Microenvironment(), _seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("constants", "told"),
    [
        ({"cluster_mm": 0.0}, "cluster_mm"),
        ({"penetration_mm": math.nan}, "penetration_mm"),
        ({"spread": -1.0}, "spread"),
        ({"positive_share": 0.0}, "positive_share"),
        ({"core_radius": 1.0}, "core_radius"),
        ({"rim_uptake": INF}, "rim_uptake"),
    ],
)
def test_wrong_constants_are_refused(constants, told):
    with pytest.raises(UserError, match=told):
        Microenvironment(**constants)


def test_tumours_that_do_not_fit_are_refused():
    even, ball = Microenvironment(), _radius(GRID, (0.0, 0.0, 0.0)) <= 0.9
    with pytest.raises(UserError, match=r"fine_mm is 0\.01"):
        uneven_uptake(ball, GRID, even, _seeded(), fine_mm=0.01)
    with pytest.raises(UserError, match="cluster_mm"):
        uneven_uptake(ball, GRID, even, _seeded(), fine_mm=0.2)
    with pytest.raises(UserError, match="no voxel"):
        uneven_uptake(ball & ~ball, GRID, even, _seeded())
    with pytest.raises(UserError, match="at most 30000000"):
        uneven_uptake(torch.ones(60, 60, 60) > 0, VoxelGrid((60, 60, 60), 1.0), even, _seeded())


def _mouse() -> MousePhantom:
    uptake = {"soft_tissue": [1.0, 1.0], "tumour": [20.0, 20.0]}
    return MousePhantom(uptake, tumours=(2, 2), tumour_diameter_mm=(5.0, 5.0), supersampling=1)


class TestMicroenvironmentPhantom(PhantomContract):
    def family(self):
        return MicroenvironmentPhantom(_mouse(), Microenvironment(cluster_mm=0.8), fine_mm=0.25)


def test_only_the_inside_of_tumours_changes():
    """Tumours keep their activity (1e-12), all else keeps its voxels; within, uptake is uneven."""
    family = MicroenvironmentPhantom(_mouse(), Microenvironment(cluster_mm=0.8), fine_mm=0.25)
    before, after = (make(CONTRACT_GRID, _seeded(3)) for make in (_mouse(), family))
    tumour = before.labels == ORGANS.index("tumour")
    assert torch.equal(before.uptake[~tumour], after.uptake[~tumour])
    assert torch.equal(before.density, after.density)
    assert float(after.uptake[tumour].sum()) == pytest.approx(float(before.uptake[tumour].sum()), rel=1e-12)
    ratio = after.uptake[tumour] / before.uptake[tumour]
    assert float(ratio.std()) > 0.2
    with pytest.raises(UserError, match="cluster_mm"):
        MicroenvironmentPhantom(_mouse(), Microenvironment(cluster_mm=0.1), fine_mm=0.1)
