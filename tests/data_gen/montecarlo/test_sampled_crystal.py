"""Interactions and deposits in the crystal against the facts of CdTe."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.materials import interaction_attenuation_per_mm, k_fluorescence
from data_gen.montecarlo.crystal import Crystal
from data_gen.montecarlo.medium import medium
from data_gen.montecarlo.panel import rotation_positions
from data_gen.montecarlo.variance_reduction import Analog, Forced
from tests.data_gen.montecarlo.conftest import beam

COUNT = 40_000


def _crystal(camera: Camera, thickness_mm: float = 2.0, coherent: bool = True) -> Crystal:
    """The crystal of the camera's panel, if asked for without coherent scatter."""
    matter = medium("CdTe")
    if not coherent:
        parts = matter.cross_section.clone()
        parts[0] -= parts[2]
        parts[2] = 0
        matter = replace(matter, cross_section=parts)
    return Crystal(
        replace(rotation_positions(camera, torch.device("cpu"))[0][0], depth_mm=thickness_mm), matter
    )


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _left(crystal: Crystal, energy_kev: float) -> Tensor:
    """Energy left by each of many photons that interact, [n] keV."""
    photons = beam(COUNT, energy_kev, (0.3, 0.2, 25.0), (0.0, 0.0, 1.0))
    photons = crystal.first_interactions(photons, Forced(_generator(), torch.zeros(1, dtype=torch.float64)))
    left = crystal.deposits(photons, _generator(2))
    return torch.zeros(len(photons), dtype=torch.float64).index_add_(0, left.event, left.energy_kev)


# Per cent of photons whose first interaction is photoelectric, computed from cross sections.
FACTS = [
    (1.0, 80.0, 78.2),
    (2.0, 80.0, 92.8),
    (2.0, 154.0, 36.8),
    (2.0, 218.0, 15.8),
    (5.0, 270.0, 19.6),
    (5.0, 440.0, 5.8),
]


@pytest.mark.parametrize(("thickness_mm", "energy_kev", "photoelectric"), FACTS)
def test_interaction_fractions(
    thickness_mm: float, energy_kev: float, photoelectric: float, pinhole: Camera
) -> None:
    """Truth: exp(-mu d) without coherent scatter, and the facts' photoelectric fractions (1 %); z < 4."""
    crystal = _crystal(pinhole, thickness_mm, coherent=False)
    photons = beam(COUNT, energy_kev, (0.0, 0.0, 25.0), (0.0, 0.0, 1.0))
    found = len(crystal.first_interactions(photons, Analog(_generator()))) / COUNT
    expected = -math.expm1(-thickness_mm * float(interaction_attenuation_per_mm("CdTe", energy_kev)))
    error = math.sqrt(expected * (1 - expected) / COUNT)
    assert abs(found - expected) < 4 * error
    compton, _, photo = crystal.medium.shares(torch.tensor([energy_kev], dtype=torch.float64))[:, 0]
    assert abs(100 * found * float(photo / (photo + compton)) / photoelectric - 1) < 0.01 + 4 * error / found


def test_forced_interactions_follow_nature(pinhole: Camera) -> None:
    """Truth: forced weights add up to the analog fraction, coherent scatter included; z < 4."""
    crystal = _crystal(pinhole)
    photons = beam(COUNT, 154.0, (0.0, 0.0, 25.0), (0.3, 0.0, 1.0))
    analog = len(crystal.first_interactions(photons, Analog(_generator()))) / COUNT
    sampling = Forced(_generator(3), torch.zeros(1, dtype=torch.float64))
    forced = crystal.first_interactions(photons, sampling)
    each = torch.zeros(COUNT, dtype=torch.float64).index_add_(0, forced.history, forced.weight)
    error = math.sqrt(analog * (1 - analog) / COUNT + float(each.var()) / COUNT)
    assert abs(float(each.mean()) - analog) < 4 * error


@pytest.mark.parametrize("energy_kev", [80.0, 122.0])
def test_escape_peaks(energy_kev: float, pinhole: Camera) -> None:
    """Truth: what leaves a photon short of its energy by one K photon lies at E - 23.2 and E - 27.5 keV."""
    left = _left(_crystal(pinhole), energy_kev)
    for k_kev in (23.17, 27.47):
        near = (left - (energy_kev - k_kev)).abs() < 0.05
        beside = (left - (energy_kev - k_kev) - 1.0).abs() < 0.05
        assert int(near.sum()) > 20 + 4 * int(beside.sum())


def test_k_escape_of_tellurium(pinhole: Camera) -> None:
    """Truth: for photons of 45 keV on a half space, K photons of Te (which no cascade gives) escape with the
    probability (1 - m ln(1 + 1/m)) / 2, m = mu(K) / mu(45 keV); z < 4, and 2 % for those that scatter.
    """
    energy = torch.tensor([45.0], dtype=torch.float64)
    crystal = _crystal(pinhole, coherent=False)
    left = _left(crystal, 45.0)
    lines = k_fluorescence("CdTe", energy)
    ratio = crystal.medium.per_mm(lines.energy_kev) / crystal.medium.per_mm(energy)
    escape = 0.5 * (1 - ratio * torch.log1p(1 / ratio))
    of_te = (lines.energy_kev > 27.0).double()
    per_absorption = float((of_te * lines.photons_per_absorption[0] * escape).sum())
    expected = float(crystal.medium.shares(energy)[2]) * per_absorption
    single = (left[:, None] - (45.0 - lines.energy_kev[lines.energy_kev > 27.0])).abs() < 1e-6
    found = float(single.any(dim=1).double().mean())
    assert abs(found - expected) < 4 * math.sqrt(expected / COUNT) + 0.02 * expected


def test_energy_is_conserved(pinhole: Camera) -> None:
    """Truth: deposits are never negative nor more than the photon brought; most of 80 keV stays."""
    left = _left(_crystal(pinhole), 80.0)
    assert float(left.max()) <= 80.0 + 1e-9
    assert float(left.min()) >= 0
    assert float((left > 79.99).double().mean()) > 0.9


def test_compton_edge(pinhole: Camera) -> None:
    """Truth: single scatters leave at most E - E / (1 + 2 E / 511) = 278.3 keV of 440 keV."""
    crystal = _crystal(pinhole)
    photons = beam(COUNT, 440.0, (0.0, 0.0, 25.0), (0.0, 0.0, 1.0))
    photons = crystal.first_interactions(photons, Forced(_generator(), torch.zeros(1, dtype=torch.float64)))
    left = crystal.deposits(photons, _generator(2))
    first = left.energy_kev[: len(photons)]
    scattered = first[first < 400.0]
    assert float(scattered.max()) <= 278.3 + 0.1
    assert float(scattered.max()) > 277.0


def test_photons_enter_at_face_and_sides(pinhole: Camera) -> None:
    """Truth: distances to a box of 24 x 24 x 2 mm, 30 mm away: face, side, and past it; to rounding."""
    panel = _crystal(pinhole).panel
    position = torch.tensor([[14.0, 0.0, 27.5], [14.0, 0.0, 29.0], [14.0, 0.0, 30.5]], dtype=torch.float64)
    direction = torch.tensor([-math.sqrt(0.5), 0.0, math.sqrt(0.5)], dtype=torch.float64).expand(3, 3)
    found = panel.to_crystal_mm(position, direction).tolist()
    assert found[:2] == pytest.approx([2.5 * math.sqrt(2), 2.0 * math.sqrt(2)], rel=1e-12)
    assert math.isinf(found[2])  # 12 mm aside only at its back
