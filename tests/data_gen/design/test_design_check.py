"""The Monte Carlo's check: blocks and units."""

from dataclasses import replace

import pytest
import torch

from data_gen.design import MaterialDesign, by_gradient, compare
from data_gen.design.check import montecarlo_check, pixel_blocks, simulated_parts
from tests.data_gen.design.test_objective import CAMERA, START, problem  # noqa: F401 (fixture)


def test_blocks_of_pixels():
    """2 panels of 8 x 8 pixels of 2 mm in blocks of 4 mm: 32 blocks of 4 neighbours, panels apart."""
    block = pixel_blocks(CAMERA, 4.0)
    assert torch.bincount(block).tolist() == [4] * 32
    assert block.reshape(2, 8, 8)[0, :2, :2].flatten().tolist() == [0] * 4
    assert block.reshape(2, 8, 8)[1].min() == 16


@pytest.mark.slow
def test_counts_of_parts_by_monte_carlo(problem):  # noqa: F811
    """Counts of the middle region by 4 x 2000 photons a part are 0.8-2.2 times those of the model, which has
    no scatter: decays, seconds, live time or yields of tied members wrong would be farther off.
    """
    task = problem.task
    middle = replace(task, regions=task.regions[:1], shape=task.shape[:1], activity_bq=task.activity_bq[:1])
    one = replace(problem, task=middle, options=replace(problem.options, reference_energies=6))
    by_monte_carlo = simulated_parts(one, CAMERA, pixel_blocks(CAMERA, 4.0), 8000, 1).mean(0).sum(1)
    with torch.no_grad():
        counts = one.objective("tungsten").counts(START)
        by_model = (counts.one + counts.leaked).sum((1, 2))
    assert ((by_monte_carlo / by_model).log2() - 0.4).abs().max() < 0.74


@pytest.mark.slow
def test_gain_of_no_change(problem):  # noqa: F811
    """A camera that stays as it is gains nothing: 1 by the model within 1e-6, by other photons of the Monte
    Carlo within 3 of its errors, which few photons make 0.6 at most: finite, as information is regular."""
    same = replace(problem, options=replace(problem.options, reference_energies=6))
    search = by_gradient(same.objective("tungsten"), same.bounds, same.start, 1)
    found = compare(same, [MaterialDesign("tungsten", search, search, 0.0, 0.0)])
    check = montecarlo_check(same, found, 16000, 3)
    assert check.by_model == pytest.approx(1.0, rel=1e-6)
    assert check.error < 0.6
    assert abs(check.by_monte_carlo - 1) < 3 * check.error
