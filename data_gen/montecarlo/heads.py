"""Collimator, crystal and electronics of panels that are alike, and which panel a photon comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.detector import CdTeResponse
from data_gen.montecarlo.charge import ChargeModel
from data_gen.montecarlo.crystal import Crystal
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.photons import Photons, together
from data_gen.montecarlo.transport import Collimator


@dataclass(frozen=True)
class Head:
    """Panels of one stop that are alike in their own coordinates, so that photons at all of them are
    followed together."""

    panels: tuple[Panel, ...]
    numbers: tuple[int, ...]
    """Of these panels among those of the stop."""
    collimator: Collimator
    crystal: Crystal
    charge: ChargeModel

    def local(self, photons: Photons, owner: Tensor) -> Photons:
        """Photons in space that come to these panels, each in its panel's coordinates."""
        pairs = zip(self.numbers, self.panels, strict=True)
        return together([panel.local(photons.take(owner == number)) for number, panel in pairs])


def heads(panels: Sequence[Panel], metal: Medium, crystal: Medium, response: CdTeResponse) -> list[Head]:
    """All heads of the panels of a stop."""
    groups: list[list[int]] = []
    for number, panel in enumerate(panels):
        like = next((g for g in groups if panels[g[0]].same_shape(panel)), None)
        if like is None:
            groups.append([number])
        else:
            like.append(number)
    return [
        Head(
            tuple(panels[k] for k in group),
            tuple(group),
            Collimator(panels[group[0]], metal),
            Crystal(panels[group[0]], crystal),
            ChargeModel(response, panels[group[0]]),
        )
        for group in groups
    ]


def owning_panel(panels: Sequence[Panel], photons: Photons) -> Tensor:
    """Number of the panel whose detector each ray meets, or else whose plate it comes to first; -1: none."""
    owner = torch.full_like(photons.line, -1)
    nearest = torch.full_like(photons.weight, torch.inf)
    for number, panel in enumerate(panels):
        local = panel.local(photons)
        outwards = local.way[:, 2] > 1e-9
        run = (panel.plane_mm - panel.half_plate_mm - local.place[:, 2]) / local.way[:, 2].clamp_min(1e-9)
        hits = panel.to_crystal_mm(local.place, local.way).isfinite()
        run = torch.where(hits, -torch.inf, run.clamp_min(0))
        closer = outwards & (run < nearest)
        owner, nearest = torch.where(closer, number, owner), torch.where(closer, run, nearest)
    return owner
