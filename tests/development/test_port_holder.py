"""Which process listens at a port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from twistserve.development.port_holder import Holder, find_holder


def test_this_process_is_found() -> None:
    """In the kernel's own /proc, for both families."""
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        found = [find_holder(listening.getsockname()[1]) for listening in (four, six)]
    assert [each.pid for each in found if each is not None] == [os.getpid()] * 2
    assert all(each is not None and each.name and not each.is_adapter for each in found)


def test_a_port_that_only_connects_has_no_holder() -> None:
    """What counts is who listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as one:
        assert find_holder(one.getsockname()[1]) is None


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc where process 7 listens at port 5678, and 8 has ended."""
    (tmp_path / "net").mkdir()
    address = "0100007F:162E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0"
    (tmp_path / "net/tcp").write_text(f"  sl  local_address rem_address   st\n   0: {address} 4711 1\n")
    (tmp_path / "8").mkdir()
    (tmp_path / "7/fd").mkdir(parents=True)
    (tmp_path / "7/fd/3").symlink_to("socket:[4711]")
    (tmp_path / "7/comm").write_text("python3\n")
    (tmp_path / "7/cmdline").write_bytes(b"python3\0/lib/debugpy/adapter\0--for-server\x001234\0")
    return tmp_path


def test_an_adapter_is_recognized(proc: Path) -> None:
    """By its command line, which has secrets and is not the name that is told."""
    holder = find_holder(5678, proc)
    assert holder is not None
    assert (holder.pid, holder.name, holder.is_adapter) == (7, "python3", True)


def test_the_process_of_another_user_is_not_told(proc: Path) -> None:
    """Its descriptors cannot be read."""
    (proc / "7/fd/3").unlink()
    assert find_holder(5678, proc) is None


def test_a_process_that_ends_meanwhile_is_none(proc: Path) -> None:
    """Its files are gone."""
    (proc / "7/comm").unlink()
    assert find_holder(5678, proc) is None


def test_an_editor_with_the_adapter_s_file_is_no_adapter() -> None:
    """The word is the program that runs."""
    assert not Holder(7, "vim", ("vim", "/lib/debugpy/adapter/__main__.py")).is_adapter
