"""Scans of a data set as batches for Lightning."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.core.memory import PROCESS_BYTES, check_memory
from data_gen.forward_model.line_windows import Windows, energy_windows
from data_gen.forward_model.system import ImagingSystem
from data_gen.storage import Manifest, Provenance
from hspi_learn.data.loader import ResumableDataModule, TrainingLoader
from hspi_learn.data.online_scans import OnlineScans, OnlineTraining
from hspi_learn.data.order import EpochOrder
from hspi_learn.data.scans import CountedScans, Scans, WindowedScans, collate
from hspi_learn.reconstructor import ScanBatch


class ScanDataModule(ResumableDataModule):
    """Batches of scans, densified to the windows that a task asks for.

    Training batches come in an order that follows from (seed, epoch); a run that was stopped in the
    middle of an epoch goes on with the very next batch. An incomplete last batch is left out of training,
    unless it is the only one.

    Args:
        folder: data set that hspi-generate wrote.
        windows_kev: rising edges, or "lines" for windows at the photon lines of the data set's nuclide;
            counts between neighbouring edges are one channel.
        batch_size: scans in a batch.
        seed: random seed of order and thinning.
        workers: processes that read training scans; 0 reads in this one.
        count_fraction: binomial share of each scan's events that is used.
        memory_gib: scans are kept in memory up to this size.
        population: how training scans are drawn instead of read; None: they are read.

    Raises:
        UserError: the data set is missing or broken, or may not be used.
    """

    def __init__(
        self,
        folder: str,
        windows_kev: Windows,
        batch_size: int = 4,
        seed: int = 0,
        workers: int = 0,
        count_fraction: float = 1.0,
        memory_gib: float = 4.0,
        population: OnlineTraining | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size is {batch_size}; it needs at least 1")
        if not 0 < count_fraction <= 1:
            raise UserError(f"data.count_fraction is {count_fraction}; it needs to be above 0 and at most 1")
        check_memory(PROCESS_BYTES * workers, f"data.workers {workers}")
        self.folder = Path(folder)
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self.count_fraction, self.memory_gib = count_fraction, memory_gib
        self.manifest = Manifest.read(self.folder)
        check_permission(self.manifest.provenance, self.folder)
        self.system = ImagingSystem.from_dict(self.manifest.system)
        self.windows = energy_windows(windows_kev, self.system)
        self.population = population
        if population is not None and count_fraction != 1:
            raise UserError(
                f"data.count_fraction is {count_fraction} with population=online; it needs to be 1, and the "
                "data set other counts"
            )
        self._scans: dict[str, Scans] = {}
        self._windowed: dict[str, CountedScans] = {}

    def scans(self, split: str) -> Scans:
        """Event-level access to a split."""
        if split not in self._scans:
            self._scans[split] = Scans(self.folder, self.manifest, split)
        return self._scans[split]

    def windowed(self, split: str) -> CountedScans:
        """The scans of a split as histograms over the windows."""
        if split not in self._windowed:
            share = int(self.memory_gib * 2**30)
            self._windowed[split] = (
                OnlineScans.of(self.population, self.manifest, self.system, self.windows, self.folder, share)
                if self.population is not None and split == "train"
                else WindowedScans(self.scans(split), self.windows, self.count_fraction, self.seed, share)
            )
        return self._windowed[split]

    @property
    def fresh(self) -> bool:
        """Whether no training scan ever comes again."""
        return self.population is not None and self.population.fresh

    def prepare_data(self) -> None:
        """Draw the training scans that are to be drawn and kept."""
        if self.population is not None:
            scans = self.windowed("train")
            assert isinstance(scans, OnlineScans)
            scans.prepare()

    def unrecorded(self, split: str) -> dict[str, float]:
        """Numbers of dead pixels, and of scans of a split in which a whole panel recorded nothing."""
        scans = self.scans(split)
        silent = sum(bool(scans.silent_panels(scans.events(i))) for i in range(len(scans)))
        return {
            f"{split}/dead_pixels": float(len(self.system.dead_pixels)),
            f"{split}/scans_with_silent_panels": float(silent),
        }

    def train_dataloader(self) -> TrainingLoader:
        """Training batches in the order of (seed, epoch)."""
        scans = self.windowed("train")
        order = EpochOrder(len(scans), self.seed, self.fresh)
        return self.resumable(TrainingLoader(scans, order, self.batch_size, self.workers))

    def val_dataloader(self) -> DataLoader[ScanBatch]:
        """Validation batches, in order."""
        return DataLoader(self.windowed("validation"), batch_size=self.batch_size, collate_fn=collate)

    def test_dataloader(self) -> DataLoader[ScanBatch]:
        """Test batches, in order."""
        return DataLoader(self.windowed("test"), batch_size=self.batch_size, collate_fn=collate)

    def predict_dataloader(self) -> DataLoader[ScanBatch]:
        """The same: predictions are asked for test scans."""
        return self.test_dataloader()


def check_permission(provenance: Provenance, source: Path) -> None:
    """Refuse data from people that may not be used for training.

    Raises:
        UserError: no consent is stated, or they are identifiable.
    """
    if provenance.subjects != "people":
        return
    if not provenance.consent.strip():
        raise UserError(
            f"{source}: provenance.consent is empty; data from people need a statement of consent"
        )
    if not provenance.deidentified:
        raise UserError(f"{source}: provenance.deidentified is false; data from people need it to be true")
