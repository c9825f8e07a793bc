"""What the status page knows: the probes within its patience, and what else there is to tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from tests.support.requests import make_request
from twistserve.http.request import Request
from twistserve.lifecycle import Lifecycle, State
from twistserve.options import TABLE, Configuration
from twistserve.probes.checks import PASSED, Result, Status
from twistserve.probes.responses import Results
from twistserve.resolution import resolve
from twistserve.status.report import LONGEST_OUTPUT, PATIENCE, StatusDocument, StatusReport, as_json

WORKERS = [{"pid": 1}, {"pid": 2}]


class Reactor(Clock):
    """A Clock that a lifecycle can run on."""

    running = False


Probe = Callable[[], Deferred[Results]]


def passing() -> Deferred[Results]:
    """A probe with nothing to complain about."""
    return succeed({"fine": PASSED})


class Bench:
    """A report, and probes whose results the test chooses."""

    def __init__(self, readiness: Probe = passing, configuration: Configuration | None = None) -> None:
        self.clock = Reactor()
        self.lifecycle = Lifecycle(self.clock)
        self.startup, self.readiness, self.liveness = passing, readiness, passing
        self.report = StatusReport(
            configuration or Configuration(),
            "5.2",
            self.lifecycle,
            self,  # type: ignore[arg-type]
            lambda: succeed(WORKERS),
            lambda: succeed(self.services),
            self.clock,
        )
        self.services: list[dict[str, Any]] = []

    def gathered(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        self.report.gather().addCallback(found.append)
        return found

    def now(self) -> dict[str, Any]:
        (found,) = self.gathered()
        assert self.clock.getDelayedCalls() == []
        json.dumps(found)
        return found


def test_everything_is_told() -> None:
    """Probes with their paths, workers, versions, options and the lifecycle, as JSON can say them."""
    found = Bench(configuration=Configuration(readiness_probe="/health", app_version="7")).now()
    assert [(probe["name"], probe["path"], probe["status"]) for probe in found["probes"]] == [
        ("startup", "/startup", "pass"),
        ("readiness", "/health", "pass"),
        ("liveness", "/alive", "pass"),
    ]
    assert found["workers"] == WORKERS
    assert found["versions"]["django"] == "5.2"
    assert found["versions"]["application"] == "7"
    assert found["lifecycle"]["state"] == "starting"
    assert "the process is starting" in found["lifecycle"]["reason"]


def test_numbers_of_services_that_json_cannot_say_are_null() -> None:
    """Prometheus takes NaN and infinities; a client that parses JSON takes nothing of a document with one."""
    bench = Bench()
    bench.services = [{"name": "feed", "values": {"lag": float("nan"), "most": float("inf"), "symbols": 3.0}}]
    [found] = bench.gathered()
    [service] = json.loads(as_json(found), parse_constant=pytest.fail)["services"]
    assert service["values"] == {"lag": None, "most": None, "symbols": 3.0}


def test_the_one_probe_is_readiness() -> None:
    """With --probe there is nobody to ask for liveness."""
    found = Bench(configuration=resolve({"probe": "/health"}, {}, lambda *_: {})).now()
    assert [(probe["name"], probe["path"]) for probe in found["probes"]] == [
        ("startup", "/startup"),
        ("readiness", "/health"),
    ]


def test_the_lifecycle_ages() -> None:
    """Since when, how long and why the process is in its state."""
    bench = Bench()
    bench.lifecycle.enter(State.READY, "start-up is complete")
    bench.clock.advance(61)
    lifecycle = bench.now()["lifecycle"]
    assert lifecycle["state"] == "ready"
    assert lifecycle["seconds"] == 61
    assert lifecycle["reason"] == "start-up is complete"


def test_a_probe_is_as_its_checks() -> None:
    """The worst status, the time of the slowest, and each check's reason, bounded."""
    results: Results = {
        "quick": Result(Status.PASS, 5, seconds=0.01),
        "broken": Result(Status.FAIL, output="x" * 5000, seconds=0.25),
        "unasked": PASSED,
    }
    probe = Bench(lambda: succeed(results)).now()["probes"][1]
    assert (probe["status"], probe["seconds"]) == ("fail", 0.25)
    quick, broken, unasked = probe["checks"]
    assert quick == {"name": "quick", "status": "pass", "seconds": 0.01, "observed": 5, "output": None}
    assert broken["output"] == "x" * LONGEST_OUTPUT
    assert unasked["seconds"] is None


def test_a_probe_that_takes_long_holds_nothing_up() -> None:
    """Once the patience is over it is told what it answered last, and that it is asked; it fails at its own time."""
    answers: list[Deferred[Results]] = []

    def readiness() -> Deferred[Results]:
        answers.append(Deferred())
        return answers[-1]

    bench = Bench(readiness)
    found = bench.gathered()
    bench.clock.advance(PATIENCE - 0.1)
    assert found == []
    bench.clock.advance(0.1)
    assert [probe["status"] for probe in found[0]["probes"]] == ["pass", "warn", "pass"]
    (check,) = found[0]["probes"][1]["checks"]
    assert (check["name"], check["output"]) == ("probe", "asked 1 s ago, no answer yet")
    answers[0].callback({"slow": PASSED, "broken": Result(Status.FAIL, output="it is")})
    bench.clock.advance(3)
    found = bench.gathered()
    bench.clock.advance(PATIENCE)
    readiness_found = found[0]["probes"][1]
    assert readiness_found["status"] == "fail"
    assert [(check["name"], check["output"]) for check in readiness_found["checks"]] == [
        ("probe", "asked 1 s ago, no answer yet; the last answer was given 4 s ago"),
        ("slow", None),
        ("broken", "it is"),
    ]
    answers[1].callback({"slow": PASSED})
    assert bench.clock.getDelayedCalls() == []


def test_a_probe_that_raises_fails() -> None:
    """By the type alone, at once or later."""

    def raises() -> Deferred[Results]:
        raise ValueError("password=hunter2")

    for readiness in (raises, lambda: fail(ValueError("password=hunter2"))):
        (check,) = Bench(readiness).now()["probes"][1]["checks"]
        assert (check["status"], check["output"]) == ("fail", "raised ValueError")


def test_options_are_told() -> None:
    """Each with its value, as it may be shown, and where that came from."""
    found = Bench(configuration=resolve({"webhook_secret": "hunter2"}, {}, lambda *_: {})).now()["options"]
    assert {option["option"] for option in found} == {f"--{option.word}" for option in TABLE}
    assert {
        "option": "--webhook-secret",
        "group": "Webhooks",
        "value": "set, but not shown",
        "source": "the command line",
    } in found


def asked(gather: Callable[[], Deferred[dict[str, Any]]]) -> Request:
    """A request that the document has handled."""
    request = make_request(b"/status.json")
    StatusDocument(gather, as_json, b"application/json")(request)
    return request


def test_a_page_that_cannot_be_made_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """The response says where to look, and the log has it; nobody waits for ever."""
    gathers: list[Callable[[], Deferred[dict[str, Any]]]] = [
        lambda: fail(RuntimeError("hunter2")),
        lambda: succeed({"not JSON": object()}),
    ]
    for gather in gathers:
        response = asked(gather).connection.response
        assert response.status == 500
        assert b"the log says why" in response.body
        assert b"hunter2" not in response.body
    assert "RuntimeError: hunter2" in caplog.text


def test_who_leaves_gets_no_response() -> None:
    """A client that goes away while the checks are asked gets nothing, and costs nothing."""
    gathering: Deferred[dict[str, Any]] = Deferred()
    request = asked(lambda: gathering)
    pending: Any = request.pending
    pending.given_up()
    gathering.callback({})
    assert request.connection.response is None


def test_what_a_browser_may_do_with_the_page() -> None:
    """Nothing is loaded with it, and it is shown in no other page, whether it could be made or not; nobody keeps it."""
    gathers: list[Callable[[], Deferred[dict[str, Any]]]] = [lambda: succeed({}), lambda: fail(RuntimeError())]
    for gather in gathers:
        head = asked(gather).connection.response.head
        for line in (
            b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
            b"X-Content-Type-Options: nosniff",
            b"X-Frame-Options: DENY",
            b"Referrer-Policy: no-referrer",
            b"Cache-Control: no-store",
        ):
            assert line in head.split(b"\r\n")
