"""A worker's connection to its parent: what it sends, what it responds to, and how it ends without a parent."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.support.worker import Asked, Conversation
from twistserve.lifecycle import State
from twistserve.load import Load
from twistserve.probes.checks import Status
from twistserve.resources.groups import Groups
from twistserve.workers import child
from twistserve.workers.child import _Pipes
from twistserve.workers.protocol import (
    AnnounceEnd,
    Begin,
    Deliver,
    Describe,
    DescribeServices,
    DrainWorker,
    FlushMetrics,
    Heartbeat,
    LogStacks,
    RunProbe,
)
from twistserve.workers.results import from_json


def test_it_imports_from_where_the_parent_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manage.py may have made more importable than the current directory."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = [*sys.path, "/srv/shop/src"]
    Conversation().ask(Begin, configuration={}, path=path, prepares=False)
    assert sys.path == path


def test_an_application_that_is_imported_already_may_have_changed_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --preload: what it imports later, it imports from where it has said."""
    path = [*sys.path, "/srv/shop/late"]
    monkeypatch.setattr(sys, "path", [*path])
    Conversation(preloaded=True).ask(Begin, configuration={}, path=["/srv/shop"], prepares=False)
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


def test_checks_that_cannot_be_asked_are_a_result() -> None:
    """What raises while they are looked for does not end the conversation."""
    conversation = Conversation(Asked())
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    [result] = from_json(conversation.ask(RunProbe, probe="readiness")["results"]).values()
    assert (result.status, result.output) == (Status.FAIL, "raised LookupError")
    assert conversation.ask(Heartbeat) == {"load": Load()}


def test_a_worker_with_nothing_to_describe_says_so() -> None:
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
    assert conversation.ask(Heartbeat) == {"load": Load()}
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    conversation.ask(DrainWorker, last=False)
    assert conversation.lifecycle.state is State.DRAINING


class Counting:
    """What serves, and counts; bringing the metrics up to date may fail."""

    def __init__(self) -> None:
        self.site = self
        self.responses = 0
        self.flushed: list[int] = []
        self.error: OSError | None = None

    def load(self) -> Load:
        return Load(threads=2)

    def flush_metrics(self) -> None:
        self.flushed.append(self.responses)
        if self.error is not None:
            raise self.error


def test_what_was_counted_survives_the_worker() -> None:
    """It is brought up to date with each heartbeat before which something was; for nothing, nothing is done."""
    serving = Counting()
    conversation = Conversation(serving=serving)
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    for responses in (0, 3, 3, 3, 5):
        serving.responses = responses
        assert conversation.ask(Heartbeat) == {"load": Load(threads=2)}
    assert serving.flushed == [3, 5]
    conversation.ask(FlushMetrics)
    assert serving.flushed == [3, 5, 5]


def test_a_full_disk_ends_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    """Metrics that cannot be written are told once, and heartbeats are answered."""
    serving = Counting()
    serving.error = OSError(28, "No space left on device")
    conversation = Conversation(serving=serving)
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    for responses in (1, 2, 3):
        serving.responses = responses
        assert conversation.ask(Heartbeat) == {"load": Load(threads=2)}
        assert conversation.ask(FlushMetrics) == {}
    assert caplog.text.count("OSError: [Errno 28] No space left on device") == 1


def test_a_worker_without_a_parent_drains() -> None:
    """When the pipe from its parent is closed."""
    conversation = Conversation()
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    conversation.lifecycle.enter(State.READY, "a test")
    conversation.parent.connectionLost(Failure(ConnectionDone()))
    assert conversation.lifecycle.state is State.DRAINING
    conversation.parent.ask_for_replacement("memory", "the parent has died")


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


def test_services_that_run_once_are_left_to_the_parent() -> None:
    """By their names; the worker goes on when they run. Without a parent it fails."""
    conversation = Conversation()
    answers: list[Any] = []
    conversation.parent.run_once(["feed", "restock"]).addCallback(answers.append)
    conversation.parent.may_start().addCallback(answers.append)
    assert answers == []
    conversation.deliver()
    assert conversation.told == [("once", ["feed", "restock"])]
    assert answers == [{}, {}]
    conversation.parent.connectionLost(Failure(ConnectionDone()))
    conversation.parent.run_once(["feed"]).addErrback(lambda failure: answers.append(failure.type))
    assert answers[2:] == [ConnectionDone]


def test_a_service_learns_of_the_drain_of_the_instance() -> None:
    """Before it is asked to end."""
    conversation = Conversation()
    conversation.process.ask(AnnounceEnd)
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    states: list[State] = []
    conversation.lifecycle.observe(lambda state, reason: states.append(state))
    conversation.process.ask(AnnounceEnd)
    conversation.deliver()
    assert states == [State.STARTING, State.DRAINING]
    assert not conversation.ended


def test_the_services_of_a_process_are_described() -> None:
    """None before they are there, or where there are none."""
    conversation = Conversation()
    assert conversation.ask(DescribeServices) == {"services": []}
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    assert conversation.ask(DescribeServices) == {"services": []}
    described = [{"name": "feed", "values": {"symbols": 3.5}}]
    conversation.services = SimpleNamespace(describe=lambda: described)
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    assert conversation.ask(DescribeServices) == {"services": described}


def test_stacks_are_logged_without_requests_too(caplog: pytest.LogCaptureFixture) -> None:
    """In the process of a service, which serves none."""
    conversation = Conversation()
    conversation.process.ask(LogStacks)
    conversation.deliver()
    assert "SIGQUIT" in caplog.text


def test_what_is_said_is_on_its_way_at_once() -> None:
    """The reactor may turn no more after the last words; by a private name of Twisted's."""
    to_worker, to_parent = os.pipe(), os.pipe()
    reactor: Any = MemoryReactorClock()
    pipes = _Pipes(Protocol(), stdin=to_worker[0], stdout=to_parent[1], reactor=reactor)  # type: ignore[call-arg]
    pipes.write(b"the last words")
    assert os.read(to_parent[0], 100) == b"the last words"
    pipes.loseConnection()
    pipes.write(b"the pipe is closed")
    reactor.advance(1)
    for descriptor in (to_worker[1], to_parent[0]):
        os.close(descriptor)
    for end in list(reactor.readers):
        end.connectionLost(Failure(ConnectionDone()))


def test_texts_for_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this worker go to the parent, and those of others to the groups here, however long they are."""
    monkeypatch.setattr(child, "groups", groups := Groups())
    conversation = Conversation()
    conversation.ask(Begin, configuration={}, path=sys.path, prepares=False)
    delivered: list[tuple[str, str]] = []

    def deliver(group: str, text: str) -> Deferred[None]:
        delivered.append((group, text))
        return succeed(None)

    monkeypatch.setattr(groups, "deliver", deliver)
    text = "".join(map(chr, range(32, 55_000))) * 3
    groups.publish("news", text)
    conversation.deliver()
    assert conversation.told == [("publish", "news", text)]
    assert conversation.ask(Deliver, message=["news", text]) == {}
    assert delivered == [("news", text)]
    conversation.parent.connectionLost(Failure(ConnectionDone()))
    groups.publish("news", "late")
