"""A filter behind a method: its gain in closed form, what it keeps, and what it is matched to."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.classical import Sharpened
from hspi_learn.metrics import radial_power

N = 12
BODY = torch.ones(1, 1, N, N, N, dtype=torch.bool)


class Image:
    """One image, whatever the counts, with a gradient in them."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    def reconstruct(self, projections: Tensor, context: Any) -> Tensor:
        return self.image * projections.sum() / 2


class Context:
    """As much of a scan's context as the filter looks at."""

    def __init__(self, body: Tensor) -> None:
        self.body = body


COUNTS = torch.full((1, 2, 1), 1.0)


def hot_spot(sd: float) -> Tensor:
    """A Gaussian in the middle of the grid, summing to 1, [1, 1, z, y, x]."""
    at = torch.arange(N, dtype=torch.float64) - N / 2
    line = torch.exp(-0.5 * (at / sd) ** 2)
    cube = line[:, None, None] * line[:, None] * line
    return (cube / cube.sum())[None, None].float()


def test_a_gain_of_one_changes_nothing() -> None:
    image = torch.rand(2, 2, N, N, N, generator=torch.Generator().manual_seed(0))
    same = Sharpened(Image(image), torch.ones(2, 5)).filtered(image, BODY)
    torch.testing.assert_close(same, image, rtol=1e-5, atol=1e-6)


def test_a_gaussian_gain_narrows_a_gaussian() -> None:
    """A spot of 1.6 voxels (SD) filtered by exp(2 pi^2 f^2 (1.6^2 - 1.3^2)) is one of 1.3 voxels: Fourier
    transforms of Gaussians; 4 % of the peak, as the gain is interpolated between shells."""
    shells = torch.arange(math.ceil(N * math.sqrt(3) / 2) + 1, dtype=torch.float64) / N
    gain = torch.exp(2 * math.pi**2 * shells**2 * (1.6**2 - 1.3**2)).clamp_max(30)
    found = Sharpened(Image(hot_spot(1.6)), gain[None].float()).filtered(hot_spot(1.6), BODY)
    wanted = hot_spot(1.3)
    assert float((found - wanted).abs().max()) < 0.04 * float(wanted.max())


def test_nothing_is_negative_no_activity_is_lost_and_the_body_is_kept() -> None:
    """A strong gain makes rings below 0, which are cut; each map still sums to what it did, all of it in the
    body, and nothing comes in from the other side of the grid."""
    image = torch.rand(1, 2, N, N, N, generator=torch.Generator().manual_seed(0)) ** 6
    body = BODY.clone()
    body[..., :4] = False
    gain = torch.stack((torch.linspace(1, 6, 11), torch.linspace(1, 0.2, 11)))
    found = Sharpened(Image(image), gain).filtered(image, body)
    assert bool((found >= 0).all())
    assert bool((found[..., :4] == 0).all())
    torch.testing.assert_close(found.sum((2, 3, 4)), (image * body).sum((2, 3, 4)), rtol=1e-5, atol=0)
    edge = torch.zeros(1, 1, N, N, N)
    edge[..., 0] = 1.0
    assert float(Sharpened(Image(edge), gain[1:]).filtered(edge, BODY)[..., -3:].max()) < 5e-3


def test_it_is_matched_to_the_spectrum_of_truths() -> None:
    """Blurred spots of two maps, one blurred more: after the filter the power of shells that hold some is the
    truth's to 15 %, of each map by its own gain; seven times the spots in another place come out alike, to
    20 %, since other rings are cut."""
    truth = torch.cat((hot_spot(1.0), hot_spot(1.2)), dim=1)
    blurred = torch.cat((hot_spot(1.5), hot_spot(1.4)), dim=1)
    context: Any = Context(BODY)
    sharp = Sharpened.matched(Image(blurred), [(COUNTS, truth, context)])
    assert sharp.gain[:, 0].tolist() == pytest.approx([1.0, 1.0])
    assert float(sharp.gain[0, 3]) == pytest.approx(
        math.exp(2 * math.pi**2 * (3 / N) ** 2 * (1.5**2 - 1)), rel=0.2
    )
    found = sharp.reconstruct(COUNTS, context)
    power, wanted, before = (radial_power(maps, BODY)[0] for maps in (found, truth, blurred))
    held = wanted > 0.02
    held[:, 0] = False
    assert int(held.sum()) >= 6
    assert float((power / wanted - 1)[held].abs().max()) < 0.15
    assert float((before / wanted - 1)[held].abs().max()) > 0.5
    other: Any = Image(7 * blurred.roll((1, -1), (2, 4)))
    moved = Sharpened(other, sharp.gain).reconstruct(COUNTS, context)
    torch.testing.assert_close(radial_power(moved, BODY), radial_power(found, BODY), rtol=0.2, atol=1e-3)


@pytest.mark.slow
def test_gradients_reach_the_counts() -> None:
    """Against central differences, float64, 1e-6."""
    method = Sharpened(Image(hot_spot(1.6).double()), torch.linspace(1, 3, 11, dtype=torch.float64)[None])
    context: Any = Context(BODY)
    counts = COUNTS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: method.reconstruct(c, context), counts)


def test_an_empty_image_stays_empty() -> None:
    """And is no reason for NaN, in an image or in the gain."""
    empty: Any = Image(torch.zeros(1, 1, N, N, N))
    context: Any = Context(BODY)
    sharp = Sharpened.matched(empty, [(COUNTS, hot_spot(1.0), context)])
    assert bool(torch.isfinite(sharp.gain).all())
    assert float(sharp.reconstruct(COUNTS, context).abs().max()) == 0


def test_without_scans_there_is_nothing_to_match() -> None:
    with pytest.raises(UserError, match="sharpening got no validation scans"):
        Sharpened.matched(Image(hot_spot(1.0)), [])
