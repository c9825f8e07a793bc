"""What becomes of messages: acknowledged, tried again, rejected, given back, or delivered again by the broker."""

from __future__ import annotations

import time
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support.amqp import Channel, Reactor, message
from twistserve.amqp import Message, PublishError, Reject
from twistserve.amqp.failures import DatabaseGone
from twistserve.amqp.work import Policy, Work
from twistserve.metrics.amqp import MessageMetrics


class Pool:
    """In place of the threads: jobs wait until the test runs them."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.running: list[Any] = []
        self.given_up: list[Any] = []

    def submit(self, job: Any) -> bool:
        self.jobs.append(job)
        return True

    def withdraw(self, job: Any) -> bool:
        if job in self.jobs:
            self.jobs.remove(job)
            return True
        return False

    def at_work(self) -> dict[int, Any]:
        return dict(enumerate(self.running, 1))

    def give_up(self, job: Any) -> bool:
        self.given_up.append(job)
        return True

    def begin(self) -> Any:
        """A thread takes the first job, and is not through with it."""
        self.running.append(self.jobs.pop(0))
        return self.running[-1]

    def run(self) -> None:
        """A thread does the first job."""
        self.jobs.pop(0)()


class Bench:
    """The work of a queue; handling raises what is in `errors`, by the body."""

    def __init__(self, retries: int = 2, stuck_after: float = 0.0) -> None:
        self.reactor, self.pool, self.channel = Reactor(), Pool(), Channel()
        self.errors: dict[bytes, BaseException] = {}
        self.copies: list[tuple[Any, Deferred[None]]] = []
        pool: Any = self.pool
        policy = Policy(retries, stuck_after)
        self.work = Work(self.handle, pool, policy, self, MessageMetrics("work"), self.reactor)

    def handle(self, message: Message) -> BaseException | None:
        return self.errors.get(message.body)

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: Any) -> Deferred[None]:
        assert (exchange, routing_key) == ("", "orders")
        self.copies.append((properties, Deferred()))
        return self.copies[-1][1]

    def receive(self, body: bytes = b"good", tag: int = 1, **properties: Any) -> None:
        self.work.receive(message(body, tag, **properties), self.channel)

    def fail(self, error: BaseException, **properties: Any) -> None:
        self.errors[b"bad"] = error
        self.receive(b"bad", **properties)
        self.pool.run()

    @property
    def finished(self) -> bool:
        told: list[Any] = []
        self.work.finished().addCallback(told.append)
        return bool(told)


def test_a_message_is_acknowledged_when_it_was_handled() -> None:
    """Not before."""
    bench = Bench()
    bench.receive()
    assert (bench.channel.told, bench.finished) == ([], False)
    bench.pool.run()
    assert (bench.channel.told, bench.finished, bench.work.handled) == ([("ack", 1)], True, 1)


def test_one_that_fails_is_tried_again_after_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    """By a copy that counts; it is acknowledged when the broker has the copy."""
    bench = Bench()
    bench.fail(ValueError("no stock"))
    assert "has failed, 1 of 3 times: ValueError: no stock" in caplog.text
    bench.reactor.advance(0.9)
    assert bench.copies == []
    bench.reactor.advance(0.1)
    [(properties, confirmed)] = bench.copies
    assert properties.headers["x-twistserve-failures"] == 1
    assert (bench.channel.told, bench.finished) == ([], False)
    confirmed.callback(None)
    assert (bench.channel.told, bench.finished) == ([("ack", 1)], True)


def test_the_pauses_grow() -> None:
    """So that a message which always fails keeps no thread busy."""
    bench = Bench(retries=9)
    bench.fail(ValueError(), headers={"x-twistserve-failures": 3})
    bench.reactor.advance(7.9)
    assert bench.copies == []
    bench.reactor.advance(0.1)
    assert len(bench.copies) == 1


def test_one_that_has_failed_too_often_is_rejected(caplog: pytest.LogCaptureFixture) -> None:
    """The log says where it goes."""
    bench = Bench(retries=2)
    bench.fail(SystemExit(3), headers={"x-twistserve-failures": 2}, message_id="m7")
    assert (bench.channel.told, bench.copies) == ([("reject", 1)], [])
    assert "the message 'm7' of the queue orders is rejected: handling it has failed 3 times, the last time with" in (
        caplog.text
    )
    assert "without one it is discarded" in caplog.text


def test_one_that_the_handler_rejects_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """No traceback, as nothing has gone wrong; and no password."""
    bench = Bench()
    bench.fail(Reject("no order: amqp://u:hush@rabbit"))
    assert bench.channel.told == [("reject", 1)]
    assert "is rejected: no order" in caplog.text
    assert "hush" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_copy_that_is_not_confirmed(caplog: pytest.LogCaptureFixture) -> None:
    """The message goes back as it is."""
    bench = Bench()
    bench.fail(ValueError())
    bench.reactor.advance(1)
    bench.copies[0][1].errback(PublishError("blocked"))
    assert bench.channel.told == [("requeue", 1)]
    assert "goes back to its queue without its failure being counted: blocked" in caplog.text


def test_a_drain_gives_back_what_nobody_has_begun() -> None:
    """And what waits for another try, at once; what is in hand goes on."""
    bench = Bench()
    bench.fail(ValueError())
    bench.receive(tag=2)
    in_hand = bench.pool.begin()
    bench.receive(tag=3)
    bench.work.close()
    assert bench.channel.told == [("requeue", 3)]
    bench.copies[0][1].callback(None)
    bench.receive(tag=4)
    assert bench.channel.told == [("requeue", 3), ("ack", 1), ("requeue", 4)]
    assert not bench.finished
    assert [str(each.message.delivery_tag) for each in bench.work.unfinished] == ["2"]
    in_hand()
    assert bench.channel.told[-1] == ("ack", 2)
    assert bench.finished


def test_one_that_fails_during_a_drain() -> None:
    """Does not wait: the process is about to end."""
    bench = Bench()
    bench.errors[b"bad"] = ValueError()
    bench.receive(b"bad")
    in_hand = bench.pool.begin()
    bench.work.close()
    in_hand()
    assert len(bench.copies) == 1


def test_a_lost_connection(caplog: pytest.LogCaptureFixture) -> None:
    """The broker delivers all of it again: only what is in hand goes on, and cannot be acknowledged."""
    bench = Bench()
    bench.fail(ValueError())
    bench.receive(tag=2)
    in_hand = bench.pool.begin()
    bench.receive(tag=3)
    other = Channel()
    bench.work.receive(message(b"good", 9), other)
    bench.channel.is_open = False
    bench.work.lost(bench.channel)
    assert [held.message.delivery_tag for held in bench.work.unfinished] == [2, 9]
    bench.reactor.advance(60)
    assert bench.copies == []
    in_hand()
    assert "the connection was lost while the message 'number 2' of the queue orders was in hand" in caplog.text
    bench.pool.run()
    assert (bench.channel.told, other.told) == ([], [("ack", 9)])
    assert bench.finished


@pytest.mark.parametrize("error", [Reject("no"), ValueError()])
def test_a_failure_after_the_connection_was_lost(error: Exception) -> None:
    """There is nobody to reject it to."""
    bench = Bench(retries=0)
    bench.errors[b"bad"] = error
    bench.receive(b"bad")
    bench.channel.is_open = False
    bench.pool.run()
    assert (bench.channel.told, bench.finished) == ([], True)


def test_an_outage_of_the_database(caplog: pytest.LogCaptureFixture) -> None:
    """The message waits for it with growing pauses, whatever --retries says; no failure is counted."""
    bench = Bench(retries=0)
    bench.fail(DatabaseGone("OperationalError: connection refused"))
    for pause in (1, 2, 4, 8, 15, 15):
        assert bench.pool.jobs == []
        bench.reactor.advance(pause)
        bench.pool.run()
    assert (bench.channel.told, bench.copies, bench.work.handled) == ([], [], 0)
    assert "waits for its database: OperationalError: connection refused; it is tried again in 15 s" in caplog.text
    bench.errors.clear()
    bench.reactor.advance(15)
    bench.pool.run()
    assert (bench.channel.told, bench.finished) == ([("ack", 1)], True)


def test_a_drain_during_an_outage() -> None:
    """Messages go back as they are, those that fail by it afterwards too; a failure of their own after it counts."""
    bench = Bench()
    bench.fail(DatabaseGone("gone"))
    bench.receive(b"bad", tag=2)
    in_hand = bench.pool.begin()
    bench.work.close()
    in_hand()
    assert bench.channel.told == [("requeue", 1), ("requeue", 2)]
    assert (bench.finished, bench.reactor.getDelayedCalls()) == (True, [])
    bench = Bench()
    bench.fail(DatabaseGone("gone"))
    bench.errors[b"bad"] = ValueError()
    bench.reactor.advance(1)
    bench.pool.run()
    bench.work.close()
    assert len(bench.copies) == 1


def test_one_that_is_past_its_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Its thread is replaced, and the log says once where it stands; it is acknowledged when it returns."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bench = Bench(stuck_after=5)
    bench.work.start()
    bench.receive()
    bench.receive(tag=2)
    in_hand = bench.pool.begin()
    in_hand.began = now
    bench.reactor.advance(1)
    assert bench.pool.given_up == []
    now += 5
    bench.reactor.advance(1)
    bench.reactor.advance(1)
    assert bench.pool.given_up == [in_hand]
    assert caplog.text.count("is in hand for 5 s, more than --handler-timeout; its thread is at") == 1
    in_hand()
    assert bench.channel.told == [("ack", 1)]
    bench.work.stop()
    bench.work.stop()


def test_without_a_bound_nothing_is_looked_for() -> None:
    """No timer runs."""
    bench = Bench()
    bench.work.start()
    assert bench.reactor.getDelayedCalls() == []
    bench.work.stop()
