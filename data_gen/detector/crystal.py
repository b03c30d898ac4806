"""Everything that photons may do in the crystal after they came to interact in it."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.detector.charge import ChargeTransport
from data_gen.detector.compton import compton_events
from data_gen.detector.cross_sections import crystal_tables
from data_gen.detector.events import Events
from data_gen.detector.flight import Block
from data_gen.detector.photoelectric import photoelectric_events


def crystal_events(material: str, energy_kev: Tensor, charge: ChargeTransport) -> tuple[Events, ...]:
    """Events of photons [line] that first interact in the middle of 3x3 pixels, by kind.

    Probabilities of all kinds together sum to 1 per line.
    """
    reach = 4 * charge.cloud_at_anode_mm(torch.zeros_like(charge.thickness_mm))
    block = Block(charge.thickness_mm, 3 * charge.pitch_mm, reach)
    share = crystal_tables(material).photoelectric_share(energy_kev)
    absorbed = photoelectric_events(material, energy_kev, block, charge)
    scattered = compton_events(material, energy_kev, block, charge)
    return (
        *(kind.weighted(share) for kind in absorbed),
        *(kind.weighted(1 - share) for kind in scattered),
    )
