"""All files of a comparison of reconstructions: numbers, tables, figures, estimates and the page."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from data_gen.core.files import whole_file
from data_gen.core.grid import EnergyBins
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.storage import StoredScan
from hspi_learn.data import Scans
from hspi_learn.evaluation.figures import CaptionedFigure, EvaluationFigures
from hspi_learn.evaluation.identifiability import LIMIT, LeastDeviations
from hspi_learn.evaluation.judge import Judge
from hspi_learn.evaluation.noise import NoisePoint
from hspi_learn.evaluation.reconstruction import UNATTACKED, ReconstructionOutcome, Tuned
from hspi_learn.evaluation.report import findings, write_report
from hspi_learn.evaluation.spectrum import expected_spectrum, line_labels
from hspi_learn.evaluation.summary import noise_summary, summary
from hspi_learn.evaluation.tables import (
    Table,
    attacked_samples_table,
    attacks_table,
    bias_table,
    counts_table,
    headline_table,
    mice_table,
    nrmse_table,
    shown,
    texture_table,
    tumours_table,
)
from hspi_learn.visual import method_label, spectrum_figure

SPECTRUM_BIN_KEV = 2.0
"""Bin width of the spectrum in the report; chosen, no source."""


@dataclass(frozen=True)
class ReconstructionReport:
    """Everything that a comparison of reconstructions found, and on what.

    Args:
        model: forward model of the windows.
        judge: computes the metrics of each scan, as in the study.
        outcome: outcome of the study.
        noise: points of the noise study by method; empty without one.
        tunings: what was chosen for each classical method, at each count level.
        bounds: Cramer-Rao bounds of the first test scans, or of all.
        scans: test scans, event by event.
        threat: what the attacks were allowed, in words.
        texture: numbers that tell whether images look like truths, by name.
    """

    model: HyperspectralForwardModel
    judge: Judge
    outcome: ReconstructionOutcome
    noise: Mapping[str, Sequence[NoisePoint]]
    tunings: Mapping[float, Mapping[str, Tuned]]
    bounds: LeastDeviations
    scans: Scans
    threat: str = ""
    texture: Mapping[str, float] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the activity maps."""
        return self.model.groups.names

    def facts(self) -> dict[str, list[float]]:
        """By test scan: accepted events in the whole energy range, those in photopeaks, injected activity in
        kBq, scan time in min.
        """
        records = [self.scans.sample(i) for i in range(len(self.outcome.truths))]
        return {
            "counts": [float(r.counts) for r in records],
            "counts_photopeak": [float(r.counts_photopeak) for r in records],
            "injected_kbq": [r.injected_bq / 1e3 for r in records],
            "duration_min": [r.duration_s / 60 for r in records],
        }

    def numbers(self) -> dict[str, float]:
        """What ``metrics.json`` holds; a number that is undefined (no tumour, say) is left out."""
        found = summary(self.outcome, self.groups, self.judge.organs, self.judge.tumour, self.bounds)
        found |= noise_summary(self.noise, self.groups)
        found |= self.texture
        found |= {f"test/{name}_median": float(np.median(values)) for name, values in self.facts().items()}
        for fraction, by_method in self.tunings.items():
            at = "" if fraction == 1 else f"_at_{fraction:g}"
            for method, tuned in by_method.items():
                found |= {f"{method}/{name}{at}": float(value) for name, value in tuned.settings.items()}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def statements(self, numbers: Mapping[str, float]) -> list[str]:
        """What may be said of each pair of methods."""
        return findings(self.outcome, numbers, ("tumour_error", "nrmse"), left_out=UNATTACKED)

    def tables(self, numbers: dict[str, float]) -> list[Table]:
        """Tables of the report, the headline first."""
        outcome, groups = self.outcome, self.groups
        tables = [headline_table(outcome, numbers, groups), tumours_table(outcome, numbers, groups)]
        tables += [texture_table(outcome, numbers), nrmse_table(outcome, numbers), counts_table(outcome)]
        if outcome.attacks:
            tables.append(attacks_table(outcome))
        return [*tables, bias_table(outcome, groups, self.judge.organs, numbers)]

    def figures(self) -> dict[str, CaptionedFigure]:
        """The figures of the report, by file name."""
        organs, tumour = self.judge.organs, self.judge.tumour
        place = organs.index(tumour) if tumour in organs else None
        edges_kev = self.model.energy_bins.edges_kev
        energy_range_kev = float(edges_kev[0]), float(edges_kev[-1])
        evaluation = EvaluationFigures(
            self.outcome, self.model.grid, self.groups, organs, place, energy_range_kev, self.bounds
        )
        figures = evaluation.figures(self.noise)
        mouse = evaluation.mouse("typical")
        return figures | {"spectrum_typical": self.spectrum(mouse, self.scans.sample(mouse))}

    def spectrum(self, mouse: int, record: StoredScan) -> CaptionedFigure:
        """Recorded spectrum of one mouse, its expectation by the forward model, and photon line labels."""
        low, high = (float(self.model.energy_bins.edges_kev[i]) for i in (0, -1))
        bins = EnergyBins(low, high, max(1, round((high - low) / SPECTRUM_BIN_KEV)))
        counts, _ = np.histogram(record.events.energy_kev.numpy(), bins.edges_kev.numpy())
        attenuation = self.model.attenuation(record.density[None])
        truth = self.outcome.truths[mouse : mouse + 1]
        expected = expected_spectrum(self.model, bins, truth, attenuation, record.duration_s)
        figure = spectrum_figure(
            bins.edges_kev.numpy(),
            counts.astype(float),
            expected.double().numpy(),
            line_labels(self.model),
            self.model.energy_bins.edges_kev.tolist(),
        )
        caption = (
            f"Spectrum of mouse {mouse}, all pixels: {record.counts:,} accepted events, "
            f"{record.counts_photopeak:,} of them in photopeaks. Marks on the axis are window edges."
        )
        return CaptionedFigure(figure, caption)

    def about(self, facts: Mapping[str, Sequence[float]]) -> dict[str, str]:
        """What was compared on what, in words."""
        model = self.model
        spans = {
            name: f"{rounded(np.median(v))} ({rounded(min(v))} to {rounded(max(v))})"
            for name, v in facts.items()
        }
        windows = ", ".join(f"{edge_kev:g}" for edge_kev in model.energy_bins.edges_kev.tolist())
        grid = model.grid
        told = {
            "Camera": f"{model.camera.name}: {model.pixels:,} pixels",
            "Nuclide": f"{model.chain.members[0]}; maps of {', '.join(self.groups)}",
            "Grid": f"{_by(grid.shape)} voxels of {_by(grid.spacing_mm)} mm (z, y, x)",
            "Windows": f"edges at {windows} keV, the same for every method",
            "Test scans": f"{len(self.outcome.truths)} unseen mice",
            "Tumours": f"{int((~self.outcome.lesion_mm3.isnan()).sum())}, voxels that touch being one",
            "Accepted events": f"median {spans['counts']}, in the whole energy range of the data set",
            "Photopeak events": f"median {spans['counts_photopeak']}",
            "Injected": f"median {spans['injected_kbq']} kBq",
            "Scan time": f"median {spans['duration_min']} min",
            **{method_label(method): _chosen(tuned) for method, tuned in self.tunings[1.0].items()},
            "NRMSE": "||x - t|| / ||t|| of each map in the body where sensitivity is 10 % of its maximum or "
            "more, mean over maps; medians are over mice",
            "Identifiable": self._identifiable(),
            "Intervals": "Student's t over mice: they hold for these trainings, and another seed may lie "
            "outside (hspi-summarise gives intervals over trainings)",
        }
        return told | ({"Attack": self.threat} if self.outcome.attacks else {})

    def _identifiable(self) -> str:
        """On how many scans bounds are known, and what follows."""
        scans = len(self.bounds.regions)
        if not scans:
            return "not computed (protocols.reconstruction.bound_scans is 0)"
        return (
            f"Cramer-Rao bounds of {scans} scans; activities whose least relative SD is above "
            f"{100 * LIMIT:.0f} % are marked"
        )

    def write(self, folder: Path) -> dict[str, float]:
        """Write tables, figures, estimates and the page; returns the numbers."""
        facts, numbers = self.facts(), self.numbers()
        tables = self.tables(numbers)
        files = [mice_table(self.outcome, self.groups, facts)]
        if self.outcome.attacks:
            files.append(attacked_samples_table(self.outcome))
        for table in [*tables, *files]:
            table.write(folder / "tables")
        self._write_estimates(folder / "predictions.npz")
        title = f"{model_name(self.model)}: reconstruction of {len(self.outcome.truths)} unseen mice"
        write_report(
            folder / "report.html", title, self.statements(numbers), self.about(facts), tables, self.figures()
        )
        return numbers

    def _write_estimates(self, path: Path) -> None:
        """Truths and estimates in Bq/mL [mouse, map, z, y, x], so that any plot can be made again."""
        per_ml = 1.0 / self.model.grid.voxel_volume_ml
        volumes = {"truth": self.outcome.truths} | self.outcome.predictions
        arrays: dict[str, Any] = {name: (volume * per_ml).float().numpy() for name, volume in volumes.items()}
        about: dict[str, Any] = {
            "groups": np.array(self.groups),
            "spacing_mm": np.array(self.model.grid.spacing_mm),
            "density_g_cm3": self.outcome.density.float().numpy(),
        }
        with whole_file(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays, **about)


def _chosen(tuned: Tuned) -> str:
    """What was chosen for a classical method, and how."""
    edge = " (at the edge of what was tried)" if tuned.at_edge else ""
    return f"{tuned.told}, chosen on validation scans{edge}"


def rounded(value: float) -> str:
    """Three significant digits, as in 0.0123, 24.9 and 27,400."""
    value = float(f"{value:.2e}")  # first, since 9.996 has one digit before the point, and 10.0 two
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(digits, 0)}f}"


def _by(numbers: Sequence[float]) -> str:
    """Numbers along the axes, as in 24 x 24 x 24."""
    return " x ".join(f"{n:g}" for n in numbers)


def model_name(model: HyperspectralForwardModel) -> str:
    """Nuclide and camera."""
    return f"{model.chain.members[0]} in {model.camera.name}"


def print_result(table: Table, statements: Sequence[str], report: Path) -> None:
    """Show the headline table, what may be said of it, and where the page is."""
    # A log has no width of its own, and a wrapped table is hard to read in it.
    width = None if sys.stdout.isatty() else 120
    # What stands in brackets or between colons is part of a name, not markup.
    console = Console(width=width, markup=False, emoji=False)
    printed = RichTable()
    for column in table.columns:
        first = column == table.columns[0]
        printed.add_column(column, justify="left" if first else "right", no_wrap=first)
    for row in table.rows:
        printed.add_row(*(shown(cell) for cell in row))
    console.print(printed)
    for statement in statements:
        console.print(statement, soft_wrap=True)
    console.print(f"Report: {report.resolve()}", soft_wrap=True)
