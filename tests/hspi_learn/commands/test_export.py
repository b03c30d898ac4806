"""hspi-export from its command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from data_gen.forward_model import ModelOptions
from data_gen.projector import RaySampling
from data_gen.projector.matrix_file import read_hdf5
from data_gen.storage import Manifest
from hspi_learn.commands.export import main


def test_the_matrix_of_a_data_set(tiny_system, tmp_path, monkeypatch, capsys) -> None:
    """The file has the data set's pixels, voxels and a matrix for each of two reference energies; nothing
    else appears in the folder of the file or of the data set."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    system = tiny_system.with_options(ModelOptions(2, ("leakage",), ray_sampling=RaySampling(4, 2)))
    Manifest(system=system.to_dict(), splits={}, seed=0, plan_sha256="0" * 64).write(data)
    before = sorted(data.iterdir())
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hspi-export", f"data.folder={data}", f"output={out}/matrix.h5"])
    main()
    content = read_hdf5(out / "matrix.h5")
    assert system.reference_energies_kev() == tuple(content.energies_kev.tolist())
    assert content.grid == tiny_system.grid
    assert [matrix.shape for matrix in content.matrices] == [(tiny_system.camera.pixel_count, 216)] * 2
    assert content.unit == "first interactions per photon"
    assert f"{sum(matrix.nnz for matrix in content.matrices)} entries" in capsys.readouterr().out
    assert sorted(out.iterdir()) == [out / "matrix.h5"]
    assert sorted(data.iterdir()) == before


def test_no_folder_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Told before a matrix is built."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hspi-export", "data.folder=x", "output=nowhere/matrix.h5"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "whose folder is not there" in capsys.readouterr().err
