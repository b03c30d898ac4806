"""What a scan can tell of each organ and tumour: the Cramer-Rao bound of its activity.

The least relative standard deviation of any unbiased estimate, by the full forward model in the energy
windows of the methods. All activities are unknown together; outlines, and the distribution in each region,
are taken as known, so that the true bound is higher. A biased estimate may vary less: what it shows where the
bound is high comes from its training or its assumptions. Formulas: ``data_gen/design/information.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.core.cache import content_key
from data_gen.design.information import fisher_information, relative_deviations
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.evaluation.judge import OUTSIDE, Judge, joined_columns
from hspi_learn.metrics import regions_with_single_lesions
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks.physics_input import CODE_VERSION as PHYSICS_VERSION

LIMIT = 0.5
"""An activity whose bound is above is called not identifiable: half of it is one standard deviation."""

CODE_VERSION = 1
"""Raised whenever bounds change for another reason than the physics, so that kept ones are computed again."""


class LeastDeviations(NamedTuple):
    """Least relative SD (Cramer-Rao) of activities, by scan and map; NaN where there is no such activity."""

    regions: Tensor
    """Of each organ, all tumours together being one, [scan, map, organ]."""
    lesions: Tensor
    """Of each tumour by itself, [scan, map, lesion]."""

    @classmethod
    def joined(cls, parts: Sequence[LeastDeviations]) -> LeastDeviations:
        """The bounds of several scans as one."""
        return cls(*joined_columns(parts))

    @classmethod
    def none(cls, judge: Judge, model: HyperspectralForwardModel) -> LeastDeviations:
        """The bounds of no scan."""
        maps = len(model.groups.names)
        return cls(torch.zeros(0, maps, len(judge.organs)), torch.zeros(0, maps, 0))


@torch.no_grad()
def least_deviations(model: HyperspectralForwardModel, judge: Judge, scan: ScanBatch) -> LeastDeviations:
    """The bounds of one scan (a batch of one) with its own counts, time and object.

    What lies outside all regions is taken as known.
    """
    organs, maps = len(judge.organs), len(model.groups.names)
    region = regions_with_single_lesions(scan.labels, judge.lesion(scan.labels), organs)[0]
    regions = max(organs, int(region.max()) + 1)
    places, counts = _expected_by_region(model, scan, region, regions)
    outside = torch.tensor([r == OUTSIDE for r, _ in places], dtype=torch.bool)
    known = counts[outside].sum(0) + scan.duration_s * model.background_rate().flatten()
    information = fisher_information(counts[~outside], known)
    single = [place for place in places if place[0] != OUTSIDE]
    tumour = judge.organs.index(judge.tumour) if judge.tumour in judge.organs else OUTSIDE
    organ = [(r if r < organs else tumour, m) for r, m in single]
    together = list(dict.fromkeys(organ))
    sums = torch.tensor([[place == whole for place in organ] for whole in together], dtype=torch.float64)
    sums = sums.reshape(len(together), len(organ))
    by_lesion = _table(single, _deviations(information), regions, maps)[:, organs:]
    by_organ = _table(together, _deviations(sums @ information @ sums.T), organs, maps)
    return LeastDeviations(by_organ[None], by_lesion[None])


def _expected_by_region(
    model: HyperspectralForwardModel, scan: ScanBatch, region: Tensor, regions: int
) -> tuple[list[tuple[int, int]], Tensor]:
    """Region and map of each activity that there is, and its counts alone [activity, pixel * window]."""
    maps = range(len(model.groups.names))
    alone = {(r, m): scan.activity[0, m] * (region == r) for r in range(regions) for m in maps}
    there = {place: activity for place, activity in alone.items() if float(activity.sum()) > 0}
    if not there:
        return [], scan.activity.new_zeros(0, model.background_rate().numel())
    parts, state = torch.stack(list(there.values())), model.attenuation(scan.density)
    counts = scan.duration_s * model.project_parts(parts, [m for _, m in there], state).flatten(1)
    return list(there), counts


def _deviations(information: Tensor) -> Tensor:
    """Least relative SD of each scale; infinite for what gives no counts, and that harms no other."""
    seen = information.diagonal() > 0
    found = torch.full((len(information),), torch.inf, dtype=torch.float64)
    if bool(seen.any()):
        found[seen] = relative_deviations(information[seen][:, seen])
    return found


def _table(places: Sequence[tuple[int, int]], values: Tensor, regions: int, maps: int) -> Tensor:
    """Values of (region, map) as [map, region], NaN elsewhere."""
    found = torch.full((maps, regions), torch.nan)
    for (region, m), value in zip(places, values.tolist(), strict=True):
        found[m, region] = value
    return found


def bounds_key(system: ImagingSystem, model: HyperspectralForwardModel, organs: Sequence[str]) -> str:
    """Hash of all that bounds depend on besides the scan; ``organs`` are the labels that have one each."""
    about = {
        "kind": "least_deviations",
        "version": [CODE_VERSION, PHYSICS_VERSION],
        "system": system.to_dict(),
        "edges_kev": model.energy_bins.edges_kev.tolist(),
        "organs": list(organs),
    }
    return content_key(about, {})


def unidentifiable(bounds: Tensor, truth: Tensor) -> Tensor:
    """Activities that a scan cannot tell, bool, in the shape of the truth.

    Args:
        bounds: of :class:`LeastDeviations`, [scan, map, region]; scans without bounds have nothing marked.
        truth: [mouse, map, region], the same mice first.
    """
    lost = torch.zeros_like(truth, dtype=torch.bool)
    lost[: len(bounds), :, : bounds.shape[2]] = bounds > LIMIT
    return lost


def unidentifiable_in_most(bounds: Tensor) -> Tensor:
    """Maps and regions that more than half of the scans cannot tell, [map, region] bool.

    Args:
        bounds: of :class:`LeastDeviations`, [scan, map, region]; of no scan, nothing is marked.
    """
    if not len(bounds):
        return torch.zeros(bounds.shape[1:], dtype=torch.bool)
    return bounds.nanmedian(dim=0).values > LIMIT
