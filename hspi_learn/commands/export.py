"""Write a system matrix for other programs: ``hspi-export data.folder=FOLDER output=FILE.h5``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from data_gen.core.errors import UserError
from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Threads


@dataclass(frozen=True)
class ExportSettings:
    """Keys of ``conf/export.yaml``."""

    data: Mapping[str, str]
    output: str
    threads: Threads


def export(config: DictConfig) -> dict[str, float]:
    """Write the matrix; returns the number of its energies and of its entries.

    Args:
        config: see ``conf/export.yaml``.

    Raises:
        UserError: the folder holds no data set, or the file cannot be written there.
    """
    import torch

    from data_gen.forward_model import ImagingSystem
    from data_gen.projector import export_matrix
    from data_gen.storage import Manifest

    torch.set_num_threads(config.threads)
    output = _output(config.output)
    system = ImagingSystem.from_dict(Manifest.read(Path(config.data.folder)).system)
    written = export_matrix(system.projector(), output)
    entries = sum(matrix.nnz for matrix in written.matrices)
    energies = ", ".join(f"{energy:.1f}" for energy in written.energies_kev.tolist())
    pixels, voxels = written.matrices[0].shape
    print(f"{output}: {pixels} pixels, {voxels} voxels, {entries} entries at {energies} keV")
    return {"energies": float(len(written.matrices)), "entries": float(entries)}


def _output(name: str) -> Path:
    """The file to write, after checking that it can be."""
    path = Path(name)
    if path.suffix not in (".h5", ".hdf5"):
        raise UserError(f"output is {name}; it needs a file that ends in .h5")
    if not path.parent.is_dir():
        raise UserError(f"output is {name}, whose folder is not there; it needs an existing folder")
    return path


def main() -> None:
    """The command line."""
    run_command("export", export, ExportSettings, folder_key="output")


if __name__ == "__main__":
    main()
