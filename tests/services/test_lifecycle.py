"""What a service knows of the lifecycle, and what its errors are called."""

from __future__ import annotations

import logging

import pytest

from tests.support.lifecycle import Reactor
from twistserve.lifecycle import Lifecycle, State
from twistserve.services.lifecycle import ServiceLifecycle
from twistserve.services.loading import Declared

FEED = Declared("feed", "prices.Feed")


def test_it_observes_each_state() -> None:
    """The present one first, with the reason."""
    lifecycle = Lifecycle(Reactor())
    seen: list[tuple[State, str]] = []
    view = ServiceLifecycle(lifecycle, FEED, logging.getLogger("test"))
    view.observe(lambda state, reason: seen.append((state, reason)))
    lifecycle.enter(State.DRAINING, "received SIGTERM")
    assert seen == [(State.STARTING, "the process has begun"), (State.DRAINING, "received SIGTERM")]
    assert view.state is State.DRAINING


@pytest.mark.parametrize("error", [LookupError("the drain is blocked"), SystemExit(3)])
def test_what_it_raises_is_logged_as_its_own(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """And changes no state."""

    def observe(state: State, reason: str) -> None:
        raise error

    lifecycle = Lifecycle(Reactor())
    ServiceLifecycle(lifecycle, FEED, logging.getLogger("twistserve.service.feed")).observe(observe)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("twistserve.service.feed", logging.ERROR)
    assert "the service feed (prices.Feed) has raised" in record.getMessage()
