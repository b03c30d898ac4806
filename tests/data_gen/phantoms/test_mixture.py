"""Two families in one: how often each is drawn, and that an individual is one of its family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from contracts.phantom_contract import PhantomContract

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.phantoms import (
    ORGANS,
    MousePhantom,
    PhantomMixture,
)
from data_gen.simulation.plan import described, phantom_of_plan

GRID = VoxelGrid((10, 10, 10), 2.4)
WITH, WITHOUT = (
    MousePhantom({"soft_tissue": (0.5, 1.5), "tumour": (10.0, 40.0)}, tumours=number)
    for number in ((2, 2), (0, 0))
)


class TestMixture(PhantomContract):
    def family(self) -> Any:
        return PhantomMixture(WITH, WITHOUT)


def test_the_share_is_that_of_individuals() -> None:
    """A quarter of 200 mice have no tumour, within four standard deviations of a binomial count."""
    mixture = PhantomMixture(WITH, WITHOUT, other_share=0.25)
    tumour = ORGANS.index("tumour")
    healthy = sum(
        not bool((mixture(GRID, seeded_generator(1, n)).labels == tumour).any()) for n in range(200)
    )
    assert abs(healthy - 50) < 4 * (200 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize(("share", "family"), [(0.0, WITH), (1.0, WITHOUT)])
def test_one_family_alone_is_that_family(share: float, family: MousePhantom) -> None:
    """After the chance that chooses it, to the last bit."""
    found = PhantomMixture(WITH, WITHOUT, share)(GRID, seeded_generator(3))
    generator = seeded_generator(3)
    torch.rand((), generator=generator)
    wanted = family(GRID, generator)
    assert torch.equal(found.labels, wanted.labels)
    assert torch.equal(found.density, wanted.density)


def test_a_manifest_tells_it() -> None:
    """What a plan holds of it makes the same mixture."""
    mixture = PhantomMixture(WITH, WITHOUT, 0.3)
    assert phantom_of_plan(described(mixture)) == mixture


def test_wrong_shares_are_told() -> None:
    with pytest.raises(UserError, match=r"phantom\.other_share is 1\.5"):
        PhantomMixture(WITH, WITHOUT, 1.5)
