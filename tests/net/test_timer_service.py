"""Whether a TimerService still calls its function: it fails if Twisted moves what tells that."""

from __future__ import annotations

import pytest
from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.task import Clock

from twistserve.net.timer_service import has_failed


def test_one_whose_function_has_raised_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    """Twisted says that it runs, and calls the function no more."""
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("the second time")

    timer, clock = TimerService(1.0, call), Clock()
    timer.clock = clock
    assert not has_failed(timer)
    timer.startService()
    assert not has_failed(timer)
    clock.advance(1.0)
    assert has_failed(timer)
    assert timer.running
    timer.stopService()
    assert not has_failed(timer)


def test_other_services_have_not() -> None:
    """Nor what is no service."""
    service = Service()
    service.startService()
    assert not has_failed(service)
    assert not has_failed(object())
