"""A killed run that is resumed ends as if nothing had happened; files of others run nothing."""

import io
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from data_gen.core.errors import UserError
from hspi_learn.io.weights import AtomicCheckpoints, load_checkpoint, load_weights

KILL_IN_EPOCH = """
import os, signal
from hspi_learn.tasks import GanReconstruction
step = GanReconstruction.training_step
def killed(self, batch, batch_idx):
    if self.global_step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)
GanReconstruction.training_step = killed
from hspi_learn.commands.train import main
main()
"""
KILL_IN_WRITE = """
import io, os, signal, torch
save = torch.save
def killed(checkpoint, path):
    whole = io.BytesIO()
    save(checkpoint, whole)
    with open(path, "wb") as file:
        if checkpoint["global_step"] >= {step}:
            file.write(whole.getvalue()[: whole.tell() // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        file.write(whole.getvalue())
torch.save = killed
from hspi_learn.commands.train import main
main()
"""


def test_killed_and_resumed_run_equals_an_undisturbed_one(
    program, tiny_training: tuple[str, ...], finished_run: Path, tmp_path: Path
) -> None:
    """Issue, point 8: killed in an epoch, then while writing a checkpoint; weights are equal bit by bit."""
    killed = program("-c", KILL_IN_EPOCH.format(step=5), *tiny_training, "run_dir=run", cwd=tmp_path)
    assert killed.returncode == -9, killed.stderr
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    killed = program("-c", KILL_IN_WRITE.format(step=7), "resume=run", cwd=tmp_path)
    assert killed.returncode == -9, killed.stderr
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    done = program("-m", "hspi_learn.commands.train", "resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("model.safetensors", "metrics.json", "system.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished_run / name).read_bytes(), name
    for name in ("last.ckpt", "best.ckpt"):
        ours = load_checkpoint(tmp_path / "run/checkpoints" / name)
        theirs = load_checkpoint(finished_run / "checkpoints" / name)
        for part in ("state_dict", "optimizer_states", "global_step", "callbacks"):
            assert _same(ours[part], theirs[part]), (name, part)
    again = program("-m", "hspi_learn.commands.train", "resume=run", cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing to resume" in again.stdout


def _same(left: object, right: object) -> bool:
    """Equal to the last bit, whatever is nested."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(_same(left[k], right[k]) for k in left)
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))  # type: ignore[arg-type]
    return left == right


def test_run_folder_holds_what_it_promises(finished_run: Path) -> None:
    """Contract of run folders: resolved config, system, numbers, weights, environment, pictures."""
    from safetensors.torch import load_file

    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert "hydra" not in config
    edges = config["windows_kev"]
    assert config["task"]["windows_kev"] == config["data"]["windows_kev"] == edges
    assert (edges[0], edges[-1]) == (20.0, 600.0)
    assert edges == sorted(edges)
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert {"val/nrmse", "steps", "best/step"} <= metrics.keys()
    assert all(isinstance(value, float) for value in metrics.values())
    environment = json.loads((finished_run / "environment.json").read_text())
    assert environment["seed"] == 0
    assert all(len(digest) == 64 for digest in environment["data"].values())
    assert json.loads((finished_run / "system.json").read_text())["camera"]
    assert all(t.isfinite().all() for t in load_file(finished_run / "model.safetensors").values())
    assert list((finished_run / "figures").glob("*.png"))


def test_task_is_rebuilt_from_its_run(finished_run: Path) -> None:
    """The rebuilt task has the published weights and reconstructs."""
    from hspi_learn.configs.runs import load_task

    task = load_task(finished_run)
    weights = load_weights(finished_run / "model.safetensors")
    assert all(torch.equal(task.state_dict()[name], tensor) for name, tensor in weights.items())
    assert not task.training


class Payload:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("inside", [True, False])
def test_pickle_payload_is_not_run(inside: bool, tmp_path: Path) -> None:
    """Issue, point 10: a checkpoint that carries code is refused in one sentence and not run."""
    victim, path = tmp_path / "victim", tmp_path / "last.ckpt"
    content = {"state_dict": {}, "extra": Payload(victim)}
    if inside:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"last\.ckpt (holds more than tensors|is truncated or damaged)"):
        AtomicCheckpoints().load_checkpoint(path, weights_only=False)
    assert not victim.exists()


def test_damaged_checkpoints_are_told(tmp_path: Path) -> None:
    """A truncated file, another file and a missing one each get a sentence that names the file."""
    whole = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, whole)
    for content in (whole.getvalue()[:2000], b"", b"no checkpoint at all"):
        (tmp_path / "c.ckpt").write_bytes(content)
        with pytest.raises(UserError, match=r"c\.ckpt"):
            load_checkpoint(tmp_path / "c.ckpt")
    with pytest.raises(UserError, match="is missing"):
        load_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "w.safetensors").write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"w\.safetensors is damaged"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("key", ["task", "logger", "data"])
def test_config_of_a_run_is_checked_like_any_other(
    key: str, program, finished_run: Path, tmp_path: Path
) -> None:
    """A run folder that somebody sent along cannot run code, neither resumed nor loaded."""
    from hspi_learn.configs.runs import load_task

    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "metrics.json").unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[key] = {"_target_": "os.system", "command": f"touch {tmp_path}/victim"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = program("-m", "hspi_learn.commands.train", f"resume={run}", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "may not call" in done.stderr
    with pytest.raises(UserError, match="may not call"):
        load_task(run)
    assert not (tmp_path / "victim").exists()
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
