"""Activity (Bq) of regions by Poisson maximum likelihood from counts or events, with Fisher SD and intervals.

All activities are estimated together, 0 or more; each region holds its activity evenly, or as it is told.
Nothing is shrunk by a prior or by too few iterations: what remains is noise, whose SD is known. Wrong
outlines bias the estimate, and so do activities that no region holds. Sources: Carson, J. Comput. Assist.
Tomogr. 10 (1986) 654; for alpha emitters Li et al., arXiv 2107.00740.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.core.memory import check_memory
from data_gen.design.information import fisher_information
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.poisson_fit import Maximum, PoissonFit

IDENTIFIABLE_BELOW = 0.5
"""Relative SD of an identifiable activity: half of it is one standard deviation."""

PROFILE_BELOW = 5.0
"""Activities of fewer SDs have intervals by the profile likelihood, all others by value and SD: near 0 a
likelihood is lopsided, and elsewhere the two are alike.
"""

PARTS_AT_ONCE = 16
"""Activities projected together: as many as a sparse product handles best."""

AT_ONCE = 2**18
"""Measurements whose information is summed at once."""


@dataclass(frozen=True)
class RegionalEstimates:
    """Activity of each region and map in one scan, [region, map] each; NaN for a region without volume.

    Args:
        value: in Bq, 0 or more.
        sd: its standard deviation in Bq by the Fisher information at the estimate (the Cramer-Rao bound
            there). Infinite where a scan cannot tell an activity from others, or gives no counts of it.
        low: lower ends of the intervals in Bq, 0 or more; NaN where none were asked for.
        high: upper ends.
        level: chance of an interval to cover the true activity.
        converged: whether the maximum was reached; if not, no value is to be trusted.
    """

    value: Tensor
    sd: Tensor
    low: Tensor
    high: Tensor
    level: float | None
    converged: bool

    @property
    def identifiable(self) -> Tensor:
        """Activities whose relative SD is under 50 %, bool."""
        return self.sd < IDENTIFIABLE_BELOW * self.value


class RegionalLikelihood:
    """The likelihood of counts of one object, by the activity of regions in each map.

    Expected counts are projected once, and serve every scan of the object.

    Args:
        model: forward model with the energy windows (or fine bins, for events) of the scan.
        density: of the object, [z, y, x] in g/cm3.
        regions: number of the region of each voxel, [z, y, x] int64, 1, 2, ..., the same everywhere in a
            region, and 0 for what holds no activity; or how a region's activity is spread over voxels,
            [region, z, y, x], 0 or more, in any unit.

    Raises:
        UserError: regions of another grid, or negative or infinite ones; none with a volume; more memory than
            there is.
    """

    def __init__(self, model: HyperspectralForwardModel, density: Tensor, regions: Tensor) -> None:
        self.model = model
        self.shares = _shares(regions, model.grid.shape)
        there = (self.shares.flatten(1).sum(1) > 0).nonzero().flatten().tolist()
        if not there:
            raise UserError("regions hold no voxel; they need one or more of number 1, 2, ...")
        maps = range(len(model.groups.names))
        self.places = [(region, m) for region in there for m in maps]
        self.background = model.background_rate().flatten().cpu()
        size = len(self.places) * len(self.background)
        check_memory(20 * size, f"regions are {len(there)} in {len(maps)} maps: their images")
        with torch.no_grad():
            state = model.attenuation(density[None])
            images = [
                model.project_parts(
                    torch.stack([self.shares[region] for region, _ in some]).to(density),
                    [m for _, m in some],
                    state,
                )
                for some in (
                    self.places[k : k + PARTS_AT_ONCE] for k in range(0, len(self.places), PARTS_AT_ONCE)
                )
            ]
        self.rates = torch.cat(images).flatten(1).clamp_min(0.0).cpu()

    shares: Tensor
    """Share of a region's activity in each voxel, [region, z, y, x]; sums to 1, or to 0 without volume."""
    places: list[tuple[int, int]]
    """Region (from 0) and map of each activity."""
    rates: Tensor
    """Counts a second for 1 Bq of each activity, [activity, pixel * bin]."""

    def estimate(
        self, counts: Tensor, duration_s: float, level: float | None = 0.9, profiled: int | None = None
    ) -> RegionalEstimates:
        """Activities from a histogram.

        Args:
            counts: of one scan, [pixel, bin], 0 or more; they need not be whole numbers.
            duration_s: measured time in s.
            level: chance of the intervals to cover the true activity, over 0 and under 1; None for no
                intervals.
            profiled: the first so many regions have intervals by the profile likelihood where they hold
                little (:data:`PROFILE_BELOW`), which take longer than all else; all other intervals are value
                and SD. None: all regions.

        Raises:
            UserError: counts of another shape, negative or infinite; a time or level out of its range.
        """
        shape = (self.model.pixels, self.model.energy_bins.count)
        if counts.shape != shape:
            raise UserError(f"counts have the shape {tuple(counts.shape)}; they need {shape}")
        return self._estimated(counts.detach().cpu().double().flatten(), duration_s, level, profiled)

    def estimate_events(
        self,
        events: EventList,
        duration_s: float,
        level: float | None = 0.9,
        profiled: int | None = None,
    ) -> RegionalEstimates:
        """Activities from events, sorted into the model's bins; those outside of all bins are left out.

        All else as for :meth:`estimate`.
        """
        counts = events.checked(self.model.pixels).histogram(self.model.pixels, self.model.energy_bins)
        return self.estimate(counts, duration_s, level, profiled)

    def image(self, estimates: RegionalEstimates) -> Tensor:
        """Estimates as activity maps [map, z, y, x] in Bq per voxel."""
        value = estimates.value.nan_to_num(0.0)
        return torch.einsum("rm,rzyx->mzyx", value, self.shares.cpu())

    def _estimated(
        self, counts: Tensor, duration_s: float, level: float | None, profiled: int | None
    ) -> RegionalEstimates:
        """Activities from counts [pixel * bin]."""
        _check(counts, duration_s, level)
        seen = self.rates.double().sum(1) > 0
        parts, known = duration_s * self.rates[seen], duration_s * self.background
        # A count where the model expects none cannot come from the object; it is left out.
        rows = (counts > 0) & ((parts > 0).any(0) | (known > 0))
        columns = (parts[:, rows], known[rows], counts[rows], parts.double().sum(1))
        fit = PoissonFit(*(column.double().numpy() for column in columns))
        best = fit.maximum()
        value = torch.from_numpy(best.scales)
        chunks = zip(parts.split(AT_ONCE, dim=1), known.split(AT_ONCE), strict=True)
        information = torch.stack([fisher_information(a, d, value) for a, d in chunks]).sum(0)
        sd, alone = standard_deviations(information), information.diagonal().rsqrt()
        ends = (torch.nan, torch.nan) if level is None else (0.0, torch.inf)
        unseen = torch.tensor([0.0, torch.inf, *ends], dtype=torch.float64)
        found = unseen[:, None].repeat(1, len(seen))
        close = torch.tensor([profiled is None or region < profiled for region, _ in self.places])[seen]
        found[:, seen] = torch.stack((value, sd, *_intervals(fit, best, sd, alone, level, close)))
        value, sd, low, high = self._table(found)
        return RegionalEstimates(value, sd, low, high, level, best.converged)

    def _table(self, columns: Tensor) -> Tensor:
        """Values [column, activity] as [column, region, map]; NaN for regions without volume."""
        table = columns.new_full((len(columns), len(self.shares), len(self.model.groups.names)), torch.nan)
        region, m = torch.tensor(self.places).T
        table[:, region, m] = columns
        return table


def _intervals(
    fit: PoissonFit, best: Maximum, sd: Tensor, alone: Tensor, level: float | None, profiled: Tensor
) -> list[Tensor]:
    """Lower and upper ends of the intervals of all scales, [k] each.

    Args:
        fit: the counts.
        best: the maximum.
        sd: of each scale.
        alone: its SD were all others known: about how far an end lies that the others do not shift.
        level: chance to cover; None for no intervals.
        profiled: scales whose intervals are by the profile likelihood where they are small, [k] bool.
    """
    value = torch.from_numpy(best.scales)
    if level is None:
        return [torch.full_like(value, torch.nan)] * 2
    width = NormalDist().inv_cdf((1 + level) / 2) * sd
    low, high = value - width, value + width
    step = torch.minimum(2 * alone, 3 * (value + 1 / torch.from_numpy(fit.totals)))
    for k in (profiled & (value < PROFILE_BELOW * sd)).nonzero().flatten().tolist():
        low[k], high[k] = fit.profile_interval(k, best, float(step[k]), level)
    return [low.clamp_min(0.0), high]


def standard_deviations(information: Tensor) -> Tensor:
    """SD of each scale, all being estimated together, from their Fisher information [k, k].

    Infinite for each scale that takes part in a combination without information (two parts that are alike,
    say); the others have theirs, by the pseudo-inverse.
    """
    size = information.diagonal().clamp_min(1e-300).sqrt()
    unit = information / (size[:, None] * size)
    values, vectors = torch.linalg.eigh(unit)
    told = values > 1e-10 * max(len(values), 1)
    lost = (vectors[:, ~told] ** 2).sum(1) > 1e-6
    variance = (vectors[:, told] ** 2 / values[told]).sum(1)
    return torch.where(lost, torch.inf, variance.sqrt() / size)


def _shares(regions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Share of each region's activity in each voxel, [region, z, y, x] float64, from numbers or weights."""
    if tuple(regions.shape[-3:]) != tuple(shape) or regions.ndim not in (3, 4):
        raise UserError(
            f"regions have the shape {tuple(regions.shape)}; they need [z, y, x] or [region, z, y, x] "
            f"with a grid of {tuple(shape)}"
        )
    if regions.ndim == 3:
        if regions.is_floating_point() or int(regions.min()) < 0:
            raise UserError("regions [z, y, x] hold fractions or negative numbers; they need 0, 1, 2, ...")
        numbers = range(1, max(int(regions.max()), 1) + 1)
        check_memory(20 * len(numbers) * regions.numel(), f"regions are numbered up to {numbers[-1]}: that")
        regions = torch.stack([regions == number for number in numbers])
    weight = regions.double()
    if not bool(torch.isfinite(weight).all()) or bool((weight < 0).any()):
        raise UserError(
            "regions [region, z, y, x] hold negative, NaN or infinite weights; they need 0 or more"
        )
    total = weight.sum((1, 2, 3), keepdim=True)
    return weight / torch.where(total > 0, total, 1.0)


def _check(counts: Tensor, duration_s: float, level: float | None) -> None:
    """Refuse what is no scan."""
    if not bool(torch.isfinite(counts).all()) or bool((counts < 0).any()):
        raise UserError("counts hold negative, NaN or infinite values; they need 0 or more")
    if not 0 < duration_s < float("inf"):
        raise UserError(f"duration_s is {duration_s}; it needs a time above 0 s")
    if level is not None and not 0 < level < 1:
        raise UserError(f"level is {level}; it needs to be over 0 and under 1, as 0.9")
