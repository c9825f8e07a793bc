"""The WSGI environ that a request becomes (PEP 3333)."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tests.support.http1 import Lab, Transport, get, posted
from twistserve.http.request import Request
from twistserve.wsgi import environ as module
from twistserve.wsgi.environ import EnvironMaker, unquote
from twistserve.wsgi.file_wrapper import FileWrapper
from twistserve.wsgi.forwarded import TrustedPeers

HOST, PEER = IPv4Address("TCP", "192.0.2.1", 8000), IPv4Address("TCP", "198.51.100.7", 1234)


def asked(data: bytes, host: Any = HOST, peer: Any = PEER) -> Request:
    """A request that was received."""
    seen: list[Request] = []
    Lab(handler=seen.append).connect(lambda: Transport(hostAddress=host, peerAddress=peer)).feed(data)
    return seen[0]


def made(
    data: bytes, *trusted: str, multiprocess: bool = False, host: Any = HOST, peer: Any = PEER
) -> tuple[dict[str, Any], Request]:
    """The environ of a request, and the request."""
    maker, request = EnvironMaker(TrustedPeers(trusted), multiprocess), asked(data, host, peer)
    common = maker.prepare(request)
    assert request.body is not None
    return maker.make(request, request.body, common), request


@pytest.mark.parametrize("multiprocess", [True, False])
def test_what_pep_3333_wants(multiprocess: bool) -> None:
    """All of it is there, and the target as the client has sent it besides."""
    environ, request = made(get(b"/a%2Fb/%E2%82%AC%zz?x=%20"), multiprocess=multiprocess)
    assert environ.pop("wsgi.input").read() == b""
    assert environ.pop("wsgi.errors") is sys.stderr
    assert environ.pop("HTTP_X_REQUEST_ID") == request.request_id.decode()
    assert environ == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b/€%zz".encode().decode("latin-1"),
        "QUERY_STRING": "x=%20",
        "REQUEST_URI": "/a%2Fb/%E2%82%AC%zz?x=%20",
        "RAW_URI": "/a%2Fb/%E2%82%AC%zz?x=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "192.0.2.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "198.51.100.7",
        "REMOTE_PORT": "1234",
        "HTTP_HOST": "x",
        "CONTENT_LENGTH": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "twistserve.peer": "198.51.100.7",
    }


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (posted(b"/", 4) + b"body", "4"),
        (posted(b"/", 0), "0"),
        (get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"4\r\nbody\r\n0\r\n\r\n", "4"),
        (get(b"/", method=b"POST"), ""),
    ],
    ids=["length", "nothing", "chunked", "none"],
)
def test_the_body(data: bytes, length: str) -> None:
    """Its length is known for a chunked one too, which is complete; how it was sent is not told."""
    environ, _ = made(data)
    assert environ["CONTENT_LENGTH"] == length
    assert environ["wsgi.input"].read() == (b"body" if length == "4" else b"")
    assert not {"HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"} & set(environ)


def test_fields() -> None:
    """Those of one name are one list, cookies with semicolons; values may hold any byte."""
    fields = (b"Content-Type: text/x", b"X-A: 1", b"x-a: \xe9", b"Cookie: a=b", b"cookie: c=d")
    environ, _ = made(get(b"/", *fields))
    assert environ["CONTENT_TYPE"] == "text/x"
    assert "HTTP_CONTENT_TYPE" not in environ
    assert (environ["HTTP_X_A"], environ["HTTP_COOKIE"]) == ("1,\xe9", "a=b; c=d")


def test_fields_that_must_not_arrive() -> None:
    """An underscore could pose as another field's dash, and HTTP_PROXY steers HTTP clients (httpoxy)."""
    environ, _ = made(get(b"/", b"X_Forwarded_For: 1.1.1.1", b"Proxy: evil", b"X-A_B: 1"))
    assert not [key for key in environ if "FORWARDED" in key or "PROXY" in key or "A_B" in key]


def test_names_of_fields_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that makes names up fills no memory, and its fields arrive all the same."""
    monkeypatch.setattr(module, "_KEYS", {})
    monkeypatch.setattr(module, "_MAX_KEYS", 10)
    for number in range(20):
        environ, _ = made(get(b"/", b"X-%d: y" % number))
        assert environ[f"HTTP_X_{number}"] == "y"
    assert len(module._KEYS) == 10


def test_another_method() -> None:
    """Is passed on as it is."""
    environ, _ = made(get(b"/", method=b"PROPFIND"))
    assert environ["REQUEST_METHOD"] == "PROPFIND"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (IPv6Address("TCP", "::ffff:198.51.100.7", 1), "198.51.100.7"),
        (IPv6Address("TCP", "2001:db8::7", 1), "2001:db8::7"),
        (UNIXAddress(None), ""),
    ],
)
def test_addresses_of_clients(peer: Any, address: str) -> None:
    """Those of IPv4 are written as such on a socket of both kinds; one of a Unix socket has none."""
    environ, request = made(get(b"/"), peer=peer)
    assert (environ["REMOTE_ADDR"], request.remote) == (address, address or "-")


def test_a_server_on_a_unix_socket() -> None:
    """It has a name all the same, as PEP 3333 wants."""
    environ, _ = made(get(b"/"), host=UNIXAddress(b"/run/web"))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "0")


@pytest.mark.parametrize(
    ("host", "name"),
    [("2001:db8::1", "[2001:db8::1]"), ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1")],
)
def test_the_name_of_the_server(host: str, name: str) -> None:
    """IPv6 is in brackets (RFC 3875 section 4.1.14), IPv4 bare: without a Host field Django takes it for that."""
    kind = IPv6Address if ":" in host else IPv4Address
    environ, _ = made(b"GET / HTTP/1.0\r\n\r\n", host=kind("TCP", host, 8000))
    assert (environ["SERVER_NAME"], "HTTP_HOST" in environ) == (name, False)


def test_a_trusted_proxy_is_believed() -> None:
    """Client, scheme and id are as it says; what it is asked for and logged has them too."""
    fields = (b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https", b"X-Request-ID: from-proxy")
    environ, request = made(get(b"/", *fields), "198.51.100.7")
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("203.0.113.9", "https")
    assert (environ["HTTP_X_REQUEST_ID"], request.request_id) == ("from-proxy", b"from-proxy")
    assert (environ["twistserve.peer"], request.remote) == ("198.51.100.7", "203.0.113.9")


@pytest.mark.parametrize("given", [b"a b", b"\xe9", b"x" * 129, b'"', b""])
def test_an_id_that_is_none(given: bytes) -> None:
    """Is replaced, whoever has sent it: it stands in logs and in a field of the response."""
    environ, request = made(get(b"/", b"X-Request-ID: " + given), "*")
    assert environ["HTTP_X_REQUEST_ID"] == request.request_id.decode() != given.decode("latin-1")
    assert len(request.request_id) >= 16


def test_an_untrusted_peer_gives_no_id() -> None:
    """It could give that of another request."""
    environ, _ = made(get(b"/", b"X-Request-ID: forged", b"X-Forwarded-For: 1.1.1.1"))
    assert environ["HTTP_X_REQUEST_ID"] != "forged"
    assert environ["REMOTE_ADDR"] == "198.51.100.7"


def test_environs_of_one_connection_do_not_share_what_they_get() -> None:
    """What a view puts into one is not in the next."""
    lab = Lab()
    connection, maker = lab.connect(), EnvironMaker(TrustedPeers(()))
    for number in range(2):
        connection.feed(get(b"/"))
        request = lab.recorder.pending[0]
        environ = maker.make(request, BytesIO(), maker.prepare(request))
        assert "shop.cart" not in environ
        environ["shop.cart"] = number
        lab.recorder.respond()


def test_ids_are_unique() -> None:
    """Within a process and among processes: an id of a request is looked for in the logs of all."""
    makers = [EnvironMaker(TrustedPeers(())) for _ in range(2)]
    request = asked(get(b"/"))
    ids: set[bytes] = set()
    for maker in makers * 100:
        request.request_id = b""
        maker.prepare(request)
        ids.add(request.request_id)
    assert len(ids) == 200


@pytest.mark.parametrize(
    ("path", "decoded"),
    [(b"/a%20b%2f", b"/a b/"), (b"/%", b"/%"), (b"/%4g", b"/%4g"), (b"/%%41", b"/%A"), (b"/+", b"/+")],
)
def test_percent_encoding(path: bytes, decoded: bytes) -> None:
    """What is no encoding stays, and so does a plus sign."""
    assert unquote(path) == decoded
