"""Choice of OSEM's iterations and postfilter (FWHM in mm) by the median error over validation scans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.classical.osem import Osem
from hspi_learn.metrics import reduce_scans
from hspi_learn.reconstructor import ScanBatch, ScanContext, scan_context

ErrorOfScans = Callable[[Tensor, ScanBatch, ScanContext], Tensor]
"""Estimate [batch, map, z, y, x], the scans and their context, to one error per scan [batch]."""


@dataclass(frozen=True)
class Tuning:
    """The outcome: errors of every candidate, and the method at the best.

    ``errors`` is [iteration, postfilter, scan], in the order of ``iterations`` and ``postfilters_fwhm_mm``.
    """

    osem: Osem
    iterations: tuple[int, ...]
    postfilters_fwhm_mm: tuple[float, ...]
    errors: Tensor

    @property
    def median_errors(self) -> Tensor:
        """Median over scans, [iteration, postfilter]: minimised since the headline is a median."""
        return _medians(self.errors)

    @property
    def at_edge(self) -> bool:
        """Whether the best lies at the most iterations or the widest filter, so that more might be better."""
        return self.osem.iterations == self.iterations[-1] or (
            self.osem.postfilter_fwhm_mm == self.postfilters_fwhm_mm[-1]
        )


@torch.no_grad()
def tune(
    osem: Osem,
    scans: Iterable[ScanBatch],
    error: ErrorOfScans,
    iterations: Sequence[int] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
    postfilters_fwhm_mm: Sequence[float] = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0),
) -> Tuning:
    """The iterations and postfilter of least median error over the scans.

    One reconstruction a scan serves all candidates: each wanted iterate is smoothed by each filter.

    Args:
        osem: gives model and subsets.
        scans: validation scans, never test scans.
        error: error of each scan to minimise, such as its NRMSE.
        iterations: candidates, in any order.
        postfilters_fwhm_mm: candidates in mm.

    Raises:
        UserError: no scans or no candidates.
    """
    wanted, filters = tuple(sorted(set(iterations))), tuple(sorted(set(postfilters_fwhm_mm)))
    if not wanted or not filters:
        raise UserError(
            f"tuning has iterations {wanted} and postfilters {filters}; it needs at least one of each"
        )
    batches = [_errors_of_batch(osem, batch, error, wanted, filters) for batch in scans]
    if not batches:
        raise UserError("tuning got no validation scans; it needs at least one")
    errors = torch.cat(batches, dim=-1)
    medians = _medians(errors)
    best_iteration, best_filter = divmod(int(medians.argmin()), len(filters))
    return Tuning(osem.with_settings(wanted[best_iteration], filters[best_filter]), wanted, filters, errors)


def _medians(errors: Tensor) -> Tensor:
    """Median over scans, the last axis; a candidate that gives no number is infinitely wrong."""
    return reduce_scans(errors.movedim(-1, 0), "median").nan_to_num(nan=torch.inf, posinf=torch.inf)


def _errors_of_batch(
    osem: Osem, batch: ScanBatch, error: ErrorOfScans, wanted: tuple[int, ...], filters: tuple[float, ...]
) -> Tensor:
    """[iteration, postfilter, scan] of one batch, float64."""
    context = scan_context(osem.model, batch.density, batch.duration_s)
    rows = []
    for done, activity in enumerate(osem.iterates(batch.projections, context, wanted[-1]), start=1):
        if done in wanted:
            smooth = (osem.postfiltered(activity, context, fwhm_mm) for fwhm_mm in filters)
            rows.append(torch.stack([error(image, batch, context).double() for image in smooth]))
    return torch.stack(rows)
