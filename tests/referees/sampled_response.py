"""Photons in CdTe followed one by one with random numbers: an independent referee of the response.

It shares cross sections, spreads of electrons and constants with the code it judges, nothing else: no
quadrature, own Compton angles (rejection), own eta (a sum over 4,000 steps), own clouds and sharing; noise,
threshold, gain and offset are drawn per pixel.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf

from data_gen.detector import CdTeResponse
from data_gen.detector.cross_sections import crystal_tables
from data_gen.detector.electrons import electron_table
from data_gen.materials import interaction_attenuation_per_mm, k_fluorescence, process_mass_attenuation

Array = NDArray[np.float64]
_ENERGIES = np.geomspace(2, 900, 3000)
_AXIS = torch.from_numpy(_ENERGIES)
_PER_MM = interaction_attenuation_per_mm("CdTe", _AXIS).numpy()
_PHOTO = process_mass_attenuation("CdTe", _AXIS, "photoelectric").numpy()
_SHARE = _PHOTO / (_PHOTO + process_mass_attenuation("CdTe", _AXIS, "compton").numpy())
_K = k_fluorescence("CdTe", _AXIS)
_K_KEV = np.append(_K.energy_kev.numpy(), 0.0)
_K_CUMULATIVE = _K.photons_per_absorption.numpy().cumsum(axis=1)


def _k_photon(energy: Array, rng: np.random.Generator) -> Array:
    """Energy of the K photon that follows an absorption, 0 for none."""
    row = _K_CUMULATIVE[np.clip(np.searchsorted(_ENERGIES, energy), 0, len(_ENERGIES) - 1)]
    return _K_KEV[(rng.random(len(energy))[:, None] > row).sum(axis=1)]


def _compton(energy: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Scattered energies and cosines, by rejection from Klein-Nishina times the scattering function."""
    tables = crystal_tables("CdTe")
    most = float(tables.electrons.max())
    cosine, todo = np.empty_like(energy), np.arange(len(energy))
    while len(todo):
        trial, photon = rng.uniform(-1, 1, len(todo)), energy[todo]
        ratio = 1 / (1 + photon / 510.99895 * (1 - trial))
        transfer = torch.from_numpy(photon * np.sqrt((1 - trial) / 2) / 12.398)
        bound = tables.scattering_function(transfer).numpy() / most
        density = ratio**2 * (ratio + 1 / ratio - 1 + trial**2) / 2 * bound
        taken = rng.random(len(todo)) < density
        cosine[todo[taken]] = trial[taken]
        todo = todo[~taken]
    return energy / (1 + energy / 510.99895 * (1 - cosine)), cosine


def _turned(way: Array, cosine: Array, rng: np.random.Generator) -> Array:
    """Unit vectors at an angle to others, any azimuth."""
    helper = np.where(np.abs(way[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    across = np.cross(way, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    azimuth = rng.uniform(0, 2 * math.pi, len(way))[:, None]
    aside = np.cos(azimuth) * across + np.sin(azimuth) * np.cross(way, across)
    return cosine[:, None] * way + np.sqrt(1 - cosine**2)[:, None] * aside


def collected(response: CdTeResponse, depth: Array) -> Array:
    """eta at depths, by sums over the weighting potential in steps of d / 4000; the field rises evenly."""
    d, half = float(response.thickness_mm), float(response.pixel_pitch_mm) / response.binning / 2
    field = 100 * float(response.bias_v) / d
    electron, hole = (float(m) * field for m in (response.mu_tau_electron_cm2_v, response.mu_tau_hole_cm2_v))
    place = np.linspace(0, d, 4001)

    def alone(height: Array) -> Array:
        return 2 / math.pi * np.arctan2(half**2, height * np.sqrt(height**2 + 2 * half**2))

    weighting = sum(alone((2 * k + 1) * d - place) - alone((2 * k + 1) * d + place) for k in range(200))
    drift = _drift(response, place)
    rise, middle = np.diff(weighting), (drift[1:] + drift[:-1]) / 2
    nodes = np.linspace(0, d, 801)
    way = middle - np.interp(nodes, place, drift)[:, None]
    eta = (np.where(way > 0, np.exp(-way.clip(0) / electron), np.exp(way.clip(max=0) / hole)) * rise).sum(1)
    return np.interp(depth, nodes, eta)


def _drift(response: CdTeResponse, place: Array) -> Array:
    """Way in the mean field that takes as long as that from the cathode to even depths, by midpoints."""
    d, cathode = float(response.thickness_mm), float(response.cathode_field_fraction)
    middle = (place[1:] + place[:-1]) / 2
    steps = np.diff(place) / (cathode + (2 - 2 * cathode) * middle / d)
    return np.concatenate(([0.0], np.cumsum(steps)))


def signals(response: CdTeResponse, energy_kev: float, photons: int, rng: np.random.Generator) -> Array:
    """Signals of the 3x3 pixels without noise, [photon, 9]."""
    d, p = float(response.thickness_mm), float(response.pixel_pitch_mm) / response.binning
    place = _first(response, energy_kev, photons, rng)
    total, index = np.zeros((photons, 9)), np.arange(photons)
    energy, way = np.full(photons, energy_kev), np.tile([0.0, 0.0, 1.0], (photons, 1))
    while len(index):
        photo = rng.random(len(index)) < np.interp(energy, _ENERGIES, _SHARE)
        sent = np.where(photo, _k_photon(energy, rng), 0.0)
        cosine = rng.uniform(-1, 1, len(index))
        sent[~photo], cosine[~photo] = _compton(energy[~photo], rng)
        bound = np.select([energy > 31.8138, energy > 26.7112], [31.8138, 26.7112])
        electron = np.where(photo, energy - bound, energy - sent)
        np.add.at(total, index, _left(response, place, energy - sent, electron))
        # Isotropic about any axis is isotropic: K photons may turn from the old way too.
        way = _turned(way, cosine, rng)
        flown = rng.exponential(1, len(index)) / np.interp(sent, _ENERGIES, _PER_MM)
        place = place + flown[:, None] * way
        inside = (np.abs(place[:, :2]) < 1.5 * p).all(1) & (place[:, 2] > 0) & (place[:, 2] < d)
        alive = (sent > 0) & inside
        index, place, energy, way = index[alive], place[alive], sent[alive], way[alive]
    return total


def distant(response: CdTeResponse, energy_kev: float, photons: int, seed: int) -> Array:
    """Energies of photons that scatter at first interaction and interact again beyond the 3x3 pixels."""
    rng = np.random.default_rng(seed)
    d, p = float(response.thickness_mm), float(response.pixel_pitch_mm) / response.binning
    place = _first(response, energy_kev, photons, rng)
    place = place[rng.random(photons) > np.interp(energy_kev, _ENERGIES, _SHARE)]
    scattered, cosine = _compton(np.full(len(place), energy_kev), rng)
    way = _turned(np.tile([0.0, 0.0, 1.0], (len(place), 1)), cosine, rng)
    flown = rng.exponential(1, len(place)) / np.interp(scattered, _ENERGIES, _PER_MM)
    place = place + flown[:, None] * way
    beyond = (np.abs(place[:, :2]) > 1.5 * p).any(1) & (place[:, 2] > 0) & (place[:, 2] < d)
    return scattered[beyond]


def _first(response: CdTeResponse, energy_kev: float, photons: int, rng: np.random.Generator) -> Array:
    """First interactions, even over the middle pixel."""
    d, p = float(response.thickness_mm), float(response.pixel_pitch_mm) / response.binning
    mu = np.interp(energy_kev, _ENERGIES, _PER_MM)
    depth = -np.log1p(rng.random(photons) * math.expm1(-mu * d)) / mu
    return np.column_stack((rng.uniform(-p / 2, p / 2, (photons, 2)), depth))


def cloud(response: CdTeResponse, depth: Array, energy: Array, electron: Array) -> Array:
    """Width at the anode of clouds made by energies at depths: many small steps of the cube of it."""
    d, volt = float(response.thickness_mm), float(response.bias_v)
    place = np.linspace(0, d, 2001)
    drift = _drift(response, place)
    steps = 200
    way = (drift[-1] - np.interp(depth, place, drift)) / steps * d / volt
    thermal = 2 * 8.617333e-5 * float(response.temperature_k)
    charge_v_mm = 1.4399645e-6 / 10.9 * energy.clip(0) / float(response.pair_creation_kev)
    spread = electron_table(response.material).spread_at_mm(torch.from_numpy(electron)).numpy()
    start = (float(response.cloud_um) / 1000) ** 2 + (float(response.electron_range_fraction) * spread) ** 2
    push = float(response.repulsion_fraction) * 0.6 * charge_v_mm / math.sqrt(5)
    cube = start**1.5
    for _ in range(steps):
        half = cube + way / 2 * (1.5 * thermal * np.cbrt(cube) + push)
        cube = cube + way * (1.5 * thermal * np.cbrt(half) + push)
    return np.cbrt(cube)


def _left(response: CdTeResponse, place: Array, energy: Array, electron: Array) -> Array:
    """Signals of energies left at points, each with its fastest electron."""
    p = float(response.pixel_pitch_mm) / response.binning
    sigma = cloud(response, place[:, 2], energy, electron)[:, None]
    gap, kept = float(response.gap_um) / 1000, 1 - float(response.gap_loss_fraction)
    # From border to border of gaps: half a gap, a pixel, a gap, a pixel, a gap, a pixel, half a gap.
    borders = p * np.repeat([-1.5, -0.5, 0.5, 1.5], 3) + np.tile([-gap / 2, 0.0, gap / 2], 4)

    def strips(middle: Array) -> Array:
        part = np.diff(erf((borders - middle) / (math.sqrt(2) * sigma)) / 2, axis=1)
        inner, low, high = part[:, 2:9:3], part[:, 1:8:3], part[:, 3:10:3]
        return inner + kept * (low + high)

    rows, columns = (strips(place[:, k : k + 1]) for k in (0, 1))
    shares = (rows[:, :, None] * columns[:, None, :]).reshape(-1, 9)
    return (energy * collected(response, place[:, 2]))[:, None] * shares


def recorded(response: CdTeResponse, energy_kev: float, photons: int, seed: int) -> tuple[Array, Array]:
    """Energies of the events that are recorded, and the pixel of the 3x3 each lies in."""
    rng = np.random.default_rng(seed)
    signal = signals(response, energy_kev, photons, rng)
    fano = float(response.fano) * float(response.pair_creation_kev)
    signal += np.sqrt(fano * signal.clip(0)) * rng.standard_normal(signal.shape)
    signal += float(response.electronic_noise_kev) / 2.354820 * rng.standard_normal(signal.shape)
    level = float(response.threshold_kev) + float(response.threshold_width_kev) * rng.standard_normal(
        signal.shape
    )
    seen, pixel = signal > level, signal.argmax(axis=1)
    row, column = np.arange(9) // 3, np.arange(9) % 3
    near = (np.abs(row[:, None] - row) <= 1) & (np.abs(column[:, None] - column) <= 1)
    taken = seen & near[pixel]
    # Every pixel has gain and offset of its own.
    signal *= 1 + float(response.gain_spread_fraction) * rng.standard_normal(signal.shape)
    signal += float(response.offset_spread_kev) * rng.standard_normal(signal.shape)
    event = np.arange(photons)
    kept = seen[event, pixel]
    energy = signal[event, pixel]
    if response.mode == "addition":
        energy = (signal * taken).sum(axis=1)
    elif response.mode == "discrimination":
        kept &= taken.sum(axis=1) == 1
    return energy[kept], pixel[kept]
