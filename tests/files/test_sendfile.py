"""Files to a socket: real sockets, no reactor."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hand_threads import HandThreads
from tests.support.wire import Above, Wire, connected
from twistserve.files import page_cache
from twistserve.files.cache import OpenFile
from twistserve.files.sendfile import FileTransfer
from twistserve.http.limits import Limits


class Answering:
    """What a transfer needs of a request."""

    sentLength = 0
    deadline = 50.0

    def __init__(self, transport: Wire) -> None:
        self.channel = self
        self.site = self
        self.limits = Limits()
        self.transport = transport
        self.done: list[str] = []
        self.written: list[bytes] = []

    def clock(self) -> float:
        return 100.0

    def told(self, complete: bool) -> None:
        self.done.append(f"complete: {complete}")

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.done.append("unregistered")

    def abortConnection(self) -> None:
        self.done.append("aborted")


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """A connection, and the client's end of it."""
    with connected() as (wire, client):
        yield wire, client


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


class Kernel:
    """What is in memory: `known` bytes from where it is asked; None is for a file system that does not tell."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: int | None = 0
        monkeypatch.setattr(page_cache, "cached", self.cached)
        monkeypatch.setattr(page_cache, "read_now", self.read_now)

    def cached(self, descriptor: int, offset: int, length: int) -> int:
        if self.known is None:
            raise page_cache.Unknown
        return min(self.known, length)

    def read_now(self, descriptor: int, offset: int, length: int) -> bytes | None:
        if self.known is None:
            raise page_cache.Unknown
        return os.pread(descriptor, min(length, self.known), offset) if self.known else None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


class Bench:
    """A transfer of a thousand bytes over a pair, with threads that work when told."""

    def __init__(self, wire: Wire, descriptor: int, *, warm: bool = False, room: int = 10) -> None:
        self.request = Answering(wire)
        self.threads = HandThreads(room)
        self.descriptor = descriptor
        threads: Any = self.threads
        self.transfer = FileTransfer(
            self.request, OpenFile(descriptor, 1000, warm), 0, 1000, self.request.told, threads
        )
        self.transfer.start()


def test_what_is_in_memory_is_sent_at_once(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """No thread is asked."""
    wire, client = pair
    kernel.known = 1000
    bench = Bench(wire, descriptor)
    assert client.recv(4096) == b"f" * 1000
    assert (bench.threads.jobs, bench.request.done) == ([], ["unregistered", "complete: True"])


def test_what_is_not_in_memory_waits_for_a_thread(
    pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel
) -> None:
    """Nothing is sent meanwhile, however often the transport asks, and the client's time does not run."""
    wire, client = pair
    bench = Bench(wire, descriptor)
    assert bench.request.deadline == 0
    bench.transfer.resumeProducing()
    assert len(bench.threads.jobs) == 1
    bench.threads.run()
    assert bench.request.deadline == 100 + 75
    assert client.recv(4096) == b"f" * 1000
    assert bench.request.done == ["unregistered", "complete: True"]
    assert not is_open(descriptor)


def test_a_file_system_that_does_not_tell(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """A thread reads, and what it has read is sent."""
    wire, _ = pair
    kernel.known = None
    bench = Bench(wire, descriptor)
    bench.threads.run()
    assert b"".join(bench.request.written) == b"f" * 1000
    assert bench.request.done == ["unregistered", "complete: True"]


def test_a_file_that_was_read_through(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """It is sent without asking."""
    wire, client = pair
    kernel.known = None
    bench = Bench(wire, descriptor, warm=True)
    assert client.recv(4096) == b"f" * 1000
    assert bench.threads.jobs == []


@pytest.mark.parametrize("moment", ["waiting", "begun"])
def test_a_client_that_leaves_while_a_thread_reads(
    pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel, moment: str
) -> None:
    """The file is closed, but not before the thread is done with it."""
    wire, _ = pair
    bench = Bench(wire, descriptor)
    if moment == "begun":
        bench.threads.begin()
        # It has been told that it is done, but the reactor has not heard of it.
    bench.transfer.stopProducing()
    assert is_open(descriptor) is (moment == "begun")
    if moment == "begun":
        bench.threads.tell()
    assert not is_open(descriptor)
    assert bench.request.done == []


def test_a_file_that_cannot_be_read(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """The answer breaks off."""
    wire, _ = pair
    bench = Bench(wire, descriptor)
    (job,) = bench.threads.jobs
    job.done(None, OSError("broken"))
    assert bench.request.done == ["unregistered", "complete: False"]
    assert not is_open(descriptor)


@pytest.mark.parametrize("known", [0, None])
def test_a_file_that_became_shorter(
    pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel, known: int | None
) -> None:
    """Nor does it look complete."""
    wire, _ = pair
    kernel.known = known
    os.truncate(f"/proc/self/fd/{descriptor}", 0)
    bench = Bench(wire, descriptor)
    bench.threads.run()
    assert bench.request.done == ["unregistered", "complete: False"]


def test_more_than_may_wait(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """It is too late to say so: the answer breaks off."""
    wire, _ = pair
    bench = Bench(wire, descriptor, room=0)
    assert bench.request.done == ["unregistered", "complete: False"]
    assert not is_open(descriptor)


class Pushed(Answering):
    """A request over TLS: the transport is full after each block."""

    full = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.full:
            self.producer.pauseProducing()


@pytest.mark.parametrize("known", [400, 0])
def test_a_transport_that_does_not_pull(descriptor: int, kernel: Kernel, known: int) -> None:
    """It is given one block after another until it is full, and never asked for more while a thread reads."""
    kernel.known = known
    transport: Any = Above(object())
    request = Pushed(transport)
    threads: Any = HandThreads()
    transfer = FileTransfer(request, OpenFile(descriptor, 1000), 0, 1000, request.told, threads)
    transfer.start()
    threads.run()
    if known:
        assert request.written == [b"f" * 400]
        request.full = False
        transfer.resumeProducing()
    assert b"".join(request.written) == b"f" * 1000
    assert request.done == ["unregistered", "complete: True"]
