"""Split-conformal intervals of the activity of organs and tumours: how far off a method was on subjects whose
truth is known says how wide its intervals have to be.

The score of a subject is |estimate - truth| / scale; the interval of a new one is estimate +- q scale, where
q is a quantile of the scores with a correction for their finite number. If the new subject is exchangeable
with those of the calibration, the interval holds the truth with the wanted chance or a little more, whatever
the method and its errors are, on average over calibrations and subjects. It promises nothing for one kind of
subject, nor where the new ones differ (other counts, another camera or species). Sources: Vovk et al.,
Algorithmic Learning in a Random World (2005); Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.errors import UserError
from hspi_learn.data import fingerprint
from hspi_learn.io.atomic import write_json

FORMAT = "hspi-learn conformal calibration 1"

RELATIVE_SCALE = 0.1
"""Relative error of an estimate from many counts, for its scale; a quantile mends a wrong one; chosen."""


def conformal_quantile(scores: Tensor, level: float) -> float:
    """The k-th smallest of n scores, k = ceil((n + 1) level); infinite if k exceeds n.

    Args:
        scores: of n subjects, [n]; NaN for a subject without a score.
        level: chance of an interval to hold the truth, over 0 and under 1.

    Raises:
        UserError: a level out of its range.
    """
    if not 0 < level < 1:
        raise UserError(f"level is {level}; it needs to be over 0 and under 1, as 0.9")
    known = scores[~torch.isnan(scores)].double().sort().values
    # What rounding adds to a product that is a whole number must not lead to the next one.
    k = math.ceil((len(known) + 1) * level - 1e-9)
    return float(known[k - 1]) if k <= len(known) else math.inf


def binomial_interval(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a chance (Clopper and Pearson, Biometrika 26 (1934) 404), by scipy."""
    found = binomtest(hits, trials).proportion_ci(level, "exact")
    return float(found.low), float(found.high)


def predicted_scale(estimate: Tensor, total: Tensor, counts: Tensor) -> Tensor:
    """How far off an estimate may be as the image itself tells, in its unit: a tenth of the estimate and the
    Poisson noise of the counts that are its share, sqrt(0.1^2 + 1 / n) of it.

    Args:
        estimate: activity of regions, [scan, map, region].
        total: of the whole image, all maps together, [scan].
        counts: of each scan, [scan].
    """
    share = estimate / total.clamp_min(torch.finfo(total.dtype).tiny)[:, None, None]
    expected = (counts[:, None, None] * share).clamp_min(torch.finfo(share.dtype).tiny)
    return estimate * (RELATIVE_SCALE**2 + 1 / expected).sqrt()


def regional_sums(activity: Tensor, regions: Tensor, size: int) -> Tensor:
    """Activity of regions 0, 1, ..., size - 1, [scan, map, region] float64.

    Args:
        activity: [scan, map, z, y, x].
        regions: number of the region of each voxel, [scan, z, y, x] int64.
        size: number of regions.
    """
    inside = functional.one_hot(regions.flatten(1), size).double()
    return torch.einsum("smv,svr->smr", activity.flatten(2).double(), inside)


def conformal_scores(estimate: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """|estimate - truth| / scale; NaN where there is no truth (0), infinite where there is no scale."""
    score = (estimate - truth).abs() / scale
    score = torch.where(torch.isfinite(score), score, torch.inf)
    return torch.where(truth > 0, score, torch.nan)


@dataclass(frozen=True)
class Calibration:
    """Quantiles from which the intervals of trained methods follow, as a file keeps them.

    Args:
        level: chance of an interval to hold the truth.
        subjects: of the calibration.
        quantiles: by method (a name, its weights' hash is in ``weights``), map and organ.
        weights: hash of each method's weights.
    """

    level: float
    subjects: int
    quantiles: Mapping[str, Mapping[str, Mapping[str, float]]]
    weights: Mapping[str, str]

    def of_network(self, network: nn.Module, source: str) -> dict[str, dict[str, float]]:
        """The quantiles of a network, by map and organ.

        Raises:
            UserError: it is none of those that were calibrated.
        """
        own = weights_hash(network)
        for name, weights in self.weights.items():
            if weights == own:
                return {group: dict(of) for group, of in self.quantiles[name].items()}
        raise UserError(
            f"{source} holds intervals of {', '.join(self.weights)}, whose weights are others than those of "
            "this run; it needs a calibration of the run itself"
        )

    def write(self, path: Path) -> None:
        """Write as JSON; an infinite quantile is null."""
        finite = {
            method: {m: {o: q if math.isfinite(q) else None for o, q in of.items()} for m, of in maps.items()}
            for method, maps in self.quantiles.items()
        }
        about = {"format": FORMAT, "level": self.level, "subjects": self.subjects}
        write_json(path, {**about, "quantiles": finite, "weights_blake2": dict(self.weights)})

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read what :meth:`write` wrote.

        Raises:
            UserError: the file is missing or something else.
        """
        try:
            found: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"calibration is {path}, which cannot be read as JSON ({error})") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise UserError(f"calibration is {path}, which is no {FORMAT}; hspi-evaluate writes one")
        try:
            quantiles = {
                str(method): {
                    str(m): {str(o): math.inf if q is None else float(q) for o, q in of.items()}
                    for m, of in maps.items()
                }
                for method, maps in found["quantiles"].items()
            }
            weights = {str(method): str(value) for method, value in found["weights_blake2"].items()}
            return cls(float(found["level"]), int(found["subjects"]), quantiles, weights)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise UserError(f"calibration is {path}, which is damaged ({error!r}); make it again") from error


def weights_hash(network: nn.Module) -> str:
    """Hash of all weights of a network."""
    return fingerprint(*(value.detach().cpu() for value in network.state_dict().values()))


def interval(estimate: float, scale: float, quantile: float) -> tuple[float, float]:
    """Ends of an interval in the estimate's unit, 0 or more; without an upper end where the quantile is
    infinite."""
    if not math.isfinite(quantile):
        return 0.0, math.inf
    return max(0.0, estimate - quantile * scale), estimate + quantile * scale


def coverage(scores: Tensor, quantile: float) -> tuple[int, int]:
    """How many of the subjects that have a score lie inside of their interval, and how many there are."""
    known = scores[~torch.isnan(scores)]
    return int((known <= quantile).sum()), len(known)


def organ_quantiles(
    scores: Tensor, groups: Sequence[str], organs: Sequence[str], level: float
) -> dict[str, dict[str, float]]:
    """Quantiles by map and organ, of scores [subject, map, organ]; organs without a score are left out."""
    return {
        group: {
            organ: conformal_quantile(scores[:, m, o], level)
            for o, organ in enumerate(organs)
            if not bool(scores[:, m, o].isnan().all())
        }
        for m, group in enumerate(groups)
    }
