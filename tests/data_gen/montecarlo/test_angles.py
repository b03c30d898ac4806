"""Angles of scatter against Klein-Nishina, the incoherent function and form factors."""

import math

import pytest
import torch
import xraylib

from data_gen.montecarlo.angles import (
    ELECTRON_KEV,
    compton_energy_kev,
    isotropic,
    scatter_angles,
    turned,
)

COUNT = 100_000


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _shares_by_xraylib(element: str, energy_kev: float, edges: torch.Tensor, law: str) -> torch.Tensor:
    """Shares of scatters between cosines, by fine sums over xraylib's own differential cross section."""
    z = xraylib.SymbolToAtomicNumber(element)
    per_angle = {"compton": xraylib.DCS_Compt, "rayleigh": xraylib.DCS_Rayl}[law]
    shares = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        nodes = [low + (k + 0.5) / 200 * (high - low) for k in range(200)]
        shares.append((high - low) * sum(per_angle(z, energy_kev, math.acos(c)) for c in nodes))
    total = torch.tensor(shares, dtype=torch.float64)
    return total / total.sum()


@pytest.mark.parametrize(("law", "energy_kev"), [("compton", 82.0), ("compton", 440.0), ("rayleigh", 82.0)])
def test_angles_follow_the_law(law: str, energy_kev: float) -> None:
    """Truth: xraylib's differential cross section of tungsten, integrated; chi2 per bin, z < 4."""
    edges = torch.cat((torch.linspace(-1, 0.9, 15), torch.tensor([0.95, 0.98, 1.0]))).double()
    expected = COUNT * _shares_by_xraylib("W", energy_kev, edges, law)
    angles = scatter_angles("tungsten", law)  # type: ignore[arg-type]
    cosine = angles.draw(torch.full((COUNT,), energy_kev, dtype=torch.float64), _generator())
    found = torch.histogram(cosine, edges).hist
    chi2 = float(((found - expected) ** 2 / expected).sum())
    bins = len(expected) - 1
    assert abs(chi2 - bins) / math.sqrt(2 * bins) < 4


def test_mean_energy_of_klein_nishina() -> None:
    """Truth: mean energy after scatter at 662 keV by the integral of the free Klein-Nishina formula.

    Hydrogen at 662 keV is free but for forward angles of no weight; z < 4.
    """
    energy = 662.0
    cosine = torch.linspace(-1, 1, 20001, dtype=torch.float64)
    ratio = 1 / (1 + energy / ELECTRON_KEV * (1 - cosine))
    law = ratio**2 * (ratio + 1 / ratio - 1 + cosine**2)
    mean = float((law * ratio).sum() / law.sum()) * energy
    drawn = scatter_angles("water", "compton").draw(
        torch.full((COUNT,), energy, dtype=torch.float64), _generator()
    )
    after = compton_energy_kev(torch.full((COUNT,), energy, dtype=torch.float64), drawn)
    error = float(after.std()) / math.sqrt(COUNT)
    assert abs(float(after.mean()) - mean) < 4 * error + 1e-3 * mean


def test_backscatter_energy() -> None:
    """Truth: E / (1 + 2 E / 511), exactly."""
    energy = torch.tensor([82.0, 440.0], dtype=torch.float64)
    back = compton_energy_kev(energy, torch.tensor([-1.0, -1.0], dtype=torch.float64))
    assert torch.allclose(back, energy / (1 + 2 * energy / ELECTRON_KEV), rtol=1e-12)


@pytest.mark.parametrize("law", ["compton", "rayleigh"])
def test_density_belongs_to_what_is_drawn(law: str) -> None:
    """Truth: the mean of 1 / density over draws is the solid angle 4 pi of the sphere; z < 4."""
    angles = scatter_angles("soft_tissue", law)  # type: ignore[arg-type]
    energy = torch.full((COUNT,), 30.0, dtype=torch.float64)
    inverse = 1 / angles.per_steradian(energy, angles.draw(energy, _generator()))
    error = float(inverse.std()) / math.sqrt(COUNT)
    assert abs(float(inverse.mean()) - 4 * math.pi) < 4 * error


def test_turned_by_the_angle_asked_for() -> None:
    """Truth: old and new direction multiply to the cosine, to 1e-12; azimuths are even (z < 4)."""
    direction = isotropic(2000, _generator())
    direction[0] = torch.tensor([0.0, 0.0, 1.0])
    cosine = torch.linspace(-1, 1, 2000, dtype=torch.float64)
    new = turned(direction, cosine, _generator(2))
    assert torch.allclose((new * direction).sum(1), cosine, atol=1e-12)
    side = new - cosine[:, None] * direction
    assert float((side.mean(0).abs() * math.sqrt(2000)).max()) < 4


def test_isotropic_directions() -> None:
    """Truth: mean 0 and mean square 1/3 of each component; z < 4."""
    direction = isotropic(COUNT, _generator())
    assert torch.allclose(direction.norm(dim=1), torch.ones(COUNT, dtype=torch.float64))
    assert float(direction.mean(0).abs().max()) < 4 / math.sqrt(3 * COUNT)
    assert float((direction.square().mean(0) - 1 / 3).abs().max()) < 4 * math.sqrt(4 / 45 / COUNT)
