"""Training scans of individuals without end, drawn by the plan of a data set instead of read from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_gen.core.cache import content_key
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyWindows
from data_gen.core.memory import check_memory
from data_gen.core.parallel import on_all_cores, told
from data_gen.core.random import Range, checked_range
from data_gen.forward_model.system import ImagingSystem
from data_gen.phantoms import PhantomFamily, RegionalFamily, family_for
from data_gen.populations import OnlinePopulation, RegionImages
from data_gen.populations.online import CODE_VERSION
from data_gen.readout import EventReadout
from data_gen.simulation.exposure import ExposureLimits
from data_gen.simulation.plan import described, limits_of_plan, phantom_of_plan
from data_gen.storage import Manifest
from hspi_learn.data.kept_tensors import KeptTensors
from hspi_learn.data.scans import CountedScans, KeptScan

SPLIT = "train"
"""The split whose scans are drawn."""

SUBJECT_BYTES = 1000
"""Memory of an individual in the lists of those to draw and of those kept; chosen."""

IDEAL = described(EventReadout(0.0))
"""A readout that records every event as it was, as a plan describes it."""


@dataclass(frozen=True)
class OnlineTraining:
    """How the training scans are drawn.

    Args:
        subjects: individuals of an epoch.
        anatomies: bodies that they share.
        sites: places in each body where a tumour may be.
        fresh: whether each epoch brings other individuals. Otherwise scans are kept in files, as the images
            that networks start from are.
        phantom: who is scanned; None: whom the data set's plan tells.
        exposure: ranges [lowest, highest] of ``counts``, ``injected_bq``, ``duration_s`` or ``start_s`` that
            take the place of those of the data set's plan, so that one network learns all count levels.
        seed: random seed of bodies and individuals.

    Raises:
        UserError: there is no individual, or a range is unknown or none.
    """

    subjects: int = 1000
    anatomies: int = 200
    sites: int = 4
    fresh: bool = False
    phantom: PhantomFamily | None = None
    exposure: Mapping[str, Range] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.subjects < 1:
            raise UserError(f"population.subjects is {self.subjects}; it needs at least 1")
        check_memory(SUBJECT_BYTES * self.subjects, f"population.subjects {self.subjects}, a list of them,")
        known = [field.name for field in dataclasses.fields(ExposureLimits)]
        for name, span in (self.exposure or {}).items():
            if name not in known:
                raise UserError(f"population.exposure holds {name!r}; it needs some of {known}")
            checked_range(f"population.exposure.{name}", span)

    def population(
        self, manifest: Manifest, system: ImagingSystem, windows: EnergyWindows
    ) -> OnlinePopulation:
        """The population from which a data set's training scans are drawn.

        Raises:
            UserError: the data set has no plan, its readout loses events, or its phantoms cannot be taken
                apart into regions.
        """
        plan = manifest.plan
        if not plan:
            raise UserError(
                "population=online needs a simulated data set; the manifest of this one has no plan"
            )
        readout = plan.get("readout")
        if readout != IDEAL:
            raise UserError(
                f"the data set's readout is {readout}; population=online draws counts before any readout, so "
                "it needs readout=ideal"
            )
        family = phantom_of_plan(plan.get("phantom", {})) if self.phantom is None else self.phantom
        family = family_for(family, system.chain)
        if not isinstance(family, RegionalFamily):
            raise UserError(
                f"population.phantom is a {type(family).__name__}; population=online needs one of regions, "
                "such as phantom@data.population.phantom=mouse"
            )
        ranges = {**plan, **(self.exposure or {})}
        return OnlinePopulation(
            system, windows, family, limits_of_plan(ranges), self.anatomies, self.sites, self.seed
        )


class OnlineScans(CountedScans):
    """Scans of individuals that are drawn, each when it is first asked for.

    Images of anatomies, and scans that come again, are kept in files beside the data set.

    Args:
        population: draws the scans.
        training: how many, and whether each epoch brings others.
        folder: of the data set.
        memory_bytes: scans, or else images of anatomies, are kept in memory up to this size.
    """

    def __init__(
        self, population: OnlinePopulation, training: OnlineTraining, folder: Path, memory_bytes: int
    ) -> None:
        super().__init__(population.system.camera.pixel_count, population.windows, memory_bytes)
        self.population, self.training = population, training
        self._bodies: dict[int, RegionImages] = {}
        self._last_body: tuple[int, RegionImages] | None = None
        about: dict[str, Any] = {
            "version": CODE_VERSION,
            "system": population.system.to_dict(),
            "materials": population.system.materials,
            "edges_kev": population.windows.edges_kev.tolist(),
            "phantom": described(population.family),
            "sites": population.sites,
            "seed": population.seed,
        }
        self._images = KeptTensors(folder, content_key({"kind": "region_images", **about}, {}))
        drawn = {"limits": dataclasses.asdict(population.limits), "anatomies": population.anatomies}
        self._scans = KeptTensors(folder, content_key({"kind": "drawn_scans", **about, **drawn}, {}))

    @classmethod
    def of(
        cls,
        training: OnlineTraining,
        manifest: Manifest,
        system: ImagingSystem,
        windows: EnergyWindows,
        folder: Path,
        memory_bytes: int,
    ) -> OnlineScans:
        """The scans that take the place of a data set's training scans."""
        return cls(training.population(manifest, system, windows), training, folder, memory_bytes)

    def __len__(self) -> int:
        return self.training.subjects

    def by_object(self) -> Sequence[int]:
        """All indices; individuals on the same anatomy follow each other."""
        return sorted(range(len(self)), key=self.population.anatomy_of)

    def prepare(self) -> None:
        """Make, on all cores, what is missing of the images of anatomies and of the scans that come again."""
        used = range(min(self.population.anatomies, len(self)))
        if self.training.fresh:
            missing = [anatomy for anatomy in used if not self._images.holds(_name("anatomy", anatomy))]
        else:
            scans = [n for n in range(len(self)) if not self._scans.holds(_name(SPLIT, n))]
            missing = sorted({self.population.anatomy_of(number) for number in scans})
        if missing:
            with told("anatomies and their individuals", len(missing)) as advance:
                for _ in on_all_cores(self._made, missing):
                    advance()

    def _made(self, anatomy: int) -> None:
        """Make and keep what is missing of one anatomy."""
        images = self._images_of(anatomy)
        for number in () if self.training.fresh else range(anatomy, len(self), self.population.anatomies):
            self._scans.make_if_free(_name(SPLIT, number), partial(self._drawn, number, images))

    def _images_of(self, anatomy: int) -> RegionImages:
        """The images of an anatomy, from memory or their file, or made now."""
        if anatomy not in self._bodies:
            tensors = self._images.find_or_make(
                _name("anatomy", anatomy), lambda: self.population.images(anatomy).tensors()
            )
            images = RegionImages.from_tensors(tensors)
            if not self.training.fresh or images.relative.nbytes > self._free:
                return images
            self._free -= images.relative.nbytes
            self._bodies[anatomy] = images
        return self._bodies[anatomy]

    def _drawn(self, number: int, images: RegionImages) -> dict[str, Tensor]:
        """The scan of an individual, as it is kept."""
        scan = self.population.scan(SPLIT, number, images)
        counts = scan.counts.flatten()
        cell = counts.nonzero()[:, 0]
        return {
            "flat": cell.repeat_interleave(counts[cell].long()).int(),
            "duration_s": torch.tensor(scan.frame.duration_s, dtype=torch.float32),
            "density": scan.density,
            "activity": scan.activity,
            "labels": scan.labels.to(torch.uint8),
        }

    def expected_counts(self, index: int) -> Tensor:
        """Noise-free expectation [pixel, window] of an individual's counts, by images of its anatomy."""
        anatomy, last = self.population.anatomy_of(index), self._last_body
        if last is None or last[0] != anatomy:
            last = anatomy, self._images_of(anatomy)
            self._last_body = last
        return self.population.scan(SPLIT, index, last[1]).expected

    def read(self, index: int) -> KeptScan:
        """The scan of an individual as it is kept.

        Raises:
            IndexError: there is no such individual.
        """
        if index < 0 or not (self.training.fresh or index < len(self)):
            raise IndexError(f"there is no individual {index}; there are {len(self)}")

        def draw() -> dict[str, Tensor]:
            return self._drawn(index, self._images_of(self.population.anatomy_of(index)))

        if self.training.fresh:
            return KeptScan(**draw())
        return KeptScan(**self._scans.find_or_make(_name(SPLIT, index), draw))

    def keep(self, index: int, scan: KeptScan) -> None:
        """Keep a scan in memory, unless it never comes again."""
        if not self.training.fresh:
            super().keep(index, scan)


def _name(kind: str, number: int) -> str:
    """Name of a kept file."""
    return f"{kind}-{number:06d}"
