"""Files to a socket, and what is known of a peer: real sockets, no reactor."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import tcp

from twistserve.web.file_cache import OpenFile
from twistserve.web.transfer import FileTransfer
from twistserve.web.transport import untaken_by_peer


class Wire(tcp.Connection):
    """A connection of Twisted's over one end of a pair, without a reactor; `asked` counts calls of startWriting."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.fileno = end.fileno
        self.asked = 0
        self._tempDataBuffer: list[bytes] = []
        self._tempDataLen = 0

    def startWriting(self) -> None:
        self.asked += 1


class Answering:
    """What a transfer needs of a request."""

    sentLength = 0

    def __init__(self, transport: Wire) -> None:
        self.channel = self
        self.transport = transport
        self.done: list[str] = []

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.done.append("unregistered")

    def abortConnection(self) -> None:
        self.done.append("aborted")


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """A connection, and the client's end of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(30)
    with ours, theirs:
        yield Wire(ours), theirs


@pytest.fixture
def descriptor(tmp_path: Path) -> int:
    """An open file of a thousand bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"f" * 1000)
    return os.open(path, os.O_RDONLY)


def is_open(descriptor: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")


def test_what_was_written_before_goes_first(pair: tuple[Wire, socket.socket], descriptor: int) -> None:
    """The kernel may have room again while the end of a head, or of another answer, still waits."""
    wire, client = pair
    wire.dataBuffer = b"head"
    request = Answering(wire)
    transfer = FileTransfer(
        request, OpenFile(descriptor, 1000), 0, 1000, lambda complete: request.done.append(f"complete: {complete}")
    )
    transfer.start()
    assert (wire.asked, request.sentLength, request.done) == (1, 0, [])
    wire.dataBuffer = b""
    transfer.resumeProducing()
    assert client.recv(4096) == b"f" * 1000
    assert request.done == ["unregistered", "complete: True"]
    assert not is_open(descriptor)


def test_a_client_that_leaves_is_no_error_of_ours(pair: tuple[Wire, socket.socket], descriptor: int) -> None:
    """The connection ends, and the request hears of it from there."""
    wire, client = pair
    client.close()
    request = Answering(wire)
    FileTransfer(
        request, OpenFile(descriptor, 1000), 0, 1000, lambda complete: request.done.append(f"complete: {complete}")
    ).start()
    assert request.done == ["aborted"]
    assert not is_open(descriptor)


def test_a_transfer_that_is_stopped_says_nothing_more(pair: tuple[Wire, socket.socket], descriptor: int) -> None:
    """Its connection is gone, whatever calls it then."""
    wire, _ = pair
    request = Answering(wire)
    transfer = FileTransfer(request, OpenFile(descriptor, 1000), 0, 1000, lambda complete: request.done.append("done"))
    transfer.stopProducing()
    transfer.resumeProducing()
    transfer.stopProducing()
    assert request.done == []
    assert not is_open(descriptor)


class Above:
    """A transport such as TLS, on top of another."""

    def __init__(self, transport: object) -> None:
        self.transport = transport


def test_what_a_peer_has_not_taken(pair: tuple[Wire, socket.socket]) -> None:
    """What waits in the connection and in the kernel, below any layer; nothing where there is no connection."""
    wire, client = pair
    assert untaken_by_peer(wire) == 0
    wire.socket.send(b"x" * 1000)
    wire.dataBuffer, wire.offset, wire._tempDataLen = b"x" * 100, 10, 5
    in_kernel = untaken_by_peer(wire) - 95
    assert in_kernel >= 1000
    assert untaken_by_peer(Above(Above(wire))) == in_kernel + 95
    client.recv(4096)
    assert untaken_by_peer(wire) == 95
    wire.socket.close()
    assert untaken_by_peer(wire) == 95
    assert untaken_by_peer(Above(object())) == 0
