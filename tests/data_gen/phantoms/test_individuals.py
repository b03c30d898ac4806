"""Anatomies cut into regions, and individuals on them, against the voxel phantoms that they stand for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.nuclides import decay_chain, mean_activity, tied_groups
from data_gen.phantoms import ORGANS, Anatomy, Individual, MousePhantom, Region, RegionalFamily

GRID = VoxelGrid((20, 18, 16), 1.5)
TUMOUR, LIVER, SOFT = ORGANS.index("tumour"), ORGANS.index("liver"), ORGANS.index("soft_tissue")
MOUSE = MousePhantom(
    {"soft_tissue": (0.5, 1.5), "liver": (4.0, 12.0), "kidneys": (3.0, 10.0), "tumour": (10.0, 40.0)},
    freed_per_g={"soft_tissue": (0.5, 1.0), "kidneys": (15.0, 40.0)},
    freed_fraction=(0.1, 0.5),
    tumours=(0, 3),
)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return MOUSE.anatomy(GRID, 5, seeded_generator("anatomy"))


def _individual(anatomy: Anatomy, seed: int) -> Individual:
    return MOUSE.individual(anatomy, seeded_generator("individual", seed))


def test_a_mouse_can_be_taken_apart() -> None:
    assert isinstance(MOUSE, RegionalFamily)


def test_regions_fill_the_body_once(anatomy: Anatomy) -> None:
    """No voxel holds more than its volume, most of those inside the body all of it."""
    filled = anatomy.volume_ml.sum(0)
    inside = anatomy.density > 1.0
    assert float(filled.max()) <= GRID.voxel_volume_ml * (1 + 1e-9)
    assert float((filled[inside] / GRID.voxel_volume_ml).median()) == pytest.approx(1.0)


def test_without_tumours_it_is_the_mouse_of_the_same_seed() -> None:
    """A mouse that never has tumours: density and labels are those of the voxel phantom, exactly."""
    bare = replace(MOUSE, tumours=(0, 0))
    anatomy = bare.anatomy(GRID, 0, seeded_generator("same"))
    mouse = bare(GRID, seeded_generator("same"))
    assert torch.equal(anatomy.density, mouse.density)
    one = bare.individual(anatomy, seeded_generator("any"))
    assert torch.equal(one.labels, mouse.labels)


def test_maps_are_those_of_the_voxel_phantom(anatomy: Anatomy) -> None:
    """Concentrations times volumes are the voxel phantom's activity of every map, rel 1e-5."""
    chain = decay_chain("Ra-223")
    groups, frame = tied_groups(chain), Frame(36_000.0, 1800.0)
    mean = mean_activity(chain, 1e4, frame.start_s, frame.end_s)
    for seed in range(4):
        one = _individual(anatomy, seed)
        by_region = one.concentrations([mean[head] for head in groups.heads])
        maps = torch.einsum("mr,rzyx->mzyx", by_region, anatomy.volume_ml).float()
        voxels = one.phantom().mean_activity(chain, groups, 1e4, frame)
        torch.testing.assert_close(maps, voxels, rtol=1e-5, atol=1e-6)


def test_an_empty_place_is_like_what_is_around_it(anatomy: Anatomy) -> None:
    """Where no tumour is, a region takes up what its organ does; where one is, what that tumour does."""
    for seed in range(12):
        one = _individual(anatomy, seed)
        of_organ = {
            (region.organ, region.core): float(uptake)
            for region, uptake in zip(anatomy.regions, one.uptake_per_ml, strict=True)
            if region.site == 0
        }
        of_tumour: dict[tuple[int, bool], float] = {}
        for region, organ, uptake in zip(
            anatomy.regions, one.organ.tolist(), one.uptake_per_ml.tolist(), strict=True
        ):
            if organ == TUMOUR:
                key = (region.site, region.site_core)
                assert uptake == of_tumour.setdefault(key, uptake)
            elif (region.organ, region.core) in of_organ:
                assert organ == region.organ
                assert uptake == of_organ[region.organ, region.core]
        assert len({site for site, _ in of_tumour}) <= 3


def test_numbers_of_tumours_are_those_asked_for(anatomy: Anatomy) -> None:
    """None to three, each as often, at every place as often (chi-square of 400 individuals, 99.9 %)."""
    found = torch.zeros(4)
    places = torch.zeros(6)
    for seed in range(400):
        one = _individual(anatomy, seed)
        organs = zip(anatomy.regions, one.organ.tolist(), strict=True)
        organs = zip(anatomy.regions, one.organ.tolist(), strict=True)
        sites = {region.site for region, organ in organs if organ == TUMOUR}
        found[len(sites)] += 1
        for site in sites:
            places[site] += 1
    assert float(((found - 100) ** 2 / 100).sum()) < 16.3
    expected = places.sum() / 5
    assert float(((places[1:] - expected) ** 2 / expected).sum()) < 18.5


def test_labels_are_what_fills_most() -> None:
    """By hand: 3 liver and 5 tumour fine voxels are a tumour, liver without it; 4 and 4 the later organ."""
    filling = torch.tensor([[[[3, 4]]], [[[5, 4]]]], dtype=torch.int16)
    regions = (Region(LIVER, False, 0, False), Region(LIVER, False, 1, False))
    anatomy = Anatomy(torch.ones(1, 1, 2), filling, 8, 8e-3, regions, 20.0)
    ill = Individual.of(anatomy, [LIVER, TUMOUR], [1.0, 2.0], [0.0, 0.0], 0.0)
    well = Individual.of(anatomy, [LIVER, LIVER], [1.0, 1.0], [0.0, 0.0], 0.0)
    assert ill.labels.tolist() == [[[TUMOUR, TUMOUR]]]
    assert well.labels.tolist() == [[[LIVER, LIVER]]]


def test_no_more_is_taken_up_than_was_injected() -> None:
    """Uptakes of 300 per mL in 16 mL/1000 sum to 4.8 of the injection; they are scaled to 1."""
    filling = torch.tensor([[[[8, 8]]]], dtype=torch.int16)
    anatomy = Anatomy(torch.ones(1, 1, 2), filling, 8, 8e-3, (Region(SOFT, False, 0, False),), 20.0)
    one = Individual.of(anatomy, [SOFT], [300.0], [1.0], 0.5)
    assert float(one.phantom().uptake.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(("sites", "told"), [(2, "at least the 3"), (90, "do not fit"), (400, "at most 100")])
def test_places_that_cannot_be(sites: int, told: str) -> None:
    with pytest.raises(UserError, match=told):
        MOUSE.anatomy(GRID, sites, seeded_generator("places"))
