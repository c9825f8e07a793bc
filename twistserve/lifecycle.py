"""The state every part looks at: STARTING -> READY -> DRAINING -> STOPPED, and how far the start-up is.

Everything here belongs to the reactor thread.
"""

from __future__ import annotations

import contextlib
import enum
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import deferLater

from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.queue import queue

logger = get_logger(__name__)


class State(enum.Enum):
    """The states, in the order they are passed through; DRAINING and STOPPED can come early."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


Observer = Callable[[State, str], None]
"""Told each state and why it was entered."""


class Lifecycle:
    """One process's state, the start-up step it is at, and the exit status it will end with.

    `reactor` needs `seconds()`, `stop()` and `callWhenRunning()`; `since` and `step_since` are its seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._observers: list[Observer] = []
        self._hurry: list[Deferred[None]] = []
        self._hurried = False
        self._asked = False
        self.state = State.STARTING
        self.since: float = reactor.seconds()
        self.step = "the process is starting"
        self.step_since = self.since
        self.steps: list[tuple[str, float]] = []
        """The steps of the start-up so far, and when each began."""
        self.detail = ""
        self.reason = "the process has begun"
        self.started = False
        self.failure: str | None = None
        self.cause: BaseException | None = None
        """What was raised, where a start has failed by that."""
        self.on_failure: Callable[[str], None] = _print_error
        """Called with the reason of a failed start."""
        self.on_step: Callable[[str, str], None] = lambda step, detail: None
        """Called with each step of the start-up, and each detail of it."""

    @property
    def age(self) -> float:
        """Seconds in the present state."""
        return float(self._reactor.seconds() - self.since)

    @property
    def step_age(self) -> float:
        """Seconds in the present start-up step."""
        return float(self._reactor.seconds() - self.step_since)

    def observe(self, observer: Observer) -> None:
        """Call `observer` with each state from now on, the present one first."""
        self._observers.append(observer)
        observer(self.state, self.reason)

    def at_step(self, step: str) -> None:
        """Say which step of the start-up runs now."""
        self.step, self.step_since, self.detail = step, self._reactor.seconds(), ""
        self.steps.append((step, self.step_since))
        logger.info("start-up: %s", step)
        self.on_step(step, "")

    def say(self, detail: str) -> None:
        """Say how the step gets on; the same again is not logged."""
        if detail != self.detail:
            self.detail = detail
            logger.info("start-up: %s: %s", self.step, detail)
            self.on_step(self.step, detail)

    def show(self, detail: str) -> None:
        """Say how the step gets on where the log has it already, in other words."""
        self.detail = detail
        self.on_step(self.step, detail)

    def follow(self, step: str, detail: str) -> None:
        """Go with the start-up of another process, which logs its steps."""
        if step != self.step:
            self.step, self.step_since = step, self._reactor.seconds()
        self.detail = detail

    @property
    def progress(self) -> str:
        """The start-up's step, how it gets on, and since when it runs."""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.step}{detail}, for {self.step_age:.1f} s"

    def enter(self, state: State, reason: str) -> None:
        """Go to a later state, log it with its reason and tell the observers; an earlier one is ignored."""
        order = list(State)
        if order.index(state) <= order.index(self.state):
            return
        logger.info("%s -> %s after %.3f s: %s", self.state.value, state.value, self.age, reason)
        self.state, self.since, self.reason = state, self._reactor.seconds(), reason
        self.started = self.started or state is State.READY
        for observer in self._observers:
            contain(observer, state, reason)

    def fail(self, message: str, cause: BaseException | None = None) -> None:
        """End the process with status 1 and this one line on its standard error; stops the reactor."""
        if self.failure is not None or self.state is not State.STARTING:
            return
        self.failure, self.cause = message, cause
        self.on_failure(message)
        logger.debug("the start failed: %s", message, exc_info=cause or True)
        self.enter(State.DRAINING, "the start failed")
        self._reactor.callWhenRunning(self.stop)

    def give_up(self, message: str) -> None:
        """The same for what goes wrong later: the process drains before it ends with status 1."""
        if self.state is State.STARTING:
            self.fail(message)
        elif self.state is State.READY:
            self.failure = message
            self.on_failure(message)
            self.recycle(message)

    def stop(self) -> None:
        """Stop the reactor, which stops the services; once is enough."""
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def recycle(self, reason: str) -> None:
        """Drain and stop without having been asked."""
        self.enter(State.DRAINING, reason)
        self.stop()

    def shut_down(self, signal_name: str) -> None:
        """Drain and stop; asked a second time, stop without waiting for anything."""
        reason = f"received {signal_name}"
        if not self._asked:
            self._asked = True
            if self.state in (State.DRAINING, State.STOPPED):
                logger.info("%s while draining: the drain goes on", reason)
                return
            self.enter(State.DRAINING, reason)
            self.stop()
            return
        logger.warning("%s again: stopping at once", reason)
        self.wait_no_more()

    def wait_no_more(self) -> None:
        """Have everything that waits for something in the drain go on at once."""
        self._hurried = True
        waiting, self._hurry = self._hurry, []
        for waiter in waiting:
            waiter.callback(None)

    def hurry(self) -> Deferred[None]:
        """Fires when there is no more time to wait for anything."""
        waiter: Deferred[None] = Deferred(self._hurry.remove)
        if self._hurried:
            waiter.callback(None)
        else:
            self._hurry.append(waiter)
        return waiter

    def wait(self, event: Deferred[None], seconds: float) -> Deferred[None]:
        """Fires with the event, when the time is up, or when there is no more time for anything."""
        time_is_up: Deferred[None] = deferLater(self._reactor, seconds)
        hurry = self.hurry()
        first = DeferredList(
            [event, time_is_up, hurry], fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
        )

        def clean_up(result: object) -> None:
            time_is_up.cancel()
            hurry.cancel()

        return first.addBoth(clean_up)


def _print_error(message: str) -> None:
    """By the log's thread: standard error may not be read."""
    queue.put(lambda line: print(line, file=sys.__stderr__, flush=True), f"twistserve: {message}")
