"""What an adversary may do to the counts: balls in units of their own Poisson noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError

WHITENING_FLOOR_COUNTS = 1e-3


def noise_sd(expected: Tensor) -> Tensor:
    """Standard deviation of each bin, sqrt(w): w is its noise-free expectation plus 1e-3 counts."""
    return (expected.clamp_min(0.0) + WHITENING_FLOOR_COUNTS).sqrt()


class ThreatModel(Protocol):
    """A set of whitened perturbations u, with n' = n + sd u and n' >= 0.

    ``u``, ``counts``, ``sd`` are [batch, pixel, window]; each scan of the batch has a ball of its own.
    """

    radius: float

    def project(self, u: Tensor, counts: Tensor, sd: Tensor) -> Tensor:
        """The nearest allowed perturbation (Euclidean)."""

    def ascent(self, gradient: Tensor) -> Tensor:
        """The step of unit size, in the ball's own norm, that climbs steepest along a whitened gradient."""

    def random(self, counts: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
        """A random allowed perturbation at the rim of the ball."""


@dataclass(frozen=True)
class PoissonBall:
    """||u||_2 <= radius for the whole scan. Natural fluctuation has ||u||^2 about the number of bins.

    Args:
        radius: in standard deviations, 0 or more.

    Raises:
        UserError: the radius is negative, infinite or NaN.
    """

    radius: float

    def __post_init__(self) -> None:
        _check_radius("poisson_ball", self.radius)

    def project(self, u: Tensor, counts: Tensor, sd: Tensor) -> Tensor:
        """See :class:`ThreatModel`: max(t u, -n / sd), with the largest t <= 1 that stays in the ball."""
        if self.radius == 0:
            return torch.zeros_like(u)
        wide, least = u.double().flatten(1), -(counts.double() / sd.double()).flatten(1)
        share = torch.zeros(len(u), 1, dtype=torch.float64, device=u.device)
        # The squared norm is piecewise linear and concave in t^2: Newton's steps from 0 rise to the root
        # without passing it, and end there once the bins held at their bound stay the same.
        for _ in range(100):
            free = share * wide >= least
            held = torch.where(free, 0.0, least).square().sum(dim=1, keepdim=True)
            slope = torch.where(free, wide, 0.0).square().sum(dim=1, keepdim=True)
            room = (self.radius**2 - held).clamp_min(0.0)
            rise = torch.maximum((room / slope.clamp_min(1e-300)).sqrt().clamp_max(1.0), share)
            if torch.equal(rise, share):
                break
            share = rise
        return torch.maximum(share * wide, least).to(u.dtype).reshape(u.shape)

    def ascent(self, gradient: Tensor) -> Tensor:
        """See :class:`ThreatModel`: the normalised gradient."""
        norm = _norm(gradient)
        return gradient / torch.where(norm > 0, norm, 1.0)

    def random(self, counts: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`ThreatModel`: a Gaussian direction, stretched to the radius."""
        direction = _randn_like(counts, generator)
        # Bins without counts can only rise, which shortens u: start outside, the projection ends at the rim.
        return self.project(direction * (4 * self.radius / _norm(direction)), counts, sd)


@dataclass(frozen=True)
class PoissonBox:
    """|u_i| <= radius in every bin.

    Args:
        radius: in standard deviations, 0 or more.

    Raises:
        UserError: the radius is negative, infinite or NaN.
    """

    radius: float

    def __post_init__(self) -> None:
        _check_radius("poisson_box", self.radius)

    def project(self, u: Tensor, counts: Tensor, sd: Tensor) -> Tensor:
        """See :class:`ThreatModel`."""
        return torch.maximum(u.clamp(-self.radius, self.radius), -(counts / sd))

    def ascent(self, gradient: Tensor) -> Tensor:
        """See :class:`ThreatModel`: the sign of the gradient."""
        return gradient.sign()

    def random(self, counts: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`ThreatModel`: each bin up or down by the radius."""
        return self.project(self.radius * _randn_like(counts, generator).sign(), counts, sd)


def perturbed(counts: Tensor, u: Tensor, sd: Tensor) -> Tensor:
    """n + sd u, 0 or more; exactly ``counts`` where u is 0."""
    return (counts + sd * u).clamp_min(0.0)


def _norm(u: Tensor) -> Tensor:
    """L2 norm of each scan, [batch, 1, ...]."""
    return torch.as_tensor(torch.linalg.vector_norm(u, dim=tuple(range(1, u.ndim)), keepdim=True))


def _randn_like(counts: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, drawn where the generator lives."""
    drawn = torch.randn(counts.shape, generator=generator, dtype=counts.dtype, device=generator.device)
    return drawn.to(counts.device)


def _check_radius(name: str, radius: float) -> None:
    if not (0 <= radius < math.inf):
        raise UserError(f"threat_model {name}.radius is {radius}; it needs 0 or more standard deviations")
