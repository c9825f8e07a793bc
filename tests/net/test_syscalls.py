"""System calls that keep the GIL: on real sockets and pipes, without a reactor."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from twistserve.net import syscalls

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two sockets that are connected with each other and do not block."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


def fill(end: socket.socket) -> int:
    """Write until the kernel takes no more; the bytes that it has taken."""
    taken = 0
    while sent := syscalls.send(end.fileno(), bytes(4096)):
        taken += sent
    return taken


def test_recv_returns_what_has_come(pair: Pair) -> None:
    """Data, then None while there is nothing, then an empty string once the peer has closed its side."""
    ours, theirs = pair
    theirs.send(b"one\0two")
    assert syscalls.recv(ours.fileno()) == b"one\0two"
    assert syscalls.recv(ours.fileno()) is None
    theirs.shutdown(socket.SHUT_WR)
    assert syscalls.recv(ours.fileno()) == b""


def test_recv_returns_at_most_what_is_asked_for(pair: Pair) -> None:
    """The rest stays in the kernel for the next call."""
    ours, theirs = pair
    theirs.send(b"abcdef")
    assert [syscalls.recv(ours.fileno(), 4), syscalls.recv(ours.fileno(), 4)] == [b"abcd", b"ef"]


def test_recv_returns_copies(pair: Pair) -> None:
    """The buffer that all calls share does not change what an earlier call has returned."""
    ours, theirs = pair
    theirs.send(b"first")
    first = syscalls.recv(ours.fileno())
    theirs.send(b"other")
    syscalls.recv(ours.fileno())
    assert first == b"first"


def test_recv_can_return_bulk(pair: Pair) -> None:
    """The shared buffer has room for BULK bytes in one call."""
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * syscalls.BULK)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * syscalls.BULK)
    sent = fill(theirs)
    received = syscalls.recv(ours.fileno(), syscalls.BULK)
    assert received == bytes(min(sent, syscalls.BULK))
    assert len(received) > syscalls.READ


def test_errors_are_raised_with_their_number() -> None:
    """A caller sees the kernel's error, as Python's own functions raise it."""
    for call in (lambda: syscalls.recv(10_000), lambda: syscalls.send(10_000, b"x"), lambda: syscalls.pread(10_000)):
        with pytest.raises(OSError, match="Bad file descriptor") as raised:
            call()
        assert raised.value.errno == errno.EBADF


def test_send_returns_what_the_kernel_has_taken(pair: Pair) -> None:
    """All of it, or a part, or 0 once the socket is full; NUL bytes do not end the data."""
    ours, theirs = pair
    assert syscalls.send(ours.fileno(), b"one\0two") == 7
    assert theirs.recv(100) == b"one\0two"
    fill(ours)
    assert syscalls.send(ours.fileno(), b"more") == 0


def test_send_to_a_peer_that_has_left(pair: Pair) -> None:
    """It raises an error and no SIGPIPE, which a program that does not ignore it would die of."""
    ours, theirs = pair
    theirs.close()
    signals: list[int] = []
    before = signal.signal(signal.SIGPIPE, lambda number, frame: signals.append(number))
    try:
        with pytest.raises(BrokenPipeError):
            syscalls.send(ours.fileno(), b"x")
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert signals == []


def test_send_buffers(pair: Pair) -> None:
    """They are sent as one, as far as the kernel takes them; it sees one call, as datagrams show."""
    ours, theirs = pair
    assert syscalls.send_buffers(ours.fileno(), [b"one\0", b"", b"two"]) == 7
    assert theirs.recv(100) == b"one\0two"
    taken = syscalls.send_buffers(ours.fileno(), [b"x" * 3_000_000, b"y" * 3_000_000])
    assert 0 < taken < 6_000_000
    fill(ours)
    assert syscalls.send_buffers(ours.fileno(), [b"more", b"and more"]) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        syscalls.send_buffers(10_000, [b"x"])
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        sender.connect(receiver.getsockname())
        assert syscalls.send_buffers(sender.fileno(), [b"head", b"body"]) == 8
        assert receiver.recv(100) == b"headbody"


def test_what_was_sent_is_not_kept(pair: Pair) -> None:
    """A large body is not held until the next response."""
    ours, _ = pair
    body = b"body" * 100
    before = sys.getrefcount(body)
    syscalls.send_buffers(ours.fileno(), [b"head", body])
    assert sys.getrefcount(body) == before


def test_write_to_a_full_pipe_is_no_error() -> None:
    """Its reader wakes up anyway; what the pipe held before is all that is in it."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        os.set_blocking(reading, False)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        syscalls.write(writing, b"x")
        assert os.read(reading, 10) == b"x"
        os.write(writing, bytes(4096))
        syscalls.write(writing, b"x")
        assert os.read(reading, 8192) == bytes(4096)
    finally:
        os.close(reading)
        os.close(writing)


def test_pread_returns_the_beginning_each_time(tmp_path: Path) -> None:
    """At most 192 bytes, wherever the file's own position is."""
    (tmp_path / "file").write_bytes(bytes(range(200)))
    with (tmp_path / "file").open("rb") as file:
        file.seek(100)
        assert syscalls.pread(file.fileno()) == bytes(range(192))
        assert syscalls.pread(file.fileno()) == bytes(range(192))
        assert file.tell() == 100


def test_calls_keep_the_gil(pair: Pair) -> None:
    """No other thread runs during a call; this one lasts as the kernel waits for data, for a twentieth of a second."""
    ours, _ = pair
    turns, go_on = [0], threading.Event()

    def compute() -> None:
        go_on.wait()
        for _ in range(1000):
            turns[0] += 1

    thread = threading.Thread(target=compute)
    thread.start()
    ours.setblocking(True)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 50_000))
    before = sys.getswitchinterval()
    try:
        # Whoever has the GIL keeps it for longer than this takes, unless a call gives it up.
        sys.setswitchinterval(10)
        go_on.set()
        seen = turns[0]
        assert syscalls.recv(ours.fileno()) is None
        assert turns[0] == seen
    finally:
        sys.setswitchinterval(before)
        thread.join()
