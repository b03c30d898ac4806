"""What ``hspi-generate`` records of a phantom from a package of one's own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf, open_dict

from data_gen.core.errors import UserError
from data_gen.simulation import DatasetPlan
from data_gen.simulation import generate as generation
from data_gen.simulation.plan import described
from data_gen.storage import Manifest
from hspi_learn.commands.composing import command_line, composed_jobs
from hspi_learn.commands.generate import GenerateSettings, generate
from hspi_learn.configs import build, check_config
from hspi_learn.configs.packages import package_record

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "my_package"
CAMERA = Path(__file__).parent / "tiny_camera.yaml"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the example package on the path, allowed by the user."""
    shutil.copytree(EXAMPLE / "src", tmp_path / "src")
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    monkeypatch.setenv("HSPI_ALLOW", "my_package")
    _forget()
    yield tmp_path / "src" / "my_package"
    _forget()


def _forget() -> None:
    """Other tests have a copy of the package of their own."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> DatasetPlan:
    """The plan that the command makes; no scan is simulated."""
    plans: list[DatasetPlan] = []

    def noted(plan: DatasetPlan, *_: Any, **__: Any) -> Any:
        plans.append(plan)
        return SimpleNamespace(splits={})

    monkeypatch.setattr(generation, "generate", noted)
    arguments = ["--config-dir", str(EXAMPLE / "conf"), f"output={folder}", "size=tiny", *overrides]
    (config,) = composed_jobs("generate", command_line("generate", arguments))
    with open_dict(config):
        del config["hydra"]
    generate(OmegaConf.create(check_config(config, GenerateSettings)))
    return plans[0]


def test_a_phantom_of_ones_own_is_recorded_and_its_code_watched(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class, settings, version and hash; after an edit of the package another plan, told by its name."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    real, camera = generation.generate, f"camera.name_or_path={CAMERA}"
    arguments = (camera, "phantom=hot_sphere", "phantom.sphere_mm=6.0")
    before = planned(tmp_path / "data", monkeypatch, *arguments)
    about = before.description
    assert about["packages"] == {"my_package": package_record("my_package")}
    assert about["phantom"] == {
        "_target_": "my_package.phantom.HotSphere",
        "sphere_mm": 6.0,
        "body_mm": 24.0,
        "contrast": 5.0,
    }
    assert build(about["phantom"], key="phantom") == before.phantom
    (tmp_path / "data").mkdir()
    known = {"system": before.system.to_dict(), "splits": {}, "seed": before.seed, "plan": about}
    Manifest(**known, plan_sha256=before.sha256).write(tmp_path / "data")
    assert planned(tmp_path / "data", monkeypatch, *arguments).sha256 == before.sha256
    with (source / "phantom.py").open("a") as file:
        file.write("# denser from now on\n")
    after = planned(tmp_path / "data", monkeypatch, *arguments)
    assert after.sha256 != before.sha256
    told = r"was made with my_package of no version \(source files \w{12}\), whose code is now"
    with pytest.raises(UserError, match=told):
        real(after, tmp_path / "data")


@pytest.mark.parametrize("phantom", ["mouse", "mouse_kinetics", "tumour_microenvironment", "derenzo"])
def test_phantoms_of_ours_can_be_read_back(
    phantom: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the manifest holds builds the same family, parts within parts included; no package is recorded."""
    made = planned(tmp_path / "data", monkeypatch, f"camera.name_or_path={CAMERA}", f"phantom={phantom}")
    about = made.description
    assert about["packages"] == {}
    again = build(about["phantom"], key="phantom")
    assert type(again) is type(made.phantom)
    assert described(again) == about["phantom"]
    assert build(about["readout"], key="readout") == made.readout
