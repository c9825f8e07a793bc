"""The process that serves, as the parent sees it: what it inherits, what it tells, and how it ends."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from tests.support.worker import Reactor
from twistserve.development.inheritance import FIRST_SOCKET, LIFELINE, REPORT
from twistserve.development.serving_process import LAST_WORDS, ServingProcess


class Started:
    """A process that was started, and what came of it."""

    def __init__(self, *sockets: int) -> None:
        self.reactor = Reactor()
        self.told: list[dict[str, Any]] = []
        self.ends: list[int] = []
        self.process = ServingProcess(self.told.append, self.ends.append, self.reactor)
        self.process.start(["python", "-m", "it"], {"NAME": "value"}, sockets)

    def tell(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.process.childDataReceived(REPORT, piece)

    def end(self, status: int | None = None, number: int | None = None, *, closed: bool = True) -> None:
        """Let it end, its pipes being closed with it or not."""
        reason = ProcessTerminated(status, number) if status or number else ProcessDone(None)
        self.reactor.transport.ended = True
        self.process.processExited(Failure(reason))
        if closed:
            self.process.processEnded(Failure(reason))


def test_what_it_inherits() -> None:
    """Standard streams, a pipe to tell and one to notice the parent's end, and the sockets in their order; no more."""
    started = Started(9, 4)
    standard = {0: 0, 1: 1, 2: 2}
    assert started.reactor.descriptors == standard | {
        REPORT: "r",
        LIFELINE: "w",
        FIRST_SOCKET: 9,
        FIRST_SOCKET + 1: 4,
    }
    assert started.reactor.arguments == ["python", "-m", "it"]
    assert started.reactor.environ == {"NAME": "value"}


@pytest.mark.parametrize("fails", [False, True])
def test_signals_of_a_terminal_wait_while_it_starts(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """It inherits that they are blocked; here they are not for longer, even if it cannot be started."""
    before, during = signal.pthread_sigmask(signal.SIG_BLOCK, ()), []
    spawn = Reactor.spawnProcess

    def spawn_process(reactor: Reactor, *arguments: Any, **keywords: Any) -> Any:
        during.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        if fails:
            raise OSError(12, "Cannot allocate memory")
        return spawn(reactor, *arguments, **keywords)

    monkeypatch.setattr(Reactor, "spawnProcess", spawn_process)
    if fails:
        with pytest.raises(OSError, match="memory"):
            Started()
    else:
        Started()
    assert during == [before | {signal.SIGINT, signal.SIGHUP}]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_what_it_tells() -> None:
    """In whichever pieces that arrives."""
    started = Started()
    started.tell(b'{"files": []', b'}\n{"changed": "/srv/a.py"}\n{"fai', b'led": "no"}\n')
    assert started.told == [{"files": []}, {"changed": "/srv/a.py"}, {"failed": "no"}]


def test_what_others_write_to_its_descriptor() -> None:
    """It is no news, and takes nothing from those after it."""
    started = Started()
    started.tell(b"hello\n", b"5\n", b"\xff\n", b"\n", b'{"files": []}\n')
    assert started.told == [{"files": []}]


@pytest.mark.parametrize(
    ("end", "status"),
    [({}, 0), ({"status": 3}, 3), ({"number": signal.SIGKILL}, -9)],
)
def test_how_it_ends(end: Any, status: int) -> None:
    """By a status, or by a signal, which is negative; once, and nothing of it is left."""
    started = Started()
    started.end(**end)
    started.reactor.advance(LAST_WORDS)
    assert started.ends == [status]
    assert started.reactor.transport.closed_descriptors == [REPORT, LIFELINE]
    assert started.reactor.getDelayedCalls() == []


def test_a_program_that_it_leaves_behind() -> None:
    """That may hold the pipes for ever: they are not waited for for long, but long enough for the last words."""
    started = Started()
    started.end(status=1, closed=False)
    started.tell(b'{"failed": "no"}\n')
    assert (started.told, started.ends) == ([{"failed": "no"}], [])
    started.reactor.advance(LAST_WORDS)
    assert started.ends == [1]
    assert started.reactor.transport.closed_descriptors == [REPORT, LIFELINE]
    started.process.processEnded(Failure(ProcessTerminated(1)))
    assert started.ends == [1]


def test_signals() -> None:
    """They go to the process if it is there."""
    started = Started()
    started.process.signal(signal.SIGTERM)
    assert started.reactor.transport.signals == [signal.SIGTERM]
    started.end()
    started.process.signal(signal.SIGTERM)
    assert started.reactor.transport.signals == [signal.SIGTERM]
    anything: Any = None
    ServingProcess(anything, anything, anything).signal(signal.SIGTERM)
