"""Attacks: projected gradient ascent (Madry et al., ICLR 2018), and random perturbations of equal size as a
control.

An attack works on any function of input values that gives one number a sample:
``attack(goal, values, threat_model)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from data_gen.core.errors import UserError
from hspi_learn.attacks.threat_models import ThreatModel
from hspi_learn.networks import evaluation_mode

Goal = Callable[[Tensor], Tensor]
"""What an adversary raises: input values [batch, ...] to one number a sample [batch].

Number i depends on sample i alone.
"""

CONVERGED_SHARE = 0.01
"""An attack has converged if its last step added no more than this share of all that it gained; chosen, no
source.
"""


class Attacked(NamedTuple):
    """The worst input found for each sample, and what it did."""

    worst: Tensor
    """Worst values [batch, ...]; the clean values where nothing worse was found."""
    value: Tensor
    """The goal at ``worst``, [batch]; never below ``clean_value``."""
    clean_value: Tensor
    """The goal at the clean values, [batch]."""
    masked: Tensor
    """[batch], bool: the attack climbs by gradients and none ever reached the values of this sample, which
    shows no robustness. An attack without gradients, such as :class:`RandomPerturbation`, masks no sample."""
    not_converged: Tensor
    """[batch], bool: the last step of a start still raised the goal, so that more steps may find worse."""


class Attack(Protocol):
    """What every attack offers."""

    def attack(
        self,
        goal: Goal,
        values: Tensor,
        threat_model: ThreatModel,
        expected: Tensor | None = None,
        module: nn.Module | None = None,
    ) -> Attacked:
        """The worst values found that the threat model allows.

        Samples of a batch are attacked independently. Parameters, their .grad, buffers, global random state
        and training and evaluation modes are left as they were; it works inside no_grad and inference_mode.

        Args:
            goal: number per sample to maximise, differentiable in the values.
            values: the clean input [batch, ...].
            threat_model: perturbations that are allowed.
            expected: noise-free expectation of the values where it is known; the threat model may use it.
            module: the network behind ``goal``; it is in evaluation mode meanwhile.

        Raises:
            FloatingPointError: the goal or its gradient is NaN or infinite.
        """


@dataclass(frozen=True)
class ProjectedGradient:
    """Projected gradient ascent; the first start is the clean input, further ones are random at the rim.

    Args:
        steps: gradient steps for each start.
        step_fraction: a step is ``step_fraction * radius / steps``.
        restarts: number of starts.
        seed: random seed of the random starts.
    """

    steps: int = 20
    step_fraction: float = 2.5
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1 or not self.step_fraction > 0:
            raise UserError(
                f"attack has steps {self.steps}, restarts {self.restarts} and "
                f"step_fraction {self.step_fraction}; it needs 1 or more, 1 or more, and above 0"
            )

    def attack(
        self,
        goal: Goal,
        values: Tensor,
        threat_model: ThreatModel,
        expected: Tensor | None = None,
        module: nn.Module | None = None,
    ) -> Attacked:
        """See :meth:`Attack.attack`."""
        generator = torch.Generator().manual_seed(self.seed)
        with evaluation_mode(module), torch.inference_mode(False), torch.enable_grad():
            values = values.detach().clone()
            scale = threat_model.scale(values, None if expected is None else expected.detach().clone())
            best = _Best(values)
            for restart in range(self.restarts):
                u = torch.zeros_like(values)
                if restart > 0:
                    u = threat_model.random(values, scale, generator)
                self._climb(goal, values, scale, threat_model, u, best)
        return best.result()

    def _climb(
        self,
        goal: Goal,
        values: Tensor,
        scale: Tensor,
        threat_model: ThreatModel,
        u: Tensor,
        best: _Best,
    ) -> None:
        step = self.step_fraction * threat_model.radius / self.steps
        for _ in range(self.steps):
            candidate = threat_model.perturbed(values, u, scale).requires_grad_()
            reached = checked_finite(goal(candidate), "goal")
            (gradient,) = torch.autograd.grad(reached.sum(), candidate)
            best.see(candidate.detach(), reached.detach(), checked_finite(gradient, "gradient"))
            uphill = threat_model.feasible(scale * gradient, candidate.detach(), values)
            u = threat_model.project(u + step * threat_model.ascent(uphill), values, scale)
        with torch.no_grad():
            candidate = threat_model.perturbed(values, u, scale)
            best.see(candidate, checked_finite(goal(candidate), "goal"), last=True)


@dataclass(frozen=True)
class RandomPerturbation:
    """The worst of random perturbations at the rim of the same set: what an attack must beat.

    Args:
        draws: number of perturbations.
        seed: random seed of the draws.
    """

    draws: int = 100
    seed: int = 0

    def attack(
        self,
        goal: Goal,
        values: Tensor,
        threat_model: ThreatModel,
        expected: Tensor | None = None,
        module: nn.Module | None = None,
    ) -> Attacked:
        """See :meth:`Attack.attack`; the goal need not be differentiable."""
        generator = torch.Generator().manual_seed(self.seed)
        scale = threat_model.scale(values, expected)
        best = _Best(values)
        with evaluation_mode(module), torch.no_grad():
            best.see(values, checked_finite(goal(values), "goal"))
            for _ in range(self.draws):
                u = threat_model.random(values, scale, generator)
                candidate = threat_model.perturbed(values, u, scale)
                best.see(candidate, checked_finite(goal(candidate), "goal"))
        return best.result()


class _Best:
    """The worst case of each sample so far; the first values seen are the clean ones."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.reached: Tensor | None = None
        self.clean: Tensor | None = None
        self.felt = torch.zeros(len(values), dtype=torch.bool, device=values.device)
        self.rising = self.felt
        self.any_gradient = False

    def see(
        self, values: Tensor, reached: Tensor, gradient: Tensor | None = None, last: bool = False
    ) -> None:
        """Keep what is worse than before, sample by sample; ``last`` says that a start ends here."""
        if gradient is not None:
            self.any_gradient = True
            self.felt = self.felt | (gradient != 0).flatten(1).any(dim=1)
        if self.reached is None or self.clean is None:
            self.reached = self.clean = reached
            return
        worse = reached > self.reached
        much = reached - self.reached > CONVERGED_SHARE * (reached - self.clean)
        self.rising = torch.where(worse, much if last else False, self.rising)
        self.reached = torch.where(worse, reached, self.reached)
        self.values = torch.where(worse.reshape(-1, *[1] * (values.ndim - 1)), values, self.values)

    def result(self) -> Attacked:
        """What was found."""
        assert self.reached is not None
        assert self.clean is not None
        masked = ~self.felt if self.any_gradient else torch.zeros_like(self.felt)
        return Attacked(self.values, self.reached, self.clean, masked, self.rising)


def checked_finite(values: Tensor, name: str) -> Tensor:
    """The same values, after checking that they are finite.

    Args:
        values: of the goal or its gradient, [batch, ...].
        name: what they are, for the message.

    Raises:
        FloatingPointError: a value is NaN or infinite.
    """
    wrong = (~torch.isfinite(values)).reshape(len(values), -1).any(dim=1)
    if bool(wrong.any()):
        samples = wrong.nonzero().flatten().tolist()
        raise FloatingPointError(f"the attack's {name} is NaN or infinite for samples {samples} of the batch")
    return values
