"""Are organs recovered where the atlas has them? Digimouse through generate, reconstruct and NIfTI.

    python scripts/study_digimouse.py digimouse_labels.nii.gz WORK_FOLDER

One scan of 1e5 events per organ, which takes up forty times as much as the rest of the body. The centroid of
the reconstructed parent activity above a fifth of its maximum (eight times the rest) is held against the
centroid of the organ's label in the atlas file, within the field of view; above half the maximum stands
beside it, where thin parts of an organ are lost to blur. Writes docs/results/digimouse.{md,json}.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from omegaconf import OmegaConf

from hspi_learn.evaluation.tables import Table

ROOT = Path(__file__).resolve().parents[1]
ATLAS = OmegaConf.load(ROOT / "conf" / "phantom" / "digimouse.yaml")
LABELS = {9: "heart", 15: "stomach", 16: "spleen", 17: "pancreas", 18: "liver", 19: "kidneys", 21: "lungs"}
LIMIT_MM = 1.0


def main(atlas: Path, work: Path) -> None:
    rows, numbers = [], {}
    for label, organ in LABELS.items():
        image = _reconstructed(atlas, work, organ)
        shift, at_half = (_shift_mm(atlas, label, image, share) for share in (0.2, 0.5))
        rows.append((organ, shift, at_half, "yes" if shift <= LIMIT_MM else "no"))
        numbers |= {
            f"{organ}/value": shift,
            f"{organ}/limit": LIMIT_MM,
            f"{organ}/pass": float(shift <= LIMIT_MM),
            f"{organ}/at_half_maximum": at_half,
        }
    caption = "Distance between the centroids of the recovered organ and of its label in the atlas."
    table = Table(
        "digimouse", caption, ("organ", "distance (mm)", "at half maximum (mm)", "within 1 mm"), tuple(rows)
    )
    _write(table, numbers)


def _run(command: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"hspi_learn.commands.{command}", *arguments], check=True)


def _reconstructed(atlas: Path, work: Path, organ: str) -> Path:
    """NIfTI of a scan with one hot organ; kept from an earlier call."""
    data, image = work / organ, work / f"{organ}.nii.gz"
    if not image.exists():
        _run(
            "generate",
            f"output={data}",
            f"experiment=digimouse_{organ}",
            f"phantom.path={atlas}",
            "~dataset.sizes.train",
            "~dataset.sizes.validation",
            "workers=0",
        )
        _run("reconstruct", f"input={data / 'test-000000.h5'}", f"output={image}", "method=osem")
    return image


def _shift_mm(atlas: Path, label: int, image: Path, share: float) -> float:
    """Distance between the centroids of organ and label."""
    return float(np.linalg.norm(_recovered_mm(image, share) - _atlas_mm(atlas, label, image)))


def _recovered_mm(image: Path, share: float) -> np.ndarray:
    """(x, y, z) of the centroid of the first map above a share of its maximum, by the file's own affine."""
    file = nib.load(image)
    volume = np.asarray(file.dataobj)[..., 0]
    kept = np.where(volume > share * volume.max(), volume, 0)
    place = np.array([(kept * axis).sum() for axis in np.indices(kept.shape)]) / kept.sum()
    return nib.affines.apply_affine(file.affine, place)


def _atlas_mm(atlas: Path, label: int, image: Path) -> np.ndarray:
    """(x, y, z) of the centroid of a label, in the frame of the camera and within the field of view."""
    file = nib.load(atlas)
    labels, edges = np.asarray(file.dataobj), file.header["pixdim"][1:4]
    where = np.argwhere(labels == label)
    signed = [int(a) for a in ATLAS.axes]
    mm = np.stack(
        [
            np.sign(a) * (where[:, abs(a) - 1] - (labels.shape[abs(a) - 1] - 1) / 2) * edges[abs(a) - 1]
            - centre
            for a, centre in zip(signed, ATLAS.centre_mm, strict=True)
        ],
        axis=1,
    )  # (z, y, x)
    grid = nib.load(image)
    half = np.abs(np.diag(grid.affine)[:3]) * grid.shape[:3] / 2
    seen = (np.abs(mm[:, ::-1]) <= half).all(axis=1)
    return mm[seen].mean(axis=0)[::-1]


def _write(table: Table, numbers: dict[str, float]) -> None:
    results = ROOT / "docs" / "results"
    results.mkdir(parents=True, exist_ok=True)
    head = [
        "# Digimouse: are organs recovered where the atlas has them?",
        "",
        "`python scripts/study_digimouse.py digimouse_labels.nii.gz WORK`: Ra-223, demo camera, 1e5 events, "
        f"list-mode OSEM; {datetime.date.today():%Y-%m-%d}.",
        "",
    ]
    (results / "digimouse.md").write_text("\n".join(head) + "\n" + table.markdown())
    (results / "digimouse.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    print(table.markdown())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
