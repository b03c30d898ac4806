"""The way into the commands: help is quick, wrong input is one sentence and exit 2."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMANDS = sorted(path.stem for path in (ROOT / "conf").glob("*.yaml"))
HELP = """
import sys, time
sys.argv = ["hspi", "--help"]
from hspi_learn.commands.{command} import main
try:
    main()
except SystemExit as end:
    assert not end.code
heavy = {{"torch", "pytorch_lightning", "monai", "numpy"}} & set(sys.modules)
assert not heavy, heavy
print("CPU", time.process_time())
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick(command: str, program, tmp_path: Path) -> None:
    """Issue, point 11: about one second, torch not imported (2 s of CPU time allowed for slow machines)."""
    done = program("-c", HELP.format(command=command), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"hspi-{command}" in done.stdout
    assert float(done.stdout.rsplit("CPU", 1)[1]) < 2.0


def _told(command: str, arguments: list[str], monkeypatch, capsys) -> str:
    """What the command says to wrong input: one line on stderr and exit 2."""
    monkeypatch.setattr(sys, "argv", [f"hspi-{command}", *arguments])
    with pytest.raises(SystemExit) as end:
        import_module(f"hspi_learn.commands.{command}").main()
    assert end.value.code == 2
    error: str = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("generate", [], "output is not given"),
        ("generate", ["output=x", "nuclide=ra322"], "it needs one of ac225"),
        ("generate", ["output=x", "nuclide.nuclide=Xx-999"], "Xx-999"),
        ("generate", ["output=x", "wokers=2"], "wokers is not a known key; did you mean workers?"),
        ("generate", ["output=x", "+wokers=2"], "wokers is not a known key; did you mean workers?"),
        ("generate", ["output=x", "dataset.sizes.train=none"], "dataset.sizes.train is 'none'"),
        ("generate", ["output=x", "dataset.grid.spacing_mm=-1"], "grid.spacing_mm is -1.0"),
        ("generate", ["output=x", "camera.name_or_path=nothing"], "camera"),
        ("generate", ["output=x", "camera.collimater.diameter_mm=1"], "did you mean collimator?"),
        ("generate", ["output=x", "camera.detector.pich_mm=1"], "did you mean pitch_mm"),
        ("generate", ["output=x", "camera.detector.pitch_mm=-1"], "detector.pitch_mm is -1"),
        ("generate", ["output=x", "camera.detector.response.noise=1"], "no constant of a cdte response"),
        ("generate", ["output=x", "model.scatter_terms=[scatter]"], "model.scatter_terms.0 is 'scatter'"),
        ("generate", ["output=x", "dataset.secondary=[scatter]"], "'scatter'"),
        ("generate", ["output=x", "model.reference_energies=0"], "reference_energies is 0"),
        (
            "generate",
            ["output=x", "projector=rays"],
            "it needs one of matrix, measured, ray",
        ),
        ("generate", ["output=x", "projector=measured"], "model.projector.file is not given"),
        (
            "generate",
            ["output=x", "projector=measured", "model.projector.file=x.h5"],
            "file is x.h5, which is no file",
        ),
        ("generate", ["output=x", "camera.detector.material=NaI"], "a scintillator"),
        ("generate", ["output=x", "modle.scatter_terms=[]"], "modle is not a known key; did you mean model?"),
        ("train", ["data.folder=x", "+camera.detector.pitch_mm=1"], "belongs to the data set"),
        (
            "reconstruct",
            ["input=x", "output=y.nii", "model.reference_energies=2"],
            "no model is chosen; choose one as well: model=default, model=demo",
        ),
        ("export", ["data.folder=x", "output=matrix.npz"], "needs a file that ends in .h5"),
        ("export", ["data.folder=x", "output=matrix.h5"], "x holds no manifest.json"),
        ("generate", ["output=x", "resume=y"], "resume takes no other argument"),
        ("generate", ["resume=y"], "cannot resume"),
        ("train", ["data.folder=nowhere"], "nowhere holds no manifest.json"),
        ("train", ["data.fodler=x"], "data.fodler is not a known key; did you mean folder?"),
        ("train", ["data.folder=x", "task.losses.voxel.weight=much"], "task.losses.voxel.weight is 'much'"),
        ("train", ["data.folder=x", "+task.generator.chanels=[1]"], "did you mean channels?"),
        ("train", ["data.folder=x", "task._target_=os.system"], "may not call"),
        ("train", ["data.folder=x", "+trainer.callbacks=[{_target_: builtins.open}]"], "may not call"),
        ("train", ["data.folder=x", "+hydra.callbacks.x._target_=os.system"], "hydra.callbacks.x is set"),
        ("train", ["data.folder=x", "hydra.launcher._target_=os.system"], "may not call"),
        ("train", ["data.folder=x", "seed=0,1"], "--multirun"),
        ("train", ["-m", "data.folder=x", "seed=0,one"], "seed is 'one'"),
        ("train", ["data.folder=[x"], "[x"),
        ("train", ["--config-name", "other", "data.folder=x"], "--config-name is given"),
        ("train", ["--experimental-rerun", "x.pickle"], "--experimental-rerun is given"),
        ("train", ["resume=nowhere"], "nowhere holds no config.yaml"),
        ("train", ["resume=nowhere", "seed=1"], "resume takes no other argument"),
    ],
)
def test_wrong_input(
    command: str, arguments: list[str], told: str, monkeypatch, capsys, tmp_path: Path
) -> None:
    """Issue, point 10: the sentence names key, value and what would be right; no file appears."""
    monkeypatch.chdir(tmp_path)
    assert told in _told(command, arguments, monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


def test_configs_of_others_are_checked_too(monkeypatch, capsys, tmp_path: Path) -> None:
    """A config folder that somebody sent along cannot run code, through no key of it."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    victim = tmp_path / "victim"
    evil = f"_target_: builtins.open, file: {victim}, mode: w"
    for text in (
        f"hydra: {{callbacks: {{x: {{{evil}}}}}}}",
        f"hydra: {{job_logging: {{handlers: {{x: {{'()': builtins.open, file: {victim}}}}}}}}}",
        "hydra: {sweeper: {_target_: builtins.open}}",
        f"logger: {{{evil}}}",
        f"extra: [{{deep: {{{evil}}}}}]",
    ):
        (tmp_path / "conf" / "experiment" / "kind.yaml").write_text(f"# @package _global_\n{text}\n")
        arguments = ["--config-dir", str(tmp_path / "conf"), "data.folder=x", "experiment=kind"]
        told = _told("train", arguments, monkeypatch, capsys)
        assert "may not" in told or "may only" in told, told
        assert not victim.exists()


def test_full_run_folders_are_left_alone(monkeypatch, capsys, tmp_path: Path) -> None:
    """A run never writes into a folder that holds something."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years")
    arguments = ["data.folder=x", f"run_dir={tmp_path}/run"]
    assert "not empty" in _told("train", arguments, monkeypatch, capsys)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]
