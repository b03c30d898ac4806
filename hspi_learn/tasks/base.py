"""The contract of a task: all that commands, callbacks, evaluations, attacks and defences know of one.

A task of one's own derives from :class:`Task` in one file and gets one config in ``conf/task``. It says
what it watches, what its inputs are, how it predicts, and how a prediction is scored; the steps of
training, validation, test and prediction, the losses, the optimiser and resuming come from here.
"""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from data_gen.core.errors import UserError
from data_gen.forward_model.line_windows import Windows, energy_windows
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.io.checkpoints import generator_states, set_generator_states
from hspi_learn.losses import Loss, TaskLoss, WeightedLosses
from hspi_learn.metrics import Reduction, failed_samples, reduce_scans

Space = Literal["counts", "image", "features"]
"""What the numbers of an input are: detected counts, an image, or features computed from either."""

OptimizerFactory = Callable[[Any], Optimizer]
"""Makes an optimiser for parameters: ``functools.partial(torch.optim.AdamW, lr=1e-3)``."""

ScheduleFactory = Callable[[Optimizer, int], LRScheduler]
"""Makes a learning-rate schedule, stepped once an update, for an optimiser and the updates of a training."""

Network = TypeVar("Network", bound=nn.Module)


class Watched(NamedTuple):
    """The validation metric that tells how good a training is."""

    metric: str
    """As it is logged: ``val/NAME`` for a score of that name."""
    direction: Literal["min", "max"]
    """Whether its lowest or its highest value is best."""


class Inputs(NamedTuple):
    """What a prediction starts from: what an attack may touch, and what it may not."""

    values: Tensor
    """[batch, ...]; sample i of a prediction depends on sample i of the inputs alone."""
    space: Space
    """What the values are; a threat model fits one space."""
    context: Any = None
    """What else the prediction needs: attenuation or scan time, for instance."""


class Task(LightningModule):
    """A network, what it learns, and how it is scored, for scans of one imaging system.

    A subclass sets ``watched`` and defines :meth:`inputs`, :meth:`predict`, :meth:`per_sample_loss` and
    :meth:`scores`; it may define :meth:`figures`, :meth:`expected` and :meth:`loss_view`.

    Args:
        system: the imaging system of the scans.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        losses: losses to minimise, by name; None minimises the mean of :meth:`per_sample_loss`, which a
            mapping replaces unless it holds a :class:`~hspi_learn.losses.TaskLoss`.
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule; None keeps the rate.
        seed: random seed of the initial weights.

    Raises:
        UserError: the windows or the losses are not what they need to be.
    """

    watched: ClassVar[Watched]
    """The metric that checkpoints, early stopping and sweeps look at."""
    reduction: ClassVar[Reduction] = "mean"
    """Over samples, of the scores that are logged."""
    higher_is_better: frozenset[str] = frozenset()
    """Names of the scores whose highest value is best; of all others the lowest is."""
    protocol: ClassVar[str] = "scores"
    """Name of the protocol in ``conf/evaluate.yaml`` by which trained runs are evaluated."""

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        losses: Mapping[str, Loss | Callable[[Any, Any], Tensor]] | None = None,
        optimizer: OptimizerFactory = Adam,
        schedule: ScheduleFactory | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.system, self.seed = system, seed
        self.windows = energy_windows(windows_kev, system)
        self.optimizer_factory, self.schedule_factory = optimizer, schedule
        self.losses = WeightedLosses({"loss": TaskLoss()} if losses is None else losses, self.per_sample_loss)
        self._collected = nn.ModuleDict()
        self._generators: dict[str, Any] | None = None

    # What a task says of itself.

    @abstractmethod
    def inputs(self, batch: Any) -> Inputs:
        """What predictions of a batch start from."""

    @abstractmethod
    def predict(self, inputs: Inputs) -> Tensor:
        """The prediction [batch, ...], differentiable in ``inputs.values``."""

    @abstractmethod
    def per_sample_loss(self, prediction: Tensor, batch: Any) -> Tensor:
        """How wrong a prediction is, [batch], differentiable: what attacks raise and defences lower."""

    @abstractmethod
    def scores(self, prediction: Tensor, batch: Any) -> dict[str, Tensor]:
        """Figures of merit by name, each [batch]; a name carries its unit (``error_kbq``), if it has one.

        NaN stands where a sample has no such figure.
        """

    def figures(self, batch: Any) -> Iterator[tuple[str, Figure]]:
        """Pictures of the first sample of a batch, each with its name; none by default.

        Files and dashboards are called by the name: letters, digits, ``_``, ``-`` and ``.`` alone.
        """
        yield from ()

    def expected(self, batch: Any) -> Tensor | None:
        """Noise-free expectation of ``inputs(batch).values`` by the truth, where the task can tell it.

        Threat models in units of Poisson noise use it; without it the values themselves stand for it.
        """
        return None

    def loss_view(self, batch: Any, inputs: Inputs) -> Any:
        """What losses are told besides prediction and batch; the inputs by default."""
        return inputs

    def predict_batch(self, batch: Any) -> Tensor:
        """The prediction of a batch as it is; a task with a faster way to it overrides this."""
        return self.predict(self.inputs(batch))

    # What follows from it.

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """The weighted sum of the losses that are due; each is logged as ``train/NAME``."""
        inputs = self.inputs(batch)
        prediction = self.predict(inputs)
        view = self.loss_view(batch, inputs)
        found = self.losses.computed(prediction, batch, view, self.global_step)
        self.log_training(found, len(prediction))
        return self.losses.weighted_sum(found, prediction)

    def log_training(self, values: Mapping[str, Tensor], samples: int) -> None:
        """Log values of a training step as ``train/NAME``."""
        logged = {f"train/{name}": value.detach() for name, value in values.items()}
        self.log_dict(logged, batch_size=samples)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Adds the scores of a batch to ``val/NAME``."""
        self._collect("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/NAME``, over samples."""
        self._log_collected("val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Adds the scores of a batch to ``test/NAME``."""
        self._collect("test", batch)

    def on_test_epoch_end(self) -> None:
        """Logs ``test/NAME``, over samples."""
        self._log_collected("test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The prediction of a batch."""
        return self.predict_batch(batch)

    def _collect(self, stage: str, batch: Any) -> None:
        prediction = self.predict_batch(batch)
        failed = failed_samples(prediction)
        for name, scores in self.scores(prediction, batch).items():
            worst = -torch.inf if name in self.higher_is_better else torch.inf
            values = scores.float().masked_fill(failed, worst)
            key = f"{stage}_{name}"
            if key not in self._collected:
                self._collected[key] = _OverSamples(self.reduction).to(values.device)
            collected: Any = self._collected[key]
            collected.update(values)

    def _log_collected(self, stage: str) -> None:
        for key, metric in self._collected.items():
            if key.startswith(f"{stage}_") and isinstance(metric, _OverSamples):
                name = f"{stage}/{key.removeprefix(f'{stage}_')}"
                self.log(name, metric.compute(), prog_bar=name == self.watched.metric)
                metric.reset()

    # Optimiser and schedule, as any Lightning callback expects them.

    def configure_optimizers(self) -> Any:
        """The optimiser and its schedule, stepped once an update."""
        return self.scheduled(self.optimizer_factory(self.trained_parameters()))

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that the optimiser updates; all that ask for a gradient by default."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def scheduled(self, optimizer: Optimizer) -> dict[str, Any]:
        """An optimiser with the task's schedule, in Lightning's form."""
        if self.schedule_factory is None:
            return {"optimizer": optimizer}
        schedule = self.schedule_factory(optimizer, self.total_updates())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def total_updates(self) -> int:
        """Updates of the whole training, as the trainer's limits on steps and epochs say.

        Raises:
            UserError: the training has no end.
        """
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise UserError(
                "trainer.max_steps and trainer.max_epochs are both -1; a learning-rate schedule needs an end"
            )
        return int(total)

    # Resuming to the same bits.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the states of all global random generators."""
        checkpoint["generators"] = generator_states()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the states for the first batch: starting the data loaders draws from the generators.

        Raises:
            UserError: the checkpoint is of a version that kept neither schedules nor generators.
        """
        if "generators" not in checkpoint:
            raise UserError(
                "the checkpoint to resume from lacks the random generators, so an older version or another "
                "program wrote it; train anew, since going on would give another result"
            )
        self._generators = checkpoint["generators"]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Sets the random generators of a resumed training."""
        if self._generators is not None:
            set_generator_states(self._generators)
            self._generators = None


class _OverSamples(Metric):
    """A score over all samples seen: median, mean or worst; NaN is left out, a failure is infinite."""

    full_state_update = False
    samples: list[Tensor]

    def __init__(self, reduction: Reduction) -> None:
        super().__init__()
        self.reduction: Reduction = reduction
        self.add_state("samples", default=[], dist_reduce_fx="cat")

    def update(self, values: Tensor) -> None:
        """Add the scores of a batch [batch]."""
        self.samples.append(values.detach())

    def compute(self) -> Tensor:
        """The reduced score, a scalar."""
        joined = torch.cat(self.samples) if isinstance(self.samples, list) else self.samples
        return reduce_scans(joined.float(), self.reduction)


def seeded_network(make: Callable[[], Network], seed: int) -> Network:
    """A network whose first weights depend on ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
