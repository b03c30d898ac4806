"""Attacks on counts: projected gradient ascent, and random perturbations of the same size as its control."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from data_gen.core.errors import UserError
from hspi_learn.attacks.objectives import Objective
from hspi_learn.attacks.threat_models import ThreatModel, noise_sd, perturbed

Method = Callable[[Tensor], Tensor]
"""Counts [batch, pixel, window] to activity [batch, map, z, y, x]."""


class Attacked(NamedTuple):
    """The worst counts found for each scan, and what they did."""

    counts: Tensor
    """[batch, pixel, window]; the clean counts where nothing worse was found."""
    objective: Tensor
    """At those counts, [batch]; never below ``clean_objective``."""
    clean_objective: Tensor
    """At the counts as measured, [batch]."""
    masked: Tensor
    """[batch], bool: no gradient ever reached the counts of this scan, so its figure shows no robustness."""


@dataclass(frozen=True)
class ProjectedGradient:
    """Projected gradient ascent; the first start is the clean scan, further ones are random in the ball.

    Scans of a batch are attacked independently. Parameters, their .grad, buffers, global random state and
    train/eval modes are left as they were; it works inside no_grad and inference_mode.

    Args:
        steps: gradient steps for each start.
        step_fraction: a step is ``step_fraction * radius / steps``.
        restarts: number of starts.
        seed: of the random starts.
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
        method: Method,
        objective: Objective,
        counts: Tensor,
        expected: Tensor,
        threat_model: ThreatModel,
        module: nn.Module | None = None,
    ) -> Attacked:
        """The worst counts found in the ball.

        Args:
            method: what is attacked, differentiable in its counts.
            objective: what is to be large.
            counts: measured counts [batch, pixel, window].
            expected: noise-free expectation of the counts, for the whitening; never changed by the attack.
            threat_model: the ball.
            module: the network behind ``method``; it is in eval mode meanwhile.

        Raises:
            FloatingPointError: the objective or its gradient is NaN or infinite.
        """
        generator = torch.Generator().manual_seed(self.seed)
        with _untouched(module), torch.inference_mode(False), torch.enable_grad():
            counts, sd = counts.detach().clone(), noise_sd(expected.detach().clone()).to(counts.dtype)
            best = _Best(counts)
            for restart in range(self.restarts):
                u = torch.zeros_like(counts) if restart == 0 else threat_model.random(counts, sd, generator)
                self._climb(method, objective, counts, sd, threat_model, u, best)
        return best.result()

    def _climb(
        self,
        method: Method,
        objective: Objective,
        counts: Tensor,
        sd: Tensor,
        threat_model: ThreatModel,
        u: Tensor,
        best: _Best,
    ) -> None:
        step = self.step_fraction * threat_model.radius / self.steps
        for _ in range(self.steps):
            candidate = perturbed(counts, u, sd).requires_grad_()
            values = _checked(objective(method(candidate)), "objective")
            (gradient,) = torch.autograd.grad(values.sum(), candidate)
            best.see(candidate.detach(), values.detach(), _checked(gradient, "gradient"))
            uphill = sd * gradient
            # An empty bin cannot fall: a step spent there would be undone by the projection.
            uphill = torch.where((candidate <= 1e-6 * counts) & (uphill < 0), 0.0, uphill)
            u = threat_model.project(u + step * threat_model.ascent(uphill), counts, sd)
        with torch.no_grad():
            candidate = perturbed(counts, u, sd)
            best.see(candidate, _checked(objective(method(candidate)), "objective"))


@dataclass(frozen=True)
class RandomPerturbation:
    """The worst of random perturbations at the rim of the same ball: what an attack must beat.

    Args:
        draws: number of perturbations.
        seed: of the draws.
    """

    draws: int = 100
    seed: int = 0

    def attack(
        self,
        method: Method,
        objective: Objective,
        counts: Tensor,
        expected: Tensor,
        threat_model: ThreatModel,
        module: nn.Module | None = None,
    ) -> Attacked:
        """The worst counts drawn; arguments as for :meth:`ProjectedGradient.attack`."""
        generator = torch.Generator().manual_seed(self.seed)
        sd = noise_sd(expected).to(counts.dtype)
        best = _Best(counts)
        with _untouched(module), torch.no_grad():
            best.see(counts, _checked(objective(method(counts)), "objective"))
            for _ in range(self.draws):
                candidate = perturbed(counts, threat_model.random(counts, sd, generator), sd)
                best.see(candidate, _checked(objective(method(candidate)), "objective"))
        return best.result()


class _Best:
    """The worst-case counts of each scan so far; the first ones seen are the clean scan."""

    def __init__(self, counts: Tensor) -> None:
        self.counts = counts
        self.objective: Tensor | None = None
        self.clean: Tensor | None = None
        self.felt = torch.zeros(len(counts), dtype=torch.bool, device=counts.device)
        self.any_gradient = False

    def see(self, counts: Tensor, values: Tensor, gradient: Tensor | None = None) -> None:
        """Keep what is worse than before, scan by scan."""
        if gradient is not None:
            self.any_gradient = True
            self.felt |= (gradient != 0).flatten(1).any(dim=1)
        if self.objective is None:
            self.objective = self.clean = values
            return
        worse = values > self.objective
        self.objective = torch.where(worse, values, self.objective)
        self.counts = torch.where(worse.reshape(-1, *[1] * (counts.ndim - 1)), counts, self.counts)

    def result(self) -> Attacked:
        """What was found."""
        assert self.objective is not None
        assert self.clean is not None
        masked = ~self.felt if self.any_gradient else torch.zeros_like(self.felt)
        return Attacked(self.counts, self.objective, self.clean, masked)


@contextmanager
def _untouched(module: nn.Module | None) -> Iterator[None]:
    """Eval mode and a private copy of the global random state inside; every mode as it was outside."""
    parts = list(module.modules()) if module is not None else []
    training = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        with torch.random.fork_rng():
            yield
    finally:
        for part, mode in zip(parts, training, strict=True):
            part.training = mode


def _checked(values: Tensor, name: str) -> Tensor:
    """The same values, after checking that they are finite."""
    wrong = (~torch.isfinite(values)).reshape(len(values), -1).any(dim=1)
    if bool(wrong.any()):
        scans = wrong.nonzero().flatten().tolist()
        raise FloatingPointError(f"the attack's {name} is NaN or infinite for scans {scans} of the batch")
    return values
