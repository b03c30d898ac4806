"""The Monte Carlo's check: information free of noise, and units."""

from dataclasses import replace

import pytest
import torch

from data_gen.design.check import cross_information, pixel_blocks, simulated_parts
from data_gen.design.information import fisher_information
from tests.data_gen.design.test_objective import CAMERA, START, problem  # noqa: F401 (fixture)


def test_noise_does_not_pass_for_information():
    """Six noisy estimates of two parts: what tells them apart, the difference of their patterns, is within
    10 % of the truth's; the mean's own information finds a quarter too much."""
    generator = torch.Generator().manual_seed(2)
    truth = 1 + 0.2 * torch.rand(2, 4000, generator=generator, dtype=torch.float64)
    noisy = truth * (1 + 0.2 * torch.randn(6, 2, 4000, generator=generator, dtype=torch.float64))
    background = torch.zeros(4000, dtype=torch.float64)
    apart = torch.tensor([1.0, -1.0], dtype=torch.float64)
    exact = apart @ fisher_information(truth, background) @ apart
    found = apart @ cross_information(list(noisy), background) @ apart
    plain = apart @ fisher_information(noisy.mean(0), background) @ apart
    assert float(found / exact) == pytest.approx(1, rel=0.1)
    assert float(plain / exact) > 1.25


def test_blocks_of_pixels():
    """2 panels of 8 x 8 pixels of 2 mm in blocks of 4 mm: 32 blocks of 4 neighbours, panels apart."""
    block = pixel_blocks(CAMERA, 4.0)
    assert torch.bincount(block).tolist() == [4] * 32
    assert block.reshape(2, 8, 8)[0, :2, :2].flatten().tolist() == [0] * 4
    assert block.reshape(2, 8, 8)[1].min() == 16


def test_counts_of_parts_by_monte_carlo(problem):  # noqa: F811
    """Counts of the middle region by 4 x 2000 photons a part are 0.8-2.2 times those of the model, which has
    no scatter: decays, seconds, live time or yields of tied members wrong would be farther off.
    """
    task = problem.task
    middle = replace(task, regions=task.regions[:1], shape=task.shape[:1], activity_bq=task.activity_bq[:1])
    one = replace(problem, task=middle, most_energy_groups=6)
    by_monte_carlo = simulated_parts(one, CAMERA, pixel_blocks(CAMERA, 4.0), 8000, 1).mean(0).sum(1)
    with torch.no_grad():
        by_model = one.objective("tungsten").counts(START).sum((1, 2))
    assert ((by_monte_carlo / by_model).log2() - 0.4).abs().max() < 0.74
