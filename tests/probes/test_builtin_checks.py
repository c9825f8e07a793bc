"""The ready-made checks that need no Django, and what --check says of those that there are not."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from twistserve.probes.builtin_checks import ready_made
from twistserve.probes.checks import Status

DEADLINE = 5.0


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# Names


def test_names(port: int) -> None:
    """A response names no path and no host: more of the same kind are numbered, and the same twice is one."""
    texts = ["disk=/:1", "broker=amqp://a", "disk=/tmp:1", "broker=amqp://b", "broker=nats://a", "disk=/:1", "disk=/:2"]
    assert list(ready_made(texts, DEADLINE)) == [
        "disk",
        "broker:amqp",
        "disk-2",
        "broker:amqp-2",
        "broker:nats",
        "disk-3",
    ]


# Disk


def test_enough_space(tmp_path: Path) -> None:
    """With twice as much free as asked for the check passes, and tells how much that is."""
    result = ready_made([f"disk={tmp_path}:1K"], DEADLINE)["disk"]()
    assert (result.status, result.output) == (Status.PASS, None)
    assert isinstance(result.observed, int)


def test_little_space(tmp_path: Path) -> None:
    """With less than twice as much it warns."""
    least = int(shutil.disk_usage(tmp_path).free * 0.7)
    result = ready_made([f"disk={tmp_path}:{least}"], DEADLINE)["disk"]()
    assert result.status is Status.WARN
    assert "less than twice the" in str(result.output)


def test_no_space(tmp_path: Path) -> None:
    """With less than asked for it fails; the path is a detail."""
    result = ready_made([f"disk={tmp_path}:9999999G"], DEADLINE)["disk"]()
    assert result.status is Status.FAIL
    assert "less than the 9999999G asked for" in str(result.output)
    assert str(tmp_path) not in str(result.output)
    assert str(tmp_path) in str(result.detail)


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there is a failure: a volume may come later."""
    result = ready_made([f"disk={tmp_path}/missing:1K"], DEADLINE)["disk"]()
    assert (result.status, result.output) == (Status.FAIL, "there is no such directory")


# Brokers


def test_a_broker_that_listens(port: int) -> None:
    """A TCP connection is enough."""
    assert ready_made([f"broker=amqp://127.0.0.1:{port}"], DEADLINE)["broker:amqp"]().status is Status.PASS


def test_a_broker_that_does_not(port: int) -> None:
    """The reason names neither host nor port, the detail does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    result = ready_made([f"broker=redis://:t0p@127.0.0.1:{closed}"], DEADLINE)["broker:redis"]()
    assert (result.status, result.output) == (Status.FAIL, "no connection: Connection refused")
    assert f"127.0.0.1:{closed}" in str(result.detail)
    assert "t0p" not in str(result)
