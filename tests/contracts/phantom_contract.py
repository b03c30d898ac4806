"""What every family of phantoms promises, whatever model its activity follows."""

from __future__ import annotations

from itertools import pairwise

import torch

from data_gen.core.events import Frame
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.nuclides import DecayChain, decay_chain, mean_activity, tied_groups
from data_gen.phantoms import ORGANS, PhantomFamily, ScannedObject, family_for

GRID = VoxelGrid((20, 18, 16), 1.5)
INJECTED_BQ = 2e4
FRAME = Frame(20 * 3600.0, 1800.0)


class PhantomContract:
    """Subclasses give ``family``, and ``nuclide`` where Ra-223 is not injected."""

    draws_individuals = True
    nuclide = "Ra-223"

    def family(self) -> PhantomFamily:
        raise NotImplementedError

    def _drawn(self) -> tuple[DecayChain, list[ScannedObject]]:
        """The chain, and three individuals of which the first two share a seed."""
        chain = decay_chain(self.nuclide)
        drawn = family_for(self.family(), chain)
        return chain, [drawn(GRID, seeded_generator("contract", seed)) for seed in (1, 1, 2)]

    def test_it_is_matter(self) -> None:
        """Densities from air to bone, labels that are organs, a mass of what is in view / 10 or more."""
        _, individuals = self._drawn()
        for one in individuals:
            assert one.density.shape == one.labels.shape == GRID.shape
            assert 0.0005 < float(one.density.min()) <= float(one.density.max()) <= 2.0
            assert one.labels.dtype == torch.int64
            assert 0 <= int(one.labels.min()) <= int(one.labels.max()) < len(ORGANS)
            in_view = float(one.density[one.labels > 0].sum()) * GRID.voxel_volume_ml
            assert one.body_mass_g >= 0.1 * in_view > 0

    def test_no_activity_comes_from_nowhere(self) -> None:
        """Each map holds at most what Bateman's equations leave of the injection, rel 1e-5."""
        chain, individuals = self._drawn()
        groups = tied_groups(chain)
        bateman = mean_activity(chain, INJECTED_BQ, FRAME.start_s, FRAME.end_s)
        for one in individuals:
            maps = one.mean_activity(chain, groups, INJECTED_BQ, FRAME)
            assert maps.dtype == torch.float32
            assert maps.shape == (len(groups.names), *GRID.shape)
            assert float(maps.min()) >= 0
            for head, found in zip(groups.heads, maps.double().sum((1, 2, 3)).tolist(), strict=True):
                assert 0 < found <= bateman[head] * (1 + 1e-5), head

    def test_activity_is_proportional_to_what_is_injected(self) -> None:
        """Three times the injection gives three times the maps, rel 1e-5."""
        chain, individuals = self._drawn()
        groups = tied_groups(chain)
        one, three = (individuals[0].mean_activity(chain, groups, bq, FRAME) for bq in (1e4, 3e4))
        torch.testing.assert_close(three, 3 * one, rtol=1e-5, atol=1e-9)

    def test_a_frame_holds_the_decays_of_its_halves(self) -> None:
        """The mean over a frame is that of its halves' means, rel 1e-4."""
        chain, individuals = self._drawn()
        groups, times = tied_groups(chain), (7200.0, 9000.0, 10800.0)
        halves = [
            individuals[0].mean_activity(chain, groups, INJECTED_BQ, Frame(a, b - a))
            for a, b in pairwise(times)
        ]
        whole = individuals[0].mean_activity(chain, groups, INJECTED_BQ, Frame(7200.0, 3600.0))
        torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2, rtol=1e-4, atol=1e-7)

    def test_an_individual_follows_from_its_seed_alone(self) -> None:
        """The same seed gives the same maps bit by bit, another seed another individual."""
        chain, individuals = self._drawn()
        one, same, other = (i.mean_activity(chain, tied_groups(chain), 1e4, FRAME) for i in individuals)
        assert torch.equal(one, same)
        assert torch.equal(individuals[0].density, individuals[1].density)
        assert torch.equal(one, other) != self.draws_individuals
