"""Whether images look like truths: spectrum, total variation, and distance in features of a network.

NRMSE cannot see it, since the image of least error is smoother than any truth. Metrics:
``hspi_learn/metrics/power_spectrum.py`` and ``frechet.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.core.parallel import on_all_cores
from hspi_learn.data import KeptTensors, fingerprint
from hspi_learn.evaluation.judge import Judge
from hspi_learn.evaluation.reconstruction import ReconstructionOutcome
from hspi_learn.metrics import (
    Interval,
    frechet_distance,
    high_frequency_share,
    mean_interval,
    paired_interval,
    reduce_scans,
    regional_means,
    total_variation,
)
from hspi_learn.networks import TextureFeatures, trained_features
from hspi_learn.reconstructor import ScanBatch, body_mean, nonzero, scan_body

STEPS = 600
"""Updates of the network whose features are compared; chosen."""

LEAST_VOLUMES = 32
"""Truths that such a network is trained on at least; from fewer there is no Frechet distance. Chosen."""

GROUPS = 10
"""Of mice, each left out once for the interval of a difference of distances; chosen."""

CODE_VERSION = 1
"""Raised whenever features change, so that kept networks are trained again."""


class Truths(NamedTuple):
    """True activities, what they are in, and what a network learns to tell of them."""

    activity: Tensor
    """[sample, map, z, y, x] in Bq per voxel."""
    body: Tensor
    """[sample, 1, z, y, x], bool."""
    targets: Tensor
    """[sample, target]: logarithms of the mean of each organ over that of the body, by map, and the logarithm
    of 1 + the tumours' voxels. NaN where there is no such organ."""

    @classmethod
    def of(cls, judge: Judge, scans: Iterable[ScanBatch]) -> Truths:
        """The truths of some batches of scans."""
        parts = [_truths(judge, batch) for batch in scans]
        return cls(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _truths(judge: Judge, batch: ScanBatch) -> Truths:
    body = scan_body(batch.density)
    relative = batch.activity / nonzero(body_mean(batch.activity, body))
    organs = regional_means(relative, batch.labels, len(judge.organs))[..., 1:]
    tumour = judge.lesion(batch.labels).flatten(1).sum(dim=1, keepdim=True)
    targets = torch.cat((organs.clamp_min(1e-3).log().flatten(1), torch.log1p(tumour.float())), dim=1)
    return Truths(batch.activity, body, targets)


@dataclass(frozen=True)
class TruthReference:
    """Features of truths, and the network that tells them.

    Args:
        network: trained on the truths.
        features: of the truths [sample, feature].
    """

    network: TextureFeatures
    features: Tensor

    @classmethod
    def of(cls, truths: Truths, kept: KeptTensors) -> TruthReference | None:
        """The reference of some truths, trained once for a data set; None from fewer than 32.

        The training takes one thread and has a seed of its own: the same truths give the same features.

        Args:
            truths: what is learned from, none of it shown to a method as a test.
            kept: where networks of this data set are kept.
        """
        if len(truths.activity) < LEAST_VOLUMES:
            return None

        def make() -> dict[str, Tensor]:
            network = next(on_all_cores(lambda t: trained_features(*t, steps=STEPS), [truths]))
            return network.state_dict()

        weights = kept.find_or_make(fingerprint(*truths), make)
        network = TextureFeatures(truths.activity.shape[1], truths.targets.shape[1])
        network.load_state_dict(weights)
        network.eval().requires_grad_(False)
        return cls(network, network.features(truths.activity, truths.body))

    def of_images(self, images: Tensor, body: Tensor) -> Tensor:
        """Features of images [sample, map, z, y, x] in their bodies [sample, 1, z, y, x]."""
        return self.network.features(images.float(), body)

    def distance(self, images: Tensor, body: Tensor) -> float:
        """Frechet distance of images [sample, map, z, y, x] to the truths."""
        return frechet_distance(self.of_images(images, body), self.features)


def texture_numbers(outcome: ReconstructionOutcome, reference: TruthReference | None) -> dict[str, float]:
    """Texture by name, of clean scans with all counts, for each method that did not fail.

    ``test/power_ratio/METHOD`` is the share of power above a quarter cycle per voxel over that of the truth,
    ``test/total_variation/METHOD`` total variation over sum, over that of the truth: medians over mice of the
    mean over maps; 1 is ideal. ``test/frechet/METHOD`` is the Frechet distance to training truths, and
    ``test/frechet/truth`` that of the test truths themselves: the floor. ``test/frechet_difference`` and
    ``test/power_ratio_difference/A_minus_B`` have 95 % intervals over mice, of the distance by jackknife.
    """
    body = scan_body(outcome.density)
    images = {m: outcome.predictions[m] for m in outcome.ranked}
    shares, variations = (
        {m: of(maps, body) for m, maps in {"truth": outcome.truths, **images}.items()}
        for of in (high_frequency_share, total_variation)
    )
    numbers = {
        "test/high_frequency_share/truth": _median(shares["truth"]),
        "test/variation_over_sum/truth": _median(variations["truth"]),
    }
    for method in images:
        numbers[f"test/power_ratio/{method}"] = _median(shares[method] / shares["truth"])
        numbers[f"test/total_variation/{method}"] = _median(variations[method] / variations["truth"])
    competing = [m for m in outcome.competing if m in images]
    for a, b in combinations(competing, 2):
        one, other = ((shares[m] / shares["truth"]).nanmean(dim=1) for m in (a, b))
        numbers |= _interval(f"test/power_ratio_difference/{a}_minus_{b}", paired_interval(one, other))
    return numbers if reference is None else numbers | _distances(outcome, images, competing, body, reference)


def _distances(
    outcome: ReconstructionOutcome,
    images: Mapping[str, Tensor],
    competing: Sequence[str],
    body: Tensor,
    reference: TruthReference,
) -> dict[str, float]:
    """Frechet distances, and differences of them with intervals over mice."""
    numbers = {"test/frechet_volumes": float(len(reference.features))}
    features = {m: reference.of_images(maps, body) for m, maps in {"truth": outcome.truths, **images}.items()}
    for method, own in features.items():
        numbers[f"test/frechet/{method}"] = frechet_distance(own, reference.features)
    values = {m: _jackknife(features[m], reference.features) for m in competing}
    for a, b in combinations(competing, 2):
        numbers |= _interval(f"test/frechet_difference/{a}_minus_{b}", mean_interval(values[a] - values[b]))
    return numbers


def _jackknife(features: Tensor, truths: Tensor) -> Tensor:
    """Pseudo-values of a Frechet distance [group], each without a tenth of the mice; none with few mice.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 11. What a distance owes to
    the number of mice cancels in them.
    """
    if len(features) < 2 * GROUPS:
        return features.new_zeros(0)
    group = torch.arange(len(features)) % GROUPS
    whole = frechet_distance(features, truths)
    left = torch.tensor([frechet_distance(features[group != g], truths) for g in range(GROUPS)])
    return GROUPS * whole - (GROUPS - 1) * left


def _interval(key: str, found: Interval) -> dict[str, float]:
    return {key: found.value, f"{key}/low": found.low, f"{key}/high": found.high}


def _median(values: Tensor) -> float:
    """Median over mice of the mean over maps."""
    return float(reduce_scans(values.nanmean(dim=1), "median")) if values.numel() else math.nan
