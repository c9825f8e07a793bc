"""Files to a socket: real sockets, no reactor."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hand_threads import HandThreads
from tests.support.http2 import Client, ok
from tests.support.wire import Above, Wire, connected
from twistserve.files import page_cache
from twistserve.files.cache import OpenFile
from twistserve.files.sendfile import FileTransfer
from twistserve.http.response import Response, content_length


class Consumer:
    """What a transfer writes to: `passed` counts the bytes sent past it, `done` is how the transfer ended."""

    deadline = 50.0

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.passed = 0
        self.written: list[bytes] = []
        self.done: list[str] = []

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert not streaming
        producer.resumeProducing()

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def sent(self, size: int) -> None:
        self.passed += size

    def end(self) -> None:
        self.done.append("complete")

    def abort(self) -> None:
        self.done.append("broken off")

    def abortConnection(self) -> None:
        self.done.append("connection aborted")

    def extend_deadline(self) -> None:
        self.deadline = 175.0


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
    """The kernel may have room again while the end of a head, or of another response, still waits."""
    wire, client = pair
    wire.dataBuffer = b"head"
    consumer = Consumer(wire)
    transfer = FileTransfer(OpenFile(descriptor, 1000), 0, 1000)
    transfer.begin(consumer)
    assert (wire.asked, consumer.passed, consumer.done) == (1, 0, [])
    wire.dataBuffer = b""
    transfer.resumeProducing()
    assert client.recv(4096) == b"f" * 1000
    assert (consumer.passed, consumer.done) == (1000, ["complete"])
    assert not is_open(descriptor)


def test_a_client_that_leaves_is_no_error_of_ours(pair: tuple[Wire, socket.socket], descriptor: int) -> None:
    """The connection ends, and the request hears of it from there."""
    wire, client = pair
    client.close()
    consumer = Consumer(wire)
    FileTransfer(OpenFile(descriptor, 1000), 0, 1000).begin(consumer)
    assert consumer.done == ["connection aborted"]
    assert not is_open(descriptor)


def test_a_transfer_that_is_stopped_says_nothing_more(pair: tuple[Wire, socket.socket], descriptor: int) -> None:
    """Its connection is gone, whatever calls it then."""
    wire, _ = pair
    wire.dataBuffer = b"head"
    consumer = Consumer(wire)
    transfer = FileTransfer(OpenFile(descriptor, 1000), 0, 1000)
    transfer.begin(consumer)
    transfer.stopProducing()
    transfer.resumeProducing()
    transfer.stopProducing()
    assert consumer.done == []
    assert not is_open(descriptor)


def test_a_transfer_that_never_begins(descriptor: int) -> None:
    """The client has left before its response was given: the file is closed all the same."""
    FileTransfer(OpenFile(descriptor, 1000), 0, 1000).stopProducing()
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
        self.consumer = Consumer(wire)
        self.threads = HandThreads(room)
        threads: Any = self.threads
        self.transfer = FileTransfer(OpenFile(descriptor, 1000, warm), 0, 1000, threads)
        self.transfer.begin(self.consumer)


def test_what_is_in_memory_is_sent_at_once(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """No thread is asked."""
    wire, client = pair
    kernel.known = 1000
    bench = Bench(wire, descriptor)
    assert client.recv(4096) == b"f" * 1000
    assert (bench.threads.jobs, bench.consumer.done) == ([], ["complete"])


def test_what_is_not_in_memory_waits_for_a_thread(
    pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel
) -> None:
    """Nothing is sent meanwhile, however often the transport asks, and the client's time does not run."""
    wire, client = pair
    bench = Bench(wire, descriptor)
    assert bench.consumer.deadline == 0
    bench.transfer.resumeProducing()
    assert len(bench.threads.jobs) == 1
    bench.threads.run()
    assert bench.consumer.deadline == 175
    assert client.recv(4096) == b"f" * 1000
    assert bench.consumer.done == ["complete"]
    assert not is_open(descriptor)


def test_a_file_system_that_does_not_tell(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """A thread reads, and what it has read is sent."""
    wire, _ = pair
    kernel.known = None
    bench = Bench(wire, descriptor)
    bench.threads.run()
    assert b"".join(bench.consumer.written) == b"f" * 1000
    assert bench.consumer.done == ["complete"]


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
    assert bench.consumer.done == []


def test_a_file_that_cannot_be_read(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """The response breaks off."""
    wire, _ = pair
    bench = Bench(wire, descriptor)
    (job,) = bench.threads.jobs
    job.done(None, OSError("broken"))
    assert bench.consumer.done == ["broken off"]
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
    assert bench.consumer.done == ["broken off"]


def test_more_than_may_wait(pair: tuple[Wire, socket.socket], descriptor: int, kernel: Kernel) -> None:
    """It is too late to say so: the response breaks off."""
    wire, _ = pair
    bench = Bench(wire, descriptor, room=0)
    assert bench.consumer.done == ["broken off"]
    assert not is_open(descriptor)


class Pushed(Consumer):
    """A connection of TLS: the transport is full after each block."""

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
    consumer = Pushed(transport)
    threads: Any = HandThreads()
    transfer = FileTransfer(OpenFile(descriptor, 1000), 0, 1000, threads)
    transfer.begin(consumer)
    threads.run()
    if known:
        assert consumer.written == [b"f" * 400]
        consumer.full = False
        transfer.resumeProducing()
    assert b"".join(consumer.written) == b"f" * 1000
    assert consumer.done == ["complete"]


@pytest.mark.parametrize("known", [1000, 400, 0])
def test_a_stream_pulls(descriptor: int, kernel: Kernel, known: int) -> None:
    """A stream of HTTP/2 gets a block each time that it has sent the one before, whoever reads it."""
    kernel.known = known
    client, threads = Client(), HandThreads()
    stream = client.request()
    send_over(client, descriptor, threads)
    client.exchange()
    assert (client.body(stream), len(threads.jobs)) == ((b"f" * 1000, 0) if known else (b"", 1))
    threads.run()
    client.exchange()
    assert client.body(stream) == b"f" * 1000
    assert client.ended(stream)
    assert not is_open(descriptor)
    client.site.tell()
    assert [(told.status, told.sent) for told in client.told] == [(200, 1000)]


def send_over(client: Client, descriptor: int, threads: Any) -> None:
    """Respond to the first request by a file."""
    transfer = FileTransfer(OpenFile(descriptor, 1000), 0, 1000, threads)
    response = Response(200, [content_length(1000)], producer=transfer, length=1000)
    client.recorder.requests[0].connection.respond(response)


def test_a_stream_that_is_reset(descriptor: int, kernel: Kernel) -> None:
    """The file is closed, and the others of the connection go on."""
    client, threads = Client(), HandThreads()
    stream = client.request()
    send_over(client, descriptor, threads)
    client.exchange()
    client.h2.reset_stream(stream)
    client.exchange()
    assert not is_open(descriptor)
    assert threads.jobs == []
    other = client.request()
    ok(client.recorder.requests[1])
    client.exchange()
    assert client.body(other) == b"ok"
