"""What users write on the command line, and what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_gen.core.errors import UserError
from hspi_learn.commands.composing import command_line, composed_jobs
from hspi_learn.commands.overrides import present_overrides
from hspi_learn.configs import build

CAMERA = Path(__file__).parent / "tiny_camera.yaml"


@pytest.mark.parametrize(
    ("written", "present"),
    [
        ("dataset.secondary=[]", "model.scatter_terms=[]"),
        ("+dataset.most_energy_groups=2", "+model.reference_energies=2"),
        ("camera.collimator.diameter_mm=0.5", "++camera.collimator.diameter_mm=0.5"),
        ("camera.detector.response={kind: cdte}", "++camera.detector.response={kind: cdte}"),
        ("camera.name=mine", "++camera.name=mine"),
        ("camera.name_or_path=my=camera.yaml", "camera.name_or_path=my=camera.yaml"),
        ("camera._target_=os.system", "camera._target_=os.system"),
        ("camera=demo", "camera=demo"),
        ("~camera.collimator", "~camera.collimator"),
        ("dataset.secondary_beam=1", "dataset.secondary_beam=1"),
        ("size/generate@_global_=tiny", "size/generate@_global_=tiny"),
    ],
)
def test_overrides_are_made_present(written: str, present: str) -> None:
    """Former keys get their present names, keys of a camera need no ++; all else stays as it is."""
    assert present_overrides("generate", [written]) == [present]
    if not written.startswith("camera"):
        assert present_overrides("sweep", [written]) == [written]


@pytest.mark.parametrize("command", ["train", "evaluate", "export"])
@pytest.mark.parametrize(
    "key", ["camera", "+camera.name", "camera@x", "model.scatter_terms", "++projector", "phantom", "nuclide"]
)
def test_keys_of_the_data_set_are_refused_where_it_is_only_read(command: str, key: str) -> None:
    """The sentence says whose key it is; the same key is fine in hspi-generate, and others are here."""
    with pytest.raises(UserError, match=r"belongs to the data set, not to hspi-\w+; set it in hspi-generate"):
        present_overrides(command, [f"{key}=demo"])
    assert len(present_overrides("generate", [f"{key}=demo"])) == 1
    assert present_overrides(command, ["data.folder=x", "task=y"]) == ["data.folder=x", "task=y"]


def _jobs(*overrides: str) -> list:
    return list(composed_jobs("generate", command_line("generate", ["output=x", *overrides])))


def test_keys_of_a_camera_compose_with_any_file() -> None:
    """A key of a named camera and one of a file of one's own; a sweep over one."""
    (job,) = _jobs("camera=nai_pinhole", "camera.collimator.diameter_mm=2", "dataset.scatter_voxel_mm=5.5")
    camera = build(job.camera, key="camera")
    assert (camera.name, camera.spec.collimator.diameter_mm) == ("nai_pinhole", 2.0)
    assert build(job.model, key="model").scatter_voxel_mm == 5.5
    (job,) = _jobs("camera.detector.response.electronic_noise_kev=1.5", f"camera.name_or_path={CAMERA}")
    camera = build(job.camera, key="camera")
    assert (camera.name, camera.response.electronic_noise_kev) == ("tiny", 1.5)
    jobs = _jobs("-m", "camera.collimator.plate_mm=6,7")
    assert [build(job.camera, key="camera").plate_mm for job in jobs] == [6.0, 7.0]


def test_former_keys_of_a_design() -> None:
    """Rays and reference energies of hspi-design by their former and their present names."""
    for written in (
        ["rays=8", "most_energy_groups=2"],
        ["model.ray_sampling.rays=8", "model.reference_energies=2"],
    ):
        (job,) = composed_jobs("design", command_line("design", written))
        options = build(job.model, key="model")
        assert (options.ray_sampling.rays, options.reference_energies) == (8, 2)
        assert (options.projector, options.scatter_terms) == ("ray", ("leakage",))


@pytest.mark.parametrize(("choice", "projector"), [([], "matrix"), (["projector=ray"], "ray")])
def test_projectors_are_a_choice(choice: list[str], projector: str) -> None:
    """projector=NAME sets what the model is built with; the demo's options stay."""
    (job,) = _jobs(*choice)
    options = build(job.model, key="model")
    assert options.projector == projector
    assert (options.reference_energies, options.scatter_voxel_mm) == (6, 4.8)


@pytest.mark.parametrize(
    ("written", "camera", "nuclide"),
    [
        (("camera.name_or_path=mine.yaml",), "mine.yaml", None),
        (("nuclide.nuclide=Pb-212",), None, "Pb-212"),
        (("camera=demo", "camera.name_or_path=mine.yaml"), "mine.yaml", None),
        (("nuclide.nuclide=Pb-212", "nuclide=ac225"), None, "Pb-212"),
        (("camera.collimator.diameter_mm=0.5", "camera.name_or_path=mine.yaml"), "mine.yaml", None),
    ],
)
def test_a_camera_file_or_a_nuclide_is_enough(
    written: tuple[str, ...], camera: str | None, nuclide: str | None
) -> None:
    """hspi-reconstruct chooses neither by itself; a key that says all needs no choice beside it."""
    (config,) = composed_jobs("reconstruct", command_line("reconstruct", ["input=x", "output=y", *written]))
    found = config.get("camera"), config.get("nuclide")
    assert (found[0] and found[0].name_or_path) == camera
    assert (found[1] and found[1].nuclide) == nuclide
    for node, target in zip(found, ("load_camera", "decay_chain"), strict=True):
        assert node is None or node._target_.endswith(target)


@pytest.mark.parametrize(
    ("written", "present"),
    [
        ("objective.group=1", "objective.map=1"),
        ("+objectives.hidden.group=0", "+objectives.hidden.map=0"),
        ("objectives.group=0", "objectives.group=0"),
    ],
)
def test_the_number_of_a_map_under_its_former_name(written: str, present: str) -> None:
    """``group`` of objectives is ``map`` today; an objective may be called group."""
    assert present_overrides("evaluate", [written]) == [present]
