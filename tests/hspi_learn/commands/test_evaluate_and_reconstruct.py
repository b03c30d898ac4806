"""From a tiny data set and a run of two steps to a report and NIfTI files, by the commands' own configs."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from data_gen.core.errors import UserError
from data_gen.phantoms import ORGANS
from data_gen.storage import ShardReader
from hspi_learn.commands.composing import command_line, composed_jobs
from hspi_learn.commands.evaluate import EvaluateSettings, evaluate
from hspi_learn.commands.generate import GenerateSettings, generate
from hspi_learn.commands.reconstruct import ReconstructSettings, reconstruct
from hspi_learn.commands.train import TrainSettings, train
from hspi_learn.configs import check_config
from hspi_learn.io.run_folder import RunFolder

CAMERA = Path(__file__).parent / "tiny_camera.yaml"
KEYS = ("nrmse", "nrmse_mean", "nrmse_worst")
TUMOURS = ("tumour_error", "tumour_bias", "tumour_slope", "tumour_auc", "false_lesions", "organ_error")


def _run(name: str, job: Callable[[DictConfig], Any], settings: Callable[..., Any], *overrides: str) -> Any:
    """What the command does with these overrides."""
    (config,) = composed_jobs(name, command_line(name, list(overrides)))
    with open_dict(config):
        del config["hydra"]
    return job(OmegaConf.create(check_config(config, settings)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 4 + 2 + 3 scans and a run of two steps on it."""
    path = tmp_path_factory.mktemp("job")
    data = (
        f"output={path}/data",
        f"camera.name_or_path={CAMERA}",
        "nuclide=ra223",
        "dataset.grid.shape=[8,8,8]",
        "dataset.grid.spacing_mm=3.6",
        "dataset.sizes={train: 4, validation: 2, test: 3}",
        "dataset.counts=[2e3,4e3]",
        "dataset.injected_bq=[1e4,1e8]",
        "model.reference_energies=2",
        "model.scatter_terms=[leakage,object_scatter]",
        "workers=0",
    )
    _run("generate", generate, GenerateSettings, *data)
    steps = ("trainer.max_steps=2", "task.generator.channels=[4,8]", "task.generator.strides=[1]")
    task = (*steps, "task.adversary.discriminator.channels=4", "task.initial.subsets=2", "data.batch_size=2")
    _run("train", train, TrainSettings, f"data.folder={path}/data", f"run_dir={path}/run", *task)
    return path


@pytest.fixture
def shard(folder: Path) -> Path:
    return next((folder / "data").glob("test-*.h5"))


def _reconstructed(*overrides: str) -> dict[str, float]:
    found: dict[str, float] = _run("reconstruct", reconstruct, ReconstructSettings, "threads=1", *overrides)
    return found


def test_evaluation_writes_numbers_tables_and_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue, point 2: the keys of metrics.json; tables in three formats, figures, estimates and the page."""
    numbers = _run(
        "evaluate",
        evaluate,
        EvaluateSettings,
        f"data.folder={folder}/data",
        f"runs.gan={folder}/run",
        f"runs.control={folder}/run",
        f"run_dir={folder}/report",
        "workers=0",
        "protocol@protocols.reconstruction=reconstruction_with_map",
        "protocols.reconstruction.classical.osem.subsets=2",
        "protocols.reconstruction.classical.map_rdp.subsets=2",
        "protocols.reconstruction.tuning.map_rdp.iterations=[2,3]",
        "protocols.reconstruction.tuning.map_rdp.penalty=[0.1,1.0]",
        "protocols.reconstruction.classical.map_anatomical.subsets=2",
        "protocols.reconstruction.tuning.map_anatomical.iterations=[2]",
        "protocols.reconstruction.tuning.map_anatomical.penalty=[0.3]",
        "protocols.reconstruction.tuning.map_anatomical.density_width_g_cm3=[0.1,0.4]",
        "count_fractions=[1.0,0.5]",
        "protocols.reconstruction.tuning.osem.iterations=[1,3]",
        "protocols.reconstruction.tuning.osem.postfilter_fwhm_mm=[0.0,4.0]",
        "attacks.attacked.steps=2",
        "attacks.random.draws=2",
        "attacked_scans=2",
        "protocols.reconstruction.noise_realisations=3",
        "protocols.reconstruction.noise_iterations=[1]",
        "protocols.reconstruction.bound_scans=2",
        "protocols.reconstruction.regional_scans=2",
        "logger=mlflow",
    )
    report = folder / "report"
    _check_dashboard(report, RunFolder(folder / "run").run_id, numbers)
    assert json.loads((report / "metrics.json").read_text()) == numbers
    assert all(math.isfinite(value) for value in numbers.values())
    wanted = {
        f"test/{key}/{m}{a}"
        for key in KEYS
        for m in ("gan", "control", "osem", "map_rdp", "map_anatomical")
        for a in ("", "_attacked", "_random")
    }
    wanted |= {f"test/bias/{m}/{g}" for m in ("gan", "control", "osem") for g in ("Ra-223", "Pb-211")}
    wanted |= {"test/nrmse/mean_image", "test/counts_median", "test/counts_photopeak_median"}
    wanted |= {f"test/{key}/{m}/Ra-223" for key in TUMOURS for m in ("gan", "osem", "mean_image")}
    wanted |= {
        "osem/iterations",
        "osem/postfilter_fwhm_mm_at_0.5",
        "map_rdp/penalty",
        "map_rdp/penalty_at_0.5",
        "map_anatomical/density_width_g_cm3",
    }
    wanted |= {f"test/tumour_activity/tumours/{m}/Ra-223/60mm3" for m in ("gan", "map_rdp")}
    wanted |= {"test/failed/gan", "test/least_sd/liver/Pb-211", "test/least_sd_organs/Ra-223"}
    assert not wanted - set(numbers)
    assert len(list((folder / "data" / "inputs").glob("*/*.safetensors"))) >= 2  # bounds are kept
    assert numbers["test/nrmse/gan"] == numbers["test/nrmse/control"]
    assert numbers["test/nrmse_difference/gan_minus_control/high"] == 0
    assert {p.suffix for p in (report / "tables").iterdir()} == {".csv", ".md", ".tex"}
    assert (report / "report.html").stat().st_size > 1e5
    assert len(list((report / "figures").glob("*.png"))) >= 8
    with np.load(report / "predictions.npz", allow_pickle=False) as saved:
        assert saved["osem"].shape == saved["truth"].shape == (3, 2, 8, 8, 8)
    assert not [p for p in report.rglob("*") if p.name.endswith(".part")]
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert "3 mice were compared, which are too few" in printed


def _check_dashboard(report: Path, trained: str, numbers: dict[str, float]) -> None:
    """MLflow has all scores, clean and attacked, tables, curves, and the training they are of."""
    run = (report / "logs" / "mlflow_run_id").read_text()
    (kept,) = (report / "logs" / "mlruns").glob(f"*/{run}")
    for name in ("nrmse.gan", "nrmse.gan_attacked", "nrmse.gan.Ra-223"):
        told = (kept / "metrics" / "test" / name).read_text().split()
        assert float(told[1]) == numbers["test/" + name.replace("gan.", "gan/").replace("nrmse.", "nrmse/")]
    assert (kept / "tags" / "trained.gan").read_text() == trained
    assert {p.name for p in (kept / "artifacts" / "tables").iterdir()} >= {"counts.csv", "attacks.md"}
    assert (kept / "artifacts" / "figures" / "error_against_counts").is_dir()


def test_networks_and_classical_methods_reconstruct_a_shard(folder: Path, shard: Path) -> None:
    """Two maps in Bq/mL whose totals are those returned; 1e-4; the centre voxel's affine is the isocentre."""
    for name, how in (("net", f"run={folder}/run"), ("osem", "method=osem"), ("map", "method=map_rdp")):
        more = () if name == "net" else ("method.subsets=2",)
        totals = _reconstructed(how, *more, f"input={shard}", "scan=1", f"output={folder}/{name}.nii.gz")
        image = nibabel.load(folder / f"{name}.nii.gz")
        assert image.shape == (8, 8, 8, 2)
        assert np.allclose(image.affine @ [3.5, 3.5, 3.5, 1], [0, 0, 0, 1], atol=1e-5)
        found = image.get_fdata().sum((0, 1, 2)) * 3.6**3 / 1000
        assert np.allclose(found, list(totals.values()), rtol=1e-4)
        assert image.get_fdata().min() >= 0
        assert list(totals) == ["Ra-223", "Pb-211"]


def test_events_and_counts_give_the_same_image(folder: Path, shard: Path) -> None:
    """A shard's events as a plain event file (list-mode) and as counts on the same bins; 1e-3 of maximum."""
    record = ShardReader(shard).scan(0)
    edges = np.linspace(20, 600, 581)
    counts = np.histogram2d(record.events.pixel, record.events.energy_kev, [np.arange(129) - 0.5, edges])[0]
    np.savez(folder / "events.npz", pixel=record.events.pixel, energy_kev=record.events.energy_kev)
    np.savez(folder / "counts.npz", counts=counts, edges_kev=edges, duration_s=record.duration_s)
    grid = ("grid.shape=[8,8,8]", "grid.spacing_mm=3.6", "body_diameter_mm=24", "method.subsets=2")
    system = (
        f"camera.name_or_path={CAMERA}",  # alone, as docs/scans.md has it
        "nuclide.nuclide=Ra-223",
        "model=demo",
        "model.reference_energies=2",  # as the data set's, whose matrices are there
        "model.scatter_terms=[leakage,object_scatter]",
        *grid,
    )
    images = []
    for name, more in (("events", (f"duration_s={record.duration_s}",)), ("counts", ())):
        _reconstructed(f"input={folder}/{name}.npz", f"output={folder}/{name}", *system, *more)
        images.append(nibabel.load(folder / name / "activity.nii.gz").get_fdata())
    assert np.allclose(images[0], images[1], atol=1e-3 * images[0].max())
    # Without a density the body is a cylinder of water: nothing is outside of it.
    x = (np.arange(8) - 3.5) * 3.6
    outside = np.hypot(*np.meshgrid(x, x, indexing="ij")) > 12
    assert images[0][outside].max() == 0
    assert images[0][~outside].max() > 0


def test_lesions_and_organs_with_intervals_stand_beside_the_image(
    folder: Path, shard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A calibration of three drawn subjects at 50 %, and tables of one scan: organs of the true outlines by
    the network, whose sums are those of the image; lesions by OSEM from events, a row for each map."""
    numbers = _run(
        "evaluate",
        evaluate,
        EvaluateSettings,
        f"data.folder={folder}/data",
        f"+runs.net={folder}/run",
        f"run_dir={folder}/conformal",
        "protocol@protocols.reconstruction=conformal",
        "protocols.reconstruction.population.anatomies=2",
        "protocols.reconstruction.subjects=3",
        "protocols.reconstruction.checked=1",
        "protocols.reconstruction.level=0.5",
        "count_fractions=[1.0,0.5]",
        "attacked_scans=0",
        "workers=0",
    )
    assert numbers["calibration/subjects"] == 3
    assert numbers["calibration/quantile/net/Ra-223/liver"] > 0
    record = ShardReader(shard).scan(1)
    assert record.labels is not None
    affine = np.diag([3.6, 3.6, 3.6, 1.0])
    affine[:3, 3] = -3.5 * 3.6
    outlines = folder / "organs.nii.gz"
    nibabel.save(nibabel.Nifti1Image(record.labels.numpy().T.astype(np.float32), affine), outlines)
    here = (f"input={shard}", "scan=1")
    calibrated = (f"calibration={folder}/conformal/calibration.json", f"outlines={outlines}")
    _reconstructed(*here, f"run={folder}/run", *calibrated, f"output={folder}/organs_out.nii.gz")
    rows = (folder / "organs_out_organs.csv").read_text().splitlines()[1:]
    image = nibabel.load(folder / "organs_out.nii.gz").get_fdata()[..., 0].T
    liver = next(row.split(",") for row in rows if row.startswith("liver,Ra-223"))
    inside = record.labels.numpy() == ORGANS.index("liver")
    assert float(liver[2]) == pytest.approx(float(image[inside].sum()) * 3.6**3 / 1000, rel=1e-4)
    assert float(liver[3]) < float(liver[2]) < float(liver[4])
    found = _reconstructed(
        *here, "method=osem", "method.subsets=2", "lesions=true", f"output={folder}/lesions_out.nii.gz"
    )
    rows = (folder / "lesions_out_lesions.csv").read_text().splitlines()[1:]
    assert len(rows) == 2 * found.get("lesions", 0)  # so few and coarse voxels may show none
    assert "Lesions that the image shows" in capsys.readouterr().out


def test_density_is_taken_from_a_file(folder: Path, shard: Path) -> None:
    """Activity lies where the file has tissue, here in one half."""
    values = np.zeros((8, 8, 8), np.float32)
    values[:4] = 1.0
    affine = np.diag([3.6, 3.6, 3.6, 1.0])
    affine[:3, 3] = -3.5 * 3.6
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / "half.nii.gz")
    output = folder / "half_out.nii.gz"
    _reconstructed(f"input={shard}", f"density={folder}/half.nii.gz", f"output={output}", "method.subsets=2")
    image = nibabel.load(output).get_fdata()
    assert image[4:].max() == 0 < image[:4].max()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("camera=demo",), "camera is demo, but"),
        (("nuclide=ac225",), "nuclide is Ac-225, but"),
        (("scan=99",), "scan is 99;"),
        (("output=a.txt",), "output is a.txt; it needs a name that ends with .nii.gz or .nii"),
        (("input=nothing.h5",), "input is nothing.h5, which is missing"),
        (("duration_s=-1",), "duration_s is -1.0; it needs a positive time"),
        (("density=nothing.nii",), "density is nothing.nii, which cannot be read"),
        (("run=nowhere",), "nowhere holds no config.yaml"),
        (("outlines=nothing.nii",), "outlines is nothing.nii, which cannot be read"),
        (("calibration=c.json",), "set run=RUN and outlines=FILE too"),
    ],
)
def test_wrong_input_is_told(
    folder: Path, shard: Path, overrides: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    """Issue, point 10: one sentence, and no file is left."""
    given = {"input": f"input={shard}", "output": f"output={tmp_path}/out.nii.gz"}
    given |= {o.partition("=")[0]: o for o in overrides}
    with pytest.raises(UserError) as error:
        _reconstructed(*given.values())
    assert told in str(error.value)
    assert not list(tmp_path.iterdir())


def test_files_that_say_too_little(folder: Path, tmp_path: Path) -> None:
    """Plain events need a camera, a nuclide and a time; an empty scan is no scan."""
    np.savez(tmp_path / "e.npz", pixel=np.array([1]), energy_kev=np.array([700.0]))
    given = (f"input={tmp_path}/e.npz", f"output={tmp_path}/out.nii.gz")
    camera = f"+camera={{_target_: data_gen.camera.load_camera, name_or_path: {CAMERA}}}"
    grid = (
        "grid.shape=[8,8,8]",
        "grid.spacing_mm=3.6",
        "method.subsets=2",
        "model=demo",
        "model.scatter_terms=[]",
    )
    with pytest.raises(UserError, match="camera is not given"):
        _reconstructed(*given)
    with pytest.raises(UserError, match="nuclide is not given"):
        _reconstructed(*given, camera)
    with pytest.raises(UserError, match="duration_s is not given"):
        _reconstructed(*given, camera, "nuclide=ra223", *grid)
    with pytest.raises(UserError, match="holds no counts at 20-600 keV"):
        _reconstructed(*given, camera, "nuclide=ra223", *grid, "duration_s=60")


@pytest.mark.parametrize(
    ("override", "told"), [("camera=demo", "camera is demo"), ("nuclide=ac225", "nuclide is")]
)
def test_a_run_refuses_a_config_that_says_otherwise(
    folder: Path, shard: Path, override: str, told: str, tmp_path: Path
) -> None:
    """Issue, point 10: a camera or nuclide beside a run that was trained for another is not passed over."""
    with pytest.raises(UserError, match=told):
        _reconstructed(f"run={folder}/run", override, f"input={shard}", f"output={tmp_path}/out.nii.gz")
    assert not list(tmp_path.iterdir())


def test_a_run_refuses_another_camera(folder: Path, tmp_path: Path) -> None:
    """A data set of the same mice, seen by a camera whose detector is noisier."""
    noisier = "response: {kind: cdte, electronic_noise_kev: 1.0}"
    text = CAMERA.read_text().replace("response: {kind: cdte}", noisier)
    (tmp_path / "other.yaml").write_text(text)
    _run(
        "generate",
        generate,
        GenerateSettings,
        f"output={tmp_path}/data",
        f"camera.name_or_path={tmp_path}/other.yaml",
        "nuclide=ra223",
        "dataset.grid.shape=[8,8,8]",
        "dataset.grid.spacing_mm=3.6",
        "dataset.sizes={test: 1, validation: 1, train: 1}",
        "dataset.counts=[2e3,4e3]",
        "dataset.injected_bq=[1e4,1e8]",
        "model.reference_energies=2",
        "model.scatter_terms=[leakage,object_scatter]",
        "workers=0",
    )
    shard = next((tmp_path / "data").glob("test-*.h5"))
    with pytest.raises(UserError, match=r"has camera .* was trained for camera"):
        _reconstructed(f"run={folder}/run", f"input={shard}", f"output={tmp_path}/out.nii.gz")
    with pytest.raises(
        UserError, match=r"runs\.gan was trained for another imaging system .*differ in camera"
    ):
        _run(
            "evaluate",
            evaluate,
            EvaluateSettings,
            f"data.folder={tmp_path}/data",
            f"runs.gan={folder}/run",
            f"run_dir={tmp_path}/report",
        )
    shutil.rmtree(tmp_path / "data")
    assert not (tmp_path / "report").exists()


def test_a_silent_panel_is_told_and_left_out(folder: Path, shard: Path) -> None:
    """One of two panels off: a warning names it, OSEM and a network do as with its pixels named as dead, and
    the activity is that of both panels within 25 % (a few thousand counts)."""
    record = ShardReader(shard).scan(0)
    on = record.events.pixel < 64
    np.savez(folder / "half.npz", pixel=record.events.pixel[on], energy_kev=record.events.energy_kev[on])
    np.savez(folder / "whole.npz", pixel=record.events.pixel, energy_kev=record.events.energy_kev)
    system = (
        f"+camera={{_target_: data_gen.camera.load_camera, name_or_path: {CAMERA}}}",
        "nuclide=ra223",
        "model=demo",
        "model.reference_energies=2",
        "model.scatter_terms=[leakage,object_scatter]",
        *("grid.shape=[8,8,8]", "grid.spacing_mm=3.6", "body_diameter_mm=24", "method.subsets=2"),
    )
    for name, how in (("osem", system), ("net", (f"run={folder}/run", "body_diameter_mm=24"))):
        more = (*how, f"duration_s={record.duration_s}", f"output={folder}/off_{name}")
        both = _reconstructed(f"input={folder}/whole.npz", *more)
        with pytest.warns(UserWarning, match=r"panels \[1\] recorded nothing; they are taken for off"):
            off = _reconstructed(f"input={folder}/half.npz", *more)
        assert (off.pop("silent_panels"), off["dead_pixels"]) == (1, 64)
        named = _reconstructed(f"input={folder}/half.npz", *more, f"dead_pixels={list(range(64, 128))}")
        assert named == off
        assert sum(both.values()) * 0.75 < off["Ra-223"] + off["Pb-211"] < sum(both.values()) * 1.25
