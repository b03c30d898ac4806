"""Photons through object and collimator against closed forms."""

import math

import pytest
import torch
import xraylib

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm, linear_attenuation_per_mm
from data_gen.montecarlo.body import Body, Tissues
from data_gen.montecarlo.direction_biasing import CameraBias
from data_gen.montecarlo.medium import medium
from data_gen.montecarlo.panel import rotation_positions
from data_gen.montecarlo.photons import FLUORESCENCE, OBJECT, OPEN, PENETRATED
from data_gen.montecarlo.transport import Collimator, through_body
from data_gen.montecarlo.variance_reduction import Analog, Forced
from tests.data_gen.montecarlo.conftest import beam

CPU = torch.device("cpu")
COUNT = 20_000


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _slab(density: float, thickness_mm: float) -> Tissues:
    """A slab of soft tissue across x, in a grid of 4 voxels of which 2 are empty."""
    grid = VoxelGrid((1, 1, 4), (500.0, 500.0, thickness_mm / 2))
    filled = torch.zeros(grid.shape, dtype=torch.float64)
    filled[..., 1:3] = density
    return Tissues(Body(grid, filled, torch.full(grid.shape, 2)), CPU)


@pytest.mark.parametrize("energy_kev", [82.0, 440.0])
def test_narrow_beam_through_a_slab(energy_kev: float, pinhole: Camera) -> None:
    """Truth: exp(-mu x / cos) of 40 mm of soft tissue at 60 degrees stays unscattered; z < 4."""
    photons = beam(COUNT, energy_kev, (-100.0, 0.0, 0.0), (0.5, math.sqrt(0.75), 0.0))
    bias = CameraBias(rotation_positions(pinhole, CPU)[0], medium("tungsten"))
    left = through_body(photons, _slab(1.06, 40.0), bias, Analog(_generator()))
    straight = float((left.kind == OPEN).sum()) / COUNT
    expected = math.exp(-float(linear_attenuation_per_mm("soft_tissue", energy_kev, 1.06)) * 80.0)
    assert abs(straight - expected) < 4 * math.sqrt(expected * (1 - expected) / COUNT)


def test_scatter_in_the_object_keeps_its_weight(pinhole: Camera) -> None:
    """Truth: biased scatter gives the number, energy and direction of photons of analog scatter; z < 4."""
    tissues = _slab(1.06, 20.0)
    bias = CameraBias(rotation_positions(pinhole, CPU)[0], medium("tungsten"))
    photons = beam(COUNT, 154.0, (0.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    figures = []
    for sampling in (Analog(_generator()), Forced(_generator(2), torch.tensor([1e-3], dtype=torch.float64))):
        left = through_body(photons, tissues, bias, sampling)
        left = left.take(left.kind == OBJECT)
        for score in (left.weight, left.weight * left.energy_kev, left.weight * (left.direction[:, 0] > 0.5)):
            each = torch.zeros(COUNT, dtype=torch.float64).index_add_(0, left.history, score)
            figures.append((float(each.mean()), float(each.std()) / math.sqrt(COUNT)))
    for (analog, error), (biased, other) in zip(figures[:3], figures[3:], strict=True):
        assert abs(analog - biased) < 4 * math.hypot(error, other)


def test_plate_alone_lets_through_its_transmission(pinhole: Camera) -> None:
    """Truth: exp(-mu t) of 4 mm of tungsten at 440 keV passes far from the hole, as "penetrated"; z < 4."""
    panel = rotation_positions(pinhole, CPU)[0][0]
    photons = beam(COUNT, 440.0, (9.0, 9.0, 0.0), (0.0, 0.0, 1.0))
    arrived = Collimator(panel, medium("tungsten")).pass_through(photons, Analog(_generator()))
    expected = math.exp(-4.0 * float(linear_attenuation_per_mm("tungsten", 440.0)))
    found = float((arrived.kind == PENETRATED).sum()) / COUNT
    assert abs(found - expected) < 4 * math.sqrt(expected / COUNT)
    assert not bool((arrived.kind == OPEN).any())


def test_open_waist_is_passed_untouched(pinhole: Camera) -> None:
    """Truth: on the axis nothing is lost, and nothing is called penetrated."""
    panel = rotation_positions(pinhole, CPU)[0][0]
    photons = beam(100, 82.0, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    arrived = Collimator(panel, medium("tungsten")).pass_through(photons, Analog(_generator()))
    assert len(arrived) == 100
    assert bool((arrived.kind == OPEN).all())


def test_k_photons_of_tungsten() -> None:
    """Truth: yield 0.954 times the K share 1 - 1/jump of absorptions, and Ka1 : Ka2 by xraylib; z < 4."""
    metal = medium("tungsten")
    random = torch.rand(COUNT, generator=_generator(), dtype=torch.float64)
    energy = metal.k_photon(torch.full((COUNT,), 100.0, dtype=torch.float64), random)
    chance = 0.954 * (1 - 1 / xraylib.JumpFactor(74, xraylib.K_SHELL))
    found = float((energy > 0).double().mean())
    assert abs(found - chance) < 4 * math.sqrt(chance * (1 - chance) / COUNT) + 0.005 * chance
    first, second = ((energy - e).abs() < 0.05 for e in (59.32, 57.98))
    ratio = xraylib.RadRate(74, xraylib.KL2_LINE) / xraylib.RadRate(74, xraylib.KL3_LINE)
    share = float(second.sum() / (first | second).sum())
    assert abs(share - ratio / (1 + ratio)) < 4 * math.sqrt(0.25 / float((first | second).sum()))
    assert not bool(metal.k_photon(torch.full((5,), 69.0, dtype=torch.float64), random[:5]).any())


def test_fluorescence_reaches_the_detector_by_name(lofts: Camera) -> None:
    """Truth: a beam at 100 keV onto a septum sends K lines of tungsten; few have scattered since."""
    panel = rotation_positions(lofts, CPU)[0][0]
    photons = beam(COUNT, 100.0, (1.0, 6.0, 25.0), (-1.0, 0.0, 0.3))
    arrived = Collimator(panel, medium("tungsten")).pass_through(photons, Analog(_generator()))
    energy = arrived.energy_kev[arrived.kind == FLUORESCENCE]
    assert len(energy) > 100
    is_line = (energy[:, None] - medium("tungsten").k_kev).abs().amin(dim=1) < 1e-9
    assert float(is_line.double().mean()) > 0.9
    assert float(energy.max()) <= float(medium("tungsten").k_kev.max())


def test_weights_of_the_collimator_follow_nature(lofts: Camera) -> None:
    """Truth: split, biased and thinned photons give each class the expectation of the analog run; z < 4."""
    panel = rotation_positions(lofts, CPU)[0][0]
    photons = beam(COUNT, 200.0, (0.0, 0.0, 0.0), (3.5, 4.0, 20.0))
    collimator = Collimator(panel, medium("tungsten"))
    runs = (Analog(_generator()), Forced(_generator(2), torch.tensor([0.02], dtype=torch.float64)))
    sums = []
    for sampling in runs:
        arrived = collimator.pass_through(photons, sampling)
        each = torch.zeros(5, COUNT, dtype=torch.float64)
        each.index_put_((arrived.kind, arrived.history), arrived.weight, accumulate=True)
        sums.append((each.mean(1), each.var(1) / COUNT))
    (analog, first), (forced, second) = sums
    assert float(((analog - forced).abs() / (first + second).sqrt().clamp_min(1e-4)).max()) < 4


def test_scatters_of_the_object_are_counted_up_to_a_number(pinhole: Camera) -> None:
    """Weights of photons that leave after none, one, two, ... scatters rise to those of any number, z < 5 of
    analog counting; after none nothing is scattered."""
    tissues = _slab(1.06, 40.0)
    bias = CameraBias(rotation_positions(pinhole, CPU)[0], medium("tungsten"))
    photons = beam(COUNT, 218.0, (-100.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    scattered = []
    for most in (0, 1, 2, math.inf):
        left = through_body(photons, tissues, bias, Analog(_generator()), most)
        scattered.append(int((left.kind == OBJECT).sum()))
    assert scattered[0] == 0
    assert 0 < scattered[1] < scattered[2] < scattered[3]
    # A photon scatters again with a chance below that of its first scatter in this slab.
    assert scattered[2] - scattered[1] < scattered[1]


def test_metal_without_coherent_scatter() -> None:
    """Its attenuation is that of the interactions that deposit energy, 1e-4; no scatter is coherent."""
    metal, energy = medium("tungsten").without_rayleigh(), torch.tensor([82.0, 218.0], dtype=torch.float64)
    expected = interaction_attenuation_per_mm("tungsten", energy)
    torch.testing.assert_close(metal.per_mm(energy), expected, rtol=1e-4, atol=0)
    assert float(metal.shares(energy)[1].abs().max()) == 0
