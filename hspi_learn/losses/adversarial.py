"""What discriminator and generator each lower, from scores of patches (no unit), and penalties of slopes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.core.autograd import in_full_precision
from data_gen.core.errors import UserError

Scoring = Callable[[Tensor], Tensor]
"""One score a sample [batch] from images [batch, ...]."""


class Game(ABC):
    """The losses of a discriminator, which scores truths and estimates, and of the generator against it."""

    needs_truth: ClassVar[bool] = False
    """Whether the generator's loss looks at the scores of truths."""

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator lowers, from scores of truths and of estimates, of any shape."""

    @abstractmethod
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """What the generator lowers; ``real`` may be None unless the game needs the truth."""

    def penalty(
        self,
        scoring: Scoring,  # noqa: ARG002
        truth: Tensor,  # noqa: ARG002
        estimate: Tensor,  # noqa: ARG002
        share: Tensor,  # noqa: ARG002
    ) -> Tensor | None:
        """What the game adds to the discriminator's loss; None: nothing.

        Args:
            scoring: the discriminator, one number a sample.
            truth: [batch, ...].
            estimate: of the same shape, detached.
            share: of the truth in mixtures of both, uniform chance [batch].
        """
        return None


class LeastSquaresGame(Game):
    """Truth should score 1, estimates 0: Mao et al., ICCV 2017 (LSGAN)."""

    @in_full_precision
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the mean squared distances from 1 and 0."""
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    @in_full_precision
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:  # noqa: ARG002
        """Mean squared distance from 1."""
        return (fake - 1).square().mean()


class HingeGame(Game):
    """Truth should score above 1, estimates below -1: Lim and Ye, arXiv:1705.02894."""

    @in_full_precision
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half of what scores lack on the mean."""
        return 0.5 * ((1 - real).relu().mean() + (1 + fake).relu().mean())

    @in_full_precision
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:  # noqa: ARG002
        """Minus the mean score."""
        return -fake.mean()


class WassersteinGame(Game):
    """Mean scores apart, of a discriminator held to a slope of 1: Gulrajani et al., NeurIPS 2017 (WGAN-GP).

    Args:
        gradient_penalty: weight of (|slope| - 1)^2 at random mixtures of truth and estimate.

    Raises:
        UserError: the weight is not above 0.
    """

    def __init__(self, gradient_penalty: float = 10.0) -> None:
        if not 0 < gradient_penalty < float("inf"):
            raise UserError(f"gradient_penalty is {gradient_penalty}; it needs to be above 0")
        self.gradient_penalty = gradient_penalty

    @in_full_precision
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Mean score of estimates minus that of truths."""
        return fake.mean() - real.mean()

    @in_full_precision
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:  # noqa: ARG002
        """Minus the mean score."""
        return -fake.mean()

    @in_full_precision
    def penalty(self, scoring: Scoring, truth: Tensor, estimate: Tensor, share: Tensor) -> Tensor:
        """The weighted mean of (|slope| - 1)^2 between truth and estimate."""
        part = share.reshape(-1, *(1 for _ in truth.shape[1:]))
        squares = squared_slopes(scoring, part * truth + (1 - part) * estimate)
        # The root of 0 has no slope; where the discriminator is flat the penalty is as good as 1.
        lengths = (squares + torch.finfo(squares.dtype).tiny).sqrt()
        return self.gradient_penalty * (lengths - 1).square().mean()


class RelativisticGame(Game):
    """Truths should look more real than estimates do on average, and the other way round for the generator.

    Source: Jolicoeur-Martineau, ICLR 2019, arXiv:1807.00734 (relativistic average GAN, cross entropy).
    """

    needs_truth: ClassVar[bool] = True

    @in_full_precision
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Cross entropy of "the truth is more real than the mean estimate", and of its opposite, halved."""
        over, under = real - fake.mean(), fake - real.mean()
        return 0.5 * (functional.softplus(-over).mean() + functional.softplus(under).mean())

    @in_full_precision
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """The discriminator's loss with both in each other's place."""
        assert real is not None
        return self.discriminator(fake, real)


@in_full_precision
def squared_slopes(scoring: Scoring, image: Tensor) -> Tensor:
    """|gradient of the score|^2 of each sample [batch] at images [batch, ...], differentiable once more."""
    at = image.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(scoring(at).sum(), at, create_graph=True)
    return slope.flatten(1).square().sum(dim=1)


def r1_penalty(scoring: Scoring, truth: Tensor) -> Tensor:
    """Half the mean squared slope of a discriminator at truths: Mescheder et al., ICML 2018 (R1)."""
    return 0.5 * squared_slopes(scoring, truth).mean()


@in_full_precision
def gradient_ratio_weight(losses: Tensor, verdict: Tensor, estimate: Tensor, ratio: float) -> Tensor:
    """The weight at which a verdict pulls at an estimate ``ratio`` times as hard as other losses do.

        weight = ratio |d losses / d estimate| / |d verdict / d estimate|

    Source: the adaptive weight of Esser et al., CVPR 2021 (VQGAN), at the network's output instead of its
    last layer. 0 where the verdict does not pull. No gradient is taken of it, and both graphs are kept.
    """
    pulls = [torch.autograd.grad(of, estimate, retain_graph=True)[0].float() for of in (losses, verdict)]
    others, own = (pull.norm() for pull in pulls)
    return torch.where(own > 0, ratio * others / own, torch.zeros_like(own)).detach()


def feature_matching(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's features of estimate and truth, mean over layers.

    Source: Wang et al., CVPR 2018 (pix2pixHD).
    """
    apart = [functional.l1_loss(a, b.detach()) for a, b in zip(fake, real, strict=True)]
    return torch.stack(apart).mean()
