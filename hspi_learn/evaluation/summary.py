"""The numbers of an evaluation as one flat dictionary, name to value, as ``metrics.json`` keeps it.

All are dimensionless (``hspi_learn/metrics``) but ``tumour_size_mm3``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from hspi_learn.evaluation.identifiability import LeastDeviations, unidentifiable
from hspi_learn.evaluation.judge import Scores
from hspi_learn.evaluation.noise import NoisePoint, root_mean_square
from hspi_learn.evaluation.reconstruction import ReconstructionOutcome
from hspi_learn.evaluation.study import CLEAN, FULL, Condition, Outcome
from hspi_learn.metrics import (
    UptakeDependence,
    false_lesions,
    paired_interval,
    reduce_scans,
    relative_bias,
    uptake_dependence,
)

SIZES = ("small", "middle", "large")
"""Thirds of the test tumours by volume."""

NOT_SEEN = 1000.0
"""Stands for an infinite bound, of an activity without counts: ``metrics.json`` holds finite numbers."""


def summary(
    outcome: ReconstructionOutcome,
    groups: Sequence[str],
    organs: Sequence[str],
    tumour: str = "tumour",
    bounds: LeastDeviations | None = None,
) -> dict[str, float]:
    """Metrics by name.

    Tumours: ``test/tumour_error/METHOD/GROUP`` is the median over tumours of the relative error (no sign) of
    a tumour's mean activity in a map (group), ``tumour_bias`` with its sign, ``tumour_slope`` the slope
    against the truth, ``_small``, ``_middle`` and ``_large`` are thirds by volume, ``tumour_auc`` tells
    tumour voxels from background, and ``false_lesions`` is their number in a scan. Organs:
    ``test/organ_error/METHOD/GROUP``, each organ one vote. All voxels: ``test/nrmse/METHOD`` is the median
    over mice of the mean over maps; ``nrmse_mean`` and ``nrmse_worst`` stand beside it, ``METHOD/GROUP`` is
    one map.

    ``METHOD_ATTACK`` is the method under an attack (``nrmse_unattacked`` is clean on those mice),
    ``NAME_at_0.3`` is at that share of the counts. ``test/failed/METHOD`` counts the mice for which an
    estimate was NaN or infinite; such a method has no other number.

    ``test/SCORE_difference/A_minus_B`` is the mean over mice of NRMSE or of ``tumour_error`` (mean over the
    tumours and maps of a mouse that are identifiable, where bounds are known), with a 95 % interval.
    """
    numbers: dict[str, float] = {"test/mice": float(len(outcome.truths))} | _tumours(outcome)
    for condition, by_method in outcome.scores.items():
        for method, scores in by_method.items():
            failures = len(outcome.failures(condition, method))
            numbers[f"test/failed{condition.level}/{condition.named(method)}"] = float(failures)
            if not failures:
                numbers |= _errors(condition, method, scores, groups)
                numbers |= _activities(condition, method, scores, outcome, groups, organs, tumour)
    for kind in outcome.attacks[:1]:
        for method, scores in outcome.scores[Condition(1.0, kind)].items():
            same = outcome.scores[FULL][method].of_first(len(scores.nrmse)).scan_nrmse
            numbers["test/mice_attacked"] = float(len(same))
            if method in outcome.ranked:
                numbers[f"test/nrmse_unattacked/{method}"] = float(reduce_scans(same, "median"))
    for method in outcome.ranked:
        scores = outcome.scores[FULL][method]
        numbers |= _regional(method, scores, outcome.truth_regions, groups, organs, tumour)
        numbers |= _by_size(method, scores, outcome, groups)
    if bounds is not None:
        numbers |= bound_numbers(bounds, outcome, groups, organs, tumour)
    return numbers | attack_numbers(outcome) | _differences(outcome, bounds)


def attack_numbers(outcome: Outcome) -> dict[str, float]:
    """What attacks did: medians of the objective, and shares of samples whose value is no worst case.

    ``test/attack_value/METHOD_ATTACK`` is the objective under attack and ``attack_value_clean`` the same
    samples' before; ``attack_masked`` is the share that no gradient reached, ``attack_not_converged`` the
    share for which more steps may find worse. A method that failed under the attack has none of them.
    """
    numbers: dict[str, float] = {}
    for condition, by_method in outcome.attacked.items():
        for method, record in by_method.items():
            if outcome.failures(condition, method):
                continue
            name = condition.named(method)
            numbers[f"test/attack_value/{name}"] = _median(record.value)
            numbers[f"test/attack_value_clean/{name}"] = _median(record.clean_value)
            numbers[f"test/attack_masked/{name}"] = float(record.masked.double().mean())
            numbers[f"test/attack_not_converged/{name}"] = float(record.not_converged.double().mean())
    return numbers


def _errors(condition: Condition, method: str, scores: Scores, groups: Sequence[str]) -> dict[str, float]:
    """NRMSE over mice in one condition."""
    at, name = condition.level, condition.named(method)
    scans = scores.scan_nrmse
    numbers = {
        f"test/nrmse{at}/{name}": float(reduce_scans(scans, "median")),
        f"test/nrmse_mean{at}/{name}": float(reduce_scans(scans, "mean")),
        f"test/nrmse_worst{at}/{name}": float(reduce_scans(scans, "worst")),
        f"test/nrmse_tumour{at}/{name}": _median(scores.tumour_nrmse.nanmean(dim=1)),
    }
    by_group = zip(groups, scores.nrmse.unbind(1), strict=True)
    return numbers | {f"test/nrmse{at}/{name}/{group}": _median(column) for group, column in by_group}


def _activities(
    condition: Condition,
    method: str,
    scores: Scores,
    outcome: ReconstructionOutcome,
    groups: Sequence[str],
    organs: Sequence[str],
    tumour: str,
) -> dict[str, float]:
    """Activity of tumours and organs, and detection of tumours, in one condition."""
    at, name, mice = condition.level, condition.named(method), len(scores.nrmse)
    regions, lesions = outcome.truth_regions[:mice], outcome.truth_lesions[:mice]
    level = mean_uptake(regions)
    bias = relative_bias(scores.lesions, lesions)
    numbers: dict[str, float] = {}
    for m, group in enumerate(groups):
        estimate, truth = (values[:, m] / level[:, 0] for values in (scores.lesions, lesions))
        found = {
            "tumour_error": _median(bias[:, m].abs()),
            "tumour_bias": _median(bias[:, m]),
            "tumour_slope": uptake_dependence(estimate, truth).slope,
            "tumour_auc": _median(scores.auc[:, m]),
            "false_lesions": false_lesions(scores.lesion_peaks[:, m], scores.background_peaks[:, m]),
            "organ_error": organ_error(scores.regions[:, m], regions[:, m], organs, tumour),
        }
        numbers |= {f"test/{figure}{at}/{name}/{group}": value for figure, value in found.items()}
    return numbers


def organ_error(estimate: Tensor, truth: Tensor, organs: Sequence[str], tumour: str = "tumour") -> float:
    """Mean over organs of the median over mice of the relative error (without sign) of the organ's mean.

    Each organ has one vote, however large it is; tumours have none.

    Args:
        estimate: means of one map [mouse, organ], in any unit.
        truth: true means, in the same unit.
        organs: their names.
        tumour: name of the one that is left out.
    """
    errors = reduce_scans(relative_bias(estimate, truth).abs(), "median")
    kept = torch.tensor([organ != tumour for organ in organs])
    return float(errors[kept].nanmean())


def mean_uptake(truth: Tensor) -> Tensor:
    """Mean of the true uptakes of all organs and maps, [mouse, 1, 1], from [mouse, map, organ]."""
    return truth.flatten(1).nanmean(dim=1)[:, None, None]


def size_classes(volume: Tensor) -> tuple[tuple[float, float], dict[str, Tensor]]:
    """Thirds of tumours by volume: the two volumes between them, and each third as a mask.

    Args:
        volume: [mouse, lesion], in mm3; NaN for none.

    Returns:
        NaN and no masks with fewer than three tumours.
    """
    known = volume[~torch.isnan(volume)]
    if len(known) < len(SIZES):
        return (torch.nan, torch.nan), {}
    low, high = (float(known.quantile(share)) for share in (1 / 3, 2 / 3))
    middle = (volume > low) & (volume <= high)
    return (low, high), {"small": volume <= low, "middle": middle, "large": volume > high}


def _tumours(outcome: ReconstructionOutcome) -> dict[str, float]:
    """How many tumours there are, and the volumes between thirds of them."""
    (low, high), _ = size_classes(outcome.lesion_mm3)
    return {
        "test/tumours": float((~torch.isnan(outcome.lesion_mm3)).sum()),
        "test/tumour_size_mm3/small_to": low,
        "test/tumour_size_mm3/large_from": high,
    }


def _by_size(
    method: str, scores: Scores, outcome: ReconstructionOutcome, groups: Sequence[str]
) -> dict[str, float]:
    """Error and bias of tumours by third of volume, on clean scans with all counts."""
    bias = relative_bias(scores.lesions, outcome.truth_lesions)
    numbers: dict[str, float] = {}
    for size, chosen in size_classes(outcome.lesion_mm3)[1].items():
        for m, group in enumerate(groups):
            values = bias[:, m][chosen]
            numbers[f"test/tumour_error_{size}/{method}/{group}"] = _median(values.abs())
            numbers[f"test/tumour_bias_{size}/{method}/{group}"] = _median(values)
    return numbers


def bound_numbers(
    bounds: LeastDeviations,
    outcome: ReconstructionOutcome,
    groups: Sequence[str],
    organs: Sequence[str],
    tumour: str = "tumour",
) -> dict[str, float]:
    """Least relative SD (Cramer-Rao) by name, medians over the scans that have bounds.

    ``test/least_sd/ORGAN/GROUP`` is an organ's; ``least_sd_organs/GROUP`` the median over organs,
    ``least_sd_tumours/GROUP`` over single tumours, ``least_sd_tumours_small`` and so on over thirds of them.
    A figure of an activity whose bound is above a half is not identifiable.
    """
    numbers: dict[str, float] = {}
    classes = size_classes(outcome.lesion_mm3)[1]
    scans = len(bounds.regions)
    for m, group in enumerate(groups):
        by_organ = {organ: _middle(bounds.regions[:, m, o]) for o, organ in enumerate(organs)}
        numbers |= {f"test/least_sd/{organ}/{group}": value for organ, value in by_organ.items()}
        others = torch.tensor([value for organ, value in by_organ.items() if organ != tumour])
        numbers[f"test/least_sd_organs/{group}"] = _middle(others)
        numbers[f"test/least_sd_tumours/{group}"] = _middle(bounds.lesions[:, m])
        for size, chosen in classes.items():
            own = bounds.lesions[:, m][chosen[:scans, : bounds.lesions.shape[2]]]
            numbers[f"test/least_sd_tumours_{size}/{group}"] = _middle(own)
    return numbers


def _middle(values: Tensor) -> float:
    """Median of what there is, :data:`NOT_SEEN` at most."""
    return min(float(reduce_scans(values.flatten(), "median")), NOT_SEEN) if values.numel() else torch.nan


def _regional(
    method: str, scores: Scores, truth: Tensor, groups: Sequence[str], organs: Sequence[str], tumour: str
) -> dict[str, float]:
    """Bias, slope and contrast of one method on clean scans with all counts."""
    bias = relative_bias(scores.regions, truth)
    numbers: dict[str, float] = {}
    for m, group in enumerate(groups):
        numbers[f"test/bias/{method}/{group}"] = _median(bias[:, m])
        numbers[f"test/cnr/{method}/{group}"] = _median(scores.cnr[:, m])
        if tumour in organs:
            numbers[f"test/bias_tumour/{method}/{group}"] = _median(bias[:, m, organs.index(tumour)])
    return numbers | {
        f"test/{name}/{method}": value for name, value in uptake_figures(scores, truth)._asdict().items()
    }


def uptake_figures(scores: Scores, truth: Tensor) -> UptakeDependence:
    """Slope and bias by uptake, over all organs of all mice.

    Each mouse is divided by the mean of its true organ uptakes first, so that the injected activity, which
    differs between mice, does not pass for recovery.
    """
    level = mean_uptake(truth)
    return uptake_dependence(scores.regions / level, truth / level)


def _differences(outcome: ReconstructionOutcome, bounds: LeastDeviations | None) -> dict[str, float]:
    """Paired differences between methods that did not fail, with 95 % intervals over mice."""
    numbers: dict[str, float] = {}
    lost = torch.zeros_like(outcome.truth_lesions, dtype=torch.bool)
    if bounds is not None:
        lost = unidentifiable(bounds.lesions, outcome.truth_lesions)
    for suffix, (first, a), (second, b) in _pairs(outcome):
        in_tumours = [mouse_tumour_error(scores, outcome.truth_lesions, lost) for scores in (a, b)]
        values = {"nrmse": (a.scan_nrmse, b.scan_nrmse), "tumour_error": (in_tumours[0], in_tumours[1])}
        for score, (one, other) in values.items():
            found = paired_interval(one, other)
            key = f"test/{score}_difference{suffix}/{first}_minus_{second}"
            numbers |= {key: found.value, f"{key}/low": found.low, f"{key}/high": found.high}
            numbers[f"{key}/scans"] = float((~torch.isnan(one)).sum())
    return numbers


def mouse_tumour_error(scores: Scores, truth_lesions: Tensor, left_out: Tensor) -> Tensor:
    """Relative error (without sign) of the tumours of a mouse, mean over maps and tumours, [mouse].

    Args:
        scores: of a method.
        truth_lesions: true means [mouse, map, lesion], these mice first.
        left_out: tumours and maps that do not count, bool, of the same shape.
    """
    mice = len(scores.lesions)
    error = relative_bias(scores.lesions, truth_lesions[:mice]).abs()
    return error.masked_fill(left_out[:mice], torch.nan).flatten(1).nanmean(dim=1)


def _pairs(
    outcome: ReconstructionOutcome,
) -> Iterator[tuple[str, tuple[str, Scores], tuple[str, Scores]]]:
    """Suffix of the condition, and two methods with their scores, with all counts; oracles are left out."""
    for condition, by_method in outcome.scores.items():
        if condition.fraction != 1:
            continue
        suffix = "" if condition.kind == CLEAN else f"_{condition.kind}"
        competing = ((m, scores) for m, scores in by_method.items() if m not in outcome.oracles)
        ranked = [(m, scores) for m, scores in competing if not outcome.failures(condition, m)]
        yield from ((suffix, first, second) for first, second in combinations(ranked, 2))


def noise_summary(found: Mapping[str, Sequence[NoisePoint]], groups: Sequence[str]) -> dict[str, float]:
    """Root mean square over organs of bias and SD over noise, of each method as it is evaluated."""
    numbers: dict[str, float] = {}
    for method, points in found.items():
        for point in (p for p in points if p.evaluated):
            for m, group in enumerate(groups):
                numbers[f"test/noise_sd/{method}/{group}"] = root_mean_square(point.sd[m])
                numbers[f"test/noise_bias/{method}/{group}"] = root_mean_square(point.bias[m])
    return numbers


def _median(values: Tensor) -> float:
    """Median of what is known; NaN if nothing is."""
    known = values[torch.isfinite(values)]
    return float(known.quantile(0.5)) if len(known) else torch.nan
