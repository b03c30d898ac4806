"""Losses of segmentations by hand and by MONAI, on a few voxels."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.losses import DiceCrossEntropy, dice_cross_entropy, multi_scale_l1

TRUE = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
PREDICTED = torch.tensor([[0.5, 1.0, 0.25, 0.0], [0.25, 0.0, 0.5, 0.0], [0.25, 0.0, 0.25, 1.0]])


def scan_of(columns: Tensor) -> Tensor:
    """Three classes on a line of four voxels."""
    return columns.reshape(1, 3, 1, 1, 4)


def test_dice_and_cross_entropy_by_hand() -> None:
    """Dice losses 1 - 2 x 0.5 / (0.75 + 1) = 3/7 and 1 - 2 / 2.5 = 1/5 of two organs, and 1 - 2 x 1.5 /
    3.75 = 1/5 of the background; cross entropy (ln 2 + 0 + ln 2 + 0) / 4. 1e-4, by MONAI's smoothing."""
    dices, entropy = {False: (3 / 7 + 1 / 5) / 2, True: (3 / 7 + 1 / 5 + 1 / 5) / 3}, math.log(2) / 2
    for background, by_hand in dices.items():
        found = dice_cross_entropy(scan_of(PREDICTED), scan_of(TRUE), 2.0, 3.0, background)
        assert found.shape == (1,)
        assert float(found) == pytest.approx(2 * by_hand + 3 * entropy, rel=1e-4)
    view: Any = SimpleNamespace(truth=scan_of(TRUE))
    loss = DiceCrossEntropy(dice_weight=1.0, cross_entropy_weight=0.0)
    assert float(loss(scan_of(PREDICTED), None, view)) == pytest.approx(dices[False], rel=1e-4)


def test_it_is_the_sum_that_monai_trains_on() -> None:
    """MONAI's DiceCELoss of the logits, scan by scan, and its gradient; 1e-5."""
    from monai.losses.dice import DiceCELoss

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 4, 5, generator=generator).requires_grad_()
    classes = torch.randint(4, (2, 3, 4, 5), generator=generator)
    truth = torch.nn.functional.one_hot(classes, 4).movedim(-1, 1).float()
    theirs = DiceCELoss(softmax=True, include_background=False)
    found = dice_cross_entropy(logits.softmax(1), truth)
    wanted = torch.stack([theirs(logits[i : i + 1], truth[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    (ours,), (monai,) = (torch.autograd.grad(of.sum(), logits) for of in (found, wanted))
    torch.testing.assert_close(ours, monai, rtol=1e-4, atol=1e-7)


def test_a_certain_error_keeps_its_gradient() -> None:
    """A probability of 0 where the truth has the class is dear, finite, and has a slope."""
    logits = torch.tensor([[60.0] * 4, [-20.0] * 4, [-20.0] * 4], requires_grad=True)
    loss = dice_cross_entropy(scan_of(logits.softmax(0)), scan_of(TRUE))
    assert bool(torch.isfinite(loss.detach()))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient[1, 2]) < 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dice_weight": -1.0}, "dice_weight is -1.0"),
        ({"cross_entropy_weight": float("inf")}, "cross_entropy_weight is inf"),
        ({"dice_weight": 0.0, "cross_entropy_weight": 0.0}, "are both 0"),
    ],
)
def test_weights_that_mean_nothing(settings: dict[str, float], told: str) -> None:
    with pytest.raises(UserError, match=told):
        DiceCrossEntropy(**settings)


def test_multi_scale_distance_by_hand() -> None:
    """Mean absolute differences 1.5 and 6 of two scales, whatever their sizes: 3.75."""
    fine = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [-1.0, 0.0]])
    coarse = torch.tensor([[3.0]]), torch.tensor([[-3.0]])
    assert float(multi_scale_l1((fine[0], coarse[0]), (fine[1], coarse[1]))) == pytest.approx(3.75)
