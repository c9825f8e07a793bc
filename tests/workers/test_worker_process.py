"""A worker's process as the parent sees it: what it inherits, its commands, its output, and how it ends."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols import amp
from twisted.python.failure import Failure

from tests.support.worker import Started, result_of
from twistserve.workers.forked_process import Orphans
from twistserve.workers.protocol import (
    FIRST_SOCKET,
    FROM_WORKER,
    LIFELINE,
    TO_WORKER,
    Heartbeat,
)
from twistserve.workers.worker_process import WorkerProcess, environment_of_a_worker

STDOUT, STDERR = 1, 2


# What it gets


def test_it_inherits_what_it_needs() -> None:
    """Standard streams, pipes to speak and to notice the parent's end, and the sockets in their order; no more."""
    started = Started(sockets=(9, 4, 17))
    standard = {0: 0, 1: 1, 2: 2}
    pipes = {TO_WORKER: "w", FROM_WORKER: "r", LIFELINE: "w"}
    sockets = {FIRST_SOCKET: 9, FIRST_SOCKET + 1: 4, FIRST_SOCKET + 2: 17}
    assert started.reactor.descriptors == standard | pipes | sockets
    assert started.reactor.arguments[-2:] == ["worker-2", "3"]
    assert started.reactor.environ == {"NAME": "value"}
    assert started.process.pid == 4711


def test_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's, with the directory of the metrics."""
    monkeypatch.setenv("NAME", "value")
    some, none = environment_of_a_worker("/metrics"), environment_of_a_worker(None)
    assert (some["PROMETHEUS_MULTIPROC_DIR"], some["NAME"]) == ("/metrics", "value")
    assert "PROMETHEUS_MULTIPROC_DIR" not in none


def test_what_a_forked_one_gets() -> None:
    """The same pipes, and those of its standard streams; commands that are sent before it exists wait in its pipe."""
    reactor: Any = MemoryReactorClock()
    process = WorkerProcess(amp.CommandLocator(), print, print)
    before = len(os.listdir("/proc/self/fd"))
    forked = process.start_forked(reactor, Orphans(reactor))
    assert len(forked.descriptors) == 5
    process.ask(Heartbeat).addErrback(lambda failure: None)
    for each in reactor.getWriters():
        each.doWrite()
    assert b"Heartbeat" in os.read(forked.descriptors[0], 1000)
    forked.give_up()
    for each in [*reactor.getReaders(), *reactor.getWriters()]:
        reactor.removeReader(each)
        each.connectionLost(Failure(ProcessDone(0)))
    assert len(os.listdir("/proc/self/fd")) == before


# What it writes


def test_its_output_comes_line_by_line() -> None:
    """In whichever pieces it arrives, out of both streams, and what has no end comes with the end of the process."""
    started = Started(lines=True)
    assert {started.reactor.descriptors[number] for number in (STDOUT, STDERR)} == {"r"}
    for descriptor, data in (
        (STDOUT, b"one"),
        (STDERR, b"an error\nano"),
        (STDOUT, b" and\ntwo\n\nthr"),
        (STDERR, b"ther\n"),  # codespell:ignore ther
        (STDOUT, "ee, für alle".encode()),
    ):
        started.process.childDataReceived(descriptor, data)
    assert started.lines == ["an error", "one and", "two", "", "another"]
    started.end(ProcessDone(0))
    assert started.lines[5:] == ["three, für alle"]


# How it ends


def test_the_end_is_told_once() -> None:
    """When the process has ended and its pipes are closed; nothing is left behind."""
    started = Started()
    started.end(ProcessTerminated(exitCode=3))
    assert started.ends == ["status 3"]
    assert {1, 2, 3, 4, 5} <= set(started.transport.closed_descriptors)
    assert started.reactor.getDelayedCalls() == []


def test_what_was_left_behind_is_not_waited_for() -> None:
    """A program that the worker has started may hold its pipes open for as long as it likes."""
    started = Started(lines=True)
    started.end(ProcessTerminated(signal=signal.SIGKILL), closed=False)
    started.process.childDataReceived(STDERR, b"the last words")
    assert started.ends == []
    started.reactor.advance(2)
    assert started.ends == ["killed by SIGKILL"]
    assert started.lines == ["the last words"]
    started.process.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))
    assert len(started.ends) == 1


def test_a_process_that_has_closed_its_pipe_is_not_asked() -> None:
    """Its reactor has ended, though the process may be there for a while."""
    started = Started()
    started.process.childConnectionLost(STDOUT)
    assert not started.process.at_end
    started.process.childConnectionLost(TO_WORKER)
    assert started.process.at_end
    assert isinstance(result_of(started.process.ask(Heartbeat)), Failure)
    assert started.ends == []
    started.end(ProcessDone(0))
    assert started.ends == ["status 0"]


def test_a_process_that_has_ended_answers_no_more() -> None:
    """What was asked fails when the process ends, and what is asked then fails at once; signals do no harm."""
    started = Started()
    waiting = started.process.ask(Heartbeat)
    started.process.signal(signal.SIGTERM)
    assert result_of(waiting) is None
    started.end(ProcessDone(0))
    assert waiting.called
    assert isinstance(result_of(started.process.ask(Heartbeat)), Failure)
    started.process.signal(signal.SIGKILL)
    assert started.transport.signals == [signal.SIGTERM]
