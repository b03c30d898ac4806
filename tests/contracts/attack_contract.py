"""What every attack must hold to, whatever it does to find a worse input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hspi_learn.attacks import Attack, PoissonBall, noise_sd


class Network(nn.Module):
    """Normalisation, dropout and a weight: all that training mode would change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(12), nn.Dropout(0.5)
        self.weight = nn.Parameter(torch.linspace(-1, 2, 36).reshape(12, 3))

    def forward(self, counts: Tensor) -> Tensor:
        return (self.drop(self.norm(counts)) * self.weight).square().sum(dim=(1, 2))


class AttackContract:
    """Subclasses define ``make()``."""

    def make(self) -> Attack:
        raise NotImplementedError

    @pytest.fixture
    def counts(self) -> Tensor:
        return torch.poisson(torch.full((4, 12, 3), 3.0), generator=torch.Generator().manual_seed(0))

    def test_within_the_threat_model_and_never_below_the_clean_value(self, counts: Tensor) -> None:
        """No worse than the clean input, values are the goal's own, the ball is kept to 1e-5, counts >= 0."""
        network = Network().eval()
        found = self.make().attack(network, counts, PoissonBall(2.0), module=network)
        assert bool((found.value >= found.clean_value).all())
        assert bool((found.value > found.clean_value).any())
        torch.testing.assert_close(network(found.worst), found.value)
        torch.testing.assert_close(network(counts), found.clean_value)
        assert bool((found.worst >= 0).all())
        moved = ((found.worst - counts) / noise_sd(counts)).flatten(1).norm(dim=1)
        assert float(moved.max()) <= 2.0 * (1 + 1e-5)
        assert found.masked.shape == found.not_converged.shape == (4,)

    def test_radius_zero_is_the_clean_input(self, counts: Tensor) -> None:
        """Bit by bit."""
        found = self.make().attack(Network().eval(), counts, PoissonBall(0.0))
        assert torch.equal(found.worst, counts)
        assert torch.equal(found.value, found.clean_value)

    @pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    def test_leaves_no_trace(self, counts: Tensor, outside: type[torch.no_grad]) -> None:
        """Input, parameters, .grad, buffers, modes of every part and the random state are as before; the
        network was in eval mode meanwhile."""
        network = Network().train()
        network.drop.eval()
        modes: list[bool] = []
        network.register_forward_pre_hook(lambda part, _: modes.append(part.training))
        before = {name: value.clone() for name, value in network.state_dict().items()}
        random, given = torch.get_rng_state(), counts.clone()
        with outside():
            self.make().attack(network, counts, PoissonBall(2.0), module=network)
        assert modes
        assert not any(modes)
        assert (network.training, network.norm.training, network.drop.training) == (True, True, False)
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
        assert network.weight.grad is None
        assert torch.equal(counts, given)
        assert torch.equal(torch.get_rng_state(), random)

    def test_nan_raises(self, counts: Tensor) -> None:
        """A goal that is NaN for sample 2 stops the attack."""
        factor = torch.tensor([1.0, 1.0, torch.nan, 1.0])
        with pytest.raises(FloatingPointError, match=r"goal is NaN .* samples \[2\]"):
            self.make().attack(lambda n: n.sum(dim=(1, 2)) * factor, counts, PoissonBall(1.0))
