"""The numbers of an evaluation as one flat dictionary, name to value, as ``metrics.json`` keeps it.

NRMSE, bias and slope are dimensionless (``hspi_learn/metrics``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from hspi_learn.evaluation.judge import Scores
from hspi_learn.evaluation.noise import NoisePoint, root_mean_square
from hspi_learn.evaluation.reconstruction import ReconstructionOutcome
from hspi_learn.evaluation.study import CLEAN, FULL, Condition, Outcome
from hspi_learn.metrics import (
    UptakeDependence,
    paired_interval,
    reduce_scans,
    relative_bias,
    uptake_dependence,
)


def summary(
    outcome: ReconstructionOutcome, groups: Sequence[str], organs: Sequence[str], tumour: str = "tumour"
) -> dict[str, float]:
    """Metrics by name.

    ``test/nrmse/METHOD`` is the median over mice of the mean over activity maps (groups); ``nrmse_mean`` and
    ``nrmse_worst`` stand beside it, ``METHOD_ATTACK`` is the method under an attack (``nrmse_unattacked`` is
    clean on those mice), ``nrmse_at_0.3`` is at that share of the counts, and ``METHOD/GROUP`` is one group.
    """
    numbers: dict[str, float] = {"test/mice": float(len(outcome.truths))}
    for condition, by_method in outcome.scores.items():
        for method, scores in by_method.items():
            numbers |= _errors(condition, method, scores, groups)
    for kind in outcome.attacks[:1]:
        for method, scores in outcome.scores[Condition(1.0, kind)].items():
            same = outcome.scores[FULL][method].of_first(len(scores.nrmse)).scan_nrmse
            numbers[f"test/nrmse_unattacked/{method}"] = float(reduce_scans(same, "median"))
            numbers["test/mice_attacked"] = float(len(same))
    for method, scores in outcome.scores[FULL].items():
        numbers |= _regional(method, scores, outcome.truth_regions, groups, organs, tumour)
    return numbers | attack_numbers(outcome) | _differences(outcome)


def attack_numbers(outcome: Outcome) -> dict[str, float]:
    """What attacks did: medians of the objective, and shares of samples whose value is no worst case.

    ``test/attack_value/METHOD_ATTACK`` is the objective under attack and ``attack_value_clean`` the same
    samples' before; ``attack_masked`` is the share that no gradient reached, ``attack_not_converged`` the
    share for which more steps may find worse.
    """
    numbers: dict[str, float] = {}
    for condition, by_method in outcome.attacked.items():
        for method, record in by_method.items():
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
    level = truth.flatten(1).nanmean(dim=1)[:, None, None]
    return uptake_dependence(scores.regions / level, truth / level)


def _differences(outcome: Outcome) -> dict[str, float]:
    """Paired differences in NRMSE between methods with 95 % bootstrap intervals over mice."""
    numbers: dict[str, float] = {}
    for condition, by_method in outcome.scores.items():
        suffix = "" if condition.kind == CLEAN else f"_{condition.kind}"
        if condition.fraction != 1:
            continue
        for first, second in combinations(by_method, 2):
            found = paired_interval(by_method[first].scan_nrmse, by_method[second].scan_nrmse)
            key = f"test/nrmse_difference{suffix}/{first}_minus_{second}"
            numbers |= {key: found.value, f"{key}/low": found.low, f"{key}/high": found.high}
    return numbers


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
