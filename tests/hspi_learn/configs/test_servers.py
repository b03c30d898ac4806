"""Addresses of dashboards: this machine's and those that the user names."""

from __future__ import annotations

import pytest

from data_gen.core.errors import UserError
from hspi_learn.configs.servers import check_servers


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HSPI_ALLOW_SERVERS", "WANDB_BASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("key", ["base_url", "tracking_uri"])
@pytest.mark.parametrize("address", ["http://localhost", "https://127.0.0.1:5000/x", "http://[::1]:80", None])
def test_this_machine_needs_no_leave(key: str, address: str | None) -> None:
    check_servers({"a": [{key: address}], "project": "https://evil.example"})


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://evil.example/x", "evil.example"),
        ("https://localhost.evil.example", "localhost.evil.example"),
        ("https://LOCALHOST@Evil.example:80", "evil.example"),
        ("file:runs", "HOST"),
        ("localhost:5000", "HOST"),
        ("http://[", "HOST"),
        ("", "HOST"),
    ],
)
def test_others_are_told_with_what_to_set(address: str, told: str) -> None:
    """Its host, as an address is read (RFC 3986), or a word in its place where it has none."""
    for key in ("base_url", "tracking_uri"):
        with pytest.raises(UserError) as error:
            check_servers([{"logger": {key: address}}], "x")
        assert str(error.value) == (
            f"x.0.logger.{key} is {address!r}, where your account would be sent; if you trust this server, "
            f"set HSPI_ALLOW_SERVERS={told} in the environment"
        )


def test_a_dashboard_may_use_the_address_of_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the letter, and that of no other dashboard."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://lab.example/a")
    check_servers({"tracking_uri": "https://lab.example/a"})
    for key, address in (("tracking_uri", "https://lab.example/b"), ("base_url", "https://lab.example/a")):
        with pytest.raises(UserError, match=f"^{key} is "):
            check_servers({key: address})
