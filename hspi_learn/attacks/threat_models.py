"""What an adversary may do to the counts: balls in units of their own Poisson noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_gen.errors import UserError

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
        """See :class:`ThreatModel`: max(u / (1 + mu), -n / sd), with mu found by bisection in float64."""
        if self.radius == 0:
            return torch.zeros_like(u)
        wide, least = u.double(), -(counts.double() / sd.double())
        high = (_norm(wide) / self.radius - 1.0).clamp_min(0.0)
        low = torch.zeros_like(high)
        # mu = 0 is right where the bounds alone bring u into the ball.
        high = torch.where(_norm(torch.maximum(wide, least)) <= self.radius, low, high)
        for _ in range(60):
            middle = (low + high) / 2
            outside = _norm(torch.maximum(wide / (1 + middle), least)) > self.radius
            low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
        return torch.maximum(wide / (1 + high), least).to(u.dtype)

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
