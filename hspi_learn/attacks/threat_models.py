"""What an adversary may do to an input: for counts, balls in units of their own Poisson noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError

WHITENING_FLOOR_COUNTS = 1e-3
"""Added to expected counts, so that the noise of empty bins is above 0; chosen, no source."""


def noise_sd(expected: Tensor) -> Tensor:
    """Standard deviation of each bin, sqrt(w): w is its noise-free expectation plus 1e-3 counts."""
    return (expected.clamp_min(0.0) + WHITENING_FLOOR_COUNTS).sqrt()


class ThreatModel(Protocol):
    """A set of allowed perturbations u of an input, in units of a scale; the least is none at all.

    ``u``, ``values``, ``scale`` have one shape [batch, ...]; each sample of the batch has a set of its own.
    """

    space: ClassVar[str]
    """What the values need to be: ``counts``, ``image`` or ``features``."""

    @property
    def radius(self) -> float:
        """The size of the set; an attack's steps are shares of it."""

    def scale(self, values: Tensor, expected: Tensor | None) -> Tensor:
        """The size of a unit perturbation of each value, by their noise-free expectation if it is known."""

    def perturbed(self, values: Tensor, u: Tensor, scale: Tensor) -> Tensor:
        """The values after a perturbation; exactly ``values`` where u is 0."""

    def project(self, u: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """The nearest allowed perturbation (Euclidean)."""

    def feasible(self, uphill: Tensor, candidate: Tensor, values: Tensor) -> Tensor:
        """A direction without the components that the projection would undo at this candidate."""

    def ascent(self, gradient: Tensor) -> Tensor:
        """The step of unit size, in the set's own norm, that climbs steepest along a scaled gradient."""

    def random(self, values: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """A random allowed perturbation at the rim of the set."""


def check_space(threat_model: ThreatModel, space: str, who: str) -> None:
    """Refuse a threat model that does not fit the inputs.

    Args:
        threat_model: what an adversary may do.
        space: kind of the inputs: ``counts``, ``image`` or ``features``.
        who: whose inputs they are.

    Raises:
        UserError: the threat model is of another space.
    """
    if threat_model.space != space:
        raise UserError(
            f"threat_model is {type(threat_model).__name__}, which changes {threat_model.space}, but the "
            f"inputs of {who} are {space}; it needs a threat model of {space}"
        )


class _PoissonUnits:
    """Counts n' = n + sd u, 0 or more, with u in standard deviations of each bin's Poisson noise."""

    space: ClassVar[str] = "counts"

    def scale(self, values: Tensor, expected: Tensor | None) -> Tensor:
        """See :class:`ThreatModel`: :func:`noise_sd`, of the counts themselves if nothing is known.

        0 where none are ever expected, as in dead pixels: nobody can change what is not recorded.
        """
        if expected is None:
            return noise_sd(values)
        return torch.where(expected > 0, noise_sd(expected), 0.0).to(values.dtype)

    def perturbed(self, values: Tensor, u: Tensor, scale: Tensor) -> Tensor:
        """See :class:`ThreatModel`: n + sd u, 0 or more."""
        return (values + scale * u).clamp_min(0.0)

    def feasible(self, uphill: Tensor, candidate: Tensor, values: Tensor) -> Tensor:
        """See :class:`ThreatModel`: an empty bin cannot fall."""
        return torch.where((candidate <= 1e-6 * values) & (uphill < 0), 0.0, uphill)


@dataclass(frozen=True)
class PoissonBall(_PoissonUnits):
    """||u||_2 <= radius for the whole scan. Natural fluctuation has ||u||^2 about the number of bins.

    Args:
        radius: largest perturbation in standard deviations, 0 or more.

    Raises:
        UserError: the radius is negative, infinite or NaN.
    """

    radius: float

    def __post_init__(self) -> None:
        _check_radius("poisson_ball", self.radius)

    def project(self, u: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """See :class:`ThreatModel`: max(t u, -n / sd), with the largest t <= 1 that stays in the ball."""
        if self.radius == 0:
            return torch.zeros_like(u)
        wide = torch.where(scale > 0, u, 0.0).double().flatten(1)
        least = -_in_units(values.double(), scale.double()).flatten(1)
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

    def random(self, values: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`ThreatModel`: a Gaussian direction, stretched to the radius."""
        direction = torch.where(scale > 0, _randn_like(values, generator), 0.0)
        # Bins without counts can only rise, which shortens u: start outside, the projection ends at the rim.
        return self.project(direction * (4 * self.radius / _norm(direction)), values, scale)


@dataclass(frozen=True)
class PoissonBox(_PoissonUnits):
    """|u_i| <= radius in every bin.

    Args:
        radius: largest perturbation in standard deviations, 0 or more.

    Raises:
        UserError: the radius is negative, infinite or NaN.
    """

    radius: float

    def __post_init__(self) -> None:
        _check_radius("poisson_box", self.radius)

    def project(self, u: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """See :class:`ThreatModel`."""
        bounded = torch.where(scale > 0, u.clamp(-self.radius, self.radius), 0.0)
        return torch.maximum(bounded, -_in_units(values, scale))

    def ascent(self, gradient: Tensor) -> Tensor:
        """See :class:`ThreatModel`: the sign of the gradient."""
        return gradient.sign()

    def random(self, values: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`ThreatModel`: each bin up or down by the radius."""
        return self.project(self.radius * _randn_like(values, generator).sign(), values, scale)


def _in_units(values: Tensor, scale: Tensor) -> Tensor:
    """Values in units of their scale; 0 where the scale is 0 and nothing may move."""
    return torch.where(scale > 0, values / scale, 0.0)


def _norm(u: Tensor) -> Tensor:
    """L2 norm of each scan, [batch, 1, ...]."""
    return torch.as_tensor(torch.linalg.vector_norm(u, dim=tuple(range(1, u.ndim)), keepdim=True))


def _randn_like(values: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, drawn where the generator lives."""
    drawn = torch.randn(values.shape, generator=generator, dtype=values.dtype, device=generator.device)
    return drawn.to(values.device)


def _check_radius(name: str, radius: float) -> None:
    if not (0 <= radius < math.inf):
        raise UserError(f"threat_model {name}.radius is {radius}; it needs 0 or more standard deviations")
