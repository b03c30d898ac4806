"""What is read from the image of one scan without knowing its truth: lesions, and organs in outlines."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import LesionActivities
from hspi_learn.evaluation.conformal import Calibration, interval, predicted_scale, regional_sums
from hspi_learn.evaluation.judge import OUTSIDE
from hspi_learn.evaluation.tables import Cell, Table


def lesion_table(model: HyperspectralForwardModel, lesions: LesionActivities) -> Table:
    """A row for each lesion and map: place in mm, volume, activity in Bq with SD and interval, and flags.

    The concentration is the activity over the volume of the outline. The activity is corrected for partial
    volume and the volume is not, so that the concentration of a lesion smaller than about twice the
    resolution is too low.
    """
    found, rows = lesions.estimates, list[tuple[Cell, ...]]()
    for number, (centre, volume) in enumerate(
        zip(lesions.centre_mm.tolist(), lesions.volume_mm3.tolist(), strict=True)
    ):
        for m, group in enumerate(model.groups.names):
            value, sd, low, high = (
                float(column[number, m]) for column in (found.value, found.sd, found.low, found.high)
            )
            flags = [] if bool(found.identifiable[number, m]) else ["not identifiable"]
            flags += [] if found.converged else ["not converged"]
            about = (str(number + 1), group, *centre, volume, value, sd, low, high)
            rows.append((*about, 1e3 * value / volume, "; ".join(flags)))
    columns = ("lesion", "map", "x_mm", "y_mm", "z_mm", "volume_mm3", "activity_bq", "sd_bq")
    level = 100 * (found.level or math.nan)
    caption = (
        "Lesions that the image shows, the hottest first: organs that are hot and small are among them. "
        f"Activity of the whole lesion from the counts, with its SD and {level:g} % interval; not "
        "identifiable: the SD is over half of the activity."
    )
    return Table("lesions", caption, (*columns, "low_bq", "high_bq", "bq_per_ml", "flags"), tuple(rows))


def organ_table(
    activity: Tensor,
    outlines: Tensor,
    counts: float,
    groups: Sequence[str],
    organs: Sequence[str],
    calibrated: tuple[Calibration, dict[str, dict[str, float]]] | None = None,
) -> Table:
    """A row for each outlined organ and map: activity of the image there, with its conformal interval.

    Args:
        activity: [map, z, y, x] in Bq per voxel.
        outlines: number of the organ of each voxel, [z, y, x] int64.
        counts: of the scan.
        groups: names of the maps.
        organs: names of the organs by their numbers.
        calibrated: what was calibrated, and the quantiles by map and organ; None: no intervals.
    """
    image, regions = activity.double(), outlines[None]
    sums = regional_sums(image[None], regions, len(organs))
    scale = predicted_scale(sums, image.sum()[None], image.new_tensor([counts]))
    rows: list[tuple[Cell, ...]] = []
    for o in sorted({*outlines.unique().tolist()} - {OUTSIDE}):
        for m, group in enumerate(groups):
            value, ends = float(sums[0, m, o]), (math.nan, math.nan)
            if calibrated is not None:
                quantile = calibrated[1].get(group, {}).get(organs[o], math.inf)
                ends = interval(value, float(scale[0, m, o]), quantile)
            rows.append((organs[o], group, value, *ends))
    told = "" if calibrated is None else f", with its {100 * calibrated[0].level:g} % conformal interval"
    caption = f"Activity of the image in the outline of each organ{told}."
    return Table("organs", caption, ("organ", "map", "activity_bq", "low_bq", "high_bq"), tuple(rows))
