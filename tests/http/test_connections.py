"""The connections of a site: how many there may be, how long they may be silent, and their end."""

from __future__ import annotations

import pytest

from tests.support.http1 import HalfClosing, Lab, get, streamed
from twistserve.http.connections import SWEEP, SWEEP_OF_A_DRAIN
from twistserve.http.limits import FRESH, LINGER, QUIET, Limits

# The drain


def test_a_drain_without_connections_is_done_at_once() -> None:
    """There is nothing to wait for."""
    done: list[None] = []
    Lab().site.drain().addCallback(done.append)
    assert done == [None]


def test_a_drain() -> None:
    """Idle connections close now, the others after a response that says so; the drain ends with the last of them."""
    lab = Lab()
    done: list[None] = []
    idle, running, arriving = [lab.connect() for _ in range(3)]
    idle.feed(get(b"/idle"))
    lab.recorder.respond()
    lab.wait(QUIET)
    running.feed(get(b"/running"))
    arriving.feed(b"GET /arriving HT")
    lab.site.drain().addCallback(done.append)
    assert [each.closed for each in (idle, running, arriving)] == [True, False, False]
    idle.lose()
    lab.recorder.respond()
    arriving.feed(b"TP/1.1\r\nHost: x\r\n\r\n")
    lab.recorder.respond()
    for connection in (running, arriving):
        assert connection.statuses == [200]
        assert b"\r\nConnection: close\r\n" in connection.sent
        assert connection.closed
    running.lose()
    assert done == []
    arriving.lose()
    assert done == [None]


def test_the_end_is_announced() -> None:
    """From then on each response says that the connection ends, the last of a pipeline; new connections are served."""
    lab = Lab()
    idle, running = lab.connect(), lab.connect()
    idle.feed(get(b"/idle"))
    lab.recorder.respond()
    running.feed(get(b"/1") + get(b"/2"))
    lab.site.announce()
    lab.wait(30)
    assert not idle.closed
    idle.feed(get(b"/next"))
    new = lab.connect()
    new.feed(get(b"/new"))
    for _ in range(4):
        lab.recorder.respond()
    assert lab.recorder.targets == [b"/idle", b"/1", b"/next", b"/new", b"/2"]
    for connection, responses in ((idle, 2), (running, 2), (new, 1)):
        assert connection.statuses == [200] * responses
        assert connection.sent.count(b"\r\nConnection: close\r\n") == 1
        assert connection.sent.rindex(b"Connection: close") > connection.sent.rindex(b"HTTP/1.1 200")
        assert connection.closed


def test_a_drain_waits_for_what_a_connection_may_be_about_to_bring() -> None:
    """One that had a response within the last second has until the end of that; what it brings is responded to."""
    lab = Lab()
    quiet, busy = lab.connect(), lab.connect()
    for connection in (quiet, busy):
        connection.feed(get(b"/"))
        lab.recorder.respond()
    lab.clock.advance(0.4)
    lab.site.drain()
    lab.wait(0.5)
    assert (quiet.closed, busy.closed) == (False, False)
    busy.feed(get(b"/another"))
    lab.wait(0.2)
    assert (quiet.closed, busy.closed) == (True, False)
    lab.recorder.respond()
    assert busy.statuses == [200, 200]
    assert b"\r\nConnection: close\r\n" in busy.sent
    assert busy.closed


def test_a_drain_waits_where_a_head_could_not_announce_it() -> None:
    """A response that began before: its connection may bring another request for a second."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/"))
    lab.recorder.respond(streamed(length=0))
    lab.wait(10)
    lab.site.drain()
    connection.http.end()
    assert not connection.closed
    lab.wait(QUIET)
    assert connection.closed


def test_a_drain_does_not_wait_for_a_client_that_does_not_close() -> None:
    """One that has taken everything, as over TLS, where both close; nor longer than a connection may be idle."""
    lab = Lab(limits=Limits(keep_alive_timeout=0.5))
    open_ended, short = lab.connect(), lab.connect()
    aborted: list[bool] = []
    open_ended.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    for connection in (open_ended, short):
        connection.feed(get(b"/"))
        lab.recorder.respond()
    lab.site.drain()
    lab.wait(0.5)
    assert (open_ended.closed, short.closed) == (True, True)
    lab.wait(LINGER - 0.1)
    assert aborted == []
    lab.wait(0.1)
    assert aborted == [True]


def test_a_drain_looks_often() -> None:
    """It is over soon after the last idle connection may be closed."""
    lab = Lab()
    lab.site.startFactory()
    connection = lab.connect()
    connection.feed(get(b"/"))
    lab.recorder.respond()
    lab.site.drain()
    lab.clock.pump([SWEEP_OF_A_DRAIN] * 11)
    assert connection.closed
    lab.site.abort()


def test_a_drain_on_which_a_connection_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one is aborted, whatever it was; the others drain."""
    lab = Lab()
    connections = [lab.connect() for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.feed(get(b"/%d" % number))
        lab.recorder.respond()
    lab.wait(QUIET)

    def fail() -> None:
        raise KeyError("a mistake")

    for connection in connections[:2]:
        monkeypatch.setattr(connection.http, "drain", fail)
        monkeypatch.setattr(connection.transport, "abortConnection", connection.lose, raising=False)
    done: list[None] = []
    lab.site.drain().addCallback(done.append)
    assert [each.closed for each in connections] == [False, False, True]
    assert list(lab.site.connections) == [connections[2].http]
    connections[2].lose()
    assert done == [None]


def test_a_drain_gives_a_new_connection_time_for_its_request() -> None:
    """It may be on its way; a connection that sends none is closed without a word."""
    lab = Lab()
    quick, silent = lab.connect(), lab.connect()
    lab.site.drain()
    quick.feed(get(b"/quick"))
    lab.recorder.respond()
    assert quick.statuses == [200]
    assert not silent.closed
    lab.wait(FRESH + 0.1)
    assert silent.closed
    assert silent.sent == b""


def test_a_drain_responds_to_what_is_pipelined() -> None:
    """Only the last response closes the connection, for what follows a closing one counts as not asked."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2") + b"GET /3 HT")
    lab.site.drain()
    lab.recorder.respond()
    lab.recorder.respond()
    assert b"Connection: close" not in connection.sent
    connection.feed(b"TP/1.1\r\nHost: x\r\n\r\n")
    lab.recorder.respond()
    assert connection.statuses == [200, 200, 200]
    assert connection.sent.count(b"Connection: close") == 1
    assert connection.closed


def test_a_drain_half_closes_after_a_response() -> None:
    """Closed with a request unread, the kernel would reset the connection, and the response could be lost with it."""
    lab = Lab()
    connection = lab.connect(HalfClosing)
    connection.feed(get(b"/1"))
    lab.site.drain()
    lab.recorder.respond()
    transport = connection.transport
    assert isinstance(transport, HalfClosing)
    assert transport.half_closed
    assert not connection.closed
    connection.feed(get(b"/late"))
    assert lab.recorder.targets == [b"/1"]
    lab.wait(LINGER + 0.1)
    assert connection.closed


def test_a_drain_responds_to_what_waits_behind_a_response_that_is_read_slowly() -> None:
    """Nothing runs and nothing arrives, and there is a request all the same."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2"))
    connection.http.pauseProducing()
    lab.recorder.respond()
    lab.site.drain()
    assert not connection.closed
    connection.http.resumeProducing()
    lab.recorder.respond()
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
    assert lab.recorder.targets == [b"/1", b"/2"]
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
    lab.site.connections.on_full = told.append
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
    assert lab.recorder.targets == [b"/1", b"/2"]


# Silence


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


def test_what_came_while_the_process_stood_still_is_read_first() -> None:
    """Requests that came before their connections' time was up are found; a silent one ends."""
    lab = Lab(at_once=True)
    lab.site.startFactory()
    lab.clock.pump([SWEEP] * 5)
    served, kept, silent = lab.connect(), lab.connect(), lab.connect()
    kept.feed(get(b"/1"))
    lab.clock.advance(100)
    assert not any(connection.closed for connection in (served, kept, silent))
    served.feed(get(b"/2"))
    kept.feed(get(b"/3"))
    lab.clock.advance(SWEEP_OF_A_DRAIN)
    assert lab.recorder.targets == [b"/1", b"/2", b"/3"]
    assert [connection.closed for connection in (served, kept, silent)] == [False, False, True]
    lab.site.abort()


def test_silent_connections_are_looked_for_by_a_reactor_that_is_always_late() -> None:
    """A moment after it was late; a site that has ended has no timer then either."""
    lab = Lab()
    lab.site.startFactory()
    connection = lab.connect()
    lab.clock.pump([3.5 * SWEEP] * 6)
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
        monkeypatch.setattr(connection.http, "timed_out", fail)
        monkeypatch.setattr(
            connection.transport, "abortConnection", lambda number=number: aborted.append(number), raising=False
        )
    lab.wait(15)
    assert (sorted(aborted), connections[2].closed) == ([0, 1], True)
    assert caplog.text.count("a connection failed") == 2
