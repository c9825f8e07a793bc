"""The head of a request, judged (RFC 9110 and 9112, on the side of refusing).

llhttp refuses nearly all malformed framing by itself. What it lets pass is refused here: versions, Host,
transfer codings, targets, methods, sizes, and the request lines of other protocols.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import IO

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from httptools.parser.errors import HttpParserInvalidMethodError

from twistserve.http.limits import MAX_HEADERS, Limits
from twistserve.http.response import RawHeaders

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(:\d*)?")
_TARGET = re.compile(rb"/[^#]*|https?://([^/?#@]+)(?:/[^#]*|\?[^#]*)?", re.IGNORECASE)
_OTHER_PROTOCOL = re.compile(rb"[!-~]+ +[!-~]+ +(?:RTSP|ICE)/")
_UNKNOWN_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} ")
_UNSUPPORTED = frozenset((b"CONNECT", b"SOURCE"))
_JUDGED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
_JUDGED_SIZES = frozenset(map(len, _JUDGED))
_SPACE = ord(" ")
_name_of = itemgetter(0)

_SINGLE = frozenset(
    (
        *(b"authorization", b"content-location", b"content-range", b"content-type", b"date", b"from"),
        *(b"if-modified-since", b"if-range", b"if-unmodified-since", b"max-forwards", b"origin"),
        *(b"proxy-authorization", b"range", b"referer", b"user-agent"),
    )
)
"""Fields that are no lists (RFC 9110 section 5.5): of two a proxy takes the first, or the last, and WSGI joins them."""

FRAMING = frozenset((b"content-length", b"transfer-encoding"))
"""The fields that tell where a body ends."""


class Refusal(Exception):
    """A request that can only be responded to by this status; `reason` is a metric's label."""

    def __init__(self, status: int, reason: str = "malformed") -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason


class Head:
    """Request line and fields as they were received, and what they mean once `check` has found them right."""

    __slots__ = (
        *("_host", "_hosts", "body", "chunked", "expects_continue", "fields", "length", "method", "offers_upgrade"),
        *("size_of_body", "target", "version"),
    )

    def __init__(self) -> None:
        self.target = b""
        self.fields: RawHeaders = []
        self.method = b""
        self.version = ""
        self.length: int | None = None
        self.chunked = self.expects_continue = self.offers_upgrade = False
        self.body: IO[bytes] | None = None
        """What came after it, at its start; None for nothing."""
        self.size_of_body = 0
        self._hosts = 0
        self._host = b""

    @property
    def size(self) -> int:
        """Bytes of target and fields."""
        return len(self.target) + sum(len(name) + len(value) + 4 for name, value in self.fields)

    def check(self, limits: Limits) -> None:
        """Refuse what llhttp lets pass. Raises `Refusal`."""
        if self.version not in ("1.1", "1.0"):
            raise Refusal(505)
        size, padded = len(self.target), False
        for name, value in self.fields:
            size += len(name) + len(value) + 4
            if value and value[-1] <= _SPACE:
                padded = True
            if len(name) in _JUDGED_SIZES and (lower := name.lower()) in _JUDGED:
                self._check_field(lower, value)
        if size > limits.max_head or len(self.fields) > MAX_HEADERS:
            raise Refusal(414 if len(self.target) > limits.max_head else 431, "head_too_large")
        if len(set(map(bytes.lower, map(_name_of, self.fields)))) < len(self.fields):
            self._check_repeated()
        # One Host in HTTP/1.1, at most one in HTTP/1.0 (RFC 9112 section 3.2).
        if self._hosts != 1 and (self._hosts or self.version == "1.1"):
            raise Refusal(400)
        if self.method in _UNSUPPORTED:
            raise Refusal(501)
        if (self.target[:1] != b"/" or b"#" in self.target) and not self._target_is_right():
            raise Refusal(400)
        if self.length is not None and self.length > limits.max_body:
            raise Refusal(413, "body_too_large")
        if padded:
            # White space after a value is none of it (RFC 9112 section 5.1), but llhttp strips what is before it alone.
            self.fields = [(name, value.rstrip(b" \t")) for name, value in self.fields]

    def _check_repeated(self) -> None:
        names = [name.lower() for name, _ in self.fields]
        if any(names.count(name) > 1 for name in _SINGLE.intersection(names)):
            raise Refusal(400)

    def _check_field(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            self._host = value.rstrip(b" \t")
            if not _HOST.fullmatch(self._host):
                raise Refusal(400)
        elif name == b"content-length":
            self.length = int(value)
        elif name == b"transfer-encoding":
            if self.version == "1.0" or self.chunked:
                raise Refusal(400)
            if value.strip().lower() != b"chunked":
                raise Refusal(501)
            self.chunked = True
        elif name == b"upgrade":
            self.offers_upgrade = True
        elif name == b"expect":
            self.expects_continue = self.version == "1.1" and value.strip().lower() == b"100-continue"

    def _target_is_right(self) -> bool:
        """A path, `*` with OPTIONS, or a URL whose authority is the Host too (RFC 9112 section 3.2)."""
        match = _TARGET.fullmatch(self.target)
        if match is None:
            return self.target == b"*" and self.method == b"OPTIONS"
        if match[1] is None:
            return True
        if self._hosts == 0:
            # HTTP/1.0: as a proxy would write it for the next server (RFC 9112 section 3.2.2).
            self.fields.append((b"Host", match[1]))
            return _HOST.fullmatch(match[1]) is not None
        default = b":443" if self.target[:5].lower() == b"https" else b":80"
        return match[1].lower().removesuffix(default) == self._host.lower().removesuffix(default)


def check_line(line: bytes) -> None:
    """Refuse of a request line, or a line before it, what llhttp takes and does not tell of. Raises `Refusal`.

    That is a request of RTSP or ICE, and a line end but CRLF. The line may be incomplete.
    """
    if line[0] in b"\r\n":
        if line not in (b"\r", b"\r\n"):
            raise Refusal(400)
    elif line[-1:] == b"\n" and _OTHER_PROTOCOL.match(line):
        raise Refusal(505)


def refusal_of(error: HttpParserError, data: bytes) -> Refusal:
    """The status that says most about what llhttp refused."""
    if isinstance(error, HttpParserInvalidMethodError) and _UNKNOWN_METHOD.match(data):
        return Refusal(501)
    if ("version" in str(error) and "CRLF" not in str(error)) or "PRI" in str(error):
        return Refusal(505)
    return Refusal(400)


class _Parsed:
    """What llhttp makes of a head."""

    def __init__(self) -> None:
        self.head = Head()
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def checked_as_http1(received: RawHeaders, limits: Limits) -> Head:
    """The head of a request, by the rules of HTTP/1.1: written as such a head, it must be read as what it is.

    Raises `Refusal`.
    """
    pseudo = {name: value for name, value in received if name[:1] == b":"}
    fields = [(name, value) for name, value in received if name[:1] != b":"]
    if b":authority" in pseudo:
        fields = [(b"host", pseudo[b":authority"]), *(field for field in fields if field[0] != b"host")]
    method, target = pseudo[b":method"], pseudo.get(b":path", pseudo.get(b":authority", b""))
    head = b"%b %b HTTP/1.1\r\n" % (method, target) + b"".join([b"%b: %b\r\n" % field for field in fields]) + b"\r\n"
    parsed = _Parsed()
    try:
        HttpRequestParser(parsed).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise refusal_of(error, head) from None
    parsed.head.method, parsed.head.version = method, "1.1"
    parsed.head.check(limits)
    as_sent = parsed.complete and parsed.head.target == target and parsed.head.fields == fields
    if not as_sent or pseudo.get(b":scheme") not in (b"https", b"http") or target[:1] not in (b"/", b"*"):
        raise Refusal(400)
    return parsed.head
