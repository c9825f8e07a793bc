"""Accepted connections and listening ports: real sockets, and a reactor that only notes what it is asked."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import unix
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.support.wire import Above, Wire, connected
from twistserve.net.syscalls import MOST_BUFFERS
from twistserve.net.transport import JOIN, Port, Server, UnixPort, untaken_by_peer

DONE = Failure(CONNECTION_DONE)


class Noting(Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)


class Accepted:
    """A connection of ours and its client, whose socket does not block."""

    def __init__(self, ours: socket.socket, client: socket.socket) -> None:
        for end in (ours, client):
            end.setblocking(False)
        self.client = client
        self.protocol = Noting()
        self.reactor: Any = MemoryReactorClock()
        self.server = Server(ours, self.protocol, ("192.0.2.1", 1), None, 0, self.reactor)  # type: ignore[arg-type]
        self.protocol.makeConnection(self.server)

    @property
    def waits(self) -> bool:
        """Whether the reactor is to tell when there is room to write."""
        return self.server in self.reactor.writers

    def take(self) -> bytes:
        """What the client can read now."""
        taken = b""
        while True:
            try:
                data = self.client.recv(1 << 20)
            except BlockingIOError:
                return taken
            if not data:
                return taken
            taken += data

    def take_all(self) -> bytes:
        """What the client can read in the end, while the reactor lets the connection write."""
        taken = self.take()
        while self.waits:
            self.server.doWrite()
            taken += self.take()
        return taken

    def fill(self) -> int:
        """Leave no room in the kernel; the bytes that it has taken."""
        taken = 0
        while True:
            try:
                taken += self.server.socket.send(bytes(4096))
            except BlockingIOError:
                return taken


@pytest.fixture
def accepted() -> Iterator[Accepted]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Accepted(ours, theirs)


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """A connection, and the client's end of it."""
    with connected() as (wire, client):
        yield wire, client


# Reading


def test_what_has_come_goes_to_the_protocol(accepted: Accepted) -> None:
    """At most `read_size` bytes in one turn; nothing is said where there is nothing."""
    accepted.client.send(b"abcdef")
    accepted.server.read_size = 4
    assert [accepted.server.doRead() for _ in range(3)] == [None] * 3
    assert accepted.protocol.received == [b"abcd", b"ef"]


def test_the_end_of_a_connection(accepted: Accepted) -> None:
    """The reactor learns that the client has closed it, and the protocol gets no empty data."""
    accepted.client.close()
    assert accepted.server.doRead() is CONNECTION_DONE
    assert accepted.protocol.received == []


def test_a_connection_that_was_reset() -> None:
    """The reactor learns that it is lost."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with ours:
        accepted = Accepted(ours, client)
        client.close()
        assert accepted.server.doRead() is CONNECTION_LOST


# Writing


@pytest.mark.parametrize("size", [10, JOIN - 4, JOIN + 1])
def test_what_the_kernel_takes_is_sent_at_once(accepted: Accepted, size: int) -> None:
    """Head and body arrive before the reactor turns, copied into one buffer or not, and it is asked for nothing."""
    accepted.server.send([b"head", b"x" * size])
    assert accepted.take() == b"head" + b"x" * size
    assert not accepted.waits


@pytest.mark.parametrize(
    ("buffers", "calls"),
    [
        ([b"head", b"x" * (JOIN - 4)], [("send", JOIN)]),
        ([b"head", b"x" * JOIN], [("send_buffers", JOIN + 4)]),
        ([b"x" * JOIN] * (MOST_BUFFERS + 1), [("send", JOIN * (MOST_BUFFERS + 1))]),
    ],
    ids=["small", "large", "many"],
)
def test_a_response_is_one_system_call(
    accepted: Accepted, monkeypatch: pytest.MonkeyPatch, buffers: list[bytes], calls: list[tuple[str, int]]
) -> None:
    """Head and body are copied into one up to JOIN bytes; beyond, the kernel is told of each."""
    made: list[tuple[str, int]] = []

    def send(descriptor: int, data: bytes) -> int:
        made.append(("send", len(data)))
        return len(data)

    def send_buffers(descriptor: int, buffers: Sequence[bytes]) -> int:
        made.append(("send_buffers", sum(map(len, buffers))))
        return sum(map(len, buffers))

    monkeypatch.setattr("twistserve.net.syscalls.send", send)
    monkeypatch.setattr("twistserve.net.syscalls.send_buffers", send_buffers)
    accepted.server.send(buffers)
    assert made == calls


def test_what_the_kernel_does_not_take_is_left_to_the_reactor(accepted: Accepted) -> None:
    """Nothing is lost or sent twice, wherever the kernel has stopped."""
    sent = [b"head", b"a" * 3_000_000, b"b" * 3_000_000]
    accepted.server.send(sent)
    assert accepted.waits
    assert accepted.take_all() == b"".join(sent)


def test_what_waits_goes_first(accepted: Accepted) -> None:
    """Data that Twisted has taken to write later is not overtaken, even while the kernel has room."""
    accepted.server.write(b"1")
    accepted.server.send([b"2", b"3"])
    assert accepted.take() == b""
    assert accepted.take_all() == b"123"
    filled = accepted.fill()
    accepted.server.send([b"4"])
    accepted.server.doWrite()
    assert len(accepted.take()) == filled
    accepted.server.send([b"5"])
    assert accepted.take_all() == b"45"


def test_a_client_that_has_left_raises_nothing(accepted: Accepted) -> None:
    """The reactor finds out when it writes, and ends the connection as any other."""
    accepted.client.close()
    accepted.server.send([b"x"])
    assert accepted.waits
    assert accepted.server.doWrite() is CONNECTION_LOST


# What a peer has not taken


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


def test_what_waits_in_twisted_is_not_taken_either(accepted: Accepted) -> None:
    """Whether Twisted has just been given it or has already tried to write it."""
    accepted.fill()
    before = untaken_by_peer(accepted.server)
    accepted.server.write(b"x" * 100)
    assert untaken_by_peer(accepted.server) == before + 100
    accepted.server.doWrite()
    assert untaken_by_peer(accepted.server) == before + 100


# Listening


class Accepting(Factory):
    """Keeps its connections; it says that there is room for `most`."""

    protocol = Noting
    noisy = False

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.made: list[Any] = []

    def room(self) -> int:
        return self.most - len(self.made)

    def buildProtocol(self, addr: Any) -> Noting:
        self.made.append(Noting())
        return self.made[-1]  # type: ignore[no-any-return]


class Wrapping(Factory):
    """A factory such as TLS puts around another."""

    noisy = False

    def __init__(self, wrapped: Factory) -> None:
        self.wrappedFactory = wrapped
        self.buildProtocol = wrapped.buildProtocol  # type: ignore[method-assign]


@contextmanager
def listening(port: Any, clients: int) -> Iterator[Any]:
    """Let a port listen, and so many clients wait for it."""
    port.startListening()
    with ExitStack() as stack:
        for _ in range(clients):
            client = socket.socket(port.addressFamily)
            stack.enter_context(client)
            client.settimeout(10)
            client.connect(port.socket.getsockname())
        try:
            yield port
        finally:
            port.connectionLost(DONE)


def close(made: list[Any]) -> None:
    for each in made:
        each.transport.connectionLost(DONE)


@pytest.fixture(params=["tcp", "unix"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes a port for a factory."""
    reactor: Any = MemoryReactorClock()
    if request.param == "tcp":
        return lambda factory: Port(0, factory, 50, "127.0.0.1", reactor)
    return lambda factory: UnixPort(os.fsencode(tmp_path / "socket"), factory, 50, 0o666, reactor, 0)


@pytest.mark.parametrize("wrap", [lambda factory: factory, lambda factory: Wrapping(Wrapping(factory))])
def test_no_more_are_accepted_than_there_is_room_for(kind: Any, wrap: Any) -> None:
    """The others wait in the kernel, also where TLS is put around the site."""
    factory = Accepting(most=3)
    with listening(kind(wrap(factory)), 5) as port:
        for _ in range(3):
            port.doRead()
            if len(factory.made) == 3:
                break
        assert len(factory.made) == 3
        factory.most = 100
        port.doRead()
        port.doRead()
        assert len(factory.made) == 5
        close(factory.made)


def test_one_is_accepted_where_there_is_no_room(kind: Any) -> None:
    """A port that the reactor calls would be called for ever if it accepted none."""
    factory = Accepting(most=0)
    with listening(kind(factory), 3) as port:
        port.doRead()
        assert len(factory.made) == 1
        close(factory.made)


def test_a_factory_without_bounds(kind: Any) -> None:
    """All that wait are accepted."""
    factory = Accepting()
    factory.room = None  # type: ignore[method-assign,assignment]
    with listening(kind(factory), 3) as port:
        port.doRead()
        assert len(factory.made) == 3
        close(factory.made)


def test_a_shared_port_accepts_one_at_a_time() -> None:
    """Each process that accepts from the socket gets some."""
    factory = Accepting()
    with listening(Port(0, factory, 50, "127.0.0.1", MemoryReactorClock()), 3) as port:
        port.shared = True
        for count in (1, 2, 3):
            port.doRead()
            assert len(factory.made) == count
        close(factory.made)


def test_what_is_called_and_held_around_accepting() -> None:
    """`accepting` first, then connections are made within `around_accept`; each is a `Server`."""
    noted: list[str] = []

    class Noted(Accepting):
        def buildProtocol(self, addr: Any) -> Noting:
            noted.append("accepted")
            return super().buildProtocol(addr)

    @contextmanager
    def around() -> Iterator[None]:
        noted.append("begin")
        yield
        noted.append("end")

    factory = Noted()
    with listening(Port(0, factory, 50, "127.0.0.1", MemoryReactorClock()), 1) as port:
        port.accepting, port.around_accept = lambda: noted.append("accepting"), around()
        port.doRead()
        assert noted == ["accepting", "begin", "accepted", "end"]
        assert isinstance(factory.made[0].transport, Server)
        close(factory.made)


def test_connections_of_a_unix_socket_are_twisteds(tmp_path: Path) -> None:
    """They have no TCP options to set."""
    factory = Accepting()
    with listening(UnixPort(os.fsencode(tmp_path / "socket"), factory, 50, 0o666, MemoryReactorClock(), 0), 1) as port:
        port.doRead()
        assert type(factory.made[0].transport) is unix.Server
        close(factory.made)
