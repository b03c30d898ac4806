"""The contract of a training loss, and its weight and timing in the sum that is trained on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from data_gen.core.errors import UserError


class Loss(nn.Module):
    """One term of what a task minimises: ``loss(prediction, batch, view)``, a scalar or [batch].

    A loss of one's own derives from this class, takes its own settings before these three, and defines
    :meth:`forward`. A config names it in a task's ``losses``: ``{_target_: ..., weight: 0.1, every: 4}``.

    Args:
        weight: factor of the loss in the sum; 0 switches it off.
        from_step: first update, counted from 0, in which it is part of the sum.
        every: updates between two evaluations. The weight is per update: a loss that is computed in every
            fourth update counts four times there.

    Raises:
        UserError: a negative or infinite weight, a negative step, or ``every`` below 1.
    """

    def __init__(self, weight: float = 1.0, from_step: int = 0, every: int = 1) -> None:
        super().__init__()
        if not 0 <= weight < float("inf"):
            raise UserError(f"weight is {weight}; it needs to be 0 or more")
        if from_step < 0:
            raise UserError(f"from_step is {from_step}; it needs to be 0 or more")
        if every < 1:
            raise UserError(f"every is {every}; it needs to be 1 or more")
        self.weight, self.from_step, self.every = weight, from_step, every

    @abstractmethod
    def forward(self, prediction: Tensor, batch: Any, view: Any) -> Tensor:
        """The loss of a prediction.

        Args:
            prediction: what the task's ``predict`` returns.
            batch: what the data module hands over, the truth included.
            view: what else the task offers its losses; a task says in its own documentation what that is.

        Returns:
            A scalar, or one number a sample [batch], whose mean is taken.
        """

    def due(self, step: int) -> bool:
        """Whether the loss is part of the sum in this update."""
        return self.weight > 0 and step >= self.from_step and step % self.every == 0


class FunctionLoss(Loss):
    """A plain function of prediction and batch as a loss.

    Args:
        function: ``function(prediction, batch)``, a scalar or [batch].
        weight: see :class:`Loss`.
        from_step: see :class:`Loss`.
        every: see :class:`Loss`.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Tensor],
        weight: float = 1.0,
        from_step: int = 0,
        every: int = 1,
    ) -> None:
        super().__init__(weight, from_step, every)
        self.function = function

    def forward(self, prediction: Tensor, batch: Any, view: Any) -> Tensor:  # noqa: ARG002
        """See :meth:`Loss.forward`."""
        return self.function(prediction, batch)


class TaskLoss(Loss):
    """The task's own ``per_sample_loss``, to be weighed beside others; see :class:`Loss`."""

    own: Callable[[Any, Any], Tensor]
    """Set by the task that the loss is given to."""

    def forward(self, prediction: Tensor, batch: Any, view: Any) -> Tensor:  # noqa: ARG002
        """See :meth:`Loss.forward`."""
        return self.own(prediction, batch)


class WeightedLosses(nn.ModuleDict):
    """The losses of a task by name, and their weighted sum.

    Args:
        losses: losses or plain functions of prediction and batch by name.
        own: the task's ``per_sample_loss``, which :class:`TaskLoss` stands for.

    Raises:
        UserError: a name is none that a log can show, or no loss has a weight above 0.
    """

    def __init__(
        self,
        losses: Mapping[str, Loss | Callable[[Any, Any], Tensor]],
        own: Callable[[Any, Any], Tensor],
    ) -> None:
        super().__init__()
        for name, loss in losses.items():
            if not name.isidentifier() or hasattr(self, name):
                raise UserError(f"losses holds {name!r}; it needs a plain name of letters, digits and _")
            self[name] = loss if isinstance(loss, Loss) else FunctionLoss(loss)
            if isinstance(loss, TaskLoss):
                loss.own = own
        if not any(loss.weight > 0 for loss in self.terms().values()):
            raise UserError(
                f"losses holds {sorted(losses)}, none of weight above 0; it needs one to train on"
            )

    def terms(self) -> dict[str, Loss]:
        """The losses by name."""
        return {name: loss for name, loss in self.items() if isinstance(loss, Loss)}

    def computed(self, prediction: Tensor, batch: Any, view: Any, step: int) -> dict[str, Tensor]:
        """The losses that are due in this update, each a scalar without its weight."""
        return {
            name: loss(prediction, batch, view).mean()
            for name, loss in self.terms().items()
            if loss.due(step)
        }

    def weighted_sum(self, values: Mapping[str, Tensor], prediction: Tensor) -> Tensor:
        """The sum of :meth:`computed` values of a prediction, each with its weight; 0 if nothing was due."""
        terms = self.terms()
        parts = (terms[name].weight * terms[name].every * value for name, value in values.items())
        return sum(parts, 0.0 * prediction.sum())
