"""From compartments to maps: Ac-225 antibody in a mouse."""

import math

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import VoxelGrid
from data_gen.kinetics import RegionKinetics, even_shares, load_kinetics, painted
from data_gen.nuclides import decay_chain
from data_gen.phantoms import ORGANS, Microenvironment, MousePhantom, region_shares, tumour_uptake

GRID = VoxelGrid((24, 24, 24), 1.5)


@pytest.fixture(scope="module")
def mouse():
    family = MousePhantom({"soft_tissue": [1.0, 1.0]}, tumours=(1, 1), tumour_diameter_mm=(6.0, 6.0))
    return family(GRID, torch.Generator().manual_seed(3))


def test_regions_are_their_organs_by_mass(mouse):
    """Shares sum to 1 (1e-12), lie in the organ alone, and go as density there."""
    shares = region_shares(mouse, ("blood", "bone", "excreted"))
    assert set(shares) == {"blood", "bone"}
    bone = mouse.labels == ORGANS.index("bone")
    assert float(shares["bone"][~bone].abs().max()) == 0
    assert float(shares["blood"].sum()) == pytest.approx(1.0, rel=1e-12)
    ratio = shares["bone"][bone] / mouse.density[bone]
    assert float(ratio.max()) == pytest.approx(float(ratio.min()), rel=1e-12)
    assert float(shares["blood"][mouse.labels == 0].abs().max()) == 0


def test_unknown_and_absent_organs_are_told(mouse):
    with pytest.raises(UserError, match="did you mean liver"):
        region_shares(mouse, ("liverr",))
    with pytest.raises(UserError, match="no voxel"):
        region_shares(mouse, ("rods",))
    with pytest.raises(UserError, match="'marrow'"):
        region_shares(mouse, ("bone",), {"bone": ["marrow"]})


def test_a_whole_study_of_a_mouse(mouse):
    """Painted decays and frames sum to those of the regions, 1e-10; kidneys hold Bi-213."""
    model, chain = load_kinetics("ac225_antibody_mouse"), decay_chain("Ac-225")
    kinetics = RegionKinetics(model, chain, 1e4)
    shares = region_shares(mouse, model.regions)
    shares["tumour"] = even_shares(
        {
            "tumour": tumour_uptake(
                GRID, (0.0, 0.0, 0.0), 2.0, Microenvironment(), torch.Generator().manual_seed(1)
            )
        }
    )["tumour"]
    frames = [Frame(24 * 3600.0, 1800.0), Frame(72 * 3600.0, 1800.0)]
    means, decays = kinetics.frame_means(frames), kinetics.decays()
    maps, doses = painted(means, model.regions, shares), painted(decays, model.regions, shares)
    assert maps.shape == (2, len(chain.members), *GRID.shape)
    inside = [k for k, region in enumerate(model.regions) if region != "excreted"]
    for found, truth in ((maps, means[:, inside].sum(1)), (doses, decays[inside].sum(0))):
        torch.testing.assert_close(found.sum((-3, -2, -1)), truth, rtol=1e-10, atol=0)
    kidney = mouse.labels == ORGANS.index("kidneys")
    actinium, bismuth = (float(maps[1, chain.members.index(m)][kidney].sum()) for m in ("Ac-225", "Bi-213"))
    assert bismuth > 2 * actinium
    atoms = 1e4 / chain.decay_constant("Ac-225")
    assert float(decays[:, 0].sum()) == pytest.approx(atoms, rel=1e-10)
    assert math.isclose(
        float(doses[0].sum() + decays[model.regions.index("excreted"), 0]), atoms, rel_tol=1e-9
    )
