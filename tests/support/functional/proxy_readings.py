"""What proxies make of requests that are not as they should be, and what they do not serve or change.

Each is listed with its reason. Newer versions of a proxy may refuse more, which is right for what is not legal.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from tests.support.functional.raw_requests import HIDDEN, LAST


@dataclass(frozen=True)
class Request:
    """A request as an application sees it."""

    method: str
    target: str
    """Path and query, decoded."""
    host: str | None
    digest: str
    """SHA-256 of the body."""


@dataclass(frozen=True)
class Repair:
    """A meaning that proxies give to a request of the corpus, and write in other words, so that it is the only one."""

    name: str
    proxies: frozenset[str]
    requests: tuple[Request, ...]
    why: str


def get(target: str = "/case", host: str = "x", method: str = "GET") -> Request:
    return Request(method, target, host, sha256().hexdigest())


def post(body: bytes = b"") -> Request:
    return Request("POST", "/case", "x", sha256(body).hexdigest())


def _repairs(why: str, requests: tuple[Request, ...], **cases: tuple[str, ...]) -> list[Repair]:
    return [Repair(name, frozenset((proxy,)), requests, why) for proxy, names in cases.items() for name in names]


_OVERRIDES = "Transfer-Encoding overrides Content-Length, which is removed (RFC 9112 section 6.3)"

REPAIRS = [
    *_repairs(
        f"{_OVERRIDES}; the connection is closed after it",
        (post(),),
        haproxy=("CL.TE", "TE after tab", "TE trailing tab"),
        apache=("CL.TE", "TE after tab", "TE trailing tab"),
    ),
    *_repairs(
        f"{_OVERRIDES}; what follows the body is the next request",
        (post(), get("/smuggled")),
        squid=("CL.TE", "TE after tab", "TE trailing tab"),
        caddy=("CL.TE", "TE after tab", "TE trailing tab"),
    ),
    *_repairs(
        f"{_OVERRIDES}, where the chunk is a request",
        (post(HIDDEN),),
        haproxy=("TE.CL",),
        apache=("TE.CL",),
        squid=("TE.CL",),
        caddy=("TE.CL",),
    ),
    *_repairs(
        f"{_OVERRIDES}, and a folded field is joined (RFC 9112 section 5.2); the connection is closed after it",
        (post(),),
        haproxy=("TE folded",),
        apache=("TE folded",),
    ),
    *_repairs(
        f"{_OVERRIDES}, and a folded field is joined; what follows the body is the next request",
        (post(), get("/smuggled")),
        squid=("TE folded",),
        caddy=("TE folded",),
    ),
    *_repairs(
        f"{_OVERRIDES}, behind an LF, which ends a line (RFC 9112 section 2.2); the connection is closed after it",
        (post(),),
        haproxy=("TE behind a bare LF",),
    ),
    *_repairs(
        f"{_OVERRIDES}, behind an LF, which ends a line; what follows the body is the next request",
        (post(), get("/smuggled")),
        squid=("TE behind a bare LF",),
        caddy=("TE behind a bare LF",),
    ),
    *_repairs(
        "a vertical tab is white space to Squid, and what follows the body is the next request",
        (post(), get("/smuggled")),
        squid=("TE with vertical tab",),
    ),
    *_repairs(
        "the first of two transfer codings counts, and is written alone",
        (post(), get("/smuggled")),
        varnish=("TE.TE identity",),
    ),
    *_repairs("the first of two equal transfer codings", (post(b"hello"),), varnish=("TE twice chunked",)),
    *_repairs(
        "a transfer coding other than chunked is dropped with the length, so what follows is a request of its own",
        (post(),),
        squid=("TE identity",),
    ),
    *_repairs(
        "a bare CR in a value becomes a space (RFC 9112 section 2.2), so that the length counts",
        (post(LAST), get("/smuggled")),
        squid=("TE behind a bare CR",),
    ),
    *_repairs(
        "a field of a name that is no token is dropped, so that the length counts",
        (post(LAST), get("/smuggled")),
        nginx=("TE name obs", "TE dotless"),
    ),
    *_repairs(
        "a request of HTTP/1.0 may be chunked to them; the connection is closed after it",
        (post(),),
        apache=("TE in HTTP/1.0",),
        varnish=("TE in HTTP/1.0",),
        squid=("TE in HTTP/1.0",),
        caddy=("TE in HTTP/1.0",),
    ),
    *_repairs(
        "equal lengths are one (RFC 9110 section 8.6)",
        (post(b"hello"),),
        haproxy=("duplicate equal CL", "CL list"),
        squid=("duplicate equal CL", "CL list"),
        caddy=("duplicate equal CL",),
    ),
    *_repairs(
        "a folded value is joined",
        (post(b"hello"),),
        haproxy=("CL folded",),
        apache=("CL folded",),
        varnish=("CL folded",),
        squid=("CL folded",),
        caddy=("CL folded",),
    ),
    *_repairs(
        "what looks like a length continues the field before it",
        (post(), get("/next")),
        haproxy=("CL folded name",),
        apache=("CL folded name",),
        varnish=("CL folded name",),
        squid=("CL folded name",),
        caddy=("CL folded name",),
    ),
    *_repairs(
        "a folded field is joined",
        (get(),),
        haproxy=("obs-fold", "host folded"),
        apache=("obs-fold", "host folded"),
        varnish=("obs-fold", "host folded"),
        squid=("obs-fold", "host folded", "fold first"),
        caddy=("obs-fold", "host folded"),
    ),
    *_repairs(
        "an LF ends a line",
        (get(),),
        haproxy=("bare LF", "LF before", "LF in value"),
        nginx=("bare LF", "LF before", "LF in value"),
        varnish=("bare LF", "LF before", "LF in value"),
        squid=("bare LF", "LF before", "LF in value"),
        caddy=("bare LF", "LF in value"),
    ),
    *_repairs(
        "the same at the end of a head",
        (post(HIDDEN),),
        haproxy=("LF LF ends the head",),
        nginx=("LF LF ends the head",),
        varnish=("LF LF ends the head",),
        squid=("LF LF ends the head",),
        caddy=("LF LF ends the head",),
    ),
    *_repairs("chunk extensions are dropped, whatever they are", (post(b"hello"),), caddy=("chunk extension with CR",)),
    *_repairs("an empty length is 0", (post(),), caddy=("CL empty",)),
    *_repairs(
        "a field without a name is dropped, and so is the second User-Agent",
        (get(),),
        caddy=("empty name", "user agent twice"),
    ),
    *_repairs("a fragment is escaped, and is a part of the path", (get("/case#part"),), caddy=("fragment",)),
    *_repairs("the Host is that of the URL, as it is written", (get(host="X"),), caddy=("absolute upper",)),
    *_repairs(
        "the inner proxy refuses the handshake, and the outer one goes on with the next request",
        (get("/next"),),
        **{"caddy > haproxy": ("upgrade hidden",)},
    ),
    *_repairs("a CR before CR LF belongs to the end of the line", (post(b"hello"),), nginx=("CR CR LF",)),
    *_repairs("a bare CR in a value becomes a space", (get(),), squid=("CR in value",)),
    *_repairs(
        "white space around a chunk's size, and LF after it, are passed over",
        (post(b"hello"),),
        haproxy=("chunk size with space", "chunk ended by LF"),
        nginx=("chunk size with space", "chunk ended by LF"),
        apache=("chunk size with space",),
        varnish=("chunk size with space", "chunk ended by LF", "chunk space first"),
        caddy=("chunk size with space",),
    ),
    *_repairs(
        "an LF ends the line of a chunk's size",
        (post(b"xx" + HIDDEN),),
        haproxy=("chunk extension with LF",),
        nginx=("chunk extension with LF",),
        caddy=("chunk extension with LF",),
    ),
    *_repairs(
        "a last chunk ends the body before its trailers are there",
        (post(b"hello"),),
        nginx=("last chunk with no end",),
        squid=("last chunk with no end",),
    ),
    *_repairs(
        "trailers are dropped, whatever they are",
        (post(),),
        haproxy=("trailer folded",),
        nginx=("trailer of framing", "trailer folded", "trailer no colon"),
        apache=("trailer of framing", "trailer folded"),
        squid=("trailer of framing", "trailer folded", "trailer no colon"),
        caddy=("trailer of framing", "trailer folded"),
    ),
    *_repairs(
        "an LF ends a trailer, and an empty line all of them",
        (post(), get("/smuggled")),
        haproxy=("trailer hidden",),
        nginx=("trailer hidden",),
        squid=("trailer hidden",),
        caddy=("trailer hidden",),
    ),
    *_repairs(
        "the Host is that of the URL (RFC 9112 section 3.2.2)",
        (get(host="other.example"),),
        apache=("absolute-form with another Host",),
        varnish=("absolute-form with another Host",),
        squid=("absolute-form with another Host",),
        caddy=("absolute-form with another Host",),
    ),
    *_repairs(
        "nginx takes its server by the URL, and $http_host passes the field on; $host would lose the port",
        (get(),),
        nginx=("absolute-form with another Host",),
    ),
    *_repairs(
        "the Host is that of the URL, with its port",
        (get(host="x:80"),),
        apache=("absolute port",),
        caddy=("absolute port",),
        varnish=("absolute port",),
    ),
    *_repairs(
        "a Host is written in lower case", (get(host="x.example"),), varnish=("host upper",), squid=("host upper",)
    ),
    *_repairs("the port of http is left out", (get(host="[::1]"),), squid=("host ipv6",)),
    *_repairs(
        "a missing Host is the proxy's own name",
        (get(host="proxy.example"),),
        apache=("HTTP/1.0 no host", "HTTP/1.0 URL", "no version"),
    ),
    *_repairs(
        "a missing Host is the server's address",
        (get(host="127.0.0.1"),),
        varnish=("HTTP/1.0 no host",),
        caddy=("HTTP/1.0 no host", "host empty"),
    ),
    *_repairs("the first Host counts, and is written alone", (get(),), squid=("double Host", "host twice same")),
    *_repairs("an equal Host is written once", (get(),), haproxy=("host twice same",)),
    *_repairs(
        "user and scheme of a URL, and white space in a target, are removed",
        (get(),),
        squid=("absolute user", "absolute ftp", "space in the target"),
        nginx=("absolute ftp",),
        caddy=("absolute user", "absolute ftp"),
    ),
    *_repairs("a method is written in capitals", (get(),), squid=("lower-case method",)),
    *_repairs(
        "white space of other kinds in a request line",
        (get(),),
        haproxy=("tab in line",),
        squid=("tab in line",),
        nginx=("trailing space line",),
    ),
    *_repairs(
        "a version of HTTP that there is not is taken for 1.1",
        (get(),),
        haproxy=("HTTP/1.9", "HTTP/2.0", "http/1.2"),
        nginx=("HTTP/1.9", "http/1.2", "HTTP/1.10"),
        apache=("HTTP/1.9", "HTTP/2.0", "http/1.2"),
        varnish=("http lower",),
        squid=("HTTP/1.9", "http/1.2"),
        caddy=("HTTP/1.9", "http/1.2"),
    ),
    *_repairs("lines that are no fields are dropped", (get(),), nginx=("no colon", "obs name")),
    *_repairs(
        "repeated fields are joined, of those that are no lists too",
        (get(),),
        apache=("authorization twice", "range twice", "user agent twice", "origin twice"),
    ),
    *_repairs("the same", (post(b"hello"),), apache=("content-type twice",)),
    *_repairs("one of two is dropped", (get(),), squid=("authorization twice",)),
    *_repairs(
        "ranges are Varnish's own matter, and HEAD is answered from a GET", (get(),), varnish=("range twice", "HEAD")
    ),
    *_repairs("dots and slashes of a path are resolved", (get("/b/c/d"),), apache=("dots and slashes",)),
    *_repairs("slashes of a path are merged", (get("/y/case"),), apache=("double slash",)),
    *_repairs(
        "bytes of a path are escaped", (get("/c\xe4se"),), apache=("raw utf8 target",), caddy=("raw utf8 target",)
    ),
]

UNSERVED = {
    ("apache", "escaped path"): "AllowEncodedSlashes is off",
    ("apache", "two spaces"): "HttpProtocolOptions is strict",
    ("apache", "host empty"): "a Host must name something",
    ("apache", "host comma"): "a Host has no comma",
    ("apache", "expect odd"): "417 (RFC 9110 section 10.1.1)",
    ("apache", "expect twice"): "417",
    ("apache", "trailer long"): "LimitRequestFieldSize",
    ("apache", "max forwards"): "TRACE is answered by the proxy",
    ("caddy", "two spaces"): "one space is wanted",
    ("caddy", "blank before"): "no empty line is passed over",
    ("caddy", "expect odd"): "417",
    ("caddy", "trailer long"): "trailers have a limit",
    ("haproxy", "absolute query only"): "a URL without a path has no query there",
    ("haproxy", "upgrade websocket"): "the key of the handshake is none",
    ("haproxy", "upgrade hidden"): "the key of the handshake is none",
    ("haproxy", "trailer long"): "tune.bufsize",
    ("nginx", "host empty"): "a Host must name something",
    ("nginx", "expect twice"): "a field that may stand once",
    ("nginx", "CL tab"): "a length has digits",
    ("nginx", "HTTP/1.0 no host"): "$http_host is empty, and the request to the server has HTTP/1.1",
    ("nginx", "HTTP/1.0 URL"): "$http_host is empty, and the request to the server has HTTP/1.1",
    ("nginx", "max forwards"): "TRACE is not passed on",
    ("squid", "get with a body"): "request_entities is off",
    ("squid", "HEAD with body"): "request_entities is off",
    ("squid", "CL on GET hidden"): "request_entities is off",
    ("nginx > squid", "TE GET"): "request_entities is off, and nginx gives a chunked body a length",
    ("squid", "host empty"): "a Host must name something",
    ("squid", "host comma"): "a Host has no comma",
    ("squid", "HTTP/1.0 no host"): "the URL is made of the Host",
    ("squid", "expect odd"): "417",
    ("squid", "expect twice"): "417",
    ("squid", "PURGE"): "a method of Squid's own",
    ("squid", "max forwards"): "TRACE is answered by the proxy",
    ("varnish", "HEAD with body"): "HEAD has no body there",
    ("varnish", "connection names CL"): "fields that it needs cannot be named",
    ("varnish", "connection names Host"): "fields that it needs cannot be named",
    ("varnish", "expect odd"): "417",
    ("varnish", "chunk extensions"): "there are no chunk extensions",
    ("varnish", "chunk ext long"): "there are no chunk extensions",
    ("varnish", "trailers"): "there are no trailers",
    ("varnish", "trailer host"): "there are no trailers",
    ("varnish", "trailer long"): "there are no trailers",
}
"""Legal requests that a proxy refuses, with the reason."""

FIELD_CHANGES = {
    ("haproxy", ""): set[str](),
    ("nginx", ""): set[str](),
    ("apache", ""): {"HTTP_X_FORWARDED_SERVER"},
    ("varnish", ""): {"HTTP_X_VARNISH", "HTTP_ACCEPT_ENCODING"},
    ("squid", ""): {"HTTP_VIA", "HTTP_CACHE_CONTROL", "HTTP_SURROGATE_CAPABILITY"},
    ("caddy", ""): {"HTTP_ACCEPT_ENCODING"},
    # A PUT without a body gets a length.
    ("caddy", "pipelined"): {"CONTENT_LENGTH"},
    # Names that are tokens, but not letters, digits and dashes (ignore_invalid_headers).
    ("nginx", "odd names"): {"HTTP_X_!#$%&'*+.^`|~"},
    # Cookies are joined with a comma. Clients send one field (RFC 6265 section 5.4).
    ("apache", "list fields twice"): {"HTTP_COOKIE"},
    # Varnish sends the part of a response itself.
    ("varnish", "range"): {"HTTP_RANGE"},
}
"""Fields that a proxy adds to each request, or drops or changes in one."""
