"""NIfTI files hold Bq/mL where the camera saw it, and densities come in where they are."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from hspi_learn.io.nifti import grid_affine, read_density, read_outlines, resampled, write_activity

GRID = VoxelGrid((3, 4, 5), (0.5, 1.0, 2.0))
MAPS = (("Ac-225", "Fr-221"), ("Bi-213",))


def test_values_and_places_of_a_written_file(tmp_path: Path) -> None:
    """Read back by nibabel: Bq/mL to 1e-6, and the affine takes each voxel to its centre in mm."""
    activity = torch.rand(2, *GRID.shape, generator=torch.Generator().manual_seed(0))
    image = nibabel.load(write_activity(tmp_path / "new" / "out.nii.gz", activity, GRID, MAPS))
    assert np.allclose(image.get_fdata()[3, 1, 2], activity[:, 2, 1, 3] / GRID.voxel_volume_ml, rtol=1e-6)
    for code in (image.header["sform_code"], image.header["qform_code"]):
        assert int(code) == 1
    for affine in (image.affine, image.get_qform()):
        assert np.allclose((affine @ [3, 1, 2, 1])[:3], GRID.centres_mm()[2, 1, 3])
    about = json.loads(image.header.extensions[0].get_content())
    assert [m["nuclide"] for m in about["maps"]] == ["Ac-225", "Bi-213"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out.nii.gz"]


def test_one_map_is_three_dimensional(tmp_path: Path) -> None:
    """Viewers expect a plain volume where there is one map."""
    image = nibabel.load(write_activity(tmp_path / "o.nii", torch.ones(1, *GRID.shape), GRID, MAPS[:1]))
    assert image.shape == (5, 4, 3)


@settings(deadline=None, max_examples=20)
@given(shift=st.tuples(*[st.floats(-3, 3)] * 3), flip=st.booleans())
def test_resampling_a_linear_field(shift: tuple[float, float, float], flip: bool) -> None:
    """Linear interpolation is exact for a linear field on any axis-aligned grid, shifted or flipped; 1e-4."""
    fine = VoxelGrid((24, 24, 24), 0.9)
    affine = grid_affine(fine)
    affine[:3, 3] += shift
    if flip:
        affine[0] = [-affine[0, 0], 0, 0, 0.9 * 23 + affine[0, 3]]
    index = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), -1)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    field = torch.from_numpy(20 + place @ [1.0, 2.0, 3.0])
    expected = 20 + GRID.centres_mm() @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.allclose(resampled(field, torch.from_numpy(affine), GRID), expected, atol=1e-4)


def test_density_beyond_the_file_is_air(tmp_path: Path) -> None:
    """A file that covers only the middle leaves 0 outside."""
    small = VoxelGrid((3, 4, 1), (0.5, 1.0, 2.0))
    nibabel.save(
        nibabel.Nifti1Image(np.ones((1, 4, 3), np.float32), grid_affine(small)), tmp_path / "d.nii.gz"
    )
    density = read_density(tmp_path / "d.nii.gz", GRID)
    assert float(density[1, 1, 2]) == pytest.approx(1.0)
    assert float(density[:, :, [0, 4]].abs().max()) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_densities_are_refused(tmp_path: Path, bad: float) -> None:
    """One sentence that names the file and what is wrong."""
    values = np.ones((5, 4, 3), np.float32)
    values[0, 0, 0] = bad
    nibabel.save(nibabel.Nifti1Image(values, grid_affine(GRID)), tmp_path / "d.nii")
    with pytest.raises(UserError, match=r"d\.nii holds NaN, infinite or negative values"):
        read_density(tmp_path / "d.nii", GRID)


def test_files_that_are_none(tmp_path: Path) -> None:
    """Text, a cut file and a missing file; an output with another suffix."""
    (tmp_path / "text.nii.gz").write_text("no")
    with pytest.raises(UserError, match="cannot be read as NIfTI"):
        read_density(tmp_path / "text.nii.gz", GRID)
    with pytest.raises(UserError, match="cannot be read as NIfTI"):
        read_density(tmp_path / "missing.nii.gz", GRID)
    with pytest.raises(UserError, match=r"ends with \.nii\.gz"):
        write_activity(tmp_path / "out.txt", torch.ones(1, *GRID.shape), GRID, MAPS[:1])


def test_outlines_come_back_and_others_are_refused(tmp_path: Path) -> None:
    """Organs by voxel as they were; another grid, fractions, unknown organs, a series: a sentence each."""
    organs = torch.randint(0, 5, GRID.shape, generator=torch.Generator().manual_seed(0))
    values, affine = organs.numpy().T.astype(np.float32), grid_affine(GRID)

    def written(name: str, content: np.ndarray, at: np.ndarray = affine) -> Path:
        nibabel.save(nibabel.Nifti1Image(content, at), tmp_path / name)
        return tmp_path / name

    assert torch.equal(read_outlines(written("organs.nii.gz", values), GRID), organs)
    shifted = affine.copy()
    shifted[0, 3] += 0.5
    for wrong, told in (
        (written("small.nii", values[1:]), "have the grid"),
        (written("shifted.nii", values, shifted), "have the grid"),
        (written("fractions.nii", values + 0.5), "hold other values than organs"),
        (written("negative.nii", values - 1), "hold other values than organs"),
        (written("many.nii", values + 100), "hold other values than organs"),
        (written("series.nii", values[..., None].repeat(2, axis=3)), "it needs one volume"),
    ):
        with pytest.raises(UserError, match=told):
            read_outlines(wrong, GRID)
