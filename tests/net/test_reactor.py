"""The reactor, turned by hand; and which of Twisted's private names it depends on."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import twisted.internet
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from twistserve.net import reactor as module
from twistserve.net.reactor import Reactor, descriptors_of, install, install_unless_chosen, release_signals
from twistserve.net.transport import Port, Server, UnixPort


@pytest.fixture
def reactor(tmp_path: Path) -> Iterator[Reactor]:
    """A reactor that nobody has installed; what it has opened in `tmp_path` is closed before that is removed."""
    reactor = Reactor()
    yield reactor
    for reader in reactor.removeAll():
        reader.connectionLost(Failure(CONNECTION_DONE))
    reactor.waker.connectionLost(None)
    reactor._poller.close()
    reactor._called.close()


class Noting(Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)


class Accepting(Factory):
    """Keeps its connections."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Noting] = []

    def buildProtocol(self, addr: Any) -> Noting:
        self.made.append(Noting())
        return self.made[-1]


class Reader:
    """A file that the reactor reads from, and what becomes of it."""

    def __init__(self, fail: bool = False) -> None:
        self.end, self.other = socket.socketpair()
        self.fileno = self.end.fileno
        self.other.send(b"x")
        self.fail = fail
        self.read = 0
        self.lost: list[Any] = []

    def doRead(self) -> None:
        self.read += 1
        if self.fail:
            raise KeyError("a mistake")

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason)

    def logPrefix(self) -> str:
        return "reader"


@pytest.fixture
def reader(reactor: Reactor) -> Iterator[Reader]:
    """A reader that has something to read."""
    reader = Reader()
    reactor.addReader(reader)
    with reader.end, reader.other:
        yield reader
        reactor.removeReader(reader)


# Waiting


def test_the_clock_is_monotonic(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the time of day moves no deadline."""
    called: list[str] = []
    reactor.callLater(3600, called.append, "too early")
    monkeypatch.setattr("time.time", lambda: 1e12)
    monkeypatch.setattr("twisted.python.runtime.seconds", lambda: 1e12)
    reactor.runUntilCurrent()
    assert called == []
    assert abs(reactor.seconds() - time.monotonic()) < 60


def test_events_are_handled(reactor: Reactor, reader: Reader) -> None:
    """A file that can be read is, once in a turn."""
    reactor.iterate(0)
    assert reader.read == 1


def test_an_error_ends_one_connection(reactor: Reactor, reader: Reader) -> None:
    """It is told why, and the reactor goes on without it."""
    reader.fail = True
    reactor.iterate(0)
    assert isinstance(reader.lost[0].value, KeyError)
    reactor.iterate(0)
    assert (reader.read, len(reader.lost)) == (1, 1)


def test_a_file_that_was_removed_in_the_same_turn_is_left_alone(reactor: Reactor, reader: Reader) -> None:
    """An event that the kernel has told of before may be for nobody any more."""
    descriptor = reader.fileno()
    real = reactor._poller
    reactor._poller = SimpleNamespace(poll=lambda timeout, most: [(descriptor + 1000, 1), (descriptor, 1)])
    try:
        reactor.doPoll(0)
    finally:
        reactor._poller = real
    assert reader.read == 1


@pytest.mark.parametrize("number", [errno.EINTR, errno.EBADF])
def test_a_wait_that_is_interrupted_is_no_error(reactor: Reactor, number: int) -> None:
    """Another error is raised."""

    def poll(timeout: float, most: int) -> list[Any]:
        raise OSError(number, "no")

    real = reactor._poller
    reactor._poller = SimpleNamespace(poll=poll)
    try:
        if number == errno.EINTR:
            reactor.doPoll(0)
        else:
            with pytest.raises(OSError, match="no"):
                reactor.doPoll(0)
    finally:
        reactor._poller = real


def test_sockets_are_left_alone_for_a_while(reactor: Reactor, reader: Reader) -> None:
    """As long as `before_waiting` says; then they are read, and without waiting for anything more."""
    naps: list[float | None] = []
    real = reactor._called
    reactor._called = SimpleNamespace(poll=lambda seconds: naps.append(seconds) or reader.read)  # type: ignore[assignment,func-returns-value]
    reactor.before_waiting = lambda: 0.004
    try:
        reactor.runUntilCurrent()
        reactor.doPoll(None)
        reactor.doPoll(0.001)
    finally:
        reactor._called = real
    assert (naps, reader.read) == ([0.004, 0.001], 2)


def test_another_thread_ends_the_nap(reactor: Reactor) -> None:
    """What it asks for is done at once; the test would take an hour otherwise."""
    called: list[threading.Thread] = []
    reactor.before_waiting = lambda: 0.0 if called else 3600.0

    def ask() -> None:
        reactor.callFromThread(lambda: called.append(threading.current_thread()))

    reactor.runUntilCurrent()
    thread = threading.Thread(target=ask)
    thread.start()
    reactor.doPoll(None)
    reactor.runUntilCurrent()
    thread.join()
    assert called == [threading.current_thread()]


def test_before_waiting_is_called_when_what_is_due_is_done(reactor: Reactor) -> None:
    """What a timer has begun counts in what it decides."""
    order: list[str] = []
    reactor.callLater(0, order.append, "timer")

    def before_waiting() -> float:
        order.append("before waiting")
        return 0.0

    reactor.before_waiting = before_waiting
    reactor.runUntilCurrent()
    assert order == ["timer", "before waiting"]


def test_after_waiting_is_called_before_what_has_come_is_handled(reactor: Reactor, reader: Reader) -> None:
    """From then on the reactor need not be woken."""
    handled: list[int] = []
    reactor.after_waiting = lambda: handled.append(reader.read)
    reactor.doPoll(0)
    assert (handled, reader.read) == ([0], 1)


def test_waking_a_reactor_that_has_no_waker_any_more(reactor: Reactor) -> None:
    """Threads may still call when it has ended."""
    waker, reactor.waker = reactor.waker, None
    reactor.wakeUp()
    reactor.waker = waker


# The main thread


@pytest.mark.parametrize("leaves", [True, False])
def test_the_reactor_runs_where_it_is_told(reactor: Reactor, monkeypatch: pytest.MonkeyPatch, leaves: bool) -> None:
    """In a thread of its own once it has left the main thread, else there; and it stops in either."""
    ran: list[str] = []

    def lend(loop: Callable[[], None]) -> None:
        thread = threading.Thread(target=loop, name="elsewhere")
        thread.start()
        thread.join()

    def begin() -> None:
        if leaves:
            reactor.leave_main_thread()
        reactor.callLater(0, reactor.callLater, 0, finish)

    def finish() -> None:
        ran.append(threading.current_thread().name)
        reactor.stop()

    monkeypatch.setattr(module, "main_thread", SimpleNamespace(lend=lend))
    monkeypatch.setattr("twisted.python.threadable.ioThread", None)
    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    assert ran == ["elsewhere" if leaves else threading.main_thread().name]


def test_what_a_timer_raises_does_not_end_the_reactor(reactor: Reactor) -> None:
    """In the main thread too, where the loop is ours."""

    def fail() -> None:
        raise KeyError("a mistake")

    reactor.callLater(0, fail)
    reactor.callLater(0, reactor.callLater, 0, reactor.stop)
    reactor.run(installSignalHandlers=False)


# Ports


LOCALHOST: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_adopted_ports_are_ours(reactor: Reactor, tmp_path: Path, family: int) -> None:
    """They bound what they accept, and TCP connections send at once; by a private name of Twisted's."""
    factory = Accepting()
    with socket.socket(family) as bound:
        address: Any = str(tmp_path / "socket") if family == socket.AF_UNIX else (LOCALHOST[family], 0)
        bound.setblocking(False)
        bound.bind(address)
        bound.listen()
        port = reactor.adoptStreamPort(bound.fileno(), family, factory)
        address = bound.getsockname()
    with socket.socket(family) as client:
        client.connect(address)
        client.send(b"hello")
        for _ in range(3):
            reactor.iterate(0)
    [protocol] = factory.made
    assert isinstance(port, UnixPort if family == socket.AF_UNIX else Port)
    assert isinstance(protocol.transport, Server) is (family != socket.AF_UNIX)
    assert protocol.received == [b"hello"]


def test_ports_are_ours(reactor: Reactor, tmp_path: Path) -> None:
    """Those of endpoints too, which ask the reactor to listen; with the backlog and the mode that they say."""
    tcp = reactor.listenTCP(0, Accepting(), backlog=7, interface="127.0.0.1")
    unix = reactor.listenUNIX(str(tmp_path / "socket"), Accepting(), backlog=8, mode=0o600)
    assert (type(tcp), tcp.backlog, tcp.getHost().host) == (Port, 7, "127.0.0.1")
    assert (type(unix), unix.backlog) == (UnixPort, 8)
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600
    assert {tcp, unix} < set(reactor.getReaders())


# The reactor of the process


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No reactor is installed; afterwards all is as before, and what was installed is closed."""
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor", raising=False)
    monkeypatch.setattr(twisted.internet, "reactor", None, raising=False)
    yield
    made = sys.modules.pop("twisted.internet.reactor", None)
    if isinstance(made, Reactor):
        made.waker.connectionLost(None)
        for descriptor in (made._poller, made._called):
            descriptor.close()


@pytest.mark.usefixtures("uninstalled")
def test_it_can_be_installed_once() -> None:
    """Whoever imports Twisted's reactor gets it; a second one is refused."""
    made = install()
    from twisted.internet import reactor

    installed: object = reactor
    assert installed is made
    with pytest.raises(ReactorAlreadyInstalledError):
        install()


@pytest.mark.usefixtures("uninstalled")
def test_a_reactor_that_was_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is installed only where there is none."""
    install_unless_chosen()
    ours = sys.modules["twisted.internet.reactor"]
    assert isinstance(ours, Reactor)
    install_unless_chosen()
    assert sys.modules["twisted.internet.reactor"] is ours


# What others have to know of a reactor


@pytest.mark.parametrize("kind", [Reactor, EPollReactor])
def test_the_files_of_a_reactor(kind: type[EPollReactor]) -> None:
    """Its epolls, and both ends of the pipe that wakes it."""
    kinds = [os.readlink(f"/proc/self/fd/{each}").partition("[")[0] for each in descriptors_of(kind()) if each > 0]
    assert kinds == ["anon_inode:"] * (2 if kind is Reactor else 1) + ["pipe:"] * 2


def test_a_reactor_gives_signals_back() -> None:
    """By a private name of Twisted's, and once: it does so itself a moment later."""

    class Signals:
        uninstalled = 0

        def uninstall(self) -> None:
            self.uninstalled += 1

    reactor = Reactor()
    reactor._signals = signals = Signals()  # type: ignore[assignment]
    release_signals(reactor)
    assert signals.uninstalled == 1


def test_a_reactor_that_runs_gives_the_wake_up_descriptor_back() -> None:
    """Python may write to it no more once the reactor's end has come; the reactor's own end does no harm then."""
    reactor = EPollReactor()
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        taken = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(taken)
        release_signals(reactor)
        seen.append((taken != -1, signal.set_wakeup_fd(-1)))
        reactor.stop()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    reactor.callWhenRunning(look)
    try:
        reactor.run()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert seen == [(True, -1)]


def test_all_files_of_a_reactor_are_found() -> None:
    """Those that it opens by itself, and those that it reads from; a forked child closes them."""
    before = set(map(int, os.listdir("/proc/self/fd")))
    reactor = Reactor()
    opened = {each for each in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{each}")}
    reader = Reader()
    with reader.end, reader.other:
        reactor.addReader(reader)
        assert (opened - before) | {reader.fileno()} <= set(descriptors_of(reactor))
        reactor.removeAll()


def test_a_fork_abandons_the_reactor_of_its_parent() -> None:
    """None of its files stays open."""
    before = len(os.listdir("/proc/self/fd"))
    reactor = Reactor()
    assert len(os.listdir("/proc/self/fd")) > before
    reactor.abandon()
    assert len(os.listdir("/proc/self/fd")) == before
