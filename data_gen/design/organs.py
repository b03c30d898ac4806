"""The design task of a mouse: the uptake of one organ, estimated together with those around it."""

from __future__ import annotations

from collections.abc import Sequence

from data_gen.core.events import Frame
from data_gen.design.task import RegionalTask, regional_task, surroundings
from data_gen.nuclides import DecayChain, MemberGroups
from data_gen.phantoms import ORGANS, ScannedObject
from data_gen.phantoms.biodistribution import checked_organ


def organ_task(
    phantom: ScannedObject,
    chain: DecayChain,
    groups: MemberGroups,
    wanted: str,
    organs: Sequence[str],
    injected_bq: float,
    start_s: float,
    duration_s: float,
) -> RegionalTask:
    """Uptakes of an organ, of four quarters of the tissue around it, of other organs and of all the rest.

    Args:
        phantom: one mouse.
        chain: decay chain of the injected nuclide.
        groups: which chain members share an activity map.
        wanted: the organ whose uptake is to be estimated precisely.
        organs: nuisance regions with uptakes of their own.
        injected_bq: activity at time 0.
        start_s: start of the scan, after injection.
        duration_s: duration of the scan.

    Raises:
        UserError: an unknown organ, or one without activity.
    """
    own = phantom.labels == ORGANS.index(checked_organ("wanted", wanted))
    others = {name: phantom.labels == ORGANS.index(checked_organ("organs", name)) for name in organs}
    return regional_task(
        phantom.mean_activity(chain, groups, injected_bq, Frame(start_s, duration_s)),
        tuple(groups.members),
        {wanted: own, **surroundings(own, f"beside_{wanted}"), **others},
        phantom.density,
        duration_s,
        wanted,
    )
