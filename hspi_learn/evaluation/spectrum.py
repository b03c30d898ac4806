"""Expected spectrum (counts per bin) of a scan by the forward model of its true activity, and labels of its
lines.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.core.grid import EnergyBins
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.nuclides import photon_lines
from hspi_learn.visual import LineLabel


@torch.no_grad()
def expected_spectrum(
    model: HyperspectralForwardModel,
    bins: EnergyBins,
    activity: Tensor,
    attenuation: ObjectState,
    duration_s: float,
) -> Tensor:
    """Expected counts of the whole camera [bin], background included.

    Args:
        model: forward model, whatever its own energy windows.
        bins: fine energy bins to compute the spectrum in.
        activity: activity of one scan, [1, map, z, y, x] in Bq per voxel.
        attenuation: object state of the same scan.
        duration_s: measured time in s.
    """
    return duration_s * model.with_energy_bins(bins).spectrum(activity, attenuation)[0]


def line_labels(model: HyperspectralForwardModel) -> list[LineLabel]:
    """The lines of the members that the model transports, ranked by photons per decay of the head."""
    weights = model.groups.weights.sum(1)
    labels = []
    for member, weight in zip(model.chain.members, weights.tolist(), strict=True):
        for line in photon_lines(member) if weight > 0 else ():
            text = (
                f"{line.energy_kev:.0f} K X-ray"
                if line.kind == "xray"
                else f"{line.nuclide} {line.energy_kev:.0f}"
            )
            labels.append(LineLabel(line.energy_kev, text, line.photons_per_decay * weight))
    return labels
