"""Deadlines, and what they do to requests, on a clock that the test moves."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.support.bench import Application, Bench
from tests.support.functional.harness import wait_for
from tests.support.http1 import get
from twistserve.http.deadlines import Deadline, Deadlines

# One request's


@pytest.fixture
def application() -> Iterator[Application]:
    application = Application()
    yield application
    application.go_on.set()


def test_without_an_end_there_is_always_time() -> None:
    """Asking for more, even for what is no number, changes nothing."""
    deadline = Deadline(Clock().seconds)
    for seconds in (1, -1, math.inf, math.nan):
        deadline.extend(seconds)
        assert deadline.remaining() == math.inf


def test_time_runs_out_and_stays_so() -> None:
    """What remains is never negative, and once it is nothing no more can be had."""
    clock = Clock()
    deadline = Deadline(clock.seconds, at=10)
    clock.advance(4)
    assert deadline.remaining() == 6
    clock.advance(60)
    assert deadline.remaining() == 0
    deadline.extend(30)
    assert deadline.remaining() == 0


def test_more_time_counts_from_now() -> None:
    """At least as much as was asked for, and never less than there was."""
    clock = Clock()
    deadline = Deadline(clock.seconds, at=10)
    clock.advance(4)
    deadline.extend(2)
    assert deadline.remaining() == 6
    deadline.extend(20)
    assert deadline.remaining() == 20
    for seconds in (5, 0, -5, math.nan):
        deadline.extend(seconds)
        assert deadline.remaining() == 20


# All of them


class Request:
    """Is watched, and notes when it was given up."""

    deadline: Deadline

    def __init__(self, clock: Clock, then: Callable[[], object] = lambda: None) -> None:
        self.clock = clock
        self.then = then
        self.given_up: list[float] = []

    def timed_out(self) -> None:
        self.given_up.append(self.clock.seconds())
        self.then()


def pass_time(clock: Clock, seconds: float) -> None:
    """In small steps, as a reactor does."""
    clock.pump([0.01] * round(seconds * 100))


def test_each_is_given_up_once_and_at_its_time() -> None:
    """However they overlap; and nothing is left to wake up for."""
    clock = Clock()
    deadlines = Deadlines(2, clock)
    requests = []
    for _ in range(5):
        requests.append(Request(clock))
        deadlines.begin(requests[-1])
        pass_time(clock, 0.5)
    pass_time(clock, 10)
    for number, request in enumerate(requests):
        assert request.given_up == [pytest.approx(2 + number / 2, abs=0.03)]
    assert clock.getDelayedCalls() == []


def test_what_is_done_is_not_given_up() -> None:
    """Before its deadline, or twice; and a later request is watched all the same."""
    clock = Clock()
    deadlines = Deadlines(2, clock)
    done, later = Request(clock), Request(clock)
    deadlines.begin(done)
    pass_time(clock, 1)
    deadlines.done(done)
    deadlines.done(done)
    pass_time(clock, 5)
    assert clock.getDelayedCalls() == []
    deadlines.begin(later)
    pass_time(clock, 5)
    assert done.given_up == []
    assert later.given_up == [pytest.approx(8, abs=0.03)]


def test_what_ends_while_others_are_given_up_is_left_alone() -> None:
    """A thread may finish its request just then."""
    clock = Clock()
    deadlines = Deadlines(2, clock)
    requests: list[Request] = []

    def end_the_others() -> None:
        for request in requests:
            deadlines.done(request)

    requests += [Request(clock, end_the_others) for _ in range(3)]
    for request in requests:
        deadlines.begin(request)
    pass_time(clock, 3)
    assert sum(len(request.given_up) for request in requests) == 1


def test_one_that_asked_for_more_has_its_own_time() -> None:
    """And does not postpone those that begin later."""
    clock = Clock()
    deadlines = Deadlines(2, clock)
    patient = Request(clock)
    deadlines.begin(patient)
    pass_time(clock, 1)
    patient.deadline.extend(60)
    pass_time(clock, 9)
    for began in (10, 20, 30):
        request = Request(clock)
        deadlines.begin(request)
        pass_time(clock, 10)
        assert request.given_up == [pytest.approx(began + 2, abs=0.03)]
    assert patient.given_up == []
    pass_time(clock, 60)
    assert patient.given_up == [pytest.approx(61, abs=0.03)]


def test_one_given_up_may_begin_another() -> None:
    """As a connection does whose next request waits: it is watched for its full time."""
    clock = Clock()
    deadlines = Deadlines(2, clock)
    following = Request(clock)
    deadlines.begin(Request(clock, lambda: deadlines.begin(following)))
    pass_time(clock, 5)
    assert following.given_up == [pytest.approx(4, abs=0.05)]
    assert clock.getDelayedCalls() == []


# What they do to requests


class Meanwhile(logging.Handler):
    """Does something while the first record is written, which takes its time and lets other threads run."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self.actions = [action]

    def emit(self, record: logging.LogRecord) -> None:
        while self.actions:
            self.actions.pop()()


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Have something done in the middle of what gives a request up."""
    handlers: list[logging.Handler] = []
    logger = logging.getLogger("twistserve.wsgi.handler")

    def do(action: Callable[[], object]) -> None:
        handlers.append(Meanwhile(action))
        logger.addHandler(handlers[-1])

    yield do
    for handler in handlers:
        logger.removeHandler(handler)


def test_a_late_response_is_discarded(application: Application) -> None:
    """The client has its 504; the connection's next response is that of its next request."""
    bench = Bench(application)
    bench.pool.startService()
    connection = bench.ask(b"/first")
    assert application.begun.wait(30)
    bench.clock.advance(2)
    assert connection.statuses == [504]
    assert bench.pool.snapshot().stuck == 1
    connection.feed(get(b"/second"))
    application.go_on.set()
    bench.wait_for_threads()
    assert connection.statuses == [504, 200]
    assert b"/first" not in connection.sent
    assert connection.sent.endswith(b"/second")
    bench.pool.stopService()


def test_what_waits_at_its_deadline_is_not_run(application: Application) -> None:
    """Its response is 504, and it leaves the queue."""
    bench = Bench(application)
    connections = [bench.ask() for _ in range(3)]
    bench.clock.advance(2)
    assert [connection.statuses for connection in connections] == [[504]] * 3
    assert bench.pool.snapshot().queued == 0
    bench.pool.startService()
    bench.wait_for_threads()
    assert application.called == []
    bench.pool.stopService()


def test_what_waits_is_not_run_while_it_is_given_up(
    application: Application, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    """A thread that becomes free at that moment leaves it and those with the same deadline alone."""
    application.go_on.set()
    bench = Bench(application)
    connections = [bench.ask() for _ in range(3)]

    def become_free() -> None:
        bench.pool.startService()
        wait_for(lambda: bench.pool.snapshot().queued == 0, "the thread to look at the queue")
        wait_for(lambda: bench.pool.snapshot().busy == 0, "the thread to be idle")

    meanwhile(become_free)
    bench.clock.advance(2)
    bench.wait_for_threads()
    assert application.called == []
    assert [connection.statuses for connection in connections] == [[504]] * 3
    bench.pool.stopService()


def test_a_replacement_does_not_run_what_is_past_its_deadline(application: Application) -> None:
    """Those in the queue whose deadline is the same as that of the one that got stuck."""
    bench = Bench(application)
    bench.pool.startService()
    connections = [bench.ask(b"/stuck")]
    assert application.begun.wait(30)
    connections += [bench.ask(b"/waiting") for _ in range(20)]
    bench.clock.advance(2)
    wait_for(lambda: bench.pool.snapshot().queued == 0, "the queue to be empty")
    application.go_on.set()
    bench.wait_for_threads()
    assert [connection.statuses for connection in connections] == [[504]] * 21
    assert application.called == ["/stuck"]
    bench.pool.stopService()


def test_the_body_of_what_is_never_run_is_let_go(application: Application) -> None:
    """A large one is in a temporary file, which is closed at the deadline."""
    wait_for(
        lambda: not [each for each in threading.enumerate() if each.name.startswith("request-")], "other tests' end"
    )
    bench = Bench(application)
    before = len(os.listdir("/proc/self/fd"))
    connection = bench.connect()
    connection.feed(get(b"/", b"Content-Length: 2000000", method=b"POST"), b"x" * 2_000_000)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    bench.clock.advance(2)
    assert connection.statuses == [504]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_client_that_leaves_the_queue_is_forgotten(application: Application) -> None:
    """Nothing is watched, nothing runs, and the log does not speak of it."""
    bench = Bench(application)
    connection = bench.ask()
    assert bench.pool.snapshot().queued == 1
    connection.lose()
    assert bench.pool.snapshot().queued == 0
    bench.clock.advance(2)
    assert connection.statuses == []
    bench.pool.startService()
    bench.wait_for_threads()
    assert application.called == []
    bench.pool.stopService()


def test_a_response_given_at_the_last_moment_is_the_response(application: Application) -> None:
    """One that is on its way to the reactor when the deadline passes arrives, once, whatever close() does then."""
    closing, closed = threading.Event(), threading.Event()

    class Blocks(list[bytes]):
        def close(self) -> None:
            closing.set()
            assert closed.wait(30)

    def slow_to_close(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return Blocks([b"done"])

    bench = Bench(slow_to_close)
    bench.pool.startService()
    connection = bench.ask()
    assert closing.wait(30)
    bench.clock.advance(2)
    assert bench.pool.snapshot().stuck == 1
    bench.deliver()
    assert connection.statuses == [200]
    assert connection.sent.endswith(b"done")
    closed.set()
    bench.wait_for_threads()
    wait_for(lambda: bench.pool.snapshot().stuck == 0, "the thread to return")
    assert connection.statuses == [200]
    bench.pool.stopService()
