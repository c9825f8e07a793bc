"""Webhooks on a fake reactor, with a receiver that responds when it is told to."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web._newclient import ResponseNeverReceived

from twistserve.webhooks import outbox as webhooks
from twistserve.webhooks.formats import Fields, TwistserveFormat
from twistserve.webhooks.outbox import WebhookService, facts_of

ONE, TWO = "http://one.example/hook", "http://two.example/hook"


@dataclass
class Sent:
    """One POST, and the status of the response to it."""

    url: str
    body: bytes
    headers: dict[str, str]
    response: Deferred[int]

    @property
    def fields(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> str:
        return f"{self.fields['event']} {self.fields['status']}"


class Form(TwistserveFormat):
    """Our own format, where probes can be kept quiet, and there is no event `unknown`."""

    quiet = False

    def tells_probes(self) -> bool:
        return not self.quiet

    def fields(self, event: str, status: str, reason: str) -> Fields | None:  # type: ignore[override]
        return super().fields(event, status, reason) if event != "unknown" else None


class Bench:
    """A webhook service with its clock and its receivers."""

    def __init__(self, *urls: str, secret: str | None = None, started: bool = True) -> None:
        self.clock = Clock()
        self.sent: list[Sent] = []
        self.cancelled = 0
        self.hurried: Deferred[None] = Deferred()
        self.form = Form({"host": "web-0"})
        self.service = WebhookService(urls or (ONE,), secret, self.form, lambda: self.hurried, self.clock, self.post)
        if started:
            self.service.startService()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Deferred[int]:
        self.sent.append(Sent(url, body, dict(headers), Deferred(self._note_cancelled)))
        return self.sent[-1].response

    def _note_cancelled(self, response: Deferred[int]) -> None:
        # As twisted.web does it: not with a CancelledError.
        self.cancelled += 1
        response.errback(ResponseNeverReceived([Failure(Refused())]))

    def announce(self, *events: str) -> None:
        """Announce events by their names, and let the reactor turn."""
        for event in events:
            self.service.announce(event, "failing", f"a reason for {event}")
        self.clock.advance(0)

    def respond(self, status: int = 200) -> None:
        """Respond to the last POST."""
        self.sent[-1].response.callback(status)

    @property
    def events(self) -> list[str]:
        return [sent.fields["event"] for sent in self.sent]

    def to(self, url: str) -> list[str]:
        return [sent.fields["event"] for sent in self.sent if sent.url == url]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_an_event_is_json_with_the_fields_of_the_format() -> None:
    """The body is what the format makes of the event, whatever is in it."""
    bench = Bench()
    bench.service.announce("readiness", "failing", 'database: "gone"\n\u00e9\udcff')
    bench.clock.advance(0)
    (sent,) = bench.sent
    fields = sent.fields
    del fields["time"]
    reason = 'database: "gone"\n\u00e9\udcff'
    assert fields == {"event": "readiness", "status": "failing", "reason": reason, "host": "web-0"}
    assert sent.url == ONE
    assert sent.headers["Content-Type"] == "application/json"
    assert "X-Twistserve-Signature" not in sent.headers


def test_the_signature_is_of_the_exact_body() -> None:
    """With a secret, the header holds the HMAC-SHA256 of the bytes that are sent."""
    bench = Bench(secret="s\u00e9same\n")
    bench.announce("readiness")
    expected = hmac.new("s\u00e9same\n".encode(), bench.sent[0].body, hashlib.sha256).hexdigest()
    assert bench.sent[0].headers["X-Twistserve-Signature"] == f"sha256={expected}"


def test_a_user_in_the_url_is_basic_authentication() -> None:
    """The user and the password are decoded and leave the URL; the query stays, the fragment goes."""
    bench = Bench("https://us%65r:p%40ss@one.example:8443/hook?token=1#part")
    bench.announce("readiness")
    assert bench.sent[0].url == "https://one.example:8443/hook?token=1"
    assert bench.sent[0].headers["Authorization"] == "Basic dXNlcjpwQHNz"


def test_nothing_is_sent_before_the_caller_is_done() -> None:
    """An event announced while a probe is handled waits for the reactor's next turn."""
    bench = Bench()
    bench.service.announce("readiness", "failing", "")
    assert not bench.sent
    bench.clock.advance(0)
    assert bench.events == ["readiness"]


def test_what_is_announced_before_the_start_is_sent_after_it() -> None:
    """Before the start nothing of the reactor is touched; then the events go out in order."""
    bench = Bench(started=False)
    bench.announce("startup", "draining")
    assert not bench.clock.getDelayedCalls()
    bench.service.startService()
    bench.clock.advance(0)
    bench.respond()
    assert bench.events == ["startup", "draining"]


def test_a_service_that_never_started_stops_at_once() -> None:
    """Nothing is sent, and later events are ignored."""
    bench = Bench(started=False)
    bench.announce("startup")
    assert bench.service.stopService().called
    bench.announce("draining")
    assert not bench.sent
    assert not bench.clock.getDelayedCalls()


def test_events_of_a_url_go_one_after_another() -> None:
    """The next event is sent when the one before it was taken."""
    bench = Bench()
    bench.announce("one", "two", "three")
    assert bench.events == ["one"]
    bench.respond(204)
    assert bench.events == ["one", "two"]
    bench.respond()
    bench.respond()
    assert bench.events == ["one", "two", "three"]
    bench.announce("four")
    assert bench.events == ["one", "two", "three", "four"]


def test_urls_know_nothing_of_each_other() -> None:
    """A receiver that does not respond delays no other one."""
    bench = Bench(ONE, TWO)
    bench.announce("one", "two")
    bench.respond()
    bench.respond()
    assert bench.to(ONE) == ["one"]
    assert bench.to(TWO) == ["one", "two"]


def test_a_failed_event_is_tried_again_with_growing_pauses() -> None:
    """The pauses double up to a limit, the body stays the same, later events wait; a success ends it."""
    bench = Bench()
    bench.announce("one", "two")
    for pause in (1, 2, 4, 8, 16, 30, 30):
        bench.respond(500)
        tries = len(bench.sent)
        bench.clock.advance(pause - 0.01)
        assert len(bench.sent) == tries
        bench.clock.advance(0.01)
        assert len(bench.sent) == tries + 1
    assert set(bench.events) == {"one"}
    assert len({sent.body for sent in bench.sent}) == 1
    bench.respond()
    assert bench.events[-1] == "two"
    bench.respond(500)
    bench.clock.advance(1)
    assert bench.events[-2:] == ["two", "two"]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (503, "answered 503"),
        (301, "answered 301, a redirect is not followed"),
        (404, "answered 404"),
        (Refused("no\none"), "no one"),
        (ResponseNeverReceived([Failure(Refused("nobody"))]), "nobody"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_failure_is_a_warning_that_holds_no_secret(
    failure: int | Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure of an event names the URL without user and query, the event and why; the second is silent."""
    bench = Bench("http://user:password@one.example/hook?token=1")
    bench.announce("readiness")
    for _ in range(2):
        if isinstance(failure, int):
            bench.respond(failure)
        else:
            bench.sent[-1].response.errback(failure)
        bench.clock.advance(1)
    (line,) = warnings(caplog)
    assert line.startswith("webhook http://one.example/hook: readiness failing: ")
    assert said in line
    assert "password" not in caplog.text
    assert "token" not in caplog.text


def test_an_error_before_anything_is_sent_is_a_failure_like_others(caplog: pytest.LogCaptureFixture) -> None:
    """What the sending function raises at once reaches nobody."""

    def post(url: str, body: bytes, headers: Mapping[str, str]) -> Deferred[int]:
        raise ValueError("a bad host")

    clock = Clock()
    service = WebhookService([ONE], None, Form({}), Deferred, clock, post)
    service.startService()
    service.announce("readiness", "failing", "")
    clock.advance(0)
    assert "a bad host" in warnings(caplog)[0]


def test_a_receiver_that_does_not_answer_is_left_after_a_time(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is closed after the time a receiver has, and the event is tried again."""
    bench = Bench()
    bench.announce("readiness")
    bench.clock.advance(10)
    assert bench.cancelled == 1
    assert "no answer within 10 s" in warnings(caplog)[0]
    bench.clock.advance(1)
    assert bench.events == ["readiness", "readiness"]


def test_a_recovery_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An event that arrives late is a line in the log; one that arrives at once is none."""
    caplog.set_level(logging.INFO)
    bench = Bench()
    bench.announce("one")
    bench.respond()
    assert not caplog.records
    bench.announce("two")
    bench.respond(500)
    bench.clock.advance(1)
    bench.respond()
    assert caplog.messages[-1] == f"webhook {ONE}: two failing: delivered at try 2"


def test_an_event_is_given_up_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """After five minutes it goes with one line, and a younger event has its turn."""
    bench = Bench()
    bench.announce("old")
    bench.respond(500)
    while bench.clock.seconds() < 200:
        bench.clock.advance(1)
        if not bench.sent[-1].response.called:
            bench.respond(500)
    bench.announce("young")
    while "young" not in bench.events:
        assert bench.clock.seconds() < 340
        if not bench.sent[-1].response.called:
            bench.respond(500)
        bench.clock.advance(1)
    given_up = [line for line in warnings(caplog) if "given up" in line]
    assert given_up == [f"webhook {ONE}: old failing: given up after 300 s: answered 500"]
    assert max(index for index, event in enumerate(bench.events) if event == "old") < bench.events.index("young")


def test_a_try_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The last try has no more time than its event."""
    monkeypatch.setattr(webhooks, "EVENT_DEADLINE", 4.0)
    bench = Bench()
    bench.announce("readiness")
    bench.clock.advance(4)
    assert bench.cancelled == 1
    bench.clock.advance(1)
    assert warnings(caplog)[-1].endswith("given up after 4 s: no answer within 4 s")
    assert len(bench.sent) == 1
    assert not bench.clock.getDelayedCalls()


def test_a_full_queue_loses_its_oldest_event(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one on its way stays, the oldest that waits goes with a line in the log."""
    monkeypatch.setattr(webhooks, "CAPACITY", 3)
    bench = Bench()
    bench.announce("one", "two", "three", "four")
    (line,) = warnings(caplog)
    assert "two failing: dropped, since 3 events wait" in line
    for _ in range(3):
        bench.respond()
    assert bench.events == ["one", "three", "four"]


def test_the_end_is_announced_and_waited_for() -> None:
    """Stopping sends what waits and then the last event; what comes later is ignored."""
    bench = Bench()
    bench.announce("draining")
    stopped = bench.service.stopService()
    bench.service.announce("readiness", "failing", "")
    bench.respond()
    assert bench.sent[-1].event == "stopped stopped"
    assert not stopped.called
    bench.respond()
    assert stopped.called
    assert bench.events == ["draining", "stopped"]
    assert not bench.clock.getDelayedCalls()


def test_the_end_does_not_wait_for_a_pause() -> None:
    """A receiver that failed before is asked again at once, and from then on every second."""
    bench = Bench()
    bench.announce("one")
    for pause in (1, 2, 4, 8):
        bench.respond(500)
        bench.clock.advance(pause)
    bench.respond(500)
    bench.clock.advance(1)
    tries = len(bench.sent)
    bench.service.stopService()
    assert len(bench.sent) == tries + 1
    bench.respond(500)
    bench.clock.advance(1)
    assert len(bench.sent) == tries + 2


def test_the_end_waits_five_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """What a hung receiver has not taken by then is given up with one line, and its connection is closed."""
    bench = Bench(ONE, TWO)
    bench.announce("draining")
    stopped = bench.service.stopService()
    bench.respond()
    bench.respond()
    assert bench.to(TWO) == ["draining", "stopped"]
    bench.clock.advance(4.9)
    assert not stopped.called
    bench.clock.advance(0.1)
    assert stopped.called
    assert bench.cancelled == 1
    assert warnings(caplog) == [
        f"webhook {ONE}: given up at the end of the process: draining failing, stopped: no answer yet"
    ]
    assert not bench.clock.getDelayedCalls()


def test_the_end_can_come_during_a_pause() -> None:
    """A receiver that fails to the last leaves nothing to be called."""
    bench = Bench()
    stopped = bench.service.stopService()
    bench.respond(500)
    for _ in range(4):
        bench.clock.advance(1)
        bench.respond(500)
    bench.clock.advance(1)
    assert stopped.called
    assert not bench.clock.getDelayedCalls()


def test_nobody_waits_when_there_is_no_more_time() -> None:
    """The second signal ends the waiting for receivers."""
    bench = Bench()
    stopped = bench.service.stopService()
    assert not stopped.called
    bench.hurried.callback(None)
    assert stopped.called
    assert bench.cancelled == 1
    assert not bench.clock.getDelayedCalls()


def test_facts_outside_kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is a host; what is not known is left out."""
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    monkeypatch.setattr(webhooks, "NAMESPACE_FILE", tmp_path / "namespace")
    assert facts_of(None, {}) == {"host": "laptop"}
    assert facts_of("1.2", {"POD_NAME": ""}) == {"version": "1.2", "host": "laptop"}


def test_facts_inside_kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The downward API's variables win; without them the host name and the service account's file tell."""
    monkeypatch.setattr(socket, "gethostname", lambda: "web-0")
    monkeypatch.setattr(webhooks, "NAMESPACE_FILE", tmp_path / "namespace")
    (tmp_path / "namespace").write_text("shop\n")
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert facts_of(None, inside) == {"host": "web-0", "pod": "web-0", "namespace": "shop"}
    named = inside | {"POD_NAME": "web-1", "POD_NAMESPACE": "test"}
    assert facts_of(None, named) == {"host": "web-0", "pod": "web-1", "namespace": "test"}


def test_an_event_that_the_format_has_not_is_not_sent() -> None:
    """The others go on in order."""
    bench = Bench()
    bench.announce("one", "unknown", "two")
    bench.respond()
    bench.respond()
    assert bench.events == ["one", "two"]


def test_a_probe_is_told_when_its_result_changes() -> None:
    """Before it is asked for the first time, it is taken to be what the format says."""
    bench = Bench()
    for passing in (False, True, True, False, False):
        bench.service.note_probe("readiness", passing, "a reason")
    for passing in (True, False):
        bench.service.note_probe("liveness", passing, "a reason")
    bench.service.note_probe("another", True, "a reason")
    bench.clock.advance(0)
    for _ in range(4):
        bench.respond()
    assert [sent.event for sent in bench.sent] == [
        "readiness passing",
        "readiness failing",
        "liveness failing",
        "another passing",
    ]


def test_a_result_that_is_not_told_does_not_count() -> None:
    """The next one that is told is compared with the last that was."""
    bench = Bench()
    bench.form.quiet = True
    bench.service.note_probe("readiness", True, "")
    bench.form.quiet = False
    bench.service.note_probe("readiness", True, "")
    bench.form.quiet = True
    bench.service.note_probe("readiness", False, "")
    bench.form.quiet = False
    bench.service.note_probe("readiness", True, "")
    bench.clock.advance(0)
    assert [sent.event for sent in bench.sent] == ["readiness passing"]
