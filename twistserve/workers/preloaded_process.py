"""The preloaded process (--preload), from the parent's side: it is started, loads the application, and forks workers.

Reactor thread, except `kill`.
"""

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
from twistserve.workers.control_messages import Message, receive, send
from twistserve.workers.forked_process import ForkedProcess, Orphans
from twistserve.workers.protocol import CONTROL, FOR_THE_PARENT, PRELOADED_LOG_LOCK
from twistserve.workers.worker_process import LAST_WORDS, STDERR, STDOUT, Lines

PROMPT = 10.0
"""Seconds that a fork may take; then the process is killed."""
END = 3.0
"""Seconds from the request to end, in which it calls functions registered with atexit; then it is killed."""
_PIPES = 3


class ProcessObserver(Protocol):
    """What a `PreloadedProcess` calls when something happens to it."""

    def at_step(self, process: PreloadedProcess, step: str) -> None:
        """A step of loading the application has begun."""

    def loaded(self, process: PreloadedProcess) -> None:
        """The application is loaded; the process can fork."""

    def gone(self, process: PreloadedProcess, reason: str) -> None:
        """The process has ended, for this reason; its pending requests fail right after this call."""


class ForkRequest(NamedTuple):
    """A worker to be forked."""

    name: str
    process: ForkedProcess
    sockets: Sequence[int]
    forked: Callable[[int], None]
    """Called with the worker's pid."""
    failed: Callable[[str], None]
    """Called with the reason if no worker will be forked."""


class ForkedFromParent(NamedTuple):
    """A preloaded process that was forked from the parent before the reactor could start one."""

    pid: int
    control: socket.socket
    streams: dict[int, int]
    """The reading ends of its standard streams, by their numbers, if the parent reads its output."""


class PreloadedProcess(ProcessProtocol):
    """One such process. With `lines` the parent reads its output, and calls that with each line."""

    def __init__(self, observer: ProcessObserver, lines: Callable[[str], None] | None, reactor: Any) -> None:
        self.loaded = False
        self.loaded_at = 0.0
        self.pid = 0
        self.ending = False
        """Whether it was asked to end."""
        self._observer = observer
        self._lines = Lines(lines) if lines is not None else None
        self._reactor = reactor
        self._control: _Control | None = None
        self._waiting: list[ForkRequest] = []
        self._sent: dict[int, ForkRequest] = {}
        self._number = 0
        self._failure = ""
        self._end: Failure | None = None
        self._closed = self._gone = False

    def start(self, environ: Mapping[str, str], log_lock: int) -> None:
        """Start the process. Raises OSError."""
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

    def take(self, forked: ForkedFromParent, orphans: Orphans) -> None:
        """Use a process that was forked, instead of starting one."""
        self.pid = forked.pid
        self._control = _Control(forked.control, self._received, self._on_close, self._reactor)
        ForkedProcess(self, forked.streams, orphans, self._reactor).forked(forked.pid)

    def load(self, configuration: dict[str, Any], path: list[str], directory: str) -> None:
        """Have it import the application. `directory` is the one of the workers' metrics, empty if there is none."""
        self._send("load", configuration=configuration, path=path, directory=directory)

    def fork(self, request: ForkRequest) -> None:
        """Have it fork a worker, as soon as the application is loaded."""
        request.process.on_discard = lambda: self._discard(request)
        if self._gone:
            self._reactor.callLater(0, request.failed, "the preloaded process has ended")
            return
        self._waiting.append(request)
        self._send_waiting()

    def end(self) -> None:
        """Have it end after the requests that were sent to it. While it loads, it is killed instead."""
        if self.ending:
            return
        self.ending = True
        if not self.loaded:
            self.kill()
        elif self._control is not None:
            self._control.finish()
            self._reactor.callLater(END, self.kill)

    def kill(self) -> None:
        """Send SIGKILL; callable from any thread."""
        with suppress(ProcessExitedAlready, AttributeError):
            self.transport.signalProcess(signal.SIGKILL)  # type: ignore[union-attr]

    # Requests and messages

    def _send_waiting(self) -> None:
        """Send the requests that wait, if the application is loaded."""
        while self.loaded and self._waiting:
            request = self._waiting.pop(0)
            self._number += 1
            number, self._sent[self._number] = self._number, request
            descriptors = [*request.process.descriptors, *request.sockets]
            streams = len(request.process.descriptors) - _PIPES
            self._send("fork", descriptors, request=number, name=request.name, streams=streams)
            request.process.pass_on()
            self._reactor.callLater(PROMPT, self._kill_if_not_forked, number)

    def _send(self, word: str, descriptors: Sequence[int] = (), **content: Any) -> None:
        # If it cannot be sent the process has ended, or is killed when it has not forked in time.
        if self._control is not None:
            with suppress(OSError):
                send(self._control.socket, word, descriptors, **content)

    def _kill_if_not_forked(self, number: int) -> None:
        if number in self._sent:
            self._failure = f"the preloaded process has not forked a worker within {PROMPT:g} s, and is killed"
            self.kill()

    def _discard(self, request: ForkRequest) -> None:
        """Forget a request. If its worker was forked meanwhile, `_forked` kills that."""
        if request in self._waiting:
            self._waiting.remove(request)
        for number, each in list(self._sent.items()):
            if each is request:
                del self._sent[number]

    def _received(self, message: Message) -> None:
        content = message.content
        if message.word == "at_step":
            self._observer.at_step(self, content["step"])
        elif message.word == "loaded":
            self.loaded, self.loaded_at = True, self._reactor.seconds()
            self._observer.loaded(self)
            self._send_waiting()
        elif message.word == "failed":
            self._failure = content["message"]
        elif message.word == "forked":
            self._forked(self._sent.pop(content["request"], None), content["pid"])
        elif message.word == "not_forked" and content["request"] in self._sent:
            reason = f"a worker's process cannot be forked: {content['reason']}"
            self._sent.pop(content["request"]).failed(reason)

    def _forked(self, request: ForkRequest | None, pid: int) -> None:
        if request is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        request.forked(pid)
        request.process.forked(pid)

    # Its output and its end

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It has written something."""
        if self._lines is not None:
            self._lines.received(childFD, data)

    def processExited(self, reason: Failure) -> None:
        """It has ended; its last messages may still be in the socket, which the workers it forked may hold open."""
        self._end = reason
        if self._closed:
            self._on_close()
        else:
            self._reactor.callLater(LAST_WORDS, self._close)

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and its output is complete."""
        if self._lines is not None:
            self._lines.end()

    def _close(self) -> None:
        if self._control is not None and not self._closed:
            self._control.connectionLost(Failure(ConnectionDone()))

    def _on_close(self) -> None:
        """The control socket is closed: there will be no more messages."""
        self._closed = True
        if self._end is None or self._gone:
            return
        self._gone, self.loaded = True, False
        how = exit_status.in_words(exit_status.of(self._end.value))
        reason = self._failure or f"the preloaded process has ended: {how}"
        pending, self._waiting, self._sent = [*self._sent.values(), *self._waiting], [], {}
        self._observer.gone(self, reason)
        for request in pending:
            request.failed(reason)


class _Control(FileDescriptor):
    """The parent's end of the control socket."""

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
        """The descriptor for the reactor to watch."""
        return self.socket.fileno()

    def finish(self) -> None:
        """Shut the sending side down: the process ends when it has read all messages, and can still send."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def doRead(self) -> Any:
        """Read all messages that have arrived."""
        try:
            while (message := receive(self.socket)) is not None:
                self._received(message)
        except BlockingIOError:
            return None
        except OSError:
            return ConnectionLost()
        return ConnectionDone()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket; also called by `PreloadedProcess`, before the other side has closed."""
        if self.connected:
            super().connectionLost(reason)
            self.socket.close()
            self._closed()
