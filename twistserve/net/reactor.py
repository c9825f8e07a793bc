"""EPollReactor for serving: without the logging context around every event, and with our own transport.

Twisted sets up a context for each event, so that whatever is logged meanwhile can be prefixed with the
connection's name. A profile of the request path showed one sixth of all time in it; nothing here uses it.
Registered with Twisted as the reactor "twistserve".
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.main import installReactor
from twisted.logger import Logger
from twisted.python import threadable

from twistserve.net import syscalls
from twistserve.net.main_thread import main_thread
from twistserve.net.transport import Port, UnixPort

_unexpected = Logger().failureHandler("Unexpected error in main loop")


class Reactor(EPollReactor):
    """EPollReactor minus the logging context; `_doReadOrWrite` handles what an event raises by itself.

    Its clock is monotonic, where Twisted's is the time of day: setting that moves no deadline.
    """

    seconds = staticmethod(time.monotonic)

    before_waiting: Callable[[], float] = staticmethod(lambda: 0.0)
    """Called before each wait; returns seconds for which nothing need be looked at but what other threads ask."""
    after_waiting: Callable[[], None] = staticmethod(lambda: None)
    """Called after each wait."""
    _nap = 0.0
    _leaves = False

    def installWaker(self) -> None:
        """Make what other threads wake the reactor by."""
        super().installWaker()
        self._called = select.epoll(1)
        self._called.register(self.waker.i, select.EPOLLIN)

    def leave_main_thread(self) -> None:
        """Go on in a thread of its own, and lend the main thread to others. In the reactor, which runs or will."""
        self._leaves = True

    def mainLoop(self) -> None:
        """Run until stopped, here or elsewhere. Main thread."""
        while self._started and not self._leaves:
            with _unexpected:
                self.runUntilCurrent()
                self.doIteration(self.timeout() if self.running else 0)
        if self._started:
            main_thread.lend(self._loop_elsewhere)

    def _loop_elsewhere(self) -> None:
        threadable.registerAsIOThread()
        super().mainLoop()

    def runUntilCurrent(self) -> None:
        """Call what is due, before it is known how long nothing will be."""
        super().runUntilCurrent()
        self._nap = self.before_waiting()

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, at most `timeout` seconds, and handle them."""
        selectables = self._selectables
        if self._nap:
            self._called.poll(self._nap if timeout is None else min(timeout, self._nap))
            timeout = 0
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        self.after_waiting()
        handle = self._doReadOrWrite
        for descriptor, event in events:
            selectable = selectables.get(descriptor)
            if selectable is not None:
                handle(selectable, descriptor, event)

    doIteration = doPoll

    def wakeUp(self) -> None:
        """Make the reactor look at what other threads have asked of it; callable from any thread."""
        if self.waker:
            syscalls.write(self.waker.o, b"x")

    def abandon(self) -> None:
        """Close what a forked process shares with the one that runs this reactor; here it never has, and never does."""
        self._poller.close()
        self._called.close()
        os.close(self.waker.i)
        os.close(self.waker.o)

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> Port:
        """As IReactorTCP says, with our transport."""
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def listenUNIX(
        self, address: Any, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> Any:
        """As IReactorUNIX says, with our port."""
        listening = UnixPort(address, factory, backlog, mode, self, wantPID)
        listening.startListening()
        return listening

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> Any:
        """As IReactorSocket says, with our transport."""
        if addressFamily == socket.AF_UNIX:
            adopted = UnixPort._fromListeningDescriptor(self, fileDescriptor, factory)
            adopted.startListening()
            return adopted
        listening = Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening


def install() -> Reactor:
    """Make this the reactor of the process. Raises ReactorAlreadyInstalledError."""
    reactor = Reactor()
    installReactor(reactor)
    return reactor


def install_unless_chosen() -> None:
    """Make this the reactor unless somebody has chosen or used another."""
    if "twisted.internet.reactor" not in sys.modules:
        install()


def release_signals(reactor: Any) -> None:
    """Give the wake-up descriptor back, as the reactor itself does a moment after its last trigger. Main thread."""
    if (release := getattr(reactor, "_uninstallHandler", None)) is not None:
        release()


def descriptors_of(reactor: Any) -> Iterator[int]:
    """The files that a reactor has open by itself and for what it reads from and writes to, even if that is gone."""
    for name in ("_poller", "_called"):
        if (poller := getattr(reactor, name, None)) is not None and hasattr(poller, "fileno"):
            yield poller.fileno()
    for each in (*reactor.getReaders(), *reactor.getWriters()):
        yield each.fileno()
        # The other end of the pipe that it is woken by.
        yield getattr(each, "o", -1)
