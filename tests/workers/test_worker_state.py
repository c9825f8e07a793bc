"""What is known of a worker by itself: how it is named, and whether it answers."""

from __future__ import annotations

import pytest

from tests.support.crew import FakeProcess
from twistserve.workers.worker_state import FIRST_SILENCE, SILENCE, STEADY, Worker


@pytest.fixture
def worker() -> Worker:
    worker = Worker(2, 100.0)
    worker.process = FakeProcess(4711)
    return worker


def test_its_name(worker: Worker) -> None:
    """The number and the pid, which it does not have before it is forked."""
    assert str(worker) == "worker 2 (pid 4711)"
    worker.waits = True
    assert str(worker) == "worker 2"


@pytest.mark.parametrize(("heard", "limit"), [(False, FIRST_SILENCE), (True, SILENCE)])
def test_how_long_it_may_be_silent(worker: Worker, heard: bool, limit: float) -> None:
    """Longer before its first answer, for Python is loading."""
    worker.heard = heard
    assert worker.silence(1000.0) == 0
    assert not worker.silent_too_long(1000.0)
    worker.asked_at = 200.0
    assert worker.silence(200.5) == 0.5
    assert not worker.silent_too_long(200 + limit - 0.5)
    assert worker.silent_too_long(200 + limit)


def test_whether_it_answers(worker: Worker) -> None:
    """It has answered, not too long ago, and its connection is not lost; while it waits for its process it need not."""
    assert not worker.heard_lately(100.0)
    worker.heard, worker.asked_at = True, 200.0
    assert worker.heard_lately(200 + SILENCE - 0.5)
    assert not worker.heard_lately(200 + SILENCE)
    worker.lost = True
    assert not worker.heard_lately(200.0)
    worker.waits = True
    assert worker.heard_lately(1000.0)


def test_it_is_steady_when_it_has_served_for_a_while(worker: Worker) -> None:
    """Counted from when it was ready, not from its start."""
    assert not worker.is_steady(1000.0)
    worker.ready_since = 200.0
    assert not worker.is_steady(200 + STEADY - 0.5)
    assert worker.is_steady(200 + STEADY)
