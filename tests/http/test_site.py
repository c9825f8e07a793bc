"""The site: what it tells of requests, and what is cut off; a clock that the test moves."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest

from tests.support.http1 import MALFORMED, Lab, get, posted, streamed
from twistserve.http.limits import Limits
from twistserve.http.request import Request
from twistserve.http.site import BATCH, BATCH_DELAY


def told(lab: Lab) -> list[str]:
    """Status and target of the requests that a site has told of."""
    return [f"{request.status} {request.target.decode()}" for request in lab.told]


def test_responses_are_told_of_together() -> None:
    """A moment after the first, or at once when there are many; each once."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(get(b"/1"), get(b"/2"))
    assert (told(lab), lab.site.responses) == ([], 2)
    lab.clock.advance(BATCH_DELAY)
    assert told(lab) == ["200 /1", "200 /2"]
    connection.feed(get(b"/") * BATCH)
    assert len(lab.told) == BATCH + 2
    lab.clock.advance(BATCH_DELAY)
    assert (len(lab.told), lab.site.responses) == (BATCH + 2, BATCH + 2)


def test_a_client_that_leaves() -> None:
    """Its request is told of as one that was left, with status 499, and is no response."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/left"))
    connection.lose()
    lab.site.tell()
    assert (told(lab), lab.told[0].left, lab.site.responses) == (["499 /left"], True, 0)


def test_what_is_refused() -> None:
    """It is told of by address, status and reason."""
    lab = Lab(limits=Limits(max_body=1))
    for data in (MALFORMED, posted(b"/", 2)):
        lab.connect().feed(data)
    peer = lab.refused[0][0]
    assert lab.refused == [(peer, 400, "malformed"), (peer, 413, "body_too_large")]


def test_what_is_told_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """The connection goes on, and ends, all the same."""

    def fail(*arguments: object) -> None:
        raise SystemExit("a mistake")

    lab = Lab(at_once=True)
    lab.site._on_responses = lab.site._on_refusal = fail
    connection = lab.connect()
    connection.feed(get(b"/"))
    lab.site.tell()
    connection.feed(MALFORMED)
    assert (connection.statuses, connection.closed) == ([200, 400], True)
    assert caplog.text.count("serving goes on") == 1


def test_what_is_cut_off_is_logged_with_where_it_stood(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that run, that wait behind others, and that have come in part; those that run count as 503."""
    lab = Lab()
    connection = lab.connect()
    monkeypatch.setattr(connection.transport, "abortConnection", connection.lose, raising=False)
    connection.feed(get(b"/running") + get(b"/waiting") + posted(b"/coming", 5)[:-2])
    left: list[bool] = []
    lab.recorder.pending[0].pending = SimpleNamespace(where=lambda: "in a view", given_up=lambda: left.append(True))
    lab.wait(7)
    lab.site.abort()
    cut = [line for line in caplog.messages if line.startswith("cut off after ")]
    assert cut[0].endswith("s: GET /running: in a view")
    assert cut[1].endswith("s: GET /waiting: waiting for the response before it")
    assert cut[2].startswith("cut off after 7.0 s: ")
    assert cut[2].endswith("its head was being received")
    assert (told(lab), lab.site.responses, left) == (["503 /running"], 1, [True])
    assert (lab.site.requests, len(lab.site.connections)) == (set(), 0)


def test_what_fails_when_a_client_leaves(caplog: pytest.LogCaptureFixture) -> None:
    """The request is over all the same: neither its body that cannot be closed, nor what is told, keeps it."""

    def fail_to_close() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail() -> None:
        raise KeyError("a mistake")

    lab = Lab()
    connection = lab.connect()
    connection.feed(posted(b"/", 4) + b"body" + get(b"/next"))
    lab.recorder.pending[0].body = SimpleNamespace(close=fail_to_close)  # type: ignore[assignment]
    lab.recorder.pending[0].pending = SimpleNamespace(given_up=fail)
    connection.lose()
    assert (lab.site.requests, len(lab.site.connections), told(lab)) == (set(), 0, ["499 /"])
    assert "a mistake" in caplog.text


def test_options_of_the_server_itself() -> None:
    """`OPTIONS *` is for no handler, and is responded to at once."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"*", method=b"OPTIONS"))
    assert (connection.statuses, lab.recorder.seen, lab.site.requests) == ([200], [], set())
    assert b"\r\nContent-Length: 0\r\n" in connection.sent


@pytest.mark.parametrize("kind", [KeyError, SystemExit])
def test_a_handler_that_raises(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """The response is a 500 that shows nothing of the error, which is logged; the connection goes on."""

    def fail(request: Request) -> None:
        raise kind("secret")

    connection = Lab(handler=fail).connect()
    connection.feed(get(b"/"), get(b"/"))
    assert connection.statuses == [500, 500]
    assert b"secret" not in connection.sent
    assert caplog.text.count("GET / could not be handled") == 2
    assert "secret" in caplog.text
    assert not connection.closed


@pytest.mark.parametrize("complete", [True, False])
def test_a_handler_that_raises_once_it_has_responded(complete: bool) -> None:
    """What was sent cannot be taken back: a response that is complete stays so, another is broken off."""

    def fail(request: Request) -> None:
        lab.recorder(request)
        lab.recorder.respond(*([] if complete else [streamed()]))
        raise KeyError

    lab = Lab(handler=fail)
    connection = lab.connect()
    aborted: list[bool] = []
    connection.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    connection.feed(get(b"/"))
    lab.site.tell()
    assert (told(lab), aborted) == ((["200 /"], []) if complete else (["500 /"], [True]))


@pytest.mark.parametrize("installed", [True, False])
def test_protocols_that_tls_may_agree_on(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """HTTP/2 is offered where it is wanted and h2 is installed."""
    monkeypatch.setattr("twistserve.http.site.find_spec", lambda name: object() if installed else None)
    site = Lab().site
    assert site.acceptableProtocols() == [b"http/1.1"]
    site.offer_http2()
    assert site.acceptableProtocols() == ([b"h2"] if installed else []) + [b"http/1.1"]
