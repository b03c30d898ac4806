"""An attack: the fast gradient method (Goodfellow et al., ICLR 2015), one step as far as is allowed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hspi_learn.attacks import Attacked, ThreatModel, checked_finite, evaluation_mode


@dataclass(frozen=True)
class FastGradient:
    """Raises the goal by one step along its gradient; samples whose goal would fall stay as they are."""

    length: float = 1.0

    def attack(
        self,
        goal: Callable[[Tensor], Tensor],
        values: Tensor,
        threat_model: ThreatModel,
        expected: Tensor | None = None,
        module: nn.Module | None = None,
    ) -> Attacked:
        """The worst values found, what the goal is there and was before, and what to doubt about it."""
        with evaluation_mode(module), torch.inference_mode(False), torch.enable_grad():
            clean = values.detach().clone().requires_grad_()
            before = checked_finite(goal(clean), "goal")
            (gradient,) = torch.autograd.grad(before.sum(), clean)
        gradient = checked_finite(gradient, "gradient")
        with evaluation_mode(module), torch.no_grad():
            scale = threat_model.scale(values, expected)
            step = self.length * threat_model.radius * threat_model.ascent(scale * gradient)
            changed = threat_model.perturbed(values, threat_model.project(step, values, scale), scale)
            after, before = checked_finite(goal(changed), "goal"), before.detach()
            raised = after > before
            worst = torch.where(raised.reshape(-1, *[1] * (values.ndim - 1)), changed, values)
        masked = (gradient == 0).flatten(1).all(dim=1)
        return Attacked(worst, torch.maximum(after, before), before, masked, not_converged=raised)
