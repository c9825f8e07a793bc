"""Which files and handlers a forked child must not have; what becomes of them is tested with real children."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from twistserve.process.forks import _connected_to, _same, name_of


@pytest.mark.parametrize(
    ("name", "listening", "same"),
    [
        (("127.0.0.1", 80), ("0.0.0.0", 80), True),
        (("127.0.0.1", 80), ("127.0.0.1", 80), True),
        (("127.0.0.2", 80), ("127.0.0.1", 80), False),
        (("127.0.0.1", 81), ("0.0.0.0", 80), False),
        (("::ffff:10.0.0.1", 80, 0, 0), ("::", 80, 0, 0), True),
        (("::1", 80, 0, 0), ("::1", 80), True),
        ("/run/web", b"/run/web", True),
        ("/run/web", b"/run/other", False),
        (b"\0web", b"\0web", True),
        ("/run/web", ("0.0.0.0", 80), False),
        (("127.0.0.1", 80), None, False),
    ],
)
def test_addresses(name: Any, listening: Any, same: bool) -> None:
    """A connection has the address that was listened at, of which the host may have been any."""
    assert _same(name, listening) is same


def test_sockets_are_found_by_their_own_address() -> None:
    """Those that listen and those that were accepted, but not the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
        with client, accepted:
            found = set(_connected_to([listening.getsockname()]))
            assert found == {listening.fileno(), accepted.fileno()}
            assert set(_connected_to([None])) == set()


def test_the_name_of_a_file(tmp_path: Path) -> None:
    """Of a socket its address; others have none, and those that are closed."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        assert name_of(bound.fileno()) == str(tmp_path / "socket")
        closed = bound.fileno()
    assert name_of(closed) is None
    with (tmp_path / "file").open("w") as file:
        assert name_of(file.fileno()) is None
