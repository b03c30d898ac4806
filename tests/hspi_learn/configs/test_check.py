"""Configs are checked whole before anything is built: allowlist, schemas, Hydra's own node."""

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from data_gen.core.errors import UserError
from hspi_learn.configs import build, check_config, check_hydra
from hspi_learn.configs.schema import Node, Threads
from hspi_learn.configs.targets import TARGETS, locate

GRID = {"_target_": "data_gen.core.grid.EnergyBins", "min_kev": 20.0, "max_kev": 600.0, "count": 58}


class Settings:
    """Stands for the settings of a command."""

    def __init__(
        self,
        bins: Node,
        count: int,
        share: float = 1.0,
        kind: Literal["a", "b"] = "a",
        edges: tuple[float, ...] = (),
        folder: Path | None = None,
        flag: bool = False,
        parts: dict[str, Node | None] | None = None,
        notes: dict[str, Any] | None = None,
        threads: Threads = 1,
    ) -> None:
        self.edges, self.folder = edges, folder


def _checked(**keys: Any) -> dict[str, Any]:
    return check_config(OmegaConf.create({"bins": GRID, "count": 3, **keys}), Settings)


def test_good_config_passes_and_is_resolved() -> None:
    """Interpolations are resolved; whole numbers are numbers; nothing else changes."""
    free = {
        "a": [1, {"b.c": None}],
        "node": {**GRID, "_partial_": True},
        "part": {**GRID, "_partial_": False},
    }
    assert _checked(notes=free)["notes"] == free
    for threads in (1, 1024):
        assert _checked(threads=threads)["threads"] == threads
    assert _checked(share=1, edges=[1, 2.5], parts={"x": GRID, "y": None})["bins"] == GRID
    assert (
        check_config(OmegaConf.create({"bins": GRID, "count": 3, "share": "${count}"}), Settings)["share"]
        == 3
    )


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"cuont": 1}, "cuont is not a known key; did you mean count?"),
        ({"count": "3"}, "count is '3'; it needs a valid integer"),
        ({"count": 2.5}, "count is 2.5; it needs a valid integer"),
        ({"count": True}, "count is True; it needs a valid integer"),
        ({"flag": 1}, "flag is 1; it needs a valid boolean"),
        ({"kind": "c"}, "kind is 'c'; it needs 'a' or 'b'"),
        ({"edges": [1.0, "x"]}, "edges.1 is 'x'; it needs a valid number"),
        ({"count": "???"}, "count is not given; set it with count=VALUE"),
        ({"share": "${nothing}"}, "nothing"),
        ({"bins": {"min_kev": 1.0}}, "it needs a node with _target_"),
        ({"bins": {**GRID, "cuont": 1}}, "bins.cuont is not a known key; did you mean count?"),
        ({"bins": {**GRID, "count": None}}, "bins.count is None; it needs a valid integer"),
        (
            {"bins": {**GRID, "_args_": [1]}},
            "bins._args_ is set, which configs may not use here; leave it out",
        ),
        ({"bins": {**GRID, "_recursive_": False}}, "bins._recursive_ is set, which configs may not use here"),
        (
            {"notes": {"_convert_": "all"}},
            "notes._convert_ is set, which configs may not use here; leave it out",
        ),
        ({"notes": {"a": [1, {"_args_": []}]}}, "notes.a.1._args_ is set, which configs may not use here"),
        ({"notes": {"a": {"_partial_": True}}}, "notes.a._partial_ is set, which configs may not use here"),
        ({"notes": {"a": {**GRID, "count": "3"}}}, "notes.a.count is '3'; it needs a valid integer"),
        ({"notes": {"a": [[{"_target_": GRID["_target_"]}]]}}, "notes.a.0.0.min_kev is not given"),
        ({"notes": {"../a": 1}}, "'notes.../a' is a key with a slash or a dot at its start"),
        (
            {"notes": {"a": [{"b\\c": 1}]}},
            "is a key with a slash or a dot at its start; it needs a plain name",
        ),
        ({"threads": 0}, "threads is 0; it needs to be greater than or equal to 1"),
        ({"threads": 1025}, "threads is 1025; it needs to be less than or equal to 1024"),
        (
            {"zzz": 1},
            "zzz is not a known key; it needs one of bins, count, edges, flag, folder, kind, notes, ",
        ),
        ({"bins": {**GRID, "_partial_": "yes"}}, "bins._partial_ is 'yes'; it needs true or false"),
        ({"parts": {"x": {"_partial_": True}}}, "it needs a node with _target_"),
    ],
)
def test_wrong_config_is_told_in_one_sentence(keys: dict[str, Any], told: str) -> None:
    """The sentence names the key, the value, and what would be right."""
    with pytest.raises(UserError) as error:
        _checked(**keys)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.open",
        "data_gen.core.grid.EnergyBinz",
        "data_gen.core.grid",
        "subprocess.run",
        None,
        3,
    ],
)
@pytest.mark.parametrize("place", ["bins", "parts", "deep", "extra"])
def test_foreign_targets_are_refused_anywhere(target: object, place: str) -> None:
    """Nothing outside the allowlist passes, however deep it lies and whatever key it lies under."""
    node = {"_target_": target, "command": "true"}
    keys = {"bins": node} if place == "bins" else {"parts": {"x": node}}
    if place == "deep":
        keys = {"parts": {"x": {**GRID, "count": [{"y": node}]}}}
    if place == "extra":
        keys = {"extra": [[node]]}
    with pytest.raises(UserError, match="may not call"):
        _checked(**keys)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("data_gen.core.grid.EnergyBinz", "did you mean data_gen.core.grid.EnergyBins?"),
        ("hspi_learn.attacks.RandomPerturbations", "did you mean hspi_learn.attacks.RandomPerturbation?"),
        ("data_gen.os.system", "what they may call is listed in hspi_learn.configs.targets"),
        ("print", "what they may call is listed in hspi_learn.configs.targets"),
        ("a package.Network", "what they may call is listed in hspi_learn.configs.targets"),
        (3, "what they may call is listed in hspi_learn.configs.targets"),
        ("their.networks.Net", "if you trust their, set HSPI_ALLOW=their in the environment, or install it"),
        ("os.system", "os is of Python's standard library and cannot be allowed"),
        ("torch.load", "torch is a library that hspi_learn stands on and cannot be allowed"),
    ],
)
def test_what_may_be_called_instead_is_told(
    target: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip of the pen, a name of ours that is none, no name at all, and packages of others."""
    monkeypatch.delenv("HSPI_ALLOW", raising=False)
    for key, place in (("part", "part._target_"), ("", "_target_")):
        with pytest.raises(UserError) as error:
            locate(target, key)
        assert str(error.value).startswith(f"{place} is {target!r}, which configs may not call; {told}")


@given(st.text(max_size=40))
def test_no_other_name_is_allowed(name: str) -> None:
    """Property: a name passes only if it is exactly one of the list."""
    if name in TARGETS:
        return
    with pytest.raises(UserError):
        locate(name, "key")


def test_every_allowed_target_exists_and_hides_no_keys() -> None:
    """Each name of the list can be called, and none takes ``**kwargs``, which would swallow misspelt keys."""
    import inspect

    for name in TARGETS:
        parameters = inspect.signature(locate(name, name)).parameters.values()
        assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters), name


def test_missing_arguments_are_told_when_built() -> None:
    """What a YAML file can hold is missed at once; an object that the program hands over only when built."""
    with pytest.raises(UserError, match=r"bins\.count is not given"):
        _checked(bins={"_target_": GRID["_target_"], "min_kev": 1.0, "max_kev": 2.0})
    data = {"_target_": "hspi_learn.tasks.GanReconstruction", "windows_kev": [1.0, 2.0], "seed": 1}
    assert _checked(bins=data)["bins"] == data
    with pytest.raises(UserError, match=r"bins\.system is not given"):
        build(data, key="bins")


def test_build_makes_what_was_checked() -> None:
    """Nested nodes are built first; lists become the tuples that a target asks for; partials wait."""
    bins = build(GRID, key="bins")
    assert (bins.min_kev, bins.max_kev, bins.count) == (20.0, 600.0, 58)
    waiting = build(
        {"_target_": "data_gen.core.grid.EnergyBins", "min_kev": 1.0, "_partial_": True}, key="bins"
    )
    assert waiting(max_kev=2.0, count=4).count == 4
    with pytest.raises(UserError, match=r"^bins: energy bins run from 5"):
        build({**GRID, "min_kev": 5.0, "max_kev": 1.0}, key="bins")


def test_build_takes_objects_of_the_program() -> None:
    """Beside what the node says, or instead of it, which then is not looked at; partials keep them."""
    assert build({**GRID, "count": "no number"}, key="bins", count=4).count == 4
    node = {"_target_": GRID["_target_"], "min_kev": 1.0, "_partial_": True}
    assert build(node, key="bins", max_kev=2.0)(count=4).max_kev == 2.0
    with pytest.raises(UserError, match=r"^bins\.cuont is not a known key"):
        build({**node, "cuont": 3}, key="bins")


def test_build_says_where_a_node_stands() -> None:
    """The place in its config, which a DictConfig knows, once; errors of libraries come with a note of it."""
    config = OmegaConf.create({"a": {"b": {**GRID, "min_kev": 5.0, "max_kev": 1.0}, "c": {"x": 1}}})
    with pytest.raises(UserError, match=r"^a\.b: energy bins run from 5"):
        build(config.a.b)
    with pytest.raises(UserError, match=r"^a\.c lacks _target_; it needs the name of what to build"):
        build(config.a.c)
    with pytest.raises(UserError, match=r"^config lacks _target_"):
        build({"x": 1})
    objective = {"_target_": "hspi_learn.attacks.InventRegion", "radius_voxels": -1.0}
    with pytest.raises(UserError, match=r"^objective\.radius_voxels is -1"):
        build(objective, key="objective")
    with pytest.raises(ValueError, match="empty parameter list") as error:
        build({"_target_": "torch.optim.SGD", "lr": 0.1}, key="task.optimizer", params=[])
    assert error.value.__notes__ == ["while building task.optimizer of the config (torch.optim.SGD)"]


def _hydra(**changes: Any) -> Any:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(Path(__file__).parents[3] / "conf"), version_base="1.3"):
        node = compose("train", return_hydra_config=True).hydra
    OmegaConf.set_struct(node, False)
    for key, value in changes.items():
        OmegaConf.update(node, key.replace("__", "."), value, force_add=True)
    return node


def test_hydra_node_as_shipped_passes() -> None:
    """Our own settings use Hydra's own launchers only; threads, a few processes, and folders may be added."""
    node = _hydra()
    check_hydra(node)
    changes = {
        "job.env_set": {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"},
        "launcher.n_jobs": 2,
        "launcher.verbose": 3,
        "searchpath": ["file:///tmp/conf", "/tmp/more", "conf"],
        "job_logging.root": {"level": "DEBUG", "handlers": ["console"]},
    }
    for key, value in changes.items():
        OmegaConf.update(node, key, value, force_add=True)
    check_hydra(node)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"launcher__n_jobs": "${x}"}, "hydra.launcher.n_jobs is '${x}'; it needs a whole number"),
        ({"launcher__n_jobs": 4}, "hydra.launcher.n_jobs 4 needs about 1.2 GB of memory"),
        ({"launcher__prefer": "threads"}, "hydra.launcher.prefer is 'threads'; it may only be 'processes'"),
        ({"searchpath": ["pkg://x"]}, "hydra.searchpath contains pkg://x; it may only contain folders"),
        (
            {"run__dir": "elsewhere"},
            "hydra.run.dir is 'elsewhere'; it may only be ., since run_dir or output",
        ),
        ({"sweep__dir": "x"}, "hydra.sweep.dir is 'x'; it may only be ${run_dir} or ${output}, since"),
        ({"job_logging": "${x}"}, "hydra.job_logging is '${x}'; it may only hold Hydra's own keys"),
        ({"job_logging": {"filters": {}}}, "hydra.job_logging.filters is set; it may only set version, "),
        (
            {"job_logging": {"handlers": {"x": {"stream": "x"}}}},
            "handlers.x.stream is 'x'; it may only be 'ext://sys.stdout' or 'ext://sys.stderr'",
        ),
        (
            {"job_logging": {"formatters": {"x": {"style": "{"}}}},
            "hydra.job_logging.formatters.x.style is '{'; it may only be left out",
        ),
        (
            {"hydra_logging": {"loggers": {"ext://x": {}}}},
            "hydra.hydra_logging.loggers.ext://x is 'ext://x'; it may only be ext://sys.stdout or ext:",
        ),
        ({"job__env_set": {"PATH": "x"}}, "may only set CUDA_VISIBLE_DEVICES, MKL_NUM_THREADS, OMP_NUM_TH"),
        (
            {"callbacks__x": {"a": 1}},
            "hydra.callbacks.x is set; configs may not use callbacks, leave them emp",
        ),
    ],
)
def test_what_the_hydra_node_may_not_hold_is_told(
    change: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key, value, and what it may be; a process counts 0.3 GB, and 1 GB may be used."""
    node = _hydra(**change)
    monkeypatch.setenv("HSPI_MEMORY_GB", "1")
    with pytest.raises(UserError) as error:
        check_hydra(node)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"callbacks__a": {"_target_": "os.system"}},
        {"callbacks__a": {"_target_": "hydra.experimental.callbacks.LogJobReturnCallback"}},
        {"launcher___target_": "os.system"},
        {"sweeper___target_": "builtins.open"},
        {"sweeper__more": {"_target_": "builtins.eval"}},
        {"job_logging": {"version": 1, "handlers": {"x": {"()": "os.system"}}}},
        {"job_logging": {"version": 1, "handlers": {"x": {"class": "logging.handlers.SocketHandler"}}}},
        {"hydra_logging": {"version": 1, "formatters": {"x": {"()": "os.system"}}}},
        {"job_logging": {"version": 1, "handlers": {"x": {"stream": "ext://os.environ"}}}},
        {"job__env_set": {"LD_PRELOAD": "x.so"}},
    ],
)
def test_hydra_node_calls_nothing_foreign(change: dict[str, Any]) -> None:
    """Callbacks, launchers, sweepers and log handlers are calls too."""
    with pytest.raises(UserError):
        check_hydra(_hydra(**change))
