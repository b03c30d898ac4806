"""Texture of maps: of waves, noise and checkerboards whose spectrum and variation are known."""

from __future__ import annotations

import math

import pytest
import torch

from hspi_learn.metrics import (
    high_frequency_share,
    radial_frequency,
    radial_power,
    shell_of_modes,
    total_variation,
)

N = 16
EVERYWHERE = torch.ones(1, 1, N, N, N, dtype=torch.bool)


def wave(cycles: tuple[int, int, int], height: float = 1.0) -> torch.Tensor:
    """3 plus a plane wave of whole cycles along (z, y, x), [1, 1, z, y, x]."""
    z, y, x = torch.meshgrid(*[torch.arange(N, dtype=torch.float64)] * 3, indexing="ij")
    phase = 2 * math.pi * (cycles[0] * z + cycles[1] * y + cycles[2] * x) / N
    return (3 + height * torch.cos(phase))[None, None]


@pytest.mark.parametrize(
    ("cycles", "shell"), [((0, 0, 3), 3), ((0, 4, 3), 5), ((2, 3, 6), 7), ((8, 8, 8), 14)]
)
def test_a_plane_wave_lies_in_its_shell(cycles: tuple[int, int, int], shell: int) -> None:
    """All power beside the mean's in the shell of sqrt(sum of squares) cycles, rounded; there (height / 2)^2
    in each of two modes over 3^2, or height^2 in the one mode that is its own conjugate; 1e-9."""
    power = radial_power(wave(cycles, 0.6), EVERYWHERE)[0, 0]
    modes = torch.bincount(shell_of_modes((N, N, N)).flatten())
    total = 0.6**2 if cycles == (8, 8, 8) else 2 * 0.3**2
    assert float(power[shell] * modes[shell]) == pytest.approx(total / 9, rel=1e-9)
    others = power.clone()
    others[[0, shell]] = 0
    assert float(others.abs().max()) < 1e-15
    assert float(power[0]) == pytest.approx(1.0)


def test_shares_of_two_waves() -> None:
    """Waves of 3 and 6 cycles over 16 voxels, .19 and .375 cycles per voxel, of heights 1 and 0.5: 0.2 of the
    power beside the mean's lies above a quarter. What is added to all voxels does not matter; 1e-9."""
    both = wave((0, 0, 3)) + wave((6, 0, 0), 0.5)
    assert float(high_frequency_share(both, EVERYWHERE)) == pytest.approx(0.25 / 1.25, rel=1e-9)
    assert float(high_frequency_share(both + 7, EVERYWHERE)) == pytest.approx(0.2, rel=1e-9)
    assert float(high_frequency_share(5 * both, EVERYWHERE)) == pytest.approx(0.2, rel=1e-9)
    assert float(high_frequency_share(both, EVERYWHERE, above=0.1)) == pytest.approx(1.0)


def test_white_noise_has_the_same_power_everywhere() -> None:
    """The share above a quarter is that of the modes, to 2 % with 4,096 modes in each of 40 maps; every shell
    of a hundred modes or more has the power of the others to 10 %."""
    noise = torch.randn(1, 40, N, N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    modes = radial_frequency((N, N, N)).flatten()[1:]
    share = float((modes > 0.25).double().mean())
    found = high_frequency_share(noise, EVERYWHERE)
    assert float(found.mean()) == pytest.approx(share, rel=0.02)
    power = radial_power(noise + 100, EVERYWHERE)[0].mean(0)
    many = torch.bincount(shell_of_modes((N, N, N)).flatten()) >= 100
    assert float(power[many].max() / power[many].min()) == pytest.approx(1.0, abs=0.1)


def test_what_lies_outside_of_the_body_is_not_seen() -> None:
    """Noise there changes no figure; nor does the outline count as variation: a flat body has none."""
    body = torch.zeros(1, 1, N, N, N, dtype=torch.bool)
    body[..., 3:12, 4:13, 5:14] = True
    inside = wave((0, 4, 3))
    outside = torch.where(body, inside, torch.rand(1, 1, N, N, N, dtype=torch.float64))
    for figure in (radial_power, high_frequency_share, total_variation):
        torch.testing.assert_close(figure(inside, body), figure(outside, body))
    assert float(total_variation(body.double() * 2.5, body)) == 0


def test_variation_of_a_checkerboard() -> None:
    """Voxels of 1 and 3 in turn: a difference of 2 across each of 3 x 15 x 16 x 16 faces, over a sum of
    2 x 16^3; half as high is half as rough, twice the activity as rough as before."""
    z, y, x = torch.meshgrid(*[torch.arange(N)] * 3, indexing="ij")
    board = (1 + 2 * ((z + y + x) % 2)).double()[None, None]
    wanted = 2 * 3 * 15 * 16 * 16 / (2 * 16**3)
    assert float(total_variation(board, EVERYWHERE)) == pytest.approx(wanted)
    assert float(total_variation(2 * board, EVERYWHERE)) == pytest.approx(wanted)
    assert float(total_variation(board / 2 + 1, EVERYWHERE)) == pytest.approx(wanted / 2)


def test_an_empty_map_has_no_texture() -> None:
    """NaN, which medians over mice leave out."""
    empty = torch.zeros(1, 1, N, N, N)
    assert all(math.isnan(float(f(empty, EVERYWHERE))) for f in (high_frequency_share, total_variation))


def test_shells_of_an_oblong_grid() -> None:
    """Frequencies are of voxels, whatever the edge: half a cycle along the short axis is 4 of 8."""
    shells = shell_of_modes((2, 4, 8))
    assert shells[1, 0, 0] == shells[0, 2, 0] == shells[0, 0, 4] == 4
    assert float(radial_frequency((2, 4, 8))[1, 2, 4]) == pytest.approx(math.sqrt(0.75))
