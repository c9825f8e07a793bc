"""Sockets that the parent binds and the workers share: what an endpoint makes of them, and what their end does."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from tests.support.functional.harness import free_port
from twistserve.errors import StartError
from twistserve.net.listeners import Endpoint
from twistserve.net.reactor import Reactor
from twistserve.net.shared_sockets import AdoptingReactor, bind_endpoints


class Noting(Protocol):
    """Remembers that it was made, and whether it has heard anything."""

    heard = False
    transport: Any

    def connectionMade(self) -> None:
        self.factory.made.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.heard = True


class Accepting(Factory):
    """Keeps its connections."""

    protocol = Noting
    noisy = False

    def __init__(self) -> None:
        self.made: list[Noting] = []

    def doStart(self) -> None:
        pass


def close(reactor: Reactor) -> None:
    """Give back what a reactor that never ran holds open."""
    for reader in reactor.removeAll():
        reader.connectionLost(None)
    reactor.waker.connectionLost(None)
    reactor._poller.close()


class Process:
    """What a worker makes of the sockets it has inherited, as far as it can be seen without a process."""

    def __init__(self, *descriptions: str, sockets: list[socket.socket]) -> None:
        self.reactor = Reactor()
        self.factory = Accepting()
        inherited = [os.dup(each.fileno()) for each in sockets]
        adopting = AdoptingReactor(self.reactor, iter(inherited))
        self.endpoints = [Endpoint(adopting, description) for description in descriptions]
        for endpoint in self.endpoints:
            endpoint.open(self.factory)

    @property
    def accepted(self) -> int:
        return len(self.factory.made)

    def turn(self, times: int = 1) -> None:
        """Let the reactor turn."""
        for _ in range(times):
            self.reactor.iterate(0)

    def leave(self) -> None:
        """Listen no more, as a worker does that others go on without."""
        for endpoint in self.endpoints:
            endpoint.close(last=False)
        self.turn(5)

    def end(self) -> None:
        self.leave()
        for connection in self.factory.made:
            connection.transport.abortConnection()
        self.turn(5)
        close(self.reactor)


class Stage:
    """The parent's sockets, its workers and their clients, all of which end with the test."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.workers: list[Process] = []
        self.clients: list[socket.socket] = []

    def bind(self, *descriptions: str) -> None:
        reactor = Reactor()
        try:
            self.sockets += bind_endpoints(reactor, descriptions)
        finally:
            close(reactor)

    def worker(self, *descriptions: str) -> Process:
        self.workers.append(Process(*descriptions, sockets=self.sockets))
        return self.workers[-1]

    def connect(self, address: int | str) -> socket.socket:
        client = socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX)
        self.clients.append(client)
        client.settimeout(10)
        client.connect(("127.0.0.1", address) if isinstance(address, int) else address)
        return client

    def end(self) -> None:
        for client in self.clients:
            client.close()
        for worker in self.workers:
            worker.end()
        for each in self.sockets:
            each.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.end()


def an_address(kind: str, directory: Path) -> int | str:
    return free_port() if kind == "tcp" else str(directory / "socket")


def test_they_are_bound_and_not_open(stage: Stage) -> None:
    """Whoever comes too early is refused, and nobody else can have the port."""
    port = free_port()
    stage.bind(f"tcp:{port}")
    assert [each.getsockname() for each in stage.sockets] == [("0.0.0.0", port)]
    with pytest.raises(ConnectionRefusedError):
        stage.connect(port)
    with closing(socket.socket()) as other, pytest.raises(OSError, match="in use"):
        other.bind(("", port))


def test_each_endpoint_has_its_socket_in_its_order(stage: Stage, tmp_path: Path) -> None:
    """A worker finds them in the same order, whatever they are."""
    one, two, path = free_port(), free_port(), str(tmp_path / "socket")
    descriptions = (f"tcp:{one}:interface=127.0.0.1", f"unix:{path}", f"haproxy:tcp:{two}:interface=127.0.0.1")
    stage.bind(*descriptions)
    assert [each.getsockname() for each in stage.sockets] == [("127.0.0.1", one), path, ("127.0.0.1", two)]
    worker = stage.worker(*descriptions)
    *_, proxied = [stage.connect(address) for address in (one, path, two)]
    worker.turn(10)
    assert worker.accepted == 3
    proxied.sendall(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nx")
    worker.turn(3)
    assert {connection.transport.getPeer().host for connection in worker.factory.made if connection.heard} == {
        "10.0.0.1"
    }


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_what_waits_is_left_to_the_others(stage: Stage, tmp_path: Path, kind: str) -> None:
    """When a worker listens no more, nothing is refused or reset: another one accepts what it has left, and goes on."""
    address = an_address(kind, tmp_path)
    description = f"{kind}:{address}"
    stage.bind(description)
    leaving, staying = stage.worker(description), stage.worker(description)
    for _ in range(5):
        stage.connect(address)
    leaving.leave()
    for _ in range(5):
        stage.connect(address)
    for client in stage.clients:
        client.sendall(b"x")
    staying.turn(20)
    assert (leaving.accepted, staying.accepted) == (0, 10)
    replacement = stage.worker(description)
    staying.leave()
    stage.connect(address)
    replacement.turn()
    assert replacement.accepted == 1


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_one_connection_at_a_time(stage: Stage, tmp_path: Path, kind: str) -> None:
    """A worker that is faster than the others leaves them something."""
    address = an_address(kind, tmp_path)
    description = f"{kind}:{address}"
    stage.bind(description)
    one, two = stage.worker(description), stage.worker(description)
    for _ in range(6):
        stage.connect(address)
    for _ in range(3):
        one.turn()
        two.turn()
    assert (one.accepted, two.accepted) == (3, 3)


def test_the_backlog_is_what_the_endpoint_says(stage: Stage, tmp_path: Path) -> None:
    """So many clients may wait until one is accepted, however many workers have opened the socket."""
    path = str(tmp_path / "socket")
    stage.bind(f"unix:{path}:backlog=80")
    for _ in range(2):
        stage.worker(f"unix:{path}:backlog=80")
    for _ in range(81):
        stage.connect(path)


def test_a_unix_socket_has_the_mode_it_is_given(stage: Stage, tmp_path: Path) -> None:
    """In the parent, and still when a worker has opened it."""
    path = tmp_path / "socket"
    stage.bind(f"unix:{path}:mode=600")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    stage.worker(f"unix:{path}:mode=600")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_unix_socket_that_a_dead_process_has_left_is_replaced(stage: Stage, tmp_path: Path) -> None:
    """One that somebody listens on is not, nor is a file that is no socket."""
    path = tmp_path / "socket"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    stage.bind(f"unix:{path}")
    with closing(socket.socket(socket.AF_UNIX)) as living:
        living.bind(str(tmp_path / "living"))
        living.listen()
        (tmp_path / "file").write_text("precious")
        for name in ("living", "file"):
            with pytest.raises(StartError, match=name):
                stage.bind(f"unix:{tmp_path / name}")
        stage.connect(str(tmp_path / "living"))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_port_in_use(stage: Stage) -> None:
    """The error names the endpoint and what is wrong with it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"--endpoint: 'tcp:{port}.*in use"):
            stage.bind(f"tcp:{port}:interface=127.0.0.1")
