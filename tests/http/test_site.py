"""The site: its connections, what it counts and logs of them, and their end; a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.web.resource import Resource

from tests.support.http1 import MALFORMED, HalfClosing, Lab, Recorder, get, posted
from twistserve.http.limits import FRESH, LINGER, Limits
from twistserve.http.request import Request
from twistserve.http.site import ACCOUNT_DELAY, ACCOUNT_SIZE, SWEEP, Counts

# The drain


def test_a_drain_without_connections_is_done_at_once() -> None:
    """There is nothing to wait for."""
    done: list[None] = []
    Lab().site.drain().addCallback(done.append)
    assert done == [None]


def test_a_drain() -> None:
    """Idle connections close now, the others after an answer that says so; the drain ends with the last of them."""
    lab = Lab()
    done: list[None] = []
    idle, running, arriving = [lab.connect() for _ in range(3)]
    idle.feed(get(b"/idle"))
    lab.recorder.answer()
    running.feed(get(b"/running"))
    arriving.feed(b"GET /arriving HT")
    lab.site.drain().addCallback(done.append)
    assert [each.closed for each in (idle, running, arriving)] == [True, False, False]
    idle.lose()
    lab.recorder.answer()
    arriving.feed(b"TP/1.1\r\nHost: x\r\n\r\n")
    lab.recorder.answer()
    for connection in (running, arriving):
        assert connection.statuses == [200]
        assert b"\r\nConnection: close\r\n" in connection.sent
        assert connection.closed
    running.lose()
    assert done == []
    arriving.lose()
    assert done == [None]


def test_a_drain_on_which_a_connection_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one is aborted, whatever it was; the others drain."""
    lab = Lab()
    connections = [lab.connect() for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.feed(get(b"/%d" % number))
        lab.recorder.answer()

    def fail() -> None:
        raise KeyError("a mistake")

    for connection in connections[:2]:
        monkeypatch.setattr(connection.channel, "drain", fail)
        monkeypatch.setattr(connection.transport, "abortConnection", connection.lose, raising=False)
    done: list[None] = []
    lab.site.drain().addCallback(done.append)
    assert [each.closed for each in connections] == [False, False, True]
    assert lab.site.channels == {connections[2].channel}
    connections[2].lose()
    assert done == [None]


def test_a_drain_gives_a_new_connection_time_for_its_request() -> None:
    """It may be on its way; a connection that sends none is closed without a word."""
    lab = Lab()
    quick, silent = lab.connect(), lab.connect()
    lab.site.drain()
    quick.feed(get(b"/quick"))
    lab.recorder.answer()
    assert quick.statuses == [200]
    assert not silent.closed
    lab.wait(FRESH + 0.1)
    assert silent.closed
    assert silent.sent == b""


def test_a_drain_answers_what_is_pipelined() -> None:
    """Only the last answer closes the connection, for what follows a closing answer counts as not asked."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2") + b"GET /3 HT")
    lab.site.drain()
    lab.recorder.answer()
    lab.recorder.answer()
    assert b"Connection: close" not in connection.sent
    connection.feed(b"TP/1.1\r\nHost: x\r\n\r\n")
    lab.recorder.answer()
    assert connection.statuses == [200, 200, 200]
    assert connection.sent.count(b"Connection: close") == 1
    assert connection.closed


def test_a_drain_half_closes_after_an_answer() -> None:
    """Closed with a request unread, the kernel would reset the connection, and the answer could be lost with it."""
    lab = Lab()
    connection = lab.connect(HalfClosing)
    connection.feed(get(b"/1"))
    lab.site.drain()
    lab.recorder.answer()
    transport = connection.transport
    assert isinstance(transport, HalfClosing)
    assert transport.half_closed
    assert not connection.closed
    connection.feed(get(b"/late"))
    assert lab.recorder.uris == [b"/1"]
    lab.wait(LINGER + 0.1)
    assert connection.closed


def test_a_drain_answers_what_waits_behind_an_answer_that_is_read_slowly() -> None:
    """Nothing runs and nothing arrives, and there is a request all the same."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2"))
    connection.channel.pauseProducing()
    lab.recorder.answer()
    lab.site.drain()
    assert not connection.closed
    connection.channel.resumeProducing()
    lab.recorder.answer()
    assert connection.statuses == [200, 200]
    assert connection.closed


# The limit on connections


def test_connections_beyond_the_limit_wait() -> None:
    """They are not read, do not time out, and are let in one for one, the oldest first."""
    lab = Lab(at_once=True, limits=Limits(max_connections=1, header_timeout=15))
    first, second, third = [lab.connect() for _ in range(3)]
    assert [each.paused for each in (first, second, third)] == [False, True, True]
    first.feed(get(b"/1"))
    lab.wait(20)
    assert not second.closed
    first.lose()
    assert [each.paused for each in (second, third)] == [False, True]
    second.feed(get(b"/2"))
    assert lab.recorder.uris == [b"/1", b"/2"]
    lab.wait(1)
    assert not second.closed
    second.lose()
    assert not third.paused
    lab.wait(15)
    assert third.closed


def test_accepting_stops_at_the_limit_and_goes_on_below() -> None:
    """So that what is beyond waits in the kernel, and costs neither a file nor memory here."""
    lab = Lab(limits=Limits(max_connections=2))
    told: list[bool] = []
    lab.site.on_full = told.append
    first, second = lab.connect(), lab.connect()
    third = lab.connect()  # accepted together with the second
    assert told == [True]
    first.lose()
    assert told == [True]
    second.lose()
    third.lose()
    assert told == [True, False]


def test_a_connection_that_leaves_while_it_waits_lets_nobody_in() -> None:
    """Only the end of a connection that was let in makes room."""
    lab = Lab(limits=Limits(max_connections=1))
    first, second, third = [lab.connect() for _ in range(3)]
    second.lose()
    assert third.paused
    first.lose()
    assert not third.paused


def test_a_drain_leaves_those_that_wait_for_room_their_turn() -> None:
    """However long the others take: each is let in, and has a moment for its request."""
    lab = Lab(at_once=False, limits=Limits(max_connections=1))
    first, waiting = lab.connect(), lab.connect()
    first.feed(get(b"/1"))
    lab.site.drain()
    lab.wait(100)
    assert not waiting.closed
    first.lose()
    waiting.feed(get(b"/2"))
    assert lab.recorder.uris == [b"/1", b"/2"]


# Counting and logging


class Noting:
    """Counts and an access log that note what they are told."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.disconnects = 0
        self.rejected: list[str] = []
        self.lines: list[str] = []

    def inc(self) -> None:
        self.disconnects += 1

    def reject(self, reason: str) -> Any:
        self.rejected.append(reason)
        return SimpleNamespace(inc=lambda: None)

    def answered(self, requests: Sequence[Any]) -> None:
        self.lines += [f"{request.code} {request.uri.decode()}" for request in requests]

    def refused(self, channel: Any, status: int) -> None:
        self.lines.append(f"refused {status}")

    def watch(self, lab: Lab) -> Noting:
        lab.site._counts = Counts(lambda request: self.recorded.append(request.code), self, self.reject)
        lab.site.access_log = self  # type: ignore[assignment]
        return self


def test_responses_are_accounted_for_together() -> None:
    """A moment after the first, or at once when there are many; each once."""
    lab = Lab(at_once=True)
    noting = Noting().watch(lab)
    connection = lab.connect()
    connection.feed(get(b"/1"), get(b"/2"))
    assert (noting.recorded, lab.site.answered) == ([], 0)
    lab.clock.advance(ACCOUNT_DELAY)
    assert (noting.recorded, noting.lines, lab.site.answered) == ([200, 200], ["200 /1", "200 /2"], 2)
    connection.feed(get(b"/") * ACCOUNT_SIZE)
    assert lab.site.answered == ACCOUNT_SIZE + 2
    lab.clock.advance(ACCOUNT_DELAY)
    assert len(noting.recorded) == len(noting.lines) == ACCOUNT_SIZE + 2


def test_a_client_that_leaves_is_counted_and_logged() -> None:
    """As a disconnect, with status 499 in the log; it is not counted as a response."""
    lab = Lab()
    noting = Noting().watch(lab)
    connection = lab.connect()
    connection.feed(get(b"/left"))
    connection.lose()
    lab.site.account()
    assert (noting.disconnects, noting.recorded, noting.lines) == (1, [], ["499 /left"])


def test_a_refused_request_is_counted_by_its_reason() -> None:
    """And it has its line, though there is nothing of it that is worth quoting."""
    lab = Lab(limits=Limits(max_body=1))
    noting = Noting().watch(lab)
    for data in (MALFORMED, posted(b"/", 2)):
        lab.connect().feed(data)
    assert noting.rejected == ["malformed", "body_too_large"]
    assert noting.lines == ["refused 400", "refused 413"]


def test_what_is_cut_off_is_logged_with_where_it_stood(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that run, that wait behind others, and that have come in part; those that run count as 503."""
    lab = Lab()
    noting = Noting().watch(lab)
    connection = lab.connect()
    monkeypatch.setattr(connection.transport, "abortConnection", connection.lose, raising=False)
    connection.feed(get(b"/running") + get(b"/waiting") + posted(b"/coming", 5)[:-2])
    lab.recorder.pending[0].exchange = SimpleNamespace(where=lambda: "in a view", client_left=lambda: None)
    lab.wait(7)
    lab.site.abort()
    cut = [line for line in caplog.messages if line.startswith("cut off after ")]
    assert cut[0].endswith("s: GET /running: in a view")
    assert cut[1] == "cut off after 7.0 s: GET /waiting: waiting for the answer before it"
    assert cut[2].startswith("cut off after 7.0 s: ")
    assert cut[2].endswith("its head was being received")
    assert (noting.recorded, noting.lines) == ([503], ["503 /running"])
    assert (lab.site.requests, lab.site.channels) == (set(), set())


# What it is asked for


def test_ids_are_unique() -> None:
    """Within a process and among processes: an id of a request is looked for in the logs of all."""
    sites = [Lab().site for _ in range(2)]
    for site in sites:
        site.startFactory()
    ids = {site.new_id() for site in sites for _ in range(100)}
    assert len(ids) == 200
    for site in sites:
        site.abort()


def test_the_end_of_a_head_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the time of the second in which it is asked for, and says whether the connection goes on."""
    site, now = Lab().site, [784111777.5]
    monkeypatch.setattr("twistserve.http.site.time", SimpleNamespace(time=lambda: now[0]))
    tail = site.tail(True)
    assert tail == b"Server: twistserve\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    assert site.tail(True) is tail
    now[0] += 1
    assert site.tail(False) == b"Server: twistserve\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\nConnection: close\r\n\r\n"


def test_silent_connections_are_looked_for_until_the_end() -> None:
    """Once a second from the start on, also when the port is closed; a site that has ended has no timer."""
    lab = Lab()
    lab.site.startFactory()
    lab.site.stopFactory()
    connection = lab.connect()
    lab.clock.pump([SWEEP] * 16)
    assert connection.closed
    lab.site.abort()
    assert lab.clock.getDelayedCalls() == []


def test_a_connection_that_fails_to_time_out_is_aborted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are looked at all the same, and the log has the error."""
    lab = Lab()
    connections = [lab.connect() for _ in range(3)]
    aborted: list[int] = []

    def fail() -> None:
        raise KeyError("a mistake")

    for number, connection in enumerate(connections[:2]):
        monkeypatch.setattr(connection.channel, "timed_out", fail)
        monkeypatch.setattr(
            connection.transport, "abortConnection", lambda number=number: aborted.append(number), raising=False
        )
    lab.wait(15)
    assert (sorted(aborted), connections[2].closed) == ([0, 1], True)
    assert caplog.text.count("a connection failed") == 2


def test_a_root_that_finds_resources_by_itself() -> None:
    """It is asked for each request, in place of twisted.web's way from one child to the next."""

    class Root(Resource):
        def find(self, request: Request) -> Resource:
            assert request.path == b"/a/b"
            return recorder

    recorder = Recorder(at_once=True)
    connection = Lab(resource=Root()).connect()
    connection.feed(get(b"/a/b"))
    assert (connection.statuses, recorder.uris) == ([200], [b"/a/b"])


@pytest.mark.parametrize("installed", [True, False])
def test_protocols_that_tls_may_agree_on(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """HTTP/2 is offered where h2 is installed."""
    monkeypatch.setattr("twistserve.http.site.find_spec", lambda name: object() if installed else None)
    assert Lab().site.acceptableProtocols() == ([b"h2"] if installed else []) + [b"http/1.1"]
