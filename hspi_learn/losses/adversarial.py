"""Adversarial losses of discriminator and generator, from scores of patches (no unit).

Least squares: Mao et al., ICCV 2017 (LSGAN). Hinge: Lim and Ye, arXiv:1705.02894.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from data_gen.core.autograd import in_full_precision

AdversarialKind = Literal["least_squares", "hinge"]


@in_full_precision
def discriminator_loss(real: Tensor, fake: Tensor, kind: AdversarialKind = "least_squares") -> Tensor:
    """What the discriminator lowers: truth should score 1 (or above), estimates 0 (hinge: below -1)."""
    if kind == "hinge":
        return 0.5 * ((1 - real).relu().mean() + (1 + fake).relu().mean())
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


@in_full_precision
def generator_loss(fake: Tensor, kind: AdversarialKind = "least_squares") -> Tensor:
    """What the generator lowers: its estimates should score as the truth does."""
    return -fake.mean() if kind == "hinge" else (fake - 1).square().mean()
