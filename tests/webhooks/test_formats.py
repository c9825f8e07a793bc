"""What the events of a webhook hold, in our own format and in Hurricane's."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.support.lifecycle import Reactor
from tests.support.webhooks import HURRICANES, OURS, assert_valid
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.project.preparing import APPLYING, WAITING
from twistserve.webhooks.formats import HurricaneFormat, TwistserveFormat

FACTS = {"version": "1.2", "host": "node-3", "pod": "web-0", "namespace": "shop"}


def hurricane(facts: dict[str, str] = FACTS) -> tuple[HurricaneFormat, Lifecycle]:
    lifecycle = Lifecycle(Reactor())
    lifecycle.on_failure = lambda message: None
    return HurricaneFormat(facts, lifecycle), lifecycle


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """An exception with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


# Ours


def test_our_own_has_the_event_its_time_and_the_facts() -> None:
    """The time is UTC's."""
    before = datetime.now(UTC)
    fields = TwistserveFormat(FACTS).fields("readiness", "failing", "database: gone")
    assert_valid(fields)
    assert before <= datetime.fromisoformat(str(fields["time"])) <= datetime.now(UTC)
    assert str(fields.pop("time")).endswith("Z")
    assert fields == {"event": "readiness", "status": "failing", "reason": "database: gone", **FACTS}


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("startup", "succeeded"),
        ("startup", "failed"),
        ("readiness", "passing"),
        ("readiness", "failing"),
        ("liveness", "passing"),
        ("liveness", "failing"),
        ("draining", "draining"),
        ("stopped", "stopped"),
    ],
)
@pytest.mark.parametrize("facts", [FACTS, {"host": "laptop"}])
def test_every_event_is_what_its_schema_says(event: str, status: str, facts: dict[str, str]) -> None:
    """No other status goes with it, and no field may be missing or be added."""
    fields = TwistserveFormat(facts).fields(event, status, "a reason")
    assert_valid(fields)
    assert not OURS.is_valid({**fields, "status": "another"})
    assert not OURS.is_valid({**fields, "event": "draining" if event != "draining" else "stopped"})
    assert not OURS.is_valid({**fields, "more": 1})
    for field in ("event", "status", "reason", "time", "host"):
        assert not OURS.is_valid({name: value for name, value in fields.items() if name != field})


def test_our_own_tells_probes_at_any_time() -> None:
    """Of readiness it is known that it fails at first, of liveness that it passes."""
    form = TwistserveFormat({})
    assert form.tells_probes()
    assert form.assumed == {"readiness": False, "liveness": True}


# Hurricane's


@pytest.mark.parametrize(
    ("event", "status", "told"),
    [
        ("startup", "succeeded", ("Startup webhook", "startup", "succeeded")),
        ("readiness", "passing", ("Readiness webhook", "readiness", "succeeded")),
        ("readiness", "failing", ("Readiness webhook", "readiness", "failed")),
        ("liveness", "passing", ("Liveness webhook", "liveness", "succeeded")),
        ("liveness", "failing", ("Liveness webhook", "liveness", "failed")),
    ],
)
def test_hurricane_has_its_own_words(event: str, status: str, told: tuple[str, str, str]) -> None:
    """And whole seconds; of our reasons nothing."""
    form, _ = hurricane()
    before = int(time.time())
    fields = form.fields(event, status, "a reason")
    assert fields is not None
    assert_valid(fields)
    timestamp = fields.pop("timestamp")
    assert isinstance(timestamp, int)
    assert before <= timestamp <= time.time()
    assert (fields.pop("info"), fields.pop("type"), fields.pop("status")) == told
    assert fields == {"podname": "web-0", "version": "1.2"}


def test_hurricane_has_no_drain_and_no_end() -> None:
    """Nothing is sent for them."""
    form, _ = hurricane()
    assert form.fields("draining", "draining", "received SIGTERM") is None
    assert form.fields("stopped", "stopped", "the service has stopped") is None


def test_hurricane_outside_kubernetes() -> None:
    """The pod's name is the host's, and a version that is not known is null."""
    form, _ = hurricane({"host": "laptop"})
    fields = form.fields("startup", "succeeded", "")
    assert fields is not None
    assert_valid(fields)
    assert (fields["podname"], fields["version"]) == ("laptop", None)


def test_hurricane_tells_probes_while_ready() -> None:
    """Each first result too; neither before the start is complete nor in the drain."""
    form, lifecycle = hurricane()
    assert form.assumed == {}
    told = []
    for state in State:
        lifecycle.enter(state, "a test")
        told.append(form.tells_probes())
    assert told == [False, True, False, False]


def test_a_failed_start_has_the_traceback_of_what_was_raised_first() -> None:
    """Ours only says it in other words; credentials are not shown."""
    form, lifecycle = hurricane()
    cause = raised(ValueError("no shelves, password=t0p at postgresql://shop:t0p@db/shop"))
    lifecycle.fail("--command 'seed' failed: ValueError", raised(StartError("in other words"), cause))
    fields = form.fields("startup", "failed", "--command 'seed' failed: ValueError")
    assert fields is not None
    assert_valid(fields)
    traceback = str(fields["traceback"])
    assert fields["status"] == "failed"
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert "ValueError: no shelves, password=…" in traceback
    assert "in other words" not in traceback
    assert "t0p" not in traceback
    assert not HURRICANES.is_valid({**fields, "type": "readiness", "info": "Readiness webhook"})
    del fields["traceback"]
    assert not HURRICANES.is_valid(fields)


def test_a_failed_start_without_an_exception_has_the_reason() -> None:
    """A worker's parent knows no more."""
    form, lifecycle = hurricane()
    lifecycle.fail("--port: 80 is in use")
    fields = form.fields("startup", "failed", "--port: 80 is in use")
    assert fields is not None
    assert_valid(fields)
    assert fields["traceback"] == "--port: 80 is in use"


@pytest.mark.parametrize("step", [APPLYING, WAITING])
def test_migrations_that_fail_are_a_warning(step: str) -> None:
    """With its traceback, as any other failed start."""
    form, lifecycle = hurricane()
    lifecycle.at_step(step)
    lifecycle.fail("no such table", raised(StartError("no such table")))
    fields = form.fields("startup", "failed", "no such table")
    assert fields is not None
    assert_valid(fields)
    assert fields["status"] == "warning"
    assert "StartError: no such table" in str(fields["traceback"])


def test_a_start_that_succeeds_after_migrations_is_no_warning() -> None:
    """Nor has it a traceback."""
    form, lifecycle = hurricane()
    lifecycle.at_step(APPLYING)
    fields = form.fields("startup", "succeeded", "start-up is complete")
    assert fields is not None
    assert_valid(fields)
    assert fields["status"] == "succeeded"
    assert "traceback" not in fields
