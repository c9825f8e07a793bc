"""The process with the application (--preload), from the parent's side: it is started, loads, and forks workers."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone, ConnectionLost, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from twistserve.process import exit_status
from twistserve.workers.forked_process import ForkedProcess, Orphans
from twistserve.workers.preloaded import Message, receive, send
from twistserve.workers.protocol import CONTROL, FOR_THE_PARENT, PRELOADED_LOG_LOCK
from twistserve.workers.worker_process import STDERR, STDOUT, Lines

LAST_WORDS = 1.0
"""Seconds to wait for what a process has said last when it has ended: programs that it left behind may hold its end."""
PROMPT = 10.0
"""Seconds that a fork may take; then the process is killed."""
END = 3.0
"""Seconds for its own end, in which it calls what is registered with atexit; then it is killed."""
_PIPES = 3


class Told(Protocol):
    """Who is told what becomes of a process."""

    def at_step(self, process: PreloadedProcess, step: str) -> None:
        """It has come to a step of loading the application."""

    def loaded(self, process: PreloadedProcess) -> None:
        """It can fork."""

    def gone(self, process: PreloadedProcess, reason: str) -> None:
        """It has ended, or soon will have, for this reason; nothing that was asked of it will be done."""


class Request(NamedTuple):
    """A worker to be forked."""

    name: str
    process: ForkedProcess
    sockets: Sequence[int]
    forked: Callable[[int], None]
    """Called with its pid."""
    failed: Callable[[str], None]
    """Called with the reason where there will be none."""


class Forked(NamedTuple):
    """A process that was forked before there was a reactor to start it."""

    pid: int
    control: socket.socket
    streams: dict[int, int]
    """The reading ends of its standard streams, if they come through here."""


class PreloadedProcess(ProcessProtocol):
    """One such process. With `lines` its output comes through here."""

    def __init__(self, told: Told, lines: Callable[[str], None] | None, reactor: Any) -> None:
        self.loaded = False
        self.loaded_at = 0.0
        self.pid = 0
        self.ends = False
        """Whether it is to end, and forks no more."""
        self._told = told
        self._lines = Lines(lines) if lines is not None else None
        self._reactor = reactor
        self._control: _Control | None = None
        self._waiting: list[Request] = []
        self._sent: dict[int, Request] = {}
        self._number = 0
        self._failure = ""
        self._end: Failure | None = None
        self._closed = self._gone = False

    def start(self, environ: Mapping[str, str], log_lock: int) -> None:
        """Start it. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out: int | str = STDOUT if self._lines is None else "r"
        error: int | str = STDERR if self._lines is None else "r"
        descriptors = {0: 0, STDOUT: out, STDERR: error, CONTROL: theirs.fileno(), PRELOADED_LOG_LOCK: log_lock}
        arguments = [sys.executable, "-m", "twistserve.workers", "preloaded"]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_PARENT)
        try:
            process = self._reactor.spawnProcess(self, sys.executable, arguments, dict(environ), childFDs=descriptors)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        self.pid = process.pid
        self._control = _Control(ours, self._received, self._on_close, self._reactor)

    def take(self, forked: Forked, orphans: Orphans) -> None:
        """Go on with one that was forked."""
        self.pid = forked.pid
        self._control = _Control(forked.control, self._received, self._on_close, self._reactor)
        ForkedProcess(self, forked.streams, orphans, self._reactor).forked(forked.pid)

    def load(self, configuration: dict[str, Any], path: list[str], directory: str) -> None:
        """Have it import the application; `directory` is that of the workers' metrics, if there is one."""
        self._send("load", configuration=configuration, path=path, directory=directory)

    def fork(self, request: Request) -> None:
        """Have it fork a worker, when it can."""
        request.process.on_discard = lambda: self._discard(request)
        if self._gone:
            self._reactor.callLater(0, request.failed, "the preloaded process has ended")
            return
        self._waiting.append(request)
        self._go_on()

    def end(self) -> None:
        """Have it end when it has done what it was asked. One that loads ends at once."""
        if self.ends:
            return
        self.ends = True
        if not self.loaded:
            self.kill()
        elif self._control is not None:
            self._control.finish()
            self._reactor.callLater(END, self.kill)

    def kill(self) -> None:
        """End it now; callable from any thread."""
        with suppress(ProcessExitedAlready, AttributeError):
            self.transport.signalProcess(signal.SIGKILL)  # type: ignore[union-attr]

    # What it does

    def _go_on(self) -> None:
        """Ask for what waits."""
        while self.loaded and self._waiting:
            request = self._waiting.pop(0)
            self._number += 1
            number, self._sent[self._number] = self._number, request
            descriptors = [*request.process.descriptors, *request.sockets]
            streams = len(request.process.descriptors) - _PIPES
            self._send("fork", descriptors, request=number, name=request.name, streams=streams)
            request.process.pass_on()
            self._reactor.callLater(PROMPT, self._expect, number)

    def _send(self, word: str, descriptors: Sequence[int] = (), **content: Any) -> None:
        # What cannot be sent has its end, or is missed in time.
        if self._control is not None:
            with suppress(OSError):
                send(self._control.socket, word, descriptors, **content)

    def _expect(self, number: int) -> None:
        if number in self._sent:
            self._failure = f"the preloaded process has not forked a worker within {PROMPT:g} s, and is killed"
            self.kill()

    def _discard(self, request: Request) -> None:
        """A worker is not wanted any more; if it is there already, it is killed when that is known."""
        if request in self._waiting:
            self._waiting.remove(request)
        for number, each in list(self._sent.items()):
            if each is request:
                del self._sent[number]

    def _received(self, message: Message) -> None:
        content = message.content
        if message.word == "at_step":
            self._told.at_step(self, content["step"])
        elif message.word == "loaded":
            self.loaded, self.loaded_at = True, self._reactor.seconds()
            self._told.loaded(self)
            self._go_on()
        elif message.word == "failed":
            self._failure = content["message"]
        elif message.word == "forked":
            self._forked(self._sent.pop(content["request"], None), content["pid"])
        elif message.word == "not_forked" and content["request"] in self._sent:
            reason = f"a worker's process cannot be forked: {content['reason']}"
            self._sent.pop(content["request"]).failed(reason)

    def _forked(self, request: Request | None, pid: int) -> None:
        if request is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        request.forked(pid)
        request.process.forked(pid)

    # How it ends

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It writes a line."""
        if self._lines is not None:
            self._lines.received(childFD, data)

    def processExited(self, reason: Failure) -> None:
        """It has ended; what it has said last may be on its way."""
        self._end = reason
        if self._closed:
            self._on_close()
        else:
            self._reactor.callLater(LAST_WORDS, self._close)

    def processEnded(self, reason: Failure) -> None:
        """Its output is complete too."""
        if self._lines is not None:
            self._lines.end()

    def _close(self) -> None:
        if self._control is not None and not self._closed:
            self._control.connectionLost(Failure(ConnectionDone()))

    def _on_close(self) -> None:
        """Nothing more will be said, by it and those that it has just forked."""
        self._closed = True
        if self._end is None or self._gone:
            return
        self._gone, self.loaded = True, False
        how = exit_status.in_words(exit_status.of(self._end.value))
        reason = self._failure or f"the preloaded process has ended: {how}"
        left, self._waiting, self._sent = [*self._sent.values(), *self._waiting], [], {}
        self._told.gone(self, reason)
        for request in left:
            request.failed(reason)


class _Control(FileDescriptor):
    """The parent's end of the socket."""

    connected = True

    def __init__(
        self,
        ours: socket.socket,
        received: Callable[[Message], None],
        closed: Callable[[], None],
        reactor: Any,
    ) -> None:
        super().__init__(reactor)
        ours.setblocking(False)
        self.socket = ours
        self._received = received
        self._closed = closed
        self.startReading()

    def fileno(self) -> int:
        """As the reactor asks."""
        return self.socket.fileno()

    def finish(self) -> None:
        """Have the other side read to the end, and say what it has to say."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def doRead(self) -> Any:
        """Take what is there."""
        try:
            while (message := receive(self.socket)) is not None:
                self._received(message)
        except BlockingIOError:
            return None
        except OSError:
            return ConnectionLost()
        return ConnectionDone()

    def connectionLost(self, reason: Failure) -> None:
        """The end."""
        if self.connected:
            super().connectionLost(reason)
            self.socket.close()
            self._closed()
