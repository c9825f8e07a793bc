"""The channel and the site, by the bytes that go in and come out: no socket, and a clock that the test moves."""

from __future__ import annotations

import errno
import re
from io import BytesIO

import pytest
from twisted.web.resource import Resource

from tests.support.http1 import MALFORMED, OK, Connection, HalfClosing, Lab, Transport, get, posted
from twistserve.http.body import Body
from twistserve.http.limits import LINGER, Limits
from twistserve.http.request import Request
from twistserve.http.response import make_head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# Answers


def test_the_bytes_of_an_answer() -> None:
    """An answer is the head as given, Server, Date, an empty line and the body, and the connection stays open."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(get(b"/a?b=c", b"X-A: b"))
    date = rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
    head = rb"HTTP/1\.1 200 OK\r\nContent-Length: 2\r\nServer: twistserve\r\nDate: " + date + rb"\r\n\r\nok"
    assert re.fullmatch(head, connection.sent)
    assert lab.recorder.seen == [(b"GET", b"/a?b=c", [(b"Host", b"x"), (b"X-A", b"b")], b"")]
    assert not connection.closed


def test_a_resource_of_twisted_web() -> None:
    """A resource that returns bytes is answered with their length, to HEAD without the bytes."""

    class Plain(Resource):
        isLeaf = True

        def render_GET(self, request: Request) -> bytes:
            return b"plain"

    connection = Lab(resource=Plain()).connect()
    connection.feed(get(b"/"))
    assert b"\r\nContent-Length: 5\r\n" in connection.sent
    assert connection.sent.endswith(b"\r\n\r\nplain")
    connection.transport.clear()
    connection.feed(get(b"/", method=b"HEAD"))
    assert connection.statuses == [200]
    assert b"\r\nContent-Length: 5\r\n" in connection.sent
    assert connection.sent.endswith(b"\r\n\r\n")
    assert not connection.closed


def test_head_with_a_length_and_no_body() -> None:
    """An answer to HEAD that tells a length and has no body leaves the connection in step."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1", method=b"HEAD"), get(b"/2"))
    lab.recorder.pending.pop(0).send(200, OK, b"")
    lab.recorder.answer()
    assert connection.statuses == [200, 200]
    assert connection.sent.count(b"ok") == 1
    assert not connection.closed


def test_an_answer_in_pieces_without_a_length_ends_with_the_connection() -> None:
    """What neither a length nor chunks delimit, as for HTTP/1.0, says Connection: close, and closes."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/", b"Connection: keep-alive", version=b"1.0"))
    request = lab.recorder.pending.pop()
    request.send_head(200, make_head(200, []))
    request.write(b"one ")
    request.write(b"two")
    assert not connection.closed
    request.finish()
    assert b"\r\nConnection: close\r\n" in connection.sent
    assert connection.sent.endswith(b"one two")
    assert connection.closed


def test_an_answer_in_pieces_without_a_length_is_chunked() -> None:
    """In HTTP/1.1 chunks delimit it, and the connection goes on."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/") + get(b"/next"))
    request = lab.recorder.pending.pop()
    request.send_head(200, make_head(200, []))
    request.write(b"one ")
    request.write(b"two")
    request.finish()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in connection.sent
    assert connection.sent.endswith(b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")
    assert lab.recorder.uris == [b"/", b"/next"]
    assert not connection.closed


def test_a_lost_connection_ends_its_requests() -> None:
    """When the client leaves, requests that run are told and a late answer does no harm."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2"))
    told: list[bytes] = []

    class Exchange:
        def client_left(self) -> None:
            told.append(b"/1")

    lab.recorder.pending[0].exchange = Exchange()  # type: ignore[assignment]
    connection.lose()
    assert told == [b"/1"]
    assert not lab.site.requests
    assert not lab.site.channels
    lab.recorder.answer()
    assert connection.sent == b""
    assert lab.recorder.uris == [b"/1"]


# Pipelines


def test_pipelined_requests_are_answered_one_after_the_other() -> None:
    """The next request starts when the answer before it is given, in the order of arrival."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + posted(b"/2", 3) + b"abc" + get(b"/3"))
    for number, uris in enumerate(([b"/1"], [b"/1", b"/2"], [b"/1", b"/2", b"/3"])):
        assert lab.recorder.uris == uris
        assert len(connection.statuses) == number
        lab.recorder.answer()
    assert connection.statuses == [200, 200, 200]
    assert lab.recorder.seen[1][3] == b"abc"
    assert not connection.closed


def test_a_long_pipeline_of_immediate_answers() -> None:
    """Thousands of requests in one read are answered without exhausting the stack."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(get(b"/") * 5000)
    assert connection.statuses == [200] * 5000


def test_a_long_pipeline_behind_a_slow_request() -> None:
    """Thousands of requests that waited for one are answered without exhausting the stack."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/") * 5000)
    lab.recorder.at_once = True
    lab.recorder.answer()
    assert connection.statuses == [200] * 5000


def test_reading_pauses_while_a_request_runs() -> None:
    """What comes while a request runs stops the reading; the answer of the last request resumes it."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1"))
    assert not connection.paused
    connection.feed(get(b"/2"))
    assert connection.paused
    lab.recorder.answer()
    assert lab.recorder.uris == [b"/1", b"/2"]
    assert connection.paused
    lab.recorder.answer()
    assert not connection.paused
    connection.feed(get(b"/3"))
    assert lab.recorder.uris == [b"/1", b"/2", b"/3"]


def test_reading_resumes_for_a_request_that_came_in_part() -> None:
    """Half a request that came while another ran is completed afterwards."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1"), posted(b"/2", 4) + b"ab")
    assert connection.paused
    lab.recorder.answer()
    assert not connection.paused
    connection.feed(b"cd")
    assert lab.recorder.seen[1][3] == b"abcd"


# Refusals


@pytest.mark.parametrize("following", [b"", get(b"/after")], ids=["alone", "followed"])
def test_a_refusal(following: bytes) -> None:
    """A malformed request is a 400 that closes; nothing of it or after it reaches the resource."""
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

    for method in ("request_begins", "request_complete"):
        connection = Lab().connect()
        monkeypatch.setattr(connection.channel, method, fail)
        with pytest.raises(KeyError):
            connection.feed(get(b"/"))
        assert connection.sent == b""


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    """A malformed request in a pipeline is refused after the earlier answers, and nothing later is seen."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2") + MALFORMED + get(b"/3"))
    assert connection.statuses == []
    lab.recorder.answer()
    assert connection.statuses == [200]
    assert not connection.closed
    lab.recorder.answer()
    assert connection.statuses == [200, 200, 400]
    assert connection.sent.count(b"Connection: close") == 1
    assert connection.closed
    assert lab.recorder.uris == [b"/1", b"/2"]


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
    """Between requests the keep-alive timeout holds, anew from each answer, and the close says nothing."""
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
    """Neither the request that runs nor what came after it times out; the rest has its time from the answer on."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1"), b"GET /2")
    lab.wait(1000)
    assert connection.sent == b""
    lab.recorder.answer()
    lab.wait(14)
    assert connection.statuses == [200]
    lab.wait(1)
    assert connection.statuses == [200, 408]


# 100 Continue


def test_a_body_is_invited() -> None:
    """Expect: 100-continue is answered at once, before the body, and the final answer follows it."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(posted(b"/", 2, b"Expect: 100-continue"))
    assert connection.sent == CONTINUE
    connection.feed(b"ab")
    assert connection.statuses == [100, 200]
    assert lab.recorder.seen[0][3] == b"ab"


def test_an_invitation_waits_its_turn() -> None:
    """A body in a pipeline is invited after the answer before it."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + posted(b"/2", 2, b"Expect: 100-continue"))
    assert connection.sent == b""
    lab.recorder.answer()
    assert connection.statuses == [200, 100]
    connection.feed(b"ab")
    lab.recorder.answer()
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
    """The connection goes on or ends as version and Connection say, and the answer tells which."""
    lab = Lab(at_once=True)
    connection = lab.connect()
    connection.feed(data + get(b"/after"))
    assert connection.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert lab.recorder.uris == ([b"/", b"/after"] if persistent else [b"/"])
    assert connection.closed is not persistent
    assert (b"\r\nConnection: close\r\n" in connection.sent) is not persistent
    assert (b"\r\nConnection: keep-alive\r\n" in connection.sent) is (persistent and b"HTTP/1.0" in data)


def test_the_last_of_a_pipeline_closes() -> None:
    """Connection: close on a later request does not touch the answers before it."""
    lab = Lab()
    connection = lab.connect()
    connection.feed(get(b"/1") + get(b"/2", b"Connection: close") + get(b"/3"))
    lab.recorder.answer()
    assert b"Connection: close" not in connection.sent
    lab.recorder.answer()
    assert connection.sent.count(b"\r\nConnection: close\r\n") == 1
    assert connection.statuses == [200, 200]
    assert connection.closed
    assert lab.recorder.uris == [b"/1", b"/2"]


# Clients that read slowly, or not at all


class Slow(Transport):
    """A transport that tells what the client has not taken yet, which the test says."""

    untaken = 0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `Slow` tell."""
    monkeypatch.setattr("twistserve.http.http1.untaken_by_peer", lambda transport: getattr(transport, "untaken", 0))


class Stream:
    """A producer that pushes, and what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


def streaming(lab: Lab) -> tuple[Connection, Stream]:
    """A connection on which an answer is streamed, and the transport is full."""
    connection, stream = lab.connect(Slow), Stream()
    connection.feed(get(b"/stream"))
    lab.recorder.pending[-1].registerProducer(stream, True)
    lab.recorder.pending[-1].write(b"block")
    connection.channel.pauseProducing()
    return connection, stream


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
    connection.channel.resumeProducing()
    assert stream.told == ["pause", "resume"]
    lab.wait(1000)
    assert not connection.closed
    connection.channel.stopProducing()
    assert stream.told[-1] == "stop"


def test_a_stream_that_begins_while_the_transport_is_full_waits() -> None:
    """What was answered before is still on its way."""
    lab = Lab()
    connection, stream = lab.connect(), Stream()
    connection.feed(get(b"/stream"))
    connection.channel.pauseProducing()
    lab.recorder.pending[0].registerProducer(stream, True)
    assert stream.told == ["pause"]
    connection.channel.resumeProducing()
    assert stream.told == ["pause", "resume"]
    lab.recorder.pending[0].unregisterProducer()
    connection.channel.resumeProducing()
    assert stream.told == ["pause", "resume"]


@pytest.mark.usefixtures("slow")
def test_the_time_to_read_an_answer_is_not_the_next_ones() -> None:
    """A request that is begun once the client has read runs as long as it likes."""
    lab = Lab()
    connection = lab.connect(Slow)
    connection.feed(get(b"/1") + get(b"/2"))
    connection.channel.pauseProducing()
    lab.recorder.answer()
    connection.channel.resumeProducing()
    assert lab.recorder.uris == [b"/1", b"/2"]
    lab.wait(1000)
    assert not connection.closed
    lab.recorder.answer()
    assert connection.statuses == [200, 200]


class FullDisk(BytesIO):
    """A body's file whose last bytes do not fit on the disk."""

    def close(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_body_that_cannot_be_closed() -> None:
    """What a file holds back is written when it is closed: the connection ends as any other, refused ones too."""
    lab = Lab()
    for end in (Connection.lose, lambda connection: lab.wait(31)):
        connection = lab.connect()
        connection.feed(posted(b"/1", 10) + b"abc")
        body = connection.channel._parser._body = Body(100)
        body._file = FullDisk()
        end(connection)
        assert connection.statuses == ([] if end is Connection.lose else [408])
        connection.lose()
        assert not lab.site.channels
