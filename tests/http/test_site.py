"""The site: its connections, what it counts and logs of them, and their end; a clock that the test moves."""

from __future__ import annotations

import pytest

from tests.support.http1 import HalfClosing, Lab, get
from twistserve.http.limits import FRESH, LINGER, Limits

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
