"""The connection, by the bytes that go in and come out: no socket, and a clock that the test moves."""

from __future__ import annotations

import errno
import re
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.http1 import (
    MALFORMED,
    Connection,
    HalfClosing,
    Lab,
    Producer,
    Transport,
    get,
    posted,
    streamed,
)
from twistserve.http.body import Body
from twistserve.http.head import Head
from twistserve.http.http1 import Http1Connection
from twistserve.http.limits import LEFT, LINGER, Limits
from twistserve.http.parser import RequestParser
from twistserve.http.response import Response, content_length

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# Responses


def test_the_bytes_of_a_response() -> None:
    """A response is the head as given, Server, Date, an empty line and the body, and the connection stays open."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(get(b"/a?b=c", b"X-A: b"))
    date = rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
    head = rb"HTTP/1\.1 200 OK\r\nContent-Length: 2\r\nServer: twistserve\r\nDate: " + date + rb"\r\n\r\nok"
    assert re.fullmatch(head, connection.sent)
    assert lab.recorder.seen == [(b"GET", b"/a?b=c", [(b"Host", b"x"), (b"X-A", b"b")], b"")]
    assert not connection.closed


def test_head_with_a_length_and_no_body() -> None:
    """A response to HEAD has the length of its body and not the body, and leaves the connection in step."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1", method=b"HEAD"), get(b"/2"))
    lab.recorder.respond()
    lab.recorder.respond()
    assert connection.statuses == [200, 200]
    assert connection.sent.count(b"\r\nContent-Length: 2\r\n") == 2
    assert connection.sent.count(b"ok") == 1
    assert [request.sent for request in lab.told] == []
    lab.site.tell()
    assert [request.sent for request in lab.told] == [0, 2]
    assert not connection.closed


def test_a_response_in_pieces_without_a_length_ends_with_the_connection() -> None:
    """What neither a length nor chunks delimit, as for HTTP/1.0, says Connection: close, and closes."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/", b"Connection: keep-alive", version=b"1.0"))
    lab.recorder.respond(streamed())
    connection.http.write(b"one ")
    connection.http.write(b"two")
    assert not connection.closed
    connection.http.end()
    assert b"\r\nConnection: close\r\n" in connection.sent
    assert connection.sent.endswith(b"one two")
    assert connection.closed


def test_a_response_in_pieces_without_a_length_is_chunked() -> None:
    """In HTTP/1.1 chunks delimit it, and the connection goes on; an empty piece is not the end."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/") + get(b"/next"))
    lab.recorder.respond(streamed())
    for piece in (b"one ", b"", b"two"):
        connection.http.write(piece)
    connection.http.end()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in connection.sent
    assert connection.sent.endswith(b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")
    assert lab.recorder.targets == [b"/", b"/next"]
    assert not connection.closed


def test_a_lost_connection_ends_its_requests() -> None:
    """When the client leaves, requests that run are told."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2"))
    told: list[bytes] = []

    class Pending:
        def given_up(self) -> None:
            told.append(b"/1")

        def is_waiting(self) -> bool:
            return True

        def where(self) -> str:
            return "nowhere"

    lab.recorder.pending[0].pending = Pending()
    connection.lose()
    assert told == [b"/1"]
    assert not lab.site.requests
    assert not lab.site.connections
    assert connection.sent == b""
    assert lab.recorder.targets == [b"/1"]


# Pipelines


def test_pipelined_requests_are_handled_one_after_the_other() -> None:
    """The next request starts when the response before it is given, in the order of arrival."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + posted(b"/2", 3) + b"abc" + get(b"/3"))
    for number, uris in enumerate(([b"/1"], [b"/1", b"/2"], [b"/1", b"/2", b"/3"])):
        assert lab.recorder.targets == uris
        assert len(connection.statuses) == number
        lab.recorder.respond()
    assert connection.statuses == [200, 200, 200]
    assert lab.recorder.seen[1][3] == b"abc"
    assert not connection.closed


def test_a_long_pipeline_of_immediate_responses() -> None:
    """Thousands of requests in one read are responded to without exhausting the stack."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(get(b"/") * 5000)
    assert connection.statuses == [200] * 5000


def test_a_long_pipeline_behind_a_slow_request() -> None:
    """Thousands of requests that waited for one are responded to without exhausting the stack."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/") * 5000)
    lab.recorder.at_once = True
    lab.recorder.respond()
    assert connection.statuses == [200] * 5000


def test_reading_pauses_while_a_request_runs() -> None:
    """What comes while a request runs stops the reading; the response to the last request resumes it."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1"))
    assert not connection.paused
    connection.feed(get(b"/2"))
    assert connection.paused
    lab.recorder.respond()
    assert lab.recorder.targets == [b"/1", b"/2"]
    assert connection.paused
    lab.recorder.respond()
    assert not connection.paused
    connection.feed(get(b"/3"))
    assert lab.recorder.targets == [b"/1", b"/2", b"/3"]


def test_reading_resumes_for_a_request_that_came_in_part() -> None:
    """Half a request that came while another ran is completed afterwards."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1"), posted(b"/2", 4) + b"ab")
    assert connection.paused
    lab.recorder.respond()
    assert not connection.paused
    connection.feed(b"cd")
    assert lab.recorder.seen[1][3] == b"abcd"


# Refusals


@pytest.mark.parametrize("following", [b"", get(b"/after")], ids=["alone", "followed"])
def test_a_refusal(following: bytes) -> None:
    """A malformed request is a 400 that closes; nothing of it or after it reaches the handler."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(MALFORMED + following)
    assert connection.statuses == [400]
    assert b"\r\nConnection: close\r\n" in connection.sent
    assert connection.closed
    connection.feed(get(b"/later"))
    assert connection.statuses == [400]
    assert lab.recorder.seen == []


def test_an_error_of_ours_is_not_called_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised to the transport, which logs it and ends the connection; the parser alone would make it a 400."""

    def fail(*arguments: object) -> None:
        raise KeyError("a mistake")

    for owner, method in ((RequestParser, "_bound_the_rest"), (Head, "check"), (Http1Connection, "_go_on")):
        connection = Lab().connect()
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, fail)
            with pytest.raises(KeyError):
                connection.feed(get(b"/") + b"GET / HTTP/1.1\r\n")
        assert connection.sent == b""


def test_a_refusal_waits_for_the_responses_before_it() -> None:
    """A malformed request in a pipeline is refused after the earlier responses, and nothing later is seen."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2") + MALFORMED + get(b"/3"))
    assert connection.statuses == []
    lab.recorder.respond()
    assert connection.statuses == [200]
    assert not connection.closed
    lab.recorder.respond()
    assert connection.statuses == [200, 200, 400]
    assert connection.sent.count(b"Connection: close") == 1
    assert connection.closed
    assert lab.recorder.targets == [b"/1", b"/2"]


def test_a_refusal_lingers() -> None:
    """After a refusal our side is closed, the input is read and ignored, and the connection ends a moment later."""
    lab = Lab(at_once=True)
    connection = lab.connect(HalfClosing)
    connection.feed(MALFORMED, get(b"/later"))
    assert isinstance(connection.transport, HalfClosing)
    assert connection.transport.half_closed
    assert not connection.closed
    lab.wait(LINGER)
    assert connection.closed
    assert connection.statuses == [400]
    assert lab.recorder.seen == []


# Timeouts


def test_a_connection_that_never_speaks() -> None:
    """Silence from the opening on ends in a close without a word."""
    lab = Lab()
    connection = lab.connect()
    lab.wait(14)
    assert not connection.closed
    lab.wait(1)
    assert connection.closed
    assert connection.sent == b""


def test_a_head_that_trickles() -> None:
    """A head must be complete within the header timeout of its first byte, however it trickles; else 408."""
    lab = Lab()
    connection = lab.connect()
    lab.wait(10)
    connection.feed(b"G")
    lab.wait(14)
    connection.feed(b"ET / HTTP/1.1\r\n")
    assert not connection.closed
    lab.wait(1)
    assert connection.statuses == [408]
    assert b"\r\nConnection: close\r\n" in connection.sent
    assert connection.closed
    connection.feed(b"Host: x\r\n\r\n")
    assert lab.recorder.seen == []


def test_a_body_that_stops() -> None:
    """A body may go on for as long as it moves; silence of the body timeout is a 408."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(posted(b"/", 100))
    for _ in range(5):
        lab.wait(29)
        connection.feed(b"a")
    assert not connection.closed
    lab.wait(30)
    assert connection.statuses == [408]
    assert connection.closed
    assert lab.recorder.seen == []


def test_an_idle_connection_is_closed() -> None:
    """Between requests the keep-alive timeout holds, anew from each response, and the close says nothing."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    for _ in range(2):
        connection.feed(get(b"/"))
        lab.wait(74)
        assert not connection.closed
    lab.wait(1)
    assert connection.closed
    assert connection.statuses == [200, 200]


def test_the_second_head_times_out_too() -> None:
    """From the first byte of a later request the header timeout holds instead of the keep-alive timeout."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(get(b"/"), b"GET")
    lab.wait(15)
    assert connection.statuses == [200, 408]


def test_a_request_that_runs_has_no_timeout() -> None:
    """Neither the request that runs nor what came after it times out; the rest has its time from the response on."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1"), b"GET /2")
    lab.wait(1000)
    assert connection.sent == b""
    lab.recorder.respond()
    lab.wait(14)
    assert connection.statuses == [200]
    lab.wait(1)
    assert connection.statuses == [200, 408]


# 100 Continue


def test_a_body_is_invited() -> None:
    """Expect: 100-continue gets its 100 at once, before the body, and the final response follows it."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(posted(b"/", 2, b"Expect: 100-continue"))
    assert connection.sent == CONTINUE
    connection.feed(b"ab")
    assert connection.statuses == [100, 200]
    assert lab.recorder.seen[0][3] == b"ab"


def test_an_invitation_waits_its_turn() -> None:
    """A body in a pipeline is invited after the response before it."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + posted(b"/2", 2, b"Expect: 100-continue"))
    assert connection.sent == b""
    lab.recorder.respond()
    assert connection.statuses == [200, 100]
    connection.feed(b"ab")
    lab.recorder.respond()
    assert connection.statuses == [200, 100, 200]


@pytest.mark.parametrize(
    "data",
    [
        get(b"/", b"Expect: 100-continue"),
        posted(b"/", 2, b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0") + b"ab",
    ],
    ids=["no body", "HTTP/1.0"],
)
def test_no_invitation(data: bytes) -> None:
    """There is no 100 without a body to come, nor to HTTP/1.0, which does not know it."""
    connection = Lab(at_once=True).connect()
    connection.feed(data)
    assert connection.statuses == [200]


def test_no_invitation_to_what_is_refused() -> None:
    """A body that would be too large is refused, not invited."""
    connection = Lab(limits=Limits(max_body=1)).connect()
    connection.feed(posted(b"/", 2, b"Expect: 100-continue"))
    assert connection.statuses == [413]


# Persistence


@pytest.mark.parametrize(
    ("data", "persistent"),
    [
        (get(b"/"), True),
        (get(b"/", b"Connection: keep-alive"), True),
        (get(b"/", b"Connection: close"), False),
        (get(b"/", b"Connection: x, Close"), False),
        (get(b"/", version=b"1.0"), False),
        (get(b"/", b"Connection: close", version=b"1.0"), False),
        (get(b"/", b"Connection: Keep-Alive", version=b"1.0"), True),
    ],
    ids=["1.1", "1.1 keep-alive", "1.1 close", "1.1 close in a list", "1.0", "1.0 close", "1.0 keep-alive"],
)
def test_persistence(data: bytes, persistent: bool) -> None:
    """The connection goes on or ends as version and Connection say, and the response tells which."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(data + get(b"/after"))
    assert connection.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert lab.recorder.targets == ([b"/", b"/after"] if persistent else [b"/"])
    assert connection.closed is not persistent
    assert (b"\r\nConnection: close\r\n" in connection.sent) is not persistent
    assert (b"\r\nConnection: keep-alive\r\n" in connection.sent) is (persistent and b"HTTP/1.0" in data)


def test_the_last_of_a_pipeline_closes() -> None:
    """Connection: close on a later request does not touch the responses before it."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2", b"Connection: close") + get(b"/3"))
    lab.recorder.respond()
    assert b"Connection: close" not in connection.sent
    lab.recorder.respond()
    assert connection.sent.count(b"\r\nConnection: close\r\n") == 1
    assert connection.statuses == [200, 200]
    assert connection.closed
    assert lab.recorder.targets == [b"/1", b"/2"]


# Clients that read slowly, or not at all


class Slow(Transport):
    """A transport that tells what the client has not taken yet, which the test says."""

    untaken = 0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `Slow` tell."""
    monkeypatch.setattr("twistserve.http.http1.untaken_by_peer", lambda transport: getattr(transport, "untaken", 0))


def streaming(lab: Lab) -> tuple[Connection, Producer]:
    """A connection on which a response is streamed, and the transport is full."""
    connection, response = lab.connect(Slow), streamed(length=100)
    connection.feed(get(b"/stream"))
    lab.recorder.pending.pop().connection.respond(response)
    connection.http.write(b"block")
    connection.http.pauseProducing()
    return connection, response.producer


@pytest.mark.usefixtures("slow")
def test_a_client_that_stops_reading_a_stream_is_given_up() -> None:
    """Not while it reads, however slowly, and not while the application has nothing to say."""
    lab = Lab()
    connection, stream = streaming(lab)
    assert stream.told == ["pause"]
    assert isinstance(connection.transport, Slow)
    for untaken in (900, 800, 700):
        connection.transport.untaken = untaken
        lab.wait(76)
        assert not connection.transport.disconnecting
    lab.wait(76)
    assert connection.transport.disconnecting
    connection, stream = streaming(lab)
    connection.http.resumeProducing()
    assert stream.told == ["pause", "resume"]
    lab.wait(1000)
    assert not connection.closed
    connection.http.stopProducing()
    assert stream.told[-1] == "stop"


def test_a_stream_that_begins_while_the_transport_is_full_waits() -> None:
    """What was sent before is still on its way."""
    lab = Lab()
    connection, response = lab.connect(), streamed(length=0)
    connection.feed(get(b"/stream"))
    connection.http.pauseProducing()
    lab.recorder.respond(response)
    assert response.producer.told == ["pause"]
    connection.http.resumeProducing()
    assert response.producer.told == ["pause", "resume"]
    connection.http.end()
    connection.http.resumeProducing()
    assert response.producer.told == ["pause", "resume"]


def test_requests_that_come_while_the_transport_is_full_wait() -> None:
    """Nothing more is read then, and what is malformed is refused after them."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1"))
    lab.recorder.respond(streamed(length=0))
    connection.http.pauseProducing()
    connection.http.end()
    assert not connection.paused
    connection.feed(get(b"/2") + MALFORMED)
    assert (lab.recorder.targets, connection.statuses, connection.paused) == ([b"/1"], [200], True)
    connection.http.resumeProducing()
    lab.recorder.respond()
    assert (lab.recorder.targets, connection.statuses) == ([b"/1", b"/2"], [200, 200, 400])


@pytest.mark.usefixtures("slow")
def test_the_time_to_read_a_response_is_not_the_next_ones() -> None:
    """A request that is begun once the client has read runs as long as it likes."""
    lab = Lab()
    connection = lab.connect(Slow)
    connection.feed(get(b"/1") + get(b"/2"))
    connection.http.pauseProducing()
    lab.recorder.respond()
    connection.http.resumeProducing()
    assert lab.recorder.targets == [b"/1", b"/2"]
    lab.wait(1000)
    assert not connection.closed
    lab.recorder.respond()
    assert connection.statuses == [200, 200]


class FullDisk(BytesIO):
    """A body's file whose last bytes do not fit on the disk."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_body_that_cannot_be_closed() -> None:
    """What a file holds back is written when it is closed: the connection ends as any other, refused ones too."""
    lab = Lab()
    for end in (Connection.lose, lambda connection: lab.wait(31)):
        connection = lab.connect()
        connection.feed(posted(b"/1", 10) + b"abc")
        body = connection.http._parser._body = Body(100)
        body._file = FullDisk()
        end(connection)
        assert connection.statuses == ([] if end is Connection.lose else [408])
        connection.lose()
        assert not lab.site.connections


# What becomes of a response


def test_a_response_that_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is aborted, so that it never looks complete, and the request counts as a 500."""
    lab = Lab()
    connection = lab.connect()
    aborted: list[bool] = []
    monkeypatch.setattr(connection.transport, "abortConnection", lambda: aborted.append(True), raising=False)
    connection.feed(get(b"/"))
    lab.recorder.respond(streamed())
    connection.http.write(b"half")
    connection.http.abort()
    lab.site.tell()
    assert ([request.status for request in lab.told], aborted, lab.site.requests) == ([500], [True], set())
    assert not connection.sent.endswith(b"0\r\n\r\n")
    connection.lose()
    lab.site.tell()
    assert len(lab.told) == 1


def test_a_response_to_a_connection_that_is_aborted() -> None:
    """It does no harm: what responds is told of the loss a moment later."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/"))
    connection.transport.abortConnection = lambda: None  # type: ignore[method-assign]
    connection.http.abortConnection()
    lab.recorder.respond()
    connection.lose()
    assert lab.site.requests == set()


def test_the_fields_that_the_connection_adds() -> None:
    """X-Request-ID where the request has one; Connection and the framing are never the handler's to say."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/"))
    lab.recorder.pending[0].request_id = b"one"
    lab.recorder.respond(streamed(fields=[(b"Connection", b"x"), (b"Transfer-Encoding", b"x"), (b"X-A", b"b")]))
    head = connection.sent.partition(b"\r\n\r\n")[0].split(b"\r\n")
    names = [line.partition(b":")[0] for line in head[1:]]
    assert names == [b"X-A", b"X-Request-ID", b"Transfer-Encoding", b"Server", b"Date"]


def test_the_first_part_of_a_body_goes_with_the_head() -> None:
    """In one piece, for one system call; the producer writes the rest, and all of it is counted."""
    lab = Lab()
    connection = lab.connect()
    sent: list[list[bytes]] = []
    connection.http._send = lambda pieces: sent.append(list(pieces))
    connection.feed(get(b"/1") + get(b"/2"))
    lab.recorder.respond(Response(200, [content_length(8)], b"one ", producer=Producer(), length=8))
    assert [pieces[-1] for pieces in sent] == [b"one "]
    connection.http.write(b"two.")
    connection.http.end()
    lab.recorder.respond(Response(200, [], b"one ", producer=Producer()))
    assert sent[-1][-3:] == [b"4\r\n", b"one ", b"\r\n"]
    connection.http.end()
    lab.site.tell()
    assert [request.sent for request in lab.told] == [8, 4]


def test_a_pull_producer() -> None:
    """The transport asks it for more in the place of the connection, which is back when the response has ended."""

    class Pulled(Producer):
        def begin(self, connection: Any) -> None:
            connection.registerProducer(self, False)

    lab = Lab()
    connection, producer = lab.connect(), Pulled()
    connection.feed(get(b"/"))
    lab.recorder.respond(Response(200, [content_length(4)], producer=producer, length=4))
    assert connection.transport.producer is producer
    connection.http.write(b"body")
    connection.http.end()
    assert cast("object", connection.transport.producer) is connection.http
    assert connection.http.deadline == 75


def test_a_drain_answers_all_of_a_pipeline_that_is_handled_at_once() -> None:
    """The first response does not close the connection while requests that came with it wait."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    lab.site.drain()
    connection.feed(get(b"/1") + get(b"/2") + get(b"/3"))
    assert lab.recorder.targets == [b"/1", b"/2", b"/3"]
    assert connection.sent.count(b"Connection: close") == 1
    assert connection.closed


# Clients that end their sending side


class Waiting:
    """What responds later; `waits` says whether that is for a thread."""

    def __init__(self, waits: bool = True) -> None:
        self.waits, self.left = waits, 0

    def given_up(self) -> None:
        self.left += 1

    def is_waiting(self) -> bool:
        return self.waits

    def where(self) -> str:
        return "nowhere"


def test_a_client_that_half_closes_is_responded_to() -> None:
    """All that it has asked for (RFC 9112 section 9.6); then the connection is closed."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2"))
    connection.http.readConnectionLost()
    lab.wait(1000)
    for number in range(2):
        assert not connection.closed
        lab.recorder.respond()
        assert len(connection.statuses) == number + 1
    assert connection.sent.count(b"\r\nConnection: close\r\n") == 1
    assert connection.closed


@pytest.mark.parametrize("data", [b"", get(b"/"), posted(b"/", 5) + b"abc", b"GET / HT"])
def test_a_client_that_half_closes_and_waits_for_nothing(data: bytes) -> None:
    """Its connection is closed without a word: idle, or with a request that will never be complete."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(data)
    connection.http.readConnectionLost()
    assert connection.closed
    assert connection.statuses == ([200] if data == get(b"/") else [])
    connection.lose()
    assert (len(lab.site.connections), lab.site.requests) == (0, set())


def test_a_client_that_half_closes_during_its_response() -> None:
    """It has the rest of it, whose head said that the connection goes on; then that ends."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/"))
    lab.recorder.respond(streamed(length=4))
    connection.http.readConnectionLost()
    lab.wait(1000)
    connection.http.write(b"body")
    connection.http.end()
    assert connection.sent.endswith(b"body")
    assert connection.closed


@pytest.mark.parametrize("waits", [True, False])
def test_a_request_that_waits_while_its_client_may_have_left(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is dropped, and counted as left, when it has waited so long for a thread; one that runs goes on."""
    lab = Lab()
    now = [100.0]
    for module in ("http1", "request", "site"):
        monkeypatch.setattr(f"twistserve.http.{module}.time", SimpleNamespace(perf_counter=lambda: now[0]))
    connection, pending = lab.connect(), Waiting(waits)
    monkeypatch.setattr(connection.transport, "abortConnection", connection.lose, raising=False)
    connection.feed(get(b"/"))
    lab.recorder.pending[0].pending = pending
    now[0] += 2
    connection.http.readConnectionLost()
    now[0] += LEFT - 2.1
    lab.wait(LEFT - 2.1)
    assert (pending.left, lab.told) == (0, [])
    now[0] += 1.1
    lab.wait(1.1)
    assert pending.left == waits
    assert [(request.status, request.left) for request in lab.told] == ([(499, True)] if waits else [])
    if not waits:
        lab.wait(1000)
        lab.recorder.respond()
        assert connection.statuses == [200]


def test_a_slow_response_to_a_client_that_half_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may pause for as long as one to any other client, though it has waited for a thread at the beginning."""
    lab = Lab()
    connection, aborted = lab.connect(), list[bool]()
    monkeypatch.setattr(connection.transport, "abortConnection", lambda: aborted.append(True), raising=False)
    connection.feed(get(b"/"))
    lab.recorder.pending[0].pending = Waiting(True)
    connection.http.readConnectionLost()
    lab.recorder.respond(streamed(length=4))
    connection.http.write(b"bo")
    lab.wait(1000)
    lab.wait(1000)
    assert not aborted
    connection.http.write(b"dy")
    connection.http.end()
    assert connection.sent.endswith(b"body")


def test_a_refusal_of_a_client_that_half_closes() -> None:
    """It is sent after the responses before it all the same."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/") + MALFORMED)
    connection.http.readConnectionLost()
    lab.recorder.respond()
    assert connection.statuses == [200, 400]
    assert connection.closed
