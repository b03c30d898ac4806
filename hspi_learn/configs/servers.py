"""Servers that a config may name: each is sent a run's numbers and the account in the environment."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from data_gen.core.errors import UserError
from hspi_learn.configs.schema import join

VARIABLE = "HSPI_ALLOW_SERVERS"
"""Environment variable with the hosts that configs may name besides this machine, separated by commas."""

_KEYS = {"base_url": "WANDB_BASE_URL", "tracking_uri": "MLFLOW_TRACKING_URI"}
"""Keys of dashboards that hold an address, and the variable by which the user names one to the dashboard."""

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def check_servers(value: Any, key: str = "") -> None:
    """Refuse addresses of dashboards that the user has not named.

    Args:
        value: plain data of a config.
        key: where it stands in the config.

    Raises:
        UserError: there is one.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if name in _KEYS and isinstance(item, str) and not _named(item, _KEYS[name]):
                raise UserError(
                    f"{join(key, name)} is {item!r}, where your account would be sent; if you trust this "
                    f"server, set {VARIABLE}={_host(item) or 'HOST'} in the environment"
                )
            check_servers(item, join(key, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_servers(item, join(key, index))


def _named(address: str, variable: str) -> bool:
    """Whether an address is of this machine, or named in the environment."""
    own = {name.strip() for name in os.environ.get(VARIABLE, "").split(",")}
    return _host(address) in _HERE | own or address == os.environ.get(variable)


def _host(address: str) -> str | None:
    """The host of an address; None for what is none, a path for instance."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
