"""What every detector response must hold to, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from data_gen.detector import DetectorResponse


def at(*energies: float) -> torch.Tensor:
    return torch.tensor(energies, dtype=torch.float64)


class DetectorContract:
    """Subclasses give ``response``."""

    response: Callable[[], DetectorResponse]

    def test_shapes(self) -> None:
        """[offset, line, bin] in float64, whatever the type of the edges; losses [line]."""
        response, edges = self.response(), torch.tensor([20.0, 100.0, 200.0, 600.0])
        kernel = response.kernel(torch.tensor([82.0, 218.0]), edges)
        assert kernel.shape == (len(response.offsets), 2, 3)
        assert kernel.dtype == torch.float64
        assert all(
            lost.shape == (2,) for lost in response.losses(torch.tensor([82.0, 218.0]), edges).values()
        )

    @pytest.mark.parametrize(
        ("low", "high", "bins"), [(20.0, 600.0, 58), (0.0, 1.0, 1), (70.0, 90.0, 7), (2000.0, 3000.0, 3)]
    )
    def test_bins_and_losses_sum_to_one(self, low: float, high: float, bins: int) -> None:
        """Every photon is accounted for, on any axis: 1 within 1e-6 at 20 to 2700 keV, nothing negative."""
        energies = at(20.0, 82.0, 440.0, 2700.0)
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        kernel, losses = self.response().kernel(energies, edges), self.response().losses(energies, edges)
        assert (kernel >= 0).all()
        assert all((lost >= -1e-12).all() for lost in losses.values())
        total = kernel.sum((0, 2)) + torch.stack(list(losses.values())).sum(0)
        assert total.tolist() == pytest.approx([1.0] * len(energies), abs=1e-6)

    def test_windows_are_sums_of_fine_bins(self) -> None:
        """Within 1e-7 of a photon."""
        fine, windows = (
            torch.linspace(0, 600, 601, dtype=torch.float64),
            at(5.0, 9.0, 30.0, 70.0, 100.0, 600.0),
        )
        energies = at(25.0, 218.0)
        within = self.response().kernel(energies, fine).sum(0).cumsum(1)
        cumulative = torch.nn.functional.pad(within, (1, 0))
        coarse = self.response().kernel(energies, windows).sum(0)
        assert torch.allclose(coarse, cumulative[:, windows.long()].diff(dim=1), atol=1e-7, rtol=0)

    def test_offsets_are_symmetric(self) -> None:
        """Mirror images alike: as much goes one step left as right, up as down."""
        response = self.response()
        whole = response.kernel(at(82.0, 440.0), at(0.0, 1000.0))[..., 0]
        share = dict(zip(response.offsets, whole, strict=True))
        for (row, column), there in share.items():
            assert torch.allclose(there, share[-row, column])
            assert torch.allclose(there, share[column, row])
