"""The environment of a run: versions, commit, machine, seed, data, and the packages that its config calls."""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("hspi-learn", "torch", "pytorch-lightning", "hydra-core", "numpy", "monai", "xraylib", "h5py")


def environment(
    seed: int,
    threads: int,
    data: dict[str, str],
    packages: Mapping[str, Mapping[str, str | None]] | None = None,
    trained: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """A description of the run's environment; every value is plain.

    Args:
        seed: seed of the run.
        threads: CPU threads of the run.
        data: name to hash of everything that the run reads.
        packages: version and hash of each package of others that the config calls, by its name.
        trained: the training runs that are evaluated, by method; see :func:`hspi_learn.dashboards.run_links`.
    """
    return {
        "run_id": secrets.token_hex(8),
        "seed": seed,
        "threads": threads,
        "data": data,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": machine(),
        "commit": _commit(),
        "packages": {name: dict(record) for name, record in (packages or {}).items()},
        "versions": {name: _version(name) for name in _PACKAGES},
        "trained": {name: dict(run) for name, run in (trained or {}).items()},
    }


def machine() -> dict[str, str | int]:
    """Name, processor, number of processors, and CUDA devices, which times depend on."""
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "host": platform.node(),
        "processor": _processor(),
        "processors": os.cpu_count() or 1,
        "cuda": ", ".join(devices) or "none",
    }


def _processor() -> str:
    """The model of the processor; Linux alone tells it in a file, elsewhere its architecture must do."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code lies in; None for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        told = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()
