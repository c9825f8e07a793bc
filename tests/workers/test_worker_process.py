"""A worker's process as the parent sees it: what it inherits, what is said, what it writes, and how it ends."""

from __future__ import annotations

import base64
import random
import signal
import sys
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twistserve.lifecycle import Lifecycle, State
from twistserve.probes.checks import Result, Status
from twistserve.workers.aggregate import from_json
from twistserve.workers.child import Parent, WorkerSide
from twistserve.workers.protocol import (
    FIRST_SOCKET,
    FROM_WORKER,
    LIFELINE,
    TO_WORKER,
    Begin,
    Describe,
    DrainWorker,
    FlushMetrics,
    Heartbeat,
    RunProbe,
)
from twistserve.workers.worker_process import WorkerProcess, environment_of_a_worker, how_it_ended
from twistserve.workers.worker_service import FromWorker

STDOUT, STDERR = 1, 2


class Transport:
    """A process that the reactor has started."""

    pid = 4711

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.signals: list[int] = []
        self.ended = False
        self.closed = False

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == TO_WORKER
        self.written.append(data)

    def signalProcess(self, number: int) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(number)

    def closeChildFD(self, descriptor: int) -> None:
        pass

    def loseConnection(self) -> None:
        self.closed = True


class Reactor(Clock):
    """A Clock that can start processes, and that does not run."""

    running = False

    def callWhenRunning(self, function: Any) -> None:
        pass

    def stop(self) -> None:
        pass

    def spawnProcess(self, protocol: Any, executable: str, arguments: Any, environ: Any, childFDs: Any) -> Transport:
        self.arguments, self.environ, self.descriptors = arguments, environ, childFDs
        self.transport = Transport()
        protocol.makeConnection(self.transport)
        return self.transport


class Started:
    """A process that was started, and what came of it."""

    def __init__(self, sockets: tuple[int, ...] = (), lines: bool = False) -> None:
        self.reactor = Reactor()
        self.told: list[tuple[object, ...]] = []
        self.ends: list[str] = []
        self.lines: list[str] = []
        told = FromWorker(
            lambda step, detail: self.told.append((step, detail)),
            lambda: self.told.append(("ready",)),
            lambda message: self.told.append(("failed", message)),
            lambda cause, reason: self.told.append(("replace", cause, reason)),
            lambda: self.told.append(("prepared",)),
        )
        self.process = WorkerProcess(told, self.ends.append, self.lines.append if lines else None)
        self.process.start(self.reactor, "worker-2", {"NAME": "value"}, sockets)
        self.transport = self.reactor.transport

    def end(self, reason: Exception, closed: bool = True) -> None:
        """Let it end, its pipes being closed with it or not."""
        self.transport.ended = True
        self.process.processExited(Failure(reason))
        if closed:
            self.process.processEnded(Failure(reason))


class Pipe:
    """The worker's way to its parent."""

    disconnecting = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def loseConnection(self) -> None:
        pass


class Conversation(Started):
    """A process whose other end is a real one."""

    def __init__(self, checks: Any = None, serving: Any = None) -> None:
        super().__init__()
        self.checks, self.serving = checks, serving
        self.configurations: list[dict[str, Any]] = []
        self.lifecycle = Lifecycle(self.reactor)
        self.ended: list[bool] = []
        self.preparing: list[bool] = []
        self.parent = Parent(self._begin, lambda: self.ended.append(True))
        self.pipe = Pipe()
        self.parent.makeConnection(self.pipe)

    def _begin(self, configuration: dict[str, Any], prepares: bool, parent: Parent) -> WorkerSide:
        self.configurations.append(configuration)
        self.preparing.append(prepares)
        parent.follow(self.lifecycle)
        return WorkerSide(self.lifecycle, self.serving, self.checks)

    def deliver(self) -> None:
        """Let arrive what either has said."""
        to_worker, to_parent = self.transport.written, self.pipe.written
        while to_worker or to_parent:
            if to_worker:
                self.parent.dataReceived(to_worker.pop(0))
            if to_parent:
                self.process.childDataReceived(FROM_WORKER, to_parent.pop(0))

    def ask(self, command: Any, **arguments: Any) -> Any:
        """What the worker answers."""
        answer = self.process.ask(command, **arguments)
        self.deliver()
        return result_of(answer)


def result_of(deferred: Any) -> Any:
    """What a Deferred has come to by now."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0] if results else None


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
    ours, none = environment_of_a_worker("/ours"), environment_of_a_worker(None)
    assert (ours["PROMETHEUS_MULTIPROC_DIR"], ours["NAME"]) == ("/ours", "value")
    assert "PROMETHEUS_MULTIPROC_DIR" not in none


# What is said


def test_the_configuration_arrives_whole() -> None:
    """Also one that is longer than a value in AMP may be, and that nothing makes shorter."""
    conversation = Conversation()
    noise = base64.b64encode(random.Random(1).randbytes(200_000)).decode()
    configuration = {"command": [f"shell -c 'print({number})'" for number in range(20_000)], "wsgi": f"bücher{noise}"}
    assert conversation.ask(Begin, configuration=configuration, path=sys.path, prepares=False) == {}
    assert conversation.configurations == [configuration]


def test_it_imports_from_where_the_parent_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manage.py may have made more importable than the current directory."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = [*sys.path, "/srv/shop/src"]
    Conversation().ask(Begin, configuration={}, path=path, prepares=False)
    assert sys.path == path


def test_the_parent_is_told_how_the_start_gets_on() -> None:
    """Each step with what is said of it, then that it is ready."""
    conversation = Conversation()
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    conversation.lifecycle.at_step("applying migrations")
    conversation.lifecycle.say("waiting for the lock, 2 s")
    conversation.lifecycle.enter(State.READY, "a test")
    conversation.deliver()
    assert conversation.told == [
        ("applying migrations", ""),
        ("applying migrations", "waiting for the lock, 2 s"),
        ("ready",),
    ]


def test_the_parent_is_told_why_a_start_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """Instead of the worker's standard error, for the parent has the last word there."""
    conversation = Conversation()
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    conversation.lifecycle.fail("the shelf is gone: 書架")
    conversation.deliver()
    assert conversation.told == [("failed", "the shelf is gone: 書架")]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("character", ["z", "書", "\U0001f4da", "\udc80"])
def test_however_much_is_said_it_arrives(character: str, capfd: pytest.CaptureFixture[str]) -> None:
    """An error may quote a whole page, or bytes that are no text: the parent gets its beginning."""
    conversation = Conversation()
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    text = f"the shelf is gone: {character * 100_000}"
    conversation.lifecycle.at_step(text)
    conversation.parent.ask_for_replacement("memory", text)
    conversation.lifecycle.fail(text)
    conversation.deliver()
    assert [len(words) for words in conversation.told] == [2, 3, 2]
    for words in conversation.told:
        assert str(words[-1] or words[0]).startswith("the shelf is gone: ")
        assert 10_000 < len(str(words[-1] or words[0])) < 65_536
    assert capfd.readouterr().err == ""


class Asked:
    """Checks whose results are given, or that raise."""

    def __init__(self, results: dict[str, Result] | None = None) -> None:
        self._results = results

    def ask(self, probe: str) -> Deferred[dict[str, Result]]:
        if self._results is None:
            raise LookupError(probe)
        return succeed(self._results)


def test_results_arrive_whole() -> None:
    """As many as there are, whatever they say."""
    randomness = random.Random(1)
    found = {
        f"shop.{number}": Result(Status.FAIL, output=base64.b64encode(randomness.randbytes(1500)).decode())
        for number in range(200)
    }
    conversation = Conversation(Asked(found))
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    assert from_json(conversation.ask(RunProbe, probe="readiness")["results"]) == found


def test_checks_that_cannot_be_asked_are_a_result() -> None:
    """What raises while they are looked for does not end the conversation."""
    conversation = Conversation(Asked())
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    [result] = from_json(conversation.ask(RunProbe, probe="readiness")["results"]).values()
    assert (result.status, result.output) == (Status.FAIL, "raised LookupError")
    assert conversation.ask(Heartbeat) == {"load": {}}


def test_who_has_nothing_to_describe_says_so() -> None:
    """A worker that drains before it has begun is asked for what the status page shows like any other."""
    conversation = Conversation()
    assert conversation.ask(Describe) == {"status": None}
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    assert conversation.ask(Describe) == {"status": None}


def test_the_parent_is_asked_for_a_replacement() -> None:
    """With the reason as a label and in words."""
    conversation = Conversation()
    conversation.parent.ask_for_replacement("memory", "200 MB are resident")
    conversation.deliver()
    assert conversation.told == [("replace", "memory", "200 MB are resident")]


def test_a_worker_that_is_starting_answers() -> None:
    """A heartbeat before it has begun, and a request to drain after it."""
    conversation = Conversation()
    assert conversation.ask(Heartbeat) == {"load": {}}
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    conversation.ask(DrainWorker, last=False)
    assert conversation.lifecycle.state is State.DRAINING


class Counting:
    """What serves, and counts; bringing the metrics up to date may fail."""

    def __init__(self) -> None:
        self.site = self
        self.answered = 0
        self.flushed: list[int] = []
        self.error: OSError | None = None

    def load(self) -> dict[str, int]:
        return {"threads": 2}

    def flush_metrics(self) -> None:
        self.flushed.append(self.answered)
        if self.error is not None:
            raise self.error


def test_what_was_counted_survives_the_worker() -> None:
    """It is brought up to date with each heartbeat before which something was; for nothing, nothing is done."""
    serving = Counting()
    conversation = Conversation(serving=serving)
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    for answered in (0, 3, 3, 3, 5):
        serving.answered = answered
        assert conversation.ask(Heartbeat) == {"load": {"threads": 2}}
    assert serving.flushed == [3, 5]
    conversation.ask(FlushMetrics)
    assert serving.flushed == [3, 5, 5]


def test_a_full_disk_ends_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    """Metrics that cannot be written are told once, and heartbeats are answered."""
    serving = Counting()
    serving.error = OSError(28, "No space left on device")
    conversation = Conversation(serving=serving)
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    for answered in (1, 2, 3):
        serving.answered = answered
        assert conversation.ask(Heartbeat) == {"load": {"threads": 2}}
        assert conversation.ask(FlushMetrics) == {}
    assert caplog.text.count("OSError: [Errno 28] No space left on device") == 1


def test_a_worker_without_a_parent_drains() -> None:
    """When the pipe from its parent is closed."""
    conversation = Conversation()
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    conversation.lifecycle.enter(State.READY, "a test")
    conversation.parent.connectionLost(Failure(ConnectionDone()))
    assert conversation.lifecycle.state is State.DRAINING
    conversation.parent.ask_for_replacement("memory", "nobody is there to be told")


def test_a_worker_that_has_not_begun() -> None:
    """Told to drain, or without a parent, it ends."""
    conversation = Conversation()
    conversation.ask(DrainWorker, last=True)
    assert conversation.ended == [True]
    conversation.parent.connectionLost(Failure(ConnectionDone()))
    assert conversation.ended == [True, True]


def test_a_worker_that_prepares() -> None:
    """It is asked to, and says when the others may begin."""
    conversation = Conversation()
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=True)
    assert conversation.preparing == [True]
    conversation.parent.prepared()
    conversation.deliver()
    assert conversation.told == [("prepared",)]


# What it writes


def test_its_output_comes_line_by_line() -> None:
    """In whichever pieces it arrives, out of both streams, and what has no end comes with the end of the process."""
    started = Started(lines=True)
    assert {started.reactor.descriptors[number] for number in (STDOUT, STDERR)} == {"r"}
    for descriptor, data in (
        (STDOUT, b"one"),
        (STDERR, b"an error\nano"),
        (STDOUT, b" and\ntwo\n\nthr"),
        (STDERR, b"ther\n"),
        (STDOUT, "ee, für alle".encode()),
    ):
        started.process.childDataReceived(descriptor, data)
    assert started.lines == ["an error", "one and", "two", "", "another"]
    started.end(ProcessDone(0))
    assert started.lines[5:] == ["three, für alle"]


# How it ends


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (ProcessDone(0), "status 0"),
        (ProcessTerminated(exitCode=3), "status 3"),
        (ProcessTerminated(signal=signal.SIGKILL), "killed by SIGKILL"),
        (ProcessTerminated(signal=signal.SIGRTMIN + 3), f"killed by signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_its_end_in_words(end: Exception, words: str) -> None:
    """By which signal, those without a name too, or with which status."""
    assert how_it_ended(end) == words


def test_the_end_is_told_once() -> None:
    """When the process has ended and its pipes are closed; nothing is left behind."""
    started = Started()
    started.end(ProcessTerminated(exitCode=3))
    assert started.ends == ["status 3"]
    assert started.transport.closed
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


def test_who_has_closed_its_pipe_is_not_asked() -> None:
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


def test_nobody_answers_any_more() -> None:
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
