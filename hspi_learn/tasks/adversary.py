"""A discriminator as the adversary of a task: its settings, its step, and its part in the network's loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Adam

from data_gen.core.errors import UserError
from hspi_learn.losses import (
    Game,
    LeastSquaresGame,
    feature_matching,
    gradient_ratio_weight,
    r1_penalty,
)
from hspi_learn.tasks.alternating import AlternatingTask, check_opponent
from hspi_learn.tasks.base import OptimizerFactory, seeded_network
from hspi_learn.tasks.schedule import ramp

DiscriminatorFactory = Callable[[int], nn.Module]
"""Makes a discriminator for a number of maps (of panels: windows).

It is called with an image [batch, map, ...] and the task's conditions, and returns scores of patches
[batch, 1, ...], or a list of those of several scales.
"""

DISCRIMINATOR_OPTIMIZER: OptimizerFactory = partial(Adam, lr=4e-4, betas=(0.5, 0.9))


@runtime_checkable
class TellsFeatures(Protocol):
    """A discriminator that can be asked what it saw."""

    def scores_and_features(self, image: Tensor, *conditions: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Scores of each scale, and features of each layer of each scale."""


@dataclass(frozen=True)
class Adversary:
    """A discriminator that learns to tell estimates from truths, and its part in the network's loss.

    Args:
        discriminator: makes the discriminator for a number of maps.
        weight: of its verdict in the network's loss, unless ``gradient_ratio`` is given; 0 trains the
            control, which never asks it, whatever the ratio.
        game: what discriminator and network each lower.
        gradient_ratio: the verdict is weighted anew in each batch so that its gradient at the estimate is so
            many times as long as that of the other losses; None: ``weight`` is what it is.
        feature_matching: weight, within the verdict, of the mean absolute difference between the
            discriminator's features of truth and estimate.
        r1: gamma of the penalty gamma / 2 |slope at truths|^2 in the discriminator's loss.
        r1_every: updates between two such penalties; each counts so many times.
        steps: of the discriminator in each update, on the same batch.
        from_share: share of the training after which it is let in, over an equal share.
        optimizer: makes its optimiser.

    Raises:
        UserError: a weight is negative or infinite, a number of steps is below 1, or the share is outside
            0 to 1.
    """

    discriminator: DiscriminatorFactory
    weight: float = 0.01
    game: Game = field(default_factory=LeastSquaresGame)
    gradient_ratio: float | None = None
    feature_matching: float = 0.0
    r1: float = 0.0
    r1_every: int = 16
    steps: int = 1
    from_share: float = 0.2
    optimizer: OptimizerFactory = DISCRIMINATOR_OPTIMIZER

    def __post_init__(self) -> None:
        check_opponent(self.weight, self.from_share)
        for name in ("gradient_ratio", "feature_matching", "r1"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"{name} is {value}; it needs to be 0 or more")
        for name in ("r1_every", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it needs to be 1 or more")

    @property
    def strength(self) -> float:
        """Of its part in the loss once it is let in: a weight, or a ratio of gradients."""
        return self.weight if self.gradient_ratio is None or self.weight == 0 else self.gradient_ratio

    def network(self, maps: int, seed: int) -> nn.Module:
        """The discriminator, drawn from a seed of its own.

        Raises:
            UserError: features are to be matched, and it tells none.
        """
        made = seeded_network(lambda: self.discriminator(maps), seed)
        if self.feature_matching > 0 and not isinstance(made, TellsFeatures):
            raise UserError(
                f"feature_matching is {self.feature_matching}, but {type(made).__name__} has no "
                "scores_and_features; it needs 0, or a discriminator such as patch_discriminator"
            )
        return made

    def discriminator_loss(
        self,
        network: nn.Module,
        truth: Tensor,
        estimate: Tensor,
        conditions: Sequence[Tensor],
        share: Tensor,
        with_r1: bool,
    ) -> dict[str, Tensor]:
        """What the discriminator lowers (``discriminator``, penalties included), and what makes it up.

        Args:
            network: the discriminator.
            truth: [batch, map, ...].
            estimate: of the same shape, detached.
            conditions: what truth and estimate are shown beside.
            share: of the truth in mixtures that the game may ask for, uniform chance [batch].
            with_r1: whether the R1 penalty is due.
        """
        real, fake = (_scales(network(image, *conditions)) for image in (truth, estimate))
        told = {"score_real": _mean(real), "score_fake": _mean(fake)}
        loss = _mean([self.game.discriminator(*scores) for scores in zip(real, fake, strict=True)])

        def scoring(image: Tensor) -> Tensor:
            scores = [one.flatten(1).mean(dim=1) for one in _scales(network(image, *conditions))]
            return torch.stack(scores).mean(dim=0)

        penalty = self.game.penalty(scoring, truth, estimate, share)
        if penalty is not None:
            told["gradient_penalty"] = penalty
            loss = loss + penalty
        if with_r1:
            told["r1"] = r1_penalty(scoring, truth)
            loss = loss + self.r1 * self.r1_every * told["r1"]
        return {"discriminator": loss, **told}

    def verdict(
        self, network: nn.Module, truth: Tensor, estimate: Tensor, conditions: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """The network's adversarial loss (``adversarial``, matched features included), and what makes it up.

        No gradient is left in the discriminator.
        """
        network.requires_grad_(False)
        try:
            fake, features = self._judged(network, estimate, conditions)
            real: list[Tensor] = []
            wanted: list[Tensor] = []
            if self.game.needs_truth or self.feature_matching > 0:
                with torch.no_grad():
                    real, wanted = self._judged(network, truth, conditions)
        finally:
            network.requires_grad_(True)
        truths: Sequence[Tensor | None] = real or [None] * len(fake)
        loss = _mean([self.game.generator(*scores) for scores in zip(truths, fake, strict=True)])
        if self.feature_matching == 0:
            return {"adversarial": loss}
        apart = feature_matching(features, wanted)
        return {"adversarial": loss + self.feature_matching * apart, "feature_matching": apart}

    def _judged(
        self, network: nn.Module, image: Tensor, conditions: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Scores of each scale, and features if they are to be matched."""
        if self.feature_matching == 0:
            return _scales(network(image, *conditions)), []
        assert isinstance(network, TellsFeatures)
        return network.scores_and_features(image, *conditions)


class AdversarialTask(AlternatingTask):
    """A task that trains its network against a discriminator of truths and estimates of any dimension.

    In ``training_step`` a subclass calls :meth:`against_adversary` with its estimate and the sum of its other
    losses, and lowers what comes back.

    Args:
        adversary: the discriminator's settings; None: there is none.
        settings: the other arguments of :class:`AlternatingTask`, by name.

    Raises:
        UserError: see :class:`AlternatingTask`; or there are several steps of it and accumulated batches.
    """

    def __init__(self, adversary: Adversary | None, **settings: Any) -> None:
        super().__init__(opponent=adversary, **settings)
        self.adversary = adversary
        if adversary is not None and adversary.steps > 1 and self.accumulate_batches > 1:
            raise UserError(
                f"task.adversary.steps is {adversary.steps} and task.accumulate_batches "
                f"{self.accumulate_batches}; one of them needs to be 1"
            )

    def opponent_weight(self, done: int) -> float:
        """The weight of the discriminator's verdict, or its ratio of gradients, after so many updates."""
        if self.adversary is None:
            return 0.0
        return self.adversary.strength * ramp(done / self._total, self.adversary.from_share)

    def discriminator_of(self, maps: int) -> nn.Module | None:
        """The discriminator of images of so many maps, drawn from the seed after the task's own."""
        return None if self.adversary is None else self.adversary.network(maps, self.seed + 1)

    def against_adversary(
        self, losses: Tensor, estimate: Tensor, truth: Tensor, *conditions: Tensor, batch_idx: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A step of the discriminator, and the loss with its verdict on the estimate.

        Before it is let in, and in the control, nothing happens.

        Args:
            losses: the sum of the other losses of the estimate, a scalar.
            estimate: [batch, map, ...] of any dimension, in the unit that the truth is in.
            truth: of the same shape.
            conditions: what both are shown beside: the discriminator's further arguments.
            batch_idx: number of the batch in the epoch.

        Returns:
            The loss to lower, and values to log.
        """
        done = int(self.updates)
        strength, adversary, network = self.opponent_weight(done), self.adversary, self.networks()[1]
        if strength == 0 or adversary is None or network is None:
            return losses, {}
        told: dict[str, Tensor] = {}
        for turn in range(adversary.steps):
            share = self._mixing(len(truth), done, turn + batch_idx % self.accumulate_batches).to(truth)
            due = adversary.r1 > 0 and done % adversary.r1_every == 0
            told |= adversary.discriminator_loss(network, truth, estimate.detach(), conditions, share, due)
            self.step_opponent(told["discriminator"], batch_idx)
        told |= adversary.verdict(network, truth, estimate, conditions)
        verdict = told["adversarial"]
        if adversary.gradient_ratio is None:
            return losses + strength * verdict, told
        weight = gradient_ratio_weight(losses, verdict, estimate, strength)
        return losses + weight * verdict, {**told, "adversary_weight": weight}

    def _mixing(self, samples: int, done: int, turn: int) -> Tensor:
        """Uniform chance [samples] of a turn of the discriminator, told from seed and number alone."""
        chance = torch.Generator().manual_seed(((self.seed * 1_000_003 + done) * 1_009 + turn) % 2**63)
        return torch.rand(samples, generator=chance)


def _scales(scores: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The scores of each scale."""
    return [scores] if isinstance(scores, Tensor) else list(scores)


def _mean(values: Sequence[Tensor]) -> Tensor:
    """The mean over scales of the mean of each."""
    means = [value.mean() for value in values]
    return means[0] if len(means) == 1 else torch.stack(means).mean()
