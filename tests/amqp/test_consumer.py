"""The consumer's states: connecting, consuming, lost, draining, stopped."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from pika import exceptions
from twisted.internet.defer import Deferred, fail, succeed

from tests.support.amqp import PikaChannel, PikaConnection, Reactor, configuration
from twistserve.amqp import Consumer, Handler, Message
from twistserve.amqp import consumer as module
from twistserve.amqp.failures import ConnectionFailed
from twistserve.amqp.session import Session
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.load import Load

GONE = ConnectionFailed("the broker is gone")
REFUSED = ConnectionFailed("the broker refuses the password", final=True)
LOST = exceptions.StreamLostError("EOF")


class Orders(Handler):
    queue = "orders"

    def handle(self, message: Message) -> None: ...


class Pool:
    """In place of the threads."""

    def __init__(self, size: int, most: int, kind: str) -> None:
        self.made = size, kind
        self.states: list[str] = []
        self.jobs: list[Any] = []

    def startService(self) -> None:
        self.states.append("start")

    def stopService(self) -> None:
        self.states.append("stop")

    def submit(self, job: Any) -> bool:
        self.jobs.append(job)
        return True

    def withdraw(self, job: Any) -> bool:
        if job in self.jobs:
            self.jobs.remove(job)
            return True
        return False

    def snapshot(self) -> Load:
        return Load(threads=1, queued=len(self.jobs))

    def at_work(self) -> dict[int, Any]:
        return dict(enumerate(self.jobs))


class Bench:
    """A consumer, what its attempts to connect come to, and what was printed as the reason of the end."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *attempts: Any, ready: bool = True, hosted: bool = True, **options: Any
    ) -> None:
        monkeypatch.setattr(module, "RequestThreadPool", Pool)
        monkeypatch.setattr(module, "HandlerCall", lambda handler: lambda message: None)
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.failures: list[str] = []
        self.lifecycle.on_failure = self.failures.append
        given = configuration(amqp_host="rabbit", **options)
        give_up = self.lifecycle.give_up if hosted else None
        self.consumer = Consumer(Orders(), self.lifecycle, self.reactor, given, give_up=give_up)
        self.pool: Any = self.consumer._pool
        self.attempts = list(attempts)
        self.tried = 0
        self.channels: list[PikaChannel] = []
        self.consumer.open = self.open
        self.started: list[Any] = []
        self.consumer.startService().addBoth(self.started.append)
        if ready:
            self.lifecycle.enter(State.READY, "complete")

    def open(self, on_message: Any) -> Deferred[Session]:
        self.tried += 1
        attempt = self.attempts.pop(0) if self.attempts else self.session
        if isinstance(attempt, Deferred):
            return attempt
        return fail(attempt) if isinstance(attempt, Exception) else succeed(attempt(on_message))

    def session(self, on_message: Any) -> Session:
        self.channels.append(PikaChannel())
        session = Session(PikaConnection(self.channels[-1]), self.channels[-1], on_message, self.reactor)
        session.consume("orders")
        return session

    def stop(self) -> list[Any]:
        stopped: list[Any] = []
        self.consumer.stopService().addCallback(stopped.append)
        return stopped

    @property
    def told(self) -> list[str]:
        return [call[0] for call in self.channels[-1].calls]


def test_it_consumes_from_its_start_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready while it is connected; threads live between the two."""
    bench = Bench(monkeypatch)
    assert (bench.started, bench.consumer.check_ready()) == ([None], None)
    assert bench.pool.made == (1, "handler")
    assert bench.consumer.metrics() == {"connected": 1, "in hand": 0, "waiting": 0}
    bench.channels[0].deliver(b"order")
    assert bench.consumer.in_hand() == {0: "the message 'number 1' of the queue orders"}
    bench.pool.jobs.pop()()
    assert (bench.told[-1], bench.consumer.handled) == ("basic_ack", 1)
    assert bench.stop() == [None]
    assert bench.told[-1] == "basic_cancel"
    assert bench.pool.states == ["start", "stop"]


def test_a_broker_that_is_not_there_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After growing pauses, for as long as it takes; the start does not wait for it, readiness says why not."""
    bench = Bench(monkeypatch, *[GONE] * 30)
    assert bench.started == [None]
    assert bench.consumer.check_ready() == "the broker is gone"
    moments = [0.0]
    while bench.reactor.seconds() < 600:
        bench.reactor.advance(0.5)
        if bench.tried > len(moments):
            moments.append(bench.reactor.seconds())
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert len(moments) < 30
    assert "the broker is gone; another connection is tried in 30 s" in caplog.text
    bench.attempts.clear()
    bench.reactor.advance(30)
    assert bench.consumer.check_ready() is None


def test_a_lost_connection_is_opened_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What was not begun is forgotten: the broker delivers it again."""
    bench = Bench(monkeypatch)
    bench.channels[0].deliver(b"order")
    bench.channels[0].close_by(LOST)
    assert "was lost: EOF; another connection is tried in 1 s" in caplog.text
    assert "EOF" in (bench.consumer.check_ready() or "")
    assert bench.pool.jobs == []
    bench.reactor.advance(1)
    assert bench.consumer.check_ready() is None


def test_connections_that_do_not_last_are_not_opened_ever_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one that has lasted for a minute has the pauses begin anew."""
    bench = Bench(monkeypatch)
    for pause in (1, 2, 4):
        bench.channels[-1].close_by(LOST)
        bench.reactor.advance(pause - 0.5)
        assert bench.consumer.check_ready() is not None
        bench.reactor.advance(0.5)
        assert bench.consumer.check_ready() is None
    bench.reactor.advance(60)
    bench.channels[-1].close_by(LOST)
    bench.reactor.advance(1)
    assert bench.consumer.check_ready() is None


@pytest.mark.parametrize("error", [REFUSED, StartError("no certificate")])
def test_what_does_not_mend_ends_the_start(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """With the reason; nothing goes on behind it."""
    bench = Bench(monkeypatch, error, ready=False)
    assert isinstance(bench.started[0].value, StartError)
    assert str(bench.started[0].value) == str(error)
    assert bench.pool.states == ["start", "stop"]
    bench.reactor.advance(60)
    assert bench.tried == 1


def test_what_does_not_mend_later_is_tried_seldom(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody may change it at the broker."""
    bench = Bench(monkeypatch)
    bench.attempts = [REFUSED]
    bench.channels[0].close_by(LOST)
    bench.reactor.advance(1)
    assert "the broker refuses the password; another connection is tried in 30 s" in caplog.text
    bench.reactor.advance(30)
    assert bench.consumer.check_ready() is None


def test_without_reconnection_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason and status 1, whether the connection is lost or was never there."""
    bench = Bench(monkeypatch, reconnect=False)
    bench.channels[0].close_by(LOST)
    assert bench.failures == [
        "the connection to the broker amqp://rabbit:5672 was lost: EOF; --no-reconnect: there is no other attempt"
    ]
    assert bench.lifecycle.state is State.DRAINING
    alone = Bench(monkeypatch, hosted=False, reconnect=False)
    alone.channels[0].close_by(LOST)
    assert (alone.lifecycle.state, alone.consumer.running) == (State.READY, 0)
    bench = Bench(monkeypatch, GONE, ready=False, reconnect=False)
    assert str(bench.started[0].value) == "the broker is gone"


def test_a_drain_returns_what_nobody_has_begun(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At its beginning; the end waits for what is in hand, as long as --graceful-timeout, and names what it leaves."""
    bench = Bench(monkeypatch, graceful_timeout="10")
    bench.channels[0].deliver(b"1", 1)
    bench.channels[0].deliver(b"2", 2)
    bench.pool.jobs.pop(0)
    bench.lifecycle.enter(State.DRAINING, "received SIGTERM")
    assert bench.told[-2:] == ["basic_cancel", "basic_nack"]
    bench.reactor.advance(4)
    stopped = bench.stop()
    bench.reactor.advance(5.9)
    assert stopped == []
    bench.reactor.advance(0.1)
    assert stopped == [None]
    assert (
        "the message 'number 1' of the queue orders is left behind after 0 s: the broker delivers it again"
        in caplog.text
    )


def test_a_connection_that_is_lost_in_the_drain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None is opened in its place."""
    bench = Bench(monkeypatch)
    bench.lifecycle.enter(State.DRAINING, "received SIGTERM")
    bench.channels[0].close_by(LOST)
    bench.reactor.advance(60)
    assert bench.tried == 1
    assert "it delivers again what is in hand" in caplog.text
    assert bench.stop() == [None]


def test_a_drain_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is given up, or the session closed that comes after all; a pause ends."""
    opening = Deferred[Any]()
    bench = Bench(monkeypatch, opening, ready=False)
    bench.lifecycle.enter(State.DRAINING, "received SIGTERM")
    assert opening.called
    assert bench.started == [None]
    opening = Deferred[Any](lambda _: opening.callback(bench.session(lambda *_: None)))
    bench = Bench(monkeypatch, opening, ready=False)
    bench.lifecycle.enter(State.DRAINING, "received SIGTERM")
    assert not bench.channels[0].is_open
    bench = Bench(monkeypatch, GONE)
    bench.lifecycle.enter(State.DRAINING, "received SIGTERM")
    bench.reactor.advance(60)
    assert bench.tried == 1


def test_an_error_that_nobody_has_thought_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Is logged with its traceback; it ends the start."""
    bench = Bench(monkeypatch, ZeroDivisionError("oops"), ready=False)
    assert str(bench.started[0].value) == "oops"
    assert "the consumer cannot connect" in caplog.text


def test_without_pika(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"install twistserve\[amqp\]"):
        Consumer(Orders(), Lifecycle(Reactor()), Reactor())


def test_beside_a_web_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options are those of the environment, and of the call; the server's --threads are not meant."""
    monkeypatch.setattr(module, "RequestThreadPool", Pool)
    monkeypatch.setattr(module, "twistserve_setting", lambda: {"THREADS": 16, "PREFETCH": 7})
    monkeypatch.setenv("AMQP_HOST", "rabbit")
    reactor = Reactor()
    consumer = Consumer(Orders(), Lifecycle(reactor), reactor, queue="other")
    assert consumer._pool.made == (1, "handler")  # type: ignore[attr-defined]
    assert (consumer._plan.queue, consumer._plan.prefetch) == ("other", 7)
    with pytest.raises(StartError, match="--prefetch: -1 from the call of Consumer is not valid"):
        Consumer(Orders(), Lifecycle(reactor), reactor, prefetch=-1)
