"""What a classical method offers to be tuned: settings that may change, and images at all of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

from torch import Tensor, nn

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.reconstructor import ScanContext


class Tunable(nn.Module, ABC):
    """A reconstructor, counts to activity in Bq per voxel, with settings that may be tuned."""

    name: ClassVar[str]
    """In configs and messages."""
    tunable: ClassVar[tuple[str, ...]]
    """Settings that :meth:`with_settings` changes."""
    shared: ClassVar[tuple[str, ...]]
    """Those of them whose candidates all come from one reconstruction."""
    model: HyperspectralForwardModel
    """Of the projections."""

    @property
    @abstractmethod
    def told(self) -> str:
        """Its main settings in words."""

    @abstractmethod
    def _check(self) -> None:
        """Refuse settings out of their range."""

    @abstractmethod
    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""

    @abstractmethod
    def reconstruct_at_all(
        self, settings: Mapping[str, Sequence[float]], projections: Tensor, context: ScanContext
    ) -> Iterator[tuple[dict[str, float], Tensor]]:
        """All combinations of settings, the last varying fastest, each with what :meth:`reconstruct` gives.

        Args:
            settings: candidates of each, in rising order; those of :attr:`shared` are among them, and last.
            projections: counts [batch, pixel, window].
            context: of the scans.
        """

    def with_settings(self, **settings: float) -> Self:
        """The same method, sharing its tensors, at other settings, each one of :attr:`tunable`.

        Raises:
            UserError: a name that is no such setting, or a value outside its range.
        """
        other = copy.copy(self)
        for key, value in settings.items():
            if key not in self.tunable:
                raise UserError(f"{self.name}.{key} cannot be changed; it needs one of {list(self.tunable)}")
            kind = type(getattr(self, key))
            if kind is int and not float(value).is_integer():
                raise UserError(f"{self.name}.{key} is {value}; it needs a whole number")
            setattr(other, key, kind(value))
        other._check()
        return other
