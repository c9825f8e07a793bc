"""Ports that are bound early and opened later: real sockets, and a reactor that is turned by hand."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from tests.support.functional.harness import free_port
from twistserve.errors import StartError
from twistserve.net import listeners
from twistserve.net.listeners import Endpoint, Port
from twistserve.net.reactor import Reactor


class Accepting(Factory):
    """Keeps its connections."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Protocol] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        self.made.append(Protocol())
        return self.made[-1]


@pytest.fixture
def reactor(tmp_path: Path) -> Iterator[Reactor]:
    """A reactor that is turned by hand; what it has opened in `tmp_path` is closed before that is removed."""
    reactor = Reactor()
    yield reactor
    for _ in range(3):
        for reader in reactor.removeAll():
            reader.connectionLost(Failure(CONNECTION_DONE))
        reactor.iterate(0)
    reactor.waker.connectionLost(None)
    reactor._poller.close()
    reactor._called.close()


@contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def result_of(deferred: Any) -> Any:
    """What a Deferred has come to, which must have fired."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0]


def why(deferred: Any) -> str:
    """Why what was asked for has failed; it is always a StartError."""
    failure = result_of(deferred)
    assert failure.check(StartError)
    return str(failure.value)


# Ports


def test_a_bound_port_is_nobody_elses_and_refuses_connections(reactor: Reactor) -> None:
    """Until it is opened; then it accepts in IPv4 and, where there is any, IPv6."""
    number, factory = free_port(), Accepting()
    port = Port(reactor, None, number, "--port")
    port.bind()
    port.bind()
    assert ("0.0.0.0", number) in port.names
    assert len(port.names) == len(port.sockets) <= 2
    with pytest.raises(ConnectionRefusedError), client(number):
        pass
    with closing(socket.socket()) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", number))
    assert result_of(port.open(factory)) is None
    assert port.sockets == []
    with pytest.raises(StartError, match=rf"--port: \*:{number} is in use: stop the program"):
        Port(reactor, None, number, "--port").bind()
    with client(number):
        reactor.iterate(0)
        assert len(factory.made) == 1


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "--port: 127.0.0.1:80 needs a privilege"),
        (errno.EADDRNOTAVAIL, "--host: 127.0.0.1:80 is not at an address of this machine"),
        (errno.ENOBUFS, f"--port: 127.0.0.1:80 cannot be opened: {os.strerror(errno.ENOBUFS)}"),
    ],
)
def test_why_a_port_cannot_be_bound(reactor: Reactor, monkeypatch: pytest.MonkeyPatch, number: int, said: str) -> None:
    """The error names the option that is wrong and says what to do."""

    def refuse(family: int, address: Any) -> socket.socket:
        raise OSError(number, "no")

    monkeypatch.setattr(listeners, "bind", refuse)
    with pytest.raises(StartError) as raised:
        Port(reactor, "127.0.0.1", 80, "--port").bind()
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(("number", "bound"), [(errno.EAFNOSUPPORT, True), (errno.EADDRINUSE, False)])
def test_a_machine_without_ipv6(reactor: Reactor, monkeypatch: pytest.MonkeyPatch, number: int, bound: bool) -> None:
    """IPv4 alone will do, but not if the port is taken in IPv6."""
    real = listeners.bind

    def only_ipv4(family: int, address: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "no")
        return real(family, address)

    monkeypatch.setattr(listeners, "bind", only_ipv4)
    port = Port(reactor, None, free_port(), "--port")
    if bound:
        port.bind()
        assert [each.family for each in port.sockets] == [socket.AF_INET]
    else:
        with pytest.raises(StartError, match="in use"):
            port.bind()
    port.close()


def test_a_host_that_is_unknown(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the option of the host, and what was said of it."""

    def unknown(*arguments: object, **keywords: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(StartError, match=r"--probe-host: 'nowhere' is not an address .* \(Name or service not known\)"):
        Port(reactor, "nowhere", 80, "--probe-port", host_option="--probe-host").bind()


def test_a_host_with_several_addresses(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bound at each of them, once."""
    number = free_port()
    found = [(socket.AF_INET, 1, 6, "", (host, number)) for host in ("127.0.0.1", "127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **keywords: found)
    port = Port(reactor, "localhost", number, "--port")
    port.bind()
    assert port.names == [("127.0.0.1", number), ("127.0.0.2", number)]
    port.close()


@pytest.mark.parametrize(
    ("host", "text"), [(None, "*:80"), ("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("web", "web:80")]
)
def test_how_a_port_is_called(host: str | None, text: str) -> None:
    """As people write it, in errors and in the log."""
    assert str(Port(MemoryReactor(), host, 80, "--port")) == text


def test_a_paused_port_leaves_clients_waiting(reactor: Reactor) -> None:
    """They are accepted when it goes on."""
    number, factory = free_port(), Accepting()
    port = Port(reactor, "127.0.0.1", number, "--port")
    port.bind()
    port.open(factory)
    port.pause(True)
    with client(number):
        reactor.iterate(0)
        assert factory.made == []
        port.pause(False)
        reactor.iterate(0)
        assert len(factory.made) == 1


def test_all_that_wait_are_accepted_before_the_last_port_closes(reactor: Reactor) -> None:
    """The kernel would reset them; whoever comes later is refused."""
    number, factory = free_port(), Accepting()
    port = Port(reactor, "127.0.0.1", number, "--port")
    port.bind()
    port.open(factory)
    with client(number), client(number), client(number):
        closed: list[Any] = []
        port.close().addCallback(closed.append)
        assert len(factory.made) == 3
        reactor.iterate(0)
        assert closed
        with pytest.raises(ConnectionRefusedError), client(number):
            pass
    assert port.names == [("127.0.0.1", number)]


def test_shared_sockets(reactor: Reactor) -> None:
    """Two processes accept from one; who closes it first leaves the clients that wait to the other."""
    number = free_port()
    with listeners.bind(socket.AF_INET, ("127.0.0.1", number)) as bound:
        ports = [Port(reactor, None, number, "--port") for _ in range(2)]
        factories = [Accepting(), Accepting()]
        for port, factory in zip(ports, factories, strict=True):
            port.take([os.dup(bound.fileno())])
            port.open(factory)
    with client(number):
        ports[0].close(last=False)
        reactor.iterate(0)
        assert [len(factory.made) for factory in factories] == [0, 1]
    assert ports[0].names == [("127.0.0.1", number)]


def test_what_a_factory_wants_around_accepting(reactor: Reactor) -> None:
    """The port of the reactor has it: the probe port's descriptors, and its short turns."""
    number, noted = free_port(), []

    @contextmanager
    def around() -> Iterator[None]:
        noted.append("around")
        yield

    factory: Any = Accepting()
    factory.accepting, factory.around_accept = lambda: noted.append("accepting"), around()
    port = Port(reactor, "127.0.0.1", number, "--port")
    port.bind()
    port.open(factory)
    with client(number):
        reactor.iterate(0)
    assert noted == ["accepting", "around"]


def test_a_port_that_cannot_listen(reactor: Reactor) -> None:
    """Of two that were bound as early, the one that is opened later fails, and says as much as if it were bound."""
    number = free_port()
    first, second = (Port(reactor, "127.0.0.1", number, "--port") for _ in range(2))
    first.bind()
    second.bind()
    assert result_of(first.open(Accepting())) is None
    assert why(second.open(Accepting())).startswith(f"--port: 127.0.0.1:{number} is in use: stop the program")
    second.close()


# Endpoints


@pytest.mark.parametrize(
    "description", ["nonsense:8000", "tcp:http", "haproxy:tcp:http", "haproxy:nonsense:1", "tls:/nowhere"]
)
def test_what_is_no_endpoint(description: str) -> None:
    """The error names the option and quotes the description, before anything is started."""
    with pytest.raises(StartError, match="--endpoint: ") as raised:
        Endpoint(MemoryReactor(), description)
    assert repr(description) in str(raised.value)
    assert "is not a server endpoint" in str(raised.value)


def test_an_endpoint(reactor: Reactor, tmp_path: Path) -> None:
    """It listens when it is opened, knows where, can be paused, and closes when all that wait are accepted."""
    number, factory = free_port(), Accepting()
    endpoint = Endpoint(reactor, f"tcp:{number}:interface=127.0.0.1")
    endpoint.pause(True)
    assert result_of(endpoint.close()) is None
    assert (str(endpoint), endpoint.names) == (f"tcp:{number}:interface=127.0.0.1", [])
    assert result_of(endpoint.open(factory)) is None
    assert endpoint.names == [("127.0.0.1", number)]
    endpoint.pause(True)
    with client(number):
        reactor.iterate(0)
        assert factory.made == []
        endpoint.close()
        assert len(factory.made) == 1
        reactor.iterate(0)
        with pytest.raises(ConnectionRefusedError), client(number):
            pass


def test_the_name_of_a_unix_endpoint(reactor: Reactor, tmp_path: Path) -> None:
    """Is its path, as getsockname(2) tells it."""
    path = str(tmp_path / "socket")
    endpoint = Endpoint(reactor, f"unix:{path}")
    endpoint.open(Accepting())
    [name] = endpoint.names
    assert os.fsdecode(name) == path


def test_an_endpoint_that_cannot_be_opened(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error quotes it, and says what the system has said."""
    number = free_port()
    with socket.create_server(("127.0.0.1", number)):
        endpoint = Endpoint(reactor, f"tcp:{number}:interface=127.0.0.1")
        said = why(endpoint.open(Accepting()))
    assert said.startswith(f"--endpoint: 'tcp:{number}:interface=127.0.0.1' cannot be opened: ")
    assert "Address already in use" in said
    monkeypatch.setattr(endpoint, "_endpoint", type("Broken", (), {"listen": lambda *_: fail(KeyError("mistake"))})())
    assert "mistake" in why(endpoint.open(Accepting()))
