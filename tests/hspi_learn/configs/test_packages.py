"""Packages of one's own: who may allow them, what they open, and what runs record of them."""

import hashlib
import json
import shutil
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import pytest

from data_gen.core.errors import UserError
from hspi_learn.commands.entry import run_command
from hspi_learn.configs import build, check_config
from hspi_learn.configs.packages import LIBRARIES, package_record, packages_used
from hspi_learn.configs.runs import load_task, warn_of_other_packages
from hspi_learn.configs.schema import Node
from hspi_learn.configs.targets import ALIASES, TARGETS, allowed, locate, present_name
from hspi_learn.io.run_folder import RunFolder

ROOT = Path(__file__).parents[3]
SOURCES = {
    "__init__.py": """
from os import system
from subprocess import run
from torch import load
from {name}.networks import Network
from builtins import open as opened
import os
exec_ = exec
settings = {{"a": 1}}
""",
    "networks.py": """
from __future__ import annotations
import enum
from collections.abc import Sequence
from typing import Literal
from {name}.tools import helper

class Kind(enum.Enum):
    soft = "soft"
    hard = "hard"

class Network:
    def __init__(self, maps: int, channels: Sequence[int] = (4, 8), kind: Kind = Kind.soft,
                 mode: Literal["a", "b"] = "a", inner: Network | None = None, **more: object) -> None:
        self.maps, self.channels, self.kind, self.inner = maps, channels, kind, inner

class Mapped(dict):
    pass
""",
    "tools.py": """
from pathlib import Path
def helper(path: str) -> None:
    Path(path).touch()
""",
}
IMPORTED = "from pathlib import Path\nPath(__file__).with_name('was_imported').touch()\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes a package that Python finds; importing it leaves a file beside its ``__init__.py``."""
    made = []
    monkeypatch.delenv("HSPI_ALLOW", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))

    def write(name: str = "my_package", entry_points: tuple[str, ...] = ()) -> Path:
        folder = tmp_path / "path" / name
        folder.mkdir(parents=True)
        made.append(name)
        for file, text in SOURCES.items():
            start = IMPORTED if file == "__init__.py" else ""
            (folder / file).write_text(start + text.format(name=name))
        if entry_points:
            about = tmp_path / "path" / f"{name}-1.5.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
            (about / "top_level.txt").write_text(f"{name}\n")
            lines = (f"target{i} = {value}\n" for i, value in enumerate(entry_points))
            (about / "entry_points.txt").write_text("[hspi_learn.targets]\n" + "".join(lines))
        return folder

    yield write
    for module in [m for m in sys.modules if m.partition(".")[0] in made]:
        del sys.modules[module]


def _imported(folder: Path) -> bool:
    return folder.name in sys.modules or (folder / "was_imported").exists()


class Settings:
    """Stands for the settings of a command."""

    def __init__(self, part: Node) -> None: ...


NODE = {"_target_": "my_package.networks.Network", "maps": 2}


def test_a_package_is_closed_until_the_user_allows_it(package: Callable[..., Path], monkeypatch) -> None:
    """Refused: one sentence tells how to allow it, and not a line of it has run. Allowed: it is built."""
    folder = package()
    with pytest.raises(UserError, match=r"if you trust my_package, set HSPI_ALLOW=my_package") as error:
        check_config({"part": NODE}, Settings)
    assert "part._target_ is 'my_package.networks.Network', which configs may not call" in str(error.value)
    assert "hspi_learn.targets" in str(error.value)
    assert "\n" not in str(error.value)
    assert not _imported(folder)
    monkeypatch.setenv("HSPI_ALLOW", " other , my_package,")
    check_config({"part": NODE}, Settings)
    assert build(NODE).maps == 2
    assert _imported(folder)


@pytest.mark.parametrize("bad", [{**NODE, "inner": {"_target_": "closed.networks.Network", "maps": 1}}])
def test_one_closed_target_keeps_every_other_from_being_imported(
    bad: dict[str, Any], package: Callable[..., Path], monkeypatch
) -> None:
    """The whole config is read before anything of an allowed package is imported."""
    monkeypatch.setenv("HSPI_ALLOW", "my_package")
    folders = package(), package("closed")
    with pytest.raises(UserError, match="if you trust closed, set HSPI_ALLOW=my_package,closed"):
        check_config({"part": bad}, Settings)
    assert not any(map(_imported, folders))


@pytest.mark.parametrize(
    ("entries", "name", "passes"),
    [
        (("my_package",), "my_package.networks.Network", True),
        (("my_package",), "my_package.Network", True),
        (("my_package.networks",), "my_package.networks.Network", True),
        (("my_package.networks:Network",), "my_package.networks.Network", True),
        (("my_package:Network",), "my_package.Network", True),
        (("my_package.tools", "my_package.networks"), "my_package.networks.helper", True),
        (("my_package.networks",), "my_package.networks.helper", False),
        (("my_package.networks",), "my_package.Network", False),
        (("my_package.networks:Network",), "my_package.networks.Mapped", False),
        (("my_package:Network",), "my_package.networks.Network", False),
        (("my_pack",), "my_package.networks.Network", False),
        (("my_package_and_more",), "my_package.networks.Network", False),
        (("my_package.net",), "my_package.networks.Network", False),
        (("my_package",), "my_package", False),
    ],
)
@pytest.mark.parametrize("way", ["entry point", "environment"])
def test_what_a_name_allows(
    way: str, entries: tuple[str, ...], name: str, passes: bool, package: Callable[..., Path], monkeypatch
) -> None:
    """A module allows what is defined in it and below it, by whole parts of a name; a name allows itself."""
    package(entry_points=entries if way == "entry point" else ())
    if way == "environment":
        monkeypatch.setenv("HSPI_ALLOW", ",".join(entries).replace(":", "."))
    if passes:
        assert callable(locate(name, "part"))
        return
    with pytest.raises(UserError, match="may not call"):
        locate(name, "part")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my_package.system", "is defined in posix"),
        ("my_package.run", "is defined in subprocess"),
        ("my_package.load", "is defined in torch.serialization"),
        ("my_package.opened", "is defined in io"),
        ("my_package.exec_", "is defined in builtins"),
        ("my_package.os.system", "Python finds no module my_package.os"),
        ("my_package.os", "is a module"),
        ("my_package.networks", "is a module"),
        ("my_package.settings", "is a dict"),
        ("my_package.__loader__", "it needs a class or function"),
        ("my_package.__getattribute__", "is defined in no module"),
        ("my_package.networks.Network.__init__", "Python finds no module my_package.networks.Network"),
        ("my_package.networks.Netwrok", "has no Netwrok"),
        ("my_package..tools.helper", "Python finds no module"),
    ],
)
def test_allowed_packages_lend_nothing_of_others(
    name: str, told: str, package: Callable[..., Path], monkeypatch
) -> None:
    """What a package imports from elsewhere is not of it, under whatever name; a sentence says why."""
    package()
    monkeypatch.setenv("HSPI_ALLOW", "my_package")
    with pytest.raises(UserError) as error:
        check_config({"part": {"_target_": name}}, Settings)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["os", "os.path", "subprocess.run", "builtins", "torch.nn", "numpy"])
@pytest.mark.parametrize("way", ["entry point", "environment"])
def test_libraries_cannot_be_allowed(name: str, way: str, package: Callable[..., Path], monkeypatch) -> None:
    """What runs or reads whatever it is given is told, whoever wants to allow it."""
    if way == "environment":
        monkeypatch.setenv("HSPI_ALLOW", f"fine,{name}")
    else:
        package(entry_points=("my_package", name))
    with pytest.raises(
        UserError, match=rf" {name!r}, which is .* cannot be allowed; .* of your own"
    ) as error:
        check_config({"part": {"_target_": "others.Network"}}, Settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["os", "hspi_learn", "data_gen.camera", "__main__", "my package", "a:b", "*", ".", "my_package."]
)
def test_wrong_names_in_the_environment_are_told(name: str, monkeypatch) -> None:
    """What cannot be allowed, names of ours and what is no name, even if nothing of others is called."""
    monkeypatch.setenv("HSPI_ALLOW", name)
    with pytest.raises(UserError, match=r"^HSPI_ALLOW contains .*, which is ") as error:
        check_config({"part": {"_target_": "data_gen.core.grid.EnergyBins"}}, Settings)
    assert "\n" not in str(error.value)


def test_every_library_that_we_stand_on_is_closed() -> None:
    """The list covers what ``pyproject.toml`` requires, by the names under which it is imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["mlflow"]]
    names = {w.partition(">")[0].strip().lower() for w in wanted}
    imported = {
        module
        for module, distributions in packages_distributions().items()
        if names & {d.lower().replace("_", "-") for d in distributions} and module.isidentifier()
    }
    missing = {m for m in imported if not m.startswith("_")} - LIBRARIES
    assert not missing
    assert requires("torch")  # the environment that this was asked of is a whole one


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"chanels": [1]}, "part.chanels is not a known key; did you mean channels?"),
        ({"maps": "2"}, "part.maps is '2'; it needs a valid integer"),
        ({"channels": [1, "x"]}, "part.channels.1 is 'x'"),
        ({"kind": "medium"}, "part.kind is 'medium'; it needs 'soft' or 'hard'"),
        ({"mode": "c"}, "part.mode is 'c'; it needs 'a' or 'b'"),
        ({"inner": {"maps": 1}}, "it needs a node with _target_"),
        ({"inner": {**NODE, "chanels": 1}}, "part.inner.chanels is not a known key"),
        ({"_target_": "my_package.networks.Mapped"}, "wrap it in a function"),
        ({"_partial_": True, "chanels": [1]}, "part.chanels is not a known key"),
    ],
)
def test_schemas_are_those_of_the_signature(
    change: dict[str, Any], told: str, package: Callable[..., Path], monkeypatch
) -> None:
    """Keys and values for a class of others are checked like those for ours, partials too."""
    package()
    monkeypatch.setenv("HSPI_ALLOW", "my_package")
    with pytest.raises(UserError) as error:
        check_config({"part": {**NODE, **change}}, Settings)
    assert told in str(error.value)


def test_what_is_checked_is_built(package: Callable[..., Path], monkeypatch) -> None:
    """Missing arguments are told; partials wait for theirs; lists and nested nodes arrive as objects."""
    package()
    monkeypatch.setenv("HSPI_ALLOW", "my_package")
    target = NODE["_target_"]
    with pytest.raises(UserError, match=r"part\.maps is not given"):
        check_config({"part": {"_target_": target}}, Settings)
    waiting = build({"_target_": target, "_partial_": True, "kind": "hard", "inner": NODE})
    network = waiting(3)
    assert (network.maps, network.kind.value, network.inner.maps) == (3, "hard", 2)


class TestConfigsCannotAllow:
    """Whatever somebody sends along, only the user's own environment and installed packages count."""

    @pytest.fixture
    def folder(self, package: Callable[..., Path]) -> Path:
        return package()

    def _told(self, arguments: list[str], monkeypatch, capsys) -> str:
        from hspi_learn.commands.train import TrainSettings

        monkeypatch.setattr(sys, "argv", ["hspi-train", *arguments])
        with pytest.raises(SystemExit) as end:
            run_command("train", pytest.fail, TrainSettings, resume=pytest.fail)
        assert end.value.code == 2
        told: str = capsys.readouterr().err
        assert told.count("\n") == 1, told
        return told

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("hydra: {job: {env_set: {HSPI_ALLOW: my_package}}}", "hydra.job.env_set.HSPI_ALLOW is set"),
            ("hydra: {job: {env_copy: [WANTED]}}", "hydra.job.env_set.WANTED is set"),
            ("HSPI_ALLOW: my_package", "task.generator._target_ is 'my_package.Network'"),
            ("targets: [my_package]", "task.generator._target_ is 'my_package.Network'"),
            ("logger: {_target_: '${oc.env:WANTED}'}", "logger._target_ is 'my_package.networks.Network'"),
            ("logger: {_target_: '${.x}.Network', x: my_package}", "logger._target_ is 'my_package.Network'"),
        ],
    )
    def test_by_a_config(
        self, text: str, told: str, folder: Path, monkeypatch, capsys, tmp_path: Path
    ) -> None:
        """Neither keys, nor the hydra node, nor values of the environment that a config may read."""
        monkeypatch.setenv("WANTED", "my_package.networks.Network")
        monkeypatch.setenv("HSPI_ALLOW_ENV", "WANTED")
        (tmp_path / "conf" / "experiment").mkdir(parents=True)
        generator = "" if "logger" in text else "task: {generator: {_target_: my_package.Network}}"
        option = f"# @package _global_\n{text}\n{generator}\n"
        (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(option)
        arguments = ["--config-dir", str(tmp_path / "conf"), "data.folder=x", "experiment=mine"]
        assert told in self._told(arguments, monkeypatch, capsys)
        assert not _imported(folder)

    @pytest.mark.parametrize("flag", [[], ["--help"], ["--cfg", "job"], ["--info", "all"], ["-m"]])
    @pytest.mark.parametrize(
        "text",
        [
            "{searchpath: ['pkg://my_package']}",
            "{hydra_logging: {version: 1, handlers: {x: {(): my_package.Network, maps: 1}}}}",
            "{callbacks: {x: {_target_: my_package.Network, maps: 1}}}",
            "{launcher: {_target_: my_package.Network}}",
        ],
    )
    def test_by_the_hydra_node(
        self, flag: list[str], text: str, folder: Path, monkeypatch, capsys, tmp_path: Path
    ) -> None:
        """Hydra acts on its node even to show help; it may not even call what the user allows configs to."""
        monkeypatch.setenv("HSPI_ALLOW", "my_package")
        (tmp_path / "conf" / "experiment").mkdir(parents=True)
        (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(f"# @package _global_\nhydra: {text}\n")
        arguments = ["--config-dir", str(tmp_path / "conf"), *flag, "experiment=mine", "data.folder=x"]
        told = self._told(arguments, monkeypatch, capsys)
        assert "may only" in told or "may not" in told or "only supported from the primary" in told, told
        assert not _imported(folder)

    def test_by_a_primary_config(self, folder: Path, monkeypatch, capsys, tmp_path: Path) -> None:
        """A folder of configs adds to ours; it replaces neither a primary config nor a choice of ours."""
        (tmp_path / "conf" / "task").mkdir(parents=True)
        (tmp_path / "conf" / "train.yaml").write_text("hydra: {searchpath: ['pkg://my_package']}\n")
        (tmp_path / "conf" / "task" / "gan_reconstruction.yaml").write_text("_target_: my_package.Network\n")
        told = self._told(["--config-dir", str(tmp_path / "conf")], monkeypatch, capsys)
        assert "data.folder is not given" in told
        assert not _imported(folder)

    @pytest.mark.parametrize("override", ["hydra.searchpath", "+hydra.searchpath", "++hydra.searchpath"])
    def test_by_a_search_path(self, override: str, folder: Path, monkeypatch, capsys) -> None:
        """Hydra would import a package in order to look for configs in it."""
        told = self._told([f"{override}=[pkg://my_package]", "data.folder=x"], monkeypatch, capsys)
        assert "hydra.searchpath contains pkg://my_package" in told
        assert not _imported(folder)

    def test_by_a_run_folder(self, folder: Path, monkeypatch, capsys, tmp_path: Path) -> None:
        """A run folder names its package everywhere that it can, and is refused, resumed or loaded."""
        run = tmp_path / "run"
        run.mkdir()
        config = {
            "task": NODE,
            "HSPI_ALLOW": "my_package",
            "hydra": {"job": {"env_set": {"HSPI_ALLOW": "x"}}},
        }
        (run / "config.yaml").write_text(json.dumps(config))
        (run / "environment.json").write_text(json.dumps({"packages": {"my_package": {"version": "1.5"}}}))
        for told in (self._told([f"resume={run}"], monkeypatch, capsys), str(_refusal_of_loading(run))):
            assert "if you trust my_package, set HSPI_ALLOW=my_package" in told
        assert str(run / "config.yaml") in str(_refusal_of_loading(run))
        assert not _imported(folder)


def _refusal_of_loading(run: Path) -> UserError:
    with pytest.raises(UserError) as error:
        load_task(run)
    return error.value


class TestRecords:
    """What a run writes down of packages that its config calls, and says when they have changed."""

    def test_hash_is_of_all_sources(self, package: Callable[..., Path]) -> None:
        """Version of the distribution; the hash changes with a file's content or name. No import."""
        folder = package(entry_points=("my_package",))
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
        first = package_record("my_package")
        assert first == {"version": "1.5", "sha256": digest.hexdigest()}
        (folder / "notes.txt").write_text("no source")
        assert package_record("my_package") == first
        (folder / "tools.py").rename(folder / "tool.py")
        renamed = package_record("my_package")
        assert renamed["sha256"] != first["sha256"]
        assert not _imported(folder)

    def test_modules_without_a_distribution(self, package: Callable[..., Path], tmp_path: Path) -> None:
        """A single file on the path has a hash and no version."""
        package()
        (tmp_path / "path" / "alone.py").write_text("x = 1\n")
        digest = hashlib.sha256(b"alone.py\0" + b"6\0" + b"x = 1\n").hexdigest()
        assert package_record("alone") == {"version": None, "sha256": digest}
        assert package_record("pytest")["version"] == version("pytest")

    def test_only_packages_of_others_are_recorded(self, package: Callable[..., Path]) -> None:
        """However deep a config calls them; ours and Lightning are in ``versions`` and ``commit``."""
        package()
        config = {"a": [{"b": NODE}], "trainer": {"_target_": "pytorch_lightning.Trainer"}}
        assert list(packages_used(config, {"_target_": "data_gen.core.grid.EnergyBins"})) == ["my_package"]
        assert packages_used({"a": 1}) == {}

    def test_other_versions_are_told(self, package: Callable[..., Path], tmp_path: Path) -> None:
        """Same package: silence. Another version or other sources: a warning that names both."""
        folder = package(entry_points=("my_package",))
        run, config = RunFolder(tmp_path / "run"), {"task": NODE}
        run.path.mkdir()
        record = package_record("my_package")
        run.environment_file.write_text(json.dumps({"packages": {"my_package": record}}))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_other_packages(run, config)
        (folder / "tools.py").write_text("changed = True\n")
        shutil.move(tmp_path / "path/my_package-1.5.dist-info", tmp_path / "path/my_package-1.6.dist-info")
        about = tmp_path / "path/my_package-1.6.dist-info/METADATA"
        about.write_text(about.read_text().replace("1.5", "1.6"))
        present = package_record("my_package")
        with pytest.warns(UserWarning, match="made with my_package 1.5") as told:
            warn_of_other_packages(run, config)
        for part in (str(record["sha256"])[:12], "but 1.6", str(present["sha256"])[:12]):
            assert part in str(told[0].message)


class TestAliases:
    """Former names stay good, and are never a way around the allowlist."""

    def test_longest_whole_parts_apply(self) -> None:
        aliases = {"a.grid": "a.core.grid", "a.grid.Old": "a.core.grid.New", "a.scan": "a.core.events"}
        for former, present in {
            "a.grid.EnergyBins": "a.core.grid.EnergyBins",
            "a.grid.Old": "a.core.grid.New",
            "a.grid.Old.part": "a.core.grid.New.part",
            "a.grid": "a.core.grid",
            "a.scan.EventList": "a.core.events.EventList",
            "a.grids.EnergyBins": "a.grids.EnergyBins",
            "b.a.grid": "b.a.grid",
            "": "",
        }.items():
            assert present_name(former, aliases) == present

    def test_configs_of_old_runs_are_translated(self, monkeypatch) -> None:
        """Checked and built under the present name, which is what commands see."""
        former = {"_target_": "data_gen.bins.Bins", "min_kev": 1.0, "max_kev": 3.0, "count": 2}
        with pytest.raises(UserError, match="may not call"):
            check_config({"part": former}, Settings)
        monkeypatch.setitem(ALIASES, "data_gen.bins.Bins", "data_gen.core.grid.EnergyBins")
        assert check_config({"part": former}, Settings)["part"]["_target_"] == "data_gen.core.grid.EnergyBins"
        assert build(former).count == 2
        monkeypatch.setitem(ALIASES, "data_gen.bad", "os")
        with pytest.raises(UserError, match="may not call"):
            allowed("data_gen.bad.system", "part")

    @pytest.mark.parametrize(
        ("former", "present"),
        [
            ("data_gen.generate.DatasetPlan", "data_gen.simulation.DatasetPlan"),
            ("data_gen.grid.VoxelGrid", "data_gen.core.grid.VoxelGrid"),
            ("hspi_learn.benchmark.physics.adjoint", "data_gen.validation.adjoint"),
        ],
    )
    def test_names_of_the_first_release_are_still_allowed(self, former: str, present: str) -> None:
        assert allowed(former, "part") == present

    def test_the_table_leads_to_present_names(self) -> None:
        """Every line leads to something that configs may call; none leads from a present name."""
        for former, present in ALIASES.items():
            assert any(name == present or name.startswith(f"{present}.") for name in TARGETS), former
            assert not any(name == former or name.startswith(f"{former}.") for name in TARGETS), former
