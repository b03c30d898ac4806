"""Choice of a method's settings by the median error over validation scans."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.classical.tunable import Tunable
from hspi_learn.metrics import reduce_scans
from hspi_learn.reconstructor import ScanBatch, ScanContext, scan_context

ErrorOfScans = Callable[[Tensor, ScanBatch, ScanContext], Tensor]
"""Estimate [batch, map, z, y, x], the scans and their context, to one error per scan [batch]."""

Method = TypeVar("Method", bound=Tunable)


@dataclass(frozen=True)
class Tuning(Generic[Method]):
    """The outcome: errors of every candidate, and the method at the best.

    Args:
        method: at the best settings.
        candidates: of each setting, in rising order.
        errors: one axis for each setting in the order of ``candidates``, then scans.
    """

    method: Method
    candidates: Mapping[str, tuple[float, ...]]
    errors: Tensor

    @property
    def chosen(self) -> dict[str, float]:
        """The best settings."""
        return {name: getattr(self.method, name) for name in self.candidates}

    @property
    def median_errors(self) -> Tensor:
        """Median over scans, an axis for each setting: minimised since the headline is a median."""
        return _medians(self.errors)

    @property
    def at_edge(self) -> bool:
        """Whether a setting is the last of several candidates, or the first and could be less, so that more,
        or less, might be better."""
        return any(_at_edge(name, self.chosen[name], of) for name, of in self.candidates.items())


def _at_edge(name: str, chosen: float, candidates: tuple[float, ...]) -> bool:
    least = 1 if name == "iterations" else 0
    could_be_less = chosen == candidates[0] and chosen > least
    return len(candidates) > 1 and (chosen == candidates[-1] or could_be_less)


@torch.no_grad()
def tune(
    method: Method,
    scans: Iterable[ScanBatch],
    error: ErrorOfScans,
    candidates: Mapping[str, Sequence[float]],
) -> Tuning[Method]:
    """The settings of least median error over the scans, among all combinations of candidates.

    One reconstruction a scan serves all candidates of ``method.shared``, as of iterations and filters; every
    other combination takes its own.

    Args:
        method: gives model and all settings that are not tuned.
        scans: validation scans, never test scans.
        error: error of each scan to minimise, such as its NRMSE.
        candidates: of each setting that is tuned, in any order; names of ``method.tunable``.

    Raises:
        UserError: no scans, no candidates, or a name that is no setting of the method.
    """
    tried = _in_order(method, candidates)
    batches = [_errors_of_batch(method, batch, error, tried) for batch in scans]
    if not batches:
        raise UserError(f"tuning of {method.name} got no validation scans; it needs at least one")
    errors = torch.cat(batches, dim=-1).unflatten(0, [len(of) for of in tried.values()])
    best = torch.unravel_index(_medians(errors).argmin(), errors.shape[:-1])
    chosen = {name: of[int(at)] for (name, of), at in zip(tried.items(), best, strict=True)}
    return Tuning(method.with_settings(**chosen), tried, errors)


def _in_order(method: Tunable, candidates: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    """Candidates in rising order; last those that one reconstruction serves."""
    told = dict(candidates)
    for name in method.shared:
        told[name] = told.pop(name, (getattr(method, name),))
    for name, of in told.items():
        if name not in method.tunable:
            raise UserError(f"tuning of {method.name} names {name}; it needs some of {list(method.tunable)}")
        if not of or not all(math.isfinite(value) for value in of):
            raise UserError(f"tuning of {method.name} has {name} {list(of)}; it needs at least one number")
        for value in of:
            method.with_settings(**{name: value})
    return {name: tuple(sorted(set(of))) for name, of in told.items()}


def _medians(errors: Tensor) -> Tensor:
    """Median over scans, the last axis; a candidate that gives no number is infinitely wrong."""
    known = errors.nan_to_num(nan=torch.inf, posinf=torch.inf)
    return reduce_scans(known.movedim(-1, 0), "median")


def _errors_of_batch(
    method: Tunable, batch: ScanBatch, error: ErrorOfScans, tried: Mapping[str, Sequence[float]]
) -> Tensor:
    """[candidate, scan] of one batch, float64."""
    context = scan_context(method.model, batch.density, batch.duration_s)
    images = method.reconstruct_at_all(tried, batch.projections, context)
    return torch.stack([error(image, batch, context).double() for _, image in images])
