"""The parts that scatter is made of, each against a closed form or an independent code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xraylib

from data_gen.core.grid import VoxelGrid
from data_gen.core.resampling import coarse_grid, density_shares, resample, source_shares
from data_gen.materials import material_named, process_mass_attenuation
from data_gen.scatter.differential_cross_sections import (
    arrival_classes,
    compton_kev,
    mean_scattered_kev,
    spread_arrivals,
    turning_series,
)
from data_gen.scatter.harmonics import harmonics, legendre
from data_gen.scatter.voxel_to_voxel import flight_table, path_by_tissue

ENERGIES = torch.tensor([82.0, 218.0, 440.0], dtype=torch.float64)


def test_harmonics_add_up_to_legendre_polynomials():
    """Addition theorem: P_l(a . b) = sum over m of Y_lm(a) Y_lm(b); P_l as numpy has them (1e-12)."""
    draw = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, other = draw / draw.norm(dim=-1, keepdim=True)
    cosine = (one * other).sum(dim=-1)
    product = harmonics(one, 7) * harmonics(other, 7)
    for degree in range(8):
        added = product[:, degree**2 : (degree + 1) ** 2].sum(dim=-1)
        polynomial = np.polynomial.legendre.legval(cosine.numpy(), [0.0] * degree + [1.0])
        np.testing.assert_allclose(added, polynomial, atol=1e-12)
        np.testing.assert_allclose(legendre(cosine, 7)[:, degree], polynomial, atol=1e-12)


def test_sources_keep_place_and_width():
    """Coarse shares of a source, each spread evenly over its voxel, have its mean and no variance."""
    fine, coarse = VoxelGrid((24, 24, 24), 0.5), VoxelGrid((5, 5, 5), 2.4)
    share = source_shares(fine, coarse)[0]
    place, centre = fine.axis_mm(0), coarse.axis_mm(0)
    inside = place.abs() < 4.8
    mean = (share * centre[:, None]).sum(dim=0)
    width = (share * centre[:, None].square()).sum(dim=0) - mean.square() + 2.4**2 / 12
    torch.testing.assert_close(share.sum(dim=0), torch.ones(24, dtype=torch.float64))
    torch.testing.assert_close(mean[inside], place[inside], rtol=0, atol=1e-12)
    torch.testing.assert_close(width[inside], torch.zeros_like(width[inside]), rtol=0, atol=1e-12)


def test_coarse_density_keeps_mass():
    """Mass of a random object on either grid (1e-12)."""
    fine = VoxelGrid((7, 6, 5), (0.5, 0.7, 0.9))
    coarse = coarse_grid(fine, 1.3)
    density = torch.rand(1, *fine.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    small = resample(density, density_shares(fine, coarse))
    assert max(coarse.spacing_mm) <= 1.3
    mass = float(density.sum() * fine.voxel_volume_ml)
    assert float(small.sum() * coarse.voxel_volume_ml) == pytest.approx(mass)


def test_flight_within_a_voxel():
    """Mean of 1/(4 pi r^2) over pairs of points of a cube, by a Monte Carlo of the test (2 %)."""
    table = flight_table(VoxelGrid((2, 2, 2), 2.0), 1)
    draw = np.random.default_rng(0).random((2, 1_000_000, 3))
    mean = np.mean(1 / (4 * math.pi * np.sum((2.0 * (draw[0] - draw[1])) ** 2, axis=1)))
    assert float(table[0, 1, 1, 1]) == pytest.approx(mean, rel=0.02)
    assert float(table[1:, 1, 1, 1].abs().max()) < 1e-12  # as many fly forth as back


def test_flight_from_afar():
    """Ten voxels away, 1/(4 pi r^2) along one direction (1 %)."""
    table = flight_table(VoxelGrid((1, 1, 11), 1.0), 2)
    fluence = 1 / (4 * math.pi * 100)
    from_below = table[:, 0, 0, 0]  # source minus target is -10 along x
    along_x = harmonics(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), 2)
    np.testing.assert_allclose(from_below, fluence * along_x, atol=0.01 * fluence)


def test_paths_between_voxels():
    """Through even density, the distance times the density (1e-9)."""
    grid = VoxelGrid((3, 2, 2), (1.0, 2.0, 3.0))
    centre = grid.centres_mm().reshape(-1, 3)
    path = path_by_tissue(torch.full((1, 1, *grid.shape), 1.1, dtype=torch.float64), grid)
    torch.testing.assert_close(path[0, 0], 1.1 * torch.cdist(centre, centre), rtol=1e-9, atol=1e-9)


def test_classes_span_compton_energies():
    """From the full energy to E / (1 + 2 E / 511 keV), without gaps; Rayleigh keeps the energy."""
    edges = arrival_classes(ENERGIES, 6)
    torch.testing.assert_close(edges[:, 0], ENERGIES[:, None].expand(-1, 2))
    torch.testing.assert_close(edges[:, 1, 1], ENERGIES)
    torch.testing.assert_close(edges[:, -1, 0], ENERGIES / (1 + 2 * ENERGIES / 510.99895))
    torch.testing.assert_close(edges[:, 1:-1, 0], edges[:, 2:, 1])
    right_angle = compton_kev(ENERGIES, torch.tensor(0.0, dtype=torch.float64))
    torch.testing.assert_close(right_angle, ENERGIES / (1 + ENERGIES / 510.99895))


def test_mean_energy_after_scatter():
    """Klein and Nishina's scattered over whole cross section in closed form (Evans 1955; 1 %)."""
    a = ENERGIES / 510.99895
    log, wide = (1 + 2 * a).log(), 1 + 2 * a
    whole = 2 * ((1 + a) / a**2 * (2 * (1 + a) / wide - log / a) + log / (2 * a) - (1 + 3 * a) / wide**2)
    scattered = log / a**3 + 2 * (1 + a) * (2 * a**2 - 2 * a - 1) / (a * wide) ** 2 + 8 * a**2 / (3 * wide**3)
    torch.testing.assert_close(mean_scattered_kev(ENERGIES), ENERGIES * scattered / whole, rtol=0.01, atol=0)


def test_arrivals_after_two_scatters():
    """None gains energy; after two scatters photons may have less than any has after one."""
    spread = spread_arrivals(arrival_classes(mean_scattered_kev(ENERGIES), 3), ENERGIES)
    torch.testing.assert_close(spread[..., 1].amax(dim=1), ENERGIES)
    assert bool((spread[..., 0] < spread[..., 1]).all())
    assert bool((spread[..., 0].amin(dim=1) < arrival_classes(ENERGIES, 3).amin(dim=(1, 2))).all())


def test_series_integrate_to_cross_sections():
    """Over all angles, xraylib's total Compton and Rayleigh cross sections (1 %)."""
    series = turning_series(ENERGIES, arrival_classes(ENERGIES, 6), 4)
    total = 4 * math.pi * series[..., 0]
    compton = process_mass_attenuation("soft_tissue", ENERGIES, "compton")
    rayleigh = process_mass_attenuation("soft_tissue", ENERGIES, "rayleigh")
    torch.testing.assert_close(total[:, 1:].sum(dim=1), compton, rtol=0.01, atol=0)
    torch.testing.assert_close(total[:, 0], rayleigh, rtol=0.01, atol=0)


def test_series_follow_the_differential_cross_section():
    """Summed over classes at 60-120 degrees, xraylib's Compton cross section (4 %, the series being cut)."""
    cosine = torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)
    series = turning_series(ENERGIES, arrival_classes(ENERGIES, 6), 8)
    found = (series[:, 1:] @ legendre(cosine, 8).T).sum(dim=1)
    parts = material_named("soft_tissue").mass_fractions
    for row, energy in zip(found, ENERGIES.tolist(), strict=True):
        angles = cosine.acos().tolist()
        truth = [sum(w * xraylib.DCS_Compt(z, energy, a) for z, w in parts) for a in angles]
        np.testing.assert_allclose(row, truth, rtol=0.04)
