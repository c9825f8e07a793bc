"""Callbacks that hold the reactor, looked at on a clock from within: time passes when a callback says so."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.posixbase import _PollLikeMixin

from tests.support.functional.harness import wait_for
from twistserve.development.slow_callbacks import SlowCallbacks, SlowCallbackService
from twistserve.development.thread_state import ThreadState
from twistserve.server_thread import ServerThread
from twistserve.threads.reactor_queue import ReactorQueue


class Loop(ReactorBase):
    """A reactor that is turned by hand."""

    def installWaker(self) -> None:
        pass

    def wakeUp(self) -> None:
        pass


class Bench:
    """Looks every 10 ms while time passes. The reactor's thread is the test's own."""

    def __init__(self) -> None:
        self.now = self.cpu = self.process_cpu = 100.0
        self.state = ThreadState.WAITING
        self.thread: int | None = threading.get_ident()
        self.slow = SlowCallbacks(
            lambda: self.thread, lambda: self.now, lambda _: self.cpu, lambda: self.process_cpu, lambda _: self.state
        )
        self.reactor = Loop()
        self.look()

    def look(self) -> None:
        self.slow.look()

    def hold(self, seconds: float, computing: float = 0.0, others: float = 0.0, every: float = 0.01) -> None:
        """Let time pass, a share of it on the processor, and other threads a share of theirs."""
        for _ in range(round(seconds / every)):
            self.now += every
            self.cpu += every * computing
            self.process_cpu += every * (computing + others)
            self.look()

    def turn(self, *calls: Callable[[], object]) -> None:
        """Have the reactor call these, and look once more afterwards."""
        for call in calls:
            self.reactor.callFromThread(call)
        self.reactor.runUntilCurrent()
        self.hold(0.01)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_slow_callback_is_told_once_and_when_it_has_ended(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """With its name, where it stands, and how long it took."""

    def refresh() -> None:
        bench.hold(0.3)

    bench.turn(refresh)
    first, last = warnings(caplog)
    name = f"the callback {__name__}.{refresh.__qualname__}"
    assert first.startswith(f"{name} has held the reactor for 50 ms, waiting in a system call")
    assert "in refresh\n    bench.hold(0.3)" in first
    assert "runUntilCurrent" not in first
    assert last == f"{name} held the reactor for 0.295 s in all, waiting in a system call"


def test_many_short_callbacks_are_not_slow(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the turn takes, whether they come from threads, from the reactor queue, or are the same function."""
    short = partial(bench.hold, 0.04)
    queue = ReactorQueue(bench.reactor.callFromThread)
    for _ in range(5):
        queue.put(short)
    bench.turn(*[lambda: bench.hold(0.04) for _ in range(5)])
    assert warnings(caplog) == []


def test_waiting_is_not_slow(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The reactor may wait for ever, and may not run yet."""
    bench.hold(1)
    bench.thread = None
    bench.hold(1)
    bench.thread = -1
    bench.hold(1)
    assert warnings(caplog) == []


def test_a_callback_in_c_is_told_by_what_it_is(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It has no frame of its own: `callLater(0, time.sleep, 1)`."""
    held = threading.Lock()
    held.acquire()

    def look_meanwhile() -> None:
        wait_for(lambda: in_c(bench), "the callback to run")
        bench.hold(0.07)
        held.release()

    other = threading.Thread(target=look_meanwhile)
    other.start()
    bench.reactor.callFromThread(held.acquire)
    bench.reactor.runUntilCurrent()
    other.join()
    bench.hold(0.01)
    first, last = warnings(caplog)
    assert first.startswith("the callback <built-in method acquire of _thread.lock object")
    assert "held the reactor for 0.0" in last


def in_c(bench: Bench) -> bool:
    """Whether the reactor's thread has come to the lock."""
    frame = sys._current_frames()[bench.thread or 0]
    called = frame.f_locals.get("f") if frame.f_code is ReactorBase.runUntilCurrent.__code__ else None
    return getattr(called, "__name__", "") == "acquire"


def test_an_event_of_a_file_is_one_callback(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The same connection's next event is another one."""

    class Connection:
        seconds = 0.04

        def fileno(self) -> int:
            return 3

        def doRead(self) -> None:
            bench.hold(self.seconds)

    poller: Any = _PollLikeMixin()
    poller._POLL_DISCONNECTED, poller._POLL_IN, poller._POLL_OUT = 0, 1, 4
    connection = Connection()
    for _ in range(3):
        poller._doReadOrWrite(connection, 3, 1)
    assert warnings(caplog) == []
    connection.seconds = 0.06
    poller._doReadOrWrite(connection, 3, 1)
    bench.hold(0.01)
    assert "Connection.doRead has held the reactor for 50 ms" in warnings(caplog)[0]


def test_steps_of_a_coroutine_are_many_callbacks(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Each has the same frame; one that takes long is slow."""

    async def work(seconds: float) -> None:
        for _ in range(4):
            bench.hold(seconds)
            await asyncio.sleep(0)

    asyncio.run(work(0.04))
    bench.hold(0.01)
    assert warnings(caplog) == []
    asyncio.run(work(0.06))
    bench.hold(0.01)
    assert len(warnings(caplog)) == 8


@pytest.mark.parametrize(
    ("state", "computing", "others", "how"),
    [
        (ThreadState.COMPUTING, 1, 1, "computing"),
        (ThreadState.RUNNING, 0.8, 0, "computing"),
        (
            ThreadState.COMPUTING,
            0.1,
            0.9,
            "waiting for the GIL, which other threads had, so that it is not to blame alone",
        ),
        (ThreadState.COMPUTING, 0.1, 0.1, "waiting for a processor or the GIL"),
        (ThreadState.LOCKED, 0, 0, "waiting for a lock or another thread"),
        (ThreadState.WAITING, 0.1, 0, "waiting in a system call"),
        (ThreadState.UNKNOWN, 0.1, 0, "computing for 0.010 s of it"),
    ],
)
def test_what_it_did_meanwhile(
    bench: Bench, caplog: pytest.LogCaptureFixture, state: ThreadState, computing: float, others: float, how: str
) -> None:
    """By its processor time, and what the kernel says it waits for."""
    bench.state = state
    bench.turn(lambda: bench.hold(0.11, computing, others))
    assert warnings(caplog)[1].endswith(f"s in all, {how}")


def test_c_code_that_keeps_the_gil(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing can look meanwhile; the processor time tells afterwards whose doing it was."""
    bench.turn(lambda: bench.hold(0.4, computing=1, every=0.4))
    assert "has held the reactor for 400 ms, computing" in warnings(caplog)[0]
    caplog.clear()
    bench.turn(lambda: bench.hold(0.4, computing=0.1, every=0.4))
    assert warnings(caplog) == []


def test_a_real_thread_that_waits_for_another(caplog: pytest.LogCaptureFixture) -> None:
    """Its clocks and its state are the kernel's."""
    loop, idents, go_on = Loop(), [], threading.Event()

    def run() -> None:
        idents.append(threading.get_ident())
        loop.callFromThread(go_on.wait)
        loop.runUntilCurrent()

    thread = threading.Thread(target=run)
    thread.start()
    slow = SlowCallbacks(lambda: idents[0] if idents else None)

    def told() -> bool:
        slow.look()
        return bool(warnings(caplog))

    wait_for(told, "the callback to be told")
    go_on.set()
    thread.join(30)
    assert re.search(r"Event.wait has held the reactor for \d+ ms, waiting for a lock or another thread", caplog.text)


def test_the_service_looks_until_it_is_stopped() -> None:
    """On a thread of its own."""
    looks: list[int] = []
    service = SlowCallbackService(lambda: looks.append(threading.get_ident()))
    service.startService()
    wait_for(lambda: len(looks) > 2, "it to look")
    assert threading.get_ident() not in looks
    [thread] = [thread for thread in threading.enumerate() if thread.ident == looks[0]]
    # A debugger that stops the application's threads leaves it alone, as it does the reactor.
    assert isinstance(thread, ServerThread)
    service.stopService()
    thread.join(30)
    assert not thread.is_alive()


def test_a_look_that_fails_is_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, not printed again and again."""
    service = SlowCallbackService(lambda: 1 / 0)  # type: ignore[arg-type]
    service.startService()
    wait_for(lambda: "are not looked for any more" in caplog.text, "the line")
    service.stopService()
