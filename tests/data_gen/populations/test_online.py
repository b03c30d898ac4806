"""Scans as sums over regions, against the forward model's own projection of the same individual."""

from __future__ import annotations

import math

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyWindows
from data_gen.core.random import seeded_generator
from data_gen.forward_model.system import ImagingSystem
from data_gen.phantoms import MousePhantom
from data_gen.populations import OnlinePopulation, RegionImages
from data_gen.simulation.exposure import ExposureLimits

MOUSE = MousePhantom(
    {"soft_tissue": (0.5, 1.5), "liver": (4.0, 12.0), "tumour": (10.0, 40.0)},
    freed_per_g={"kidneys": (15.0, 40.0)},
    freed_fraction=(0.1, 0.5),
    tumours=(0, 2),
)
LIMITS = ExposureLimits((2e3, 2e4), (1.0, 1e9), (600.0, 3600.0), (3600.0, 172_800.0))
WINDOWS = EnergyWindows([20.0, 100.0, 300.0, 500.0])
"""A part of what is recorded, 20 to 600 keV."""


@pytest.fixture(scope="module")
def population(tiny_system: ImagingSystem) -> OnlinePopulation:
    return OnlinePopulation(tiny_system, WINDOWS, MOUSE, LIMITS, anatomies=3, sites=2)


@pytest.fixture(scope="module")
def images(population: OnlinePopulation) -> RegionImages:
    return population.images(1)


def test_a_sum_over_regions_is_the_projection(population: OnlinePopulation, images: RegionImages) -> None:
    """Counts of each pixel and window: within 0.1 % of the highest, in all within 1e-4."""
    state = population.model.attenuation(images.anatomy.density[None])
    for seed in range(3):
        one = MOUSE.individual(images.anatomy, seeded_generator(seed))
        heads = [3.0, 2.0]
        found = images.rate(one.concentrations(heads))
        truth = population.model.project(one.phantom().activity(heads)[None], state)[0]
        assert float((found - truth).abs().max()) < 1e-3 * float(truth.max())
        assert float(found.sum()) == pytest.approx(float(truth.sum()), rel=1e-4)


def test_what_is_recorded_counts_all_energies(population: OnlinePopulation, images: RegionImages) -> None:
    """Counts aimed at are those of 20 to 600 keV, though the windows end at 500, rel 1e-4."""
    one = MOUSE.individual(images.anatomy, seeded_generator("all"))
    whole = population.system.forward_model()
    state = whole.attenuation(images.anatomy.density[None])
    truth = float(whole.project(one.phantom().activity([1.0, 1.0])[None], state).sum())
    assert float((one.concentrations([1.0, 1.0]) * images.recorded).sum()) == pytest.approx(truth, rel=1e-4)


def test_counts_are_poisson_of_what_is_expected(population: OnlinePopulation, images: RegionImages) -> None:
    """Squared residuals from the projected truth over its expectation have a mean of 1.

    Over the pixels that expect more than 1 count, within 5 standard errors.
    """
    squares = []
    for number in (1, 4, 7, 10):
        scan = population.scan("train", number, images)
        state = population.model.attenuation(scan.density[None])
        expected = population.model.expected_counts(scan.activity[None], state, scan.frame.duration_s)[0]
        some = expected > 1
        squares.append(((scan.counts - expected) ** 2 / expected)[some])
    joined = torch.cat(squares)
    assert len(joined) > 300
    assert float(joined.mean()) == pytest.approx(1.0, abs=5 * math.sqrt(3 / len(joined)))


def test_an_individual_follows_from_its_number_alone(
    tiny_system: ImagingSystem, population: OnlinePopulation, images: RegionImages
) -> None:
    """Bit by bit the same again and from another population of the same seed; others differ."""
    again = OnlinePopulation(tiny_system, WINDOWS, MOUSE, LIMITS, anatomies=3, sites=2)
    one, same = population.scan("train", 4, images), again.scan("train", 4, again.images(1))
    assert torch.equal(one.counts, same.counts)
    assert torch.equal(one.activity, same.activity)
    assert one.frame == same.frame
    assert not torch.equal(one.counts, population.scan("train", 7, images).counts)
    assert not torch.equal(one.counts, population.scan("other", 4, images).counts)


def test_images_survive_a_file(images: RegionImages) -> None:
    back = RegionImages.from_tensors(images.tensors())
    assert torch.equal(back.relative, images.relative)
    assert back.anatomy.regions == images.anatomy.regions
    assert back.anatomy.body_mass_g == images.anatomy.body_mass_g
    assert torch.equal(back.anatomy.volume_ml, images.anatomy.volume_ml)
    assert back.anatomy.fine_voxels == images.anatomy.fine_voxels


def test_counts_are_those_aimed_at(population: OnlinePopulation, images: RegionImages) -> None:
    """Log-uniform from 2e3 to 2e4 accepted events: the mean logarithm of 60 scans within 4 standard errors.

    Of the accepted events the windows hold all but those above 500 keV, under 3 %.
    """
    logs = torch.tensor([math.log(float(population.scan("aim", n, images).counts.sum())) for n in range(60)])
    spread = math.log(10) / math.sqrt(12)
    assert float(logs.mean()) == pytest.approx(
        math.log(2e4) - math.log(10) / 2, abs=4 * spread / math.sqrt(60)
    )


def test_a_population_needs_a_body(tiny_system: ImagingSystem) -> None:
    with pytest.raises(UserError, match=r"population\.anatomies is 0; it needs at least 1"):
        OnlinePopulation(tiny_system, WINDOWS, MOUSE, LIMITS, anatomies=0, sites=2)
