"""A report card of reconstructions: what must hold whatever the mean error says, each line with its limit.

Counts are drawn anew from the forward model for scans that no data set holds: an empty body, a lesion that
was not there, one that is there no more, and fewer and more counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.random import seeded_generator
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import lesion_activities
from hspi_learn.data import ScanDataModule, collate
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.evaluation.judge import Judge
from hspi_learn.evaluation.protocols import Calls
from hspi_learn.evaluation.report import write_report
from hspi_learn.evaluation.study import Conditions
from hspi_learn.evaluation.tables import Cell, Table
from hspi_learn.losses import poisson_deviance
from hspi_learn.metrics import grown
from hspi_learn.reconstructor import Reconstructor
from hspi_learn.tasks import Task
from hspi_learn.visual import method_label

LESION_MM = 5.0
"""Diameter of the lesion that is put in; 65 mm3; chosen."""

CONTRASTS = (3.0, 5.0, 8.0)
"""Activities of the lesion that is put in, in standard deviations that counts leave of it."""

SURE = 5.0
"""Activity of a lesion over its standard deviation (Fisher) from which on it is called one, since the hottest
of thousands of voxels are looked at; chosen."""

SHARES = (0.5, 1.0, 2.0, 4.0)
"""Times over which the same body is scanned."""


@dataclass(frozen=True)
class Line:
    """A line of the card.

    Args:
        name: in files.
        told: what it is, in words.
        lowest: least value that passes.
        highest: largest value that passes.
    """

    name: str
    told: str
    lowest: float
    highest: float

    def passes(self, value: float) -> bool:
        """Whether a value passes; NaN does not."""
        return self.lowest <= value <= self.highest


LINES = (
    Line("empty_scan", "lesions of 5 SD or more in a scan of a body without activity", 0.0, 0.05),
    Line("unseen_lesion", "recovery slope of a lesion of 5 mm in soft tissue, at 3, 5 and 8 SD", 0.8, 1.2),
    Line("removed_lesion", "activity left where the tumours were, over what they had", -0.1, 0.1),
    Line(
        "counts", "largest rise of the error from half the time to the same, twice and four times", -1.0, 0.0
    ),
    Line("deviance", "Poisson deviance of the projected image over that of the truth", 0.9, 1.1),
    Line("scale", "relative change of the image over counts when counts are doubled", 0.0, 0.02),
)
"""The card; the coverage of conformal intervals has a protocol of its own (``conformal``)."""

Values = dict[str, list[float]]
"""What a scan says of each line, by its name."""


class ReportCard:
    """Each line of the card for every run, and for classical methods with the settings that they are given.

    Args:
        runs: trained reconstructions by name; may be none.
        data: test scans.
        conditions: their seed is that of all noise.
        classical: make methods for a forward model, by name.
        card_scans: of the first so many test scans.

    Raises:
        UserError: a run is no reconstruction, there is no method, or no scan.
    """

    def __init__(
        self,
        runs: Mapping[str, Task],
        data: ScanDataModule,
        conditions: Conditions,
        classical: Mapping[str, Callable[[HyperspectralForwardModel], Reconstructor]] | None = None,
        card_scans: int = 12,
    ) -> None:
        for name, run in runs.items():
            if not isinstance(run, Reconstructor):
                raise UserError(
                    f"runs.{name} is a {type(run).__name__}, which makes no activity maps; a report "
                    "card needs reconstructions"
                )
        if card_scans < 1:
            raise UserError(f"card_scans is {card_scans}; it needs to be 1 or more")
        self.data, self.conditions = data, conditions
        trained: list[Any] = [run.model for run in runs.values()]
        self.model: HyperspectralForwardModel = (
            trained[0] if trained else data.system.forward_model(data.windows)
        )
        made = {name: make(self.model) for name, make in (classical or {}).items()}
        methods: dict[str, Any] = {**runs, **made}
        if not methods:
            raise UserError("runs is empty and so is classical; a report card needs a method")
        self.methods: dict[str, Reconstructor] = methods
        self.judge = Judge.of(self.model)
        self.scans = range(min(card_scans, len(data.scans("test"))))

    def evaluate(self, calls: Calls) -> CardReport:
        """See :class:`~hspi_learn.evaluation.protocols.EvaluationProtocol`."""
        found: list[dict[str, Values]] = calls("report card", [("card", (scan,)) for scan in self.scans])
        values = {
            method: {line.name: [v for one in found for v in one[method][line.name]] for line in LINES}
            for method in self.methods
        }
        return CardReport(values, len(self.scans), str(self.data.folder))

    @torch.no_grad()
    def card(self, number: int) -> dict[str, Values]:
        """What one test scan says of every line, by method."""
        case = ReconstructionCase.of(self.model, collate([self.data.windowed("test")[number]]))
        return {name: self._values(method, case, number) for name, method in self.methods.items()}

    def _values(self, method: Reconstructor, case: ReconstructionCase, number: int) -> Values:
        return {
            "empty_scan": [self._empty(method, case, number)],
            "unseen_lesion": self._unseen(method, case, number),
            "removed_lesion": self._removed(method, case, number),
            "counts": [self._rise(method, case, number)],
            "deviance": [self._deviance(method, case)],
            "scale": [self._scale(method, case)],
        }

    # The lines.

    def _empty(self, method: Reconstructor, case: ReconstructionCase, number: int) -> float:
        """Lesions of the image whose activity the counts tell from none, of a body without activity."""
        counts = self._counts(case, torch.zeros_like(case.batch.activity), number)
        image = case.with_values(counts).reconstructed(method)[0].clamp_min(0)
        found = lesion_activities(
            self.model,
            counts[0],
            float(case.batch.duration_s[0]),
            case.batch.density[0],
            image,
            case.context.body[0, 0],
            profiled=False,
        ).estimates
        return float((found.value > SURE * found.sd).any(dim=1).sum())

    def _unseen(self, method: Reconstructor, case: ReconstructionCase, number: int) -> list[float]:
        """The slope in the first map, with the same chances with and without the lesion."""
        place = self._place(case, number)
        if place is None:
            return []
        unit = torch.zeros_like(case.batch.activity)
        unit[:, 0] = place / place.sum()
        nothing = torch.zeros_like(unit)
        rate = self._expected(case, unit) - self._expected(case, nothing)
        expected = self._expected(case, case.batch.activity)
        deviation = float((rate.square() / expected.clamp_min(1e-9)).sum().rsqrt())
        near = grown(place[None, None], 1)[0, 0]
        before = self._image(method, case, case.batch.activity, number)[0, 0][near].sum()
        added = torch.tensor([contrast * deviation for contrast in CONTRASTS], dtype=torch.float64)
        read = [
            self._image(method, case, case.batch.activity + bq * unit, number)[0, 0][near].sum() - before
            for bq in added.tolist()
        ]
        return [float((torch.stack(read).double() @ added) / (added @ added))]

    def _removed(self, method: Reconstructor, case: ReconstructionCase, number: int) -> list[float]:
        """Of the first map; none of a scan without a tumour."""
        lesion = self.judge.lesion(case.batch.labels)[0, 0]
        around = grown(lesion[None, None], 2)[0, 0] & case.context.body[0, 0] & ~lesion
        if not bool(lesion.any()) or not bool(around.any()):
            return []
        healthy = case.batch.activity.clone()
        for maps in healthy[0]:
            maps[lesion] = torch.minimum(maps[lesion], maps[around].median())
        image, near = self._image(method, case, healthy, number), grown(lesion[None, None], 1)[0, 0]
        left = image[0, 0][near].sum() - healthy[0, 0][near].sum()
        return [float(left / (case.batch.activity[0, 0] - healthy[0, 0])[near].sum())]

    def _rise(self, method: Reconstructor, case: ReconstructionCase, number: int) -> float:
        """Largest relative rise of NRMSE from one time to the next."""
        errors = []
        for share in SHARES:
            longer = self._for(case, share * case.batch.duration_s)
            image = self._image(method, longer, case.batch.activity, number)
            errors.append(float(case.error(image)[0]))
        return max((after - before) / max(before, 1e-12) for before, after in pairwise(errors))

    def _deviance(self, method: Reconstructor, case: ReconstructionCase) -> float:
        counts, image = case.batch.projections, case.reconstructed(method)
        of_image, of_truth = (
            float(poisson_deviance(self._expected(case, activity), counts))
            for activity in (image, case.batch.activity)
        )
        return of_image / of_truth

    def _scale(self, method: Reconstructor, case: ReconstructionCase) -> float:
        once = case.reconstructed(method)
        twice = case.with_values(2 * case.batch.projections).reconstructed(method)
        return float((twice / 2 - once).norm() / once.norm().clamp_min(torch.finfo(once.dtype).tiny))

    # What they share.

    def _image(
        self, method: Reconstructor, case: ReconstructionCase, activity: Tensor, number: int
    ) -> Tensor:
        """The reconstruction of counts drawn of an activity; chances follow from the scan alone."""
        return case.with_values(self._counts(case, activity, number)).reconstructed(method)

    def _counts(self, case: ReconstructionCase, activity: Tensor, number: int) -> Tensor:
        """Counts [1, pixel, window] drawn of an activity."""
        generator = seeded_generator(self.conditions.seed, "card", number)
        expected = self._expected(case, activity).clamp_min(0)
        return torch.poisson(expected.cpu(), generator=generator).to(expected)

    def _expected(self, case: ReconstructionCase, activity: Tensor) -> Tensor:
        return self.model.expected_counts(activity, case.context.attenuation, case.context.duration_s)

    def _for(self, case: ReconstructionCase, duration_s: Tensor) -> ReconstructionCase:
        """The same scan over another time."""
        return ReconstructionCase(
            case.model,
            case.batch._replace(duration_s=duration_s),
            case.context._replace(duration_s=duration_s),
            case.mask,
        )

    def _place(self, case: ReconstructionCase, number: int) -> Tensor | None:
        """A sphere in soft tissue that is seen well and far from tumours, [z, y, x] bool; None: no room."""
        labels, grid = case.batch.labels[0], self.model.grid
        soft = labels == self.judge.organs.index(self.judge.background)
        far = ~grown(self.judge.lesion(case.batch.labels), math.ceil(LESION_MM / min(grid.spacing_mm)))[0, 0]
        points = grid.centres_mm().to(torch.float32).reshape(-1, 3)
        allowed = (soft & far & case.mask[0, 0]).flatten().nonzero().flatten()
        order = torch.randperm(
            len(allowed), generator=seeded_generator(self.conditions.seed, "place", number)
        )
        for centre in allowed[order].tolist():
            distance_mm = (points - points[centre]).norm(dim=1).reshape(grid.shape)
            sphere: Tensor = distance_mm <= LESION_MM / 2
            if bool((soft & far)[sphere].all()):
                return sphere
        return None


@dataclass(frozen=True)
class CardReport:
    """The card of every method.

    Args:
        values: by method and line, one a scan.
        scans: how many scans were asked.
        folder: of the data set.
    """

    values: Mapping[str, Mapping[str, Sequence[float]]]
    scans: int
    folder: str

    def numbers(self) -> dict[str, float]:
        """``card/LINE/METHOD`` and ``card/LINE/METHOD/pass`` (0 or 1): means over scans."""
        found = {}
        for method, lines in self.values.items():
            for line in LINES:
                value = _mean(lines[line.name])
                found[f"card/{line.name}/{method}"] = value
                found[f"card/{line.name}/{method}/pass"] = float(line.passes(value))
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def tables(self, numbers: Mapping[str, float]) -> list[Table]:
        """A row for each line and method: value, limits, whether it passes."""
        rows: list[tuple[Cell, ...]] = [
            (
                line.told,
                method_label(method),
                numbers.get(f"card/{line.name}/{method}", math.nan),
                f"{line.lowest:g} to {line.highest:g}",
                "yes" if numbers.get(f"card/{line.name}/{method}/pass") else "NO",
            )
            for line in LINES
            for method in self.values
        ]
        caption = (
            f"Means over the first {self.scans} test scans; counts are drawn anew from the forward model, "
            "with the same chances for every method. The lesion that is put in, or out, is read in the first "
            "map with a voxel around it."
        )
        return [Table("report_card", caption, ("Line", "method", "value", "limits", "passes"), tuple(rows))]

    def statements(self, numbers: Mapping[str, float]) -> list[str]:
        """How many lines each method passes."""
        told = []
        for method in self.values:
            passed = sum(bool(numbers.get(f"card/{line.name}/{method}/pass")) for line in LINES)
            told.append(f"{method_label(method)} passes {passed} of {len(LINES)} lines.")
        return told

    def write(self, folder: Path) -> dict[str, float]:
        """Write the table and the page; returns the numbers."""
        numbers = self.numbers()
        tables = self.tables(numbers)
        for table in tables:
            table.write(folder / "tables")
        facts = {"Test scans": f"{self.scans} of {self.folder}"}
        write_report(folder / "report.html", "Report card", self.statements(numbers), facts, tables, {})
        return numbers


def _mean(values: Sequence[float]) -> float:
    """The mean of what there is; NaN of nothing."""
    return sum(values) / len(values) if values else math.nan
