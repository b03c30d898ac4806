"""What is computed again gives the same numbers and gradients as what is kept."""

import pytest
import torch

from data_gen.core.autograd import recomputed


@pytest.mark.parametrize(("needed", "calls"), [(True, 2), (False, 1)])
def test_same_values_and_gradients(needed, calls):
    """Equal bit by bit to the plain call; the function runs a second time only if it is not kept."""
    ran = []

    def waves(x):
        ran.append(x)
        return (x * x.sin()).exp()

    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    again = recomputed(waves, x, needed=needed)
    (slope,) = torch.autograd.grad(again.sum(), x)
    assert len(ran) == calls
    assert torch.equal(again, waves(x))
    assert torch.equal(slope, torch.autograd.grad(waves(x).sum(), x)[0])


def test_without_gradients_it_is_the_plain_call():
    """Where no gradient can be asked for nothing is prepared for one."""
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not recomputed(torch.exp, x, needed=True).requires_grad
