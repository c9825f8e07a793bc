"""Whose X-Forwarded fields are believed, and what they say."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import UNIXAddress

from tests.support.requests import FakeConnection, make_request
from twistserve.wsgi.environ import EnvironMaker
from twistserve.wsgi.forwarded import TrustedPeers


def applied(peer: str, trusted: str = "127.0.0.1,10.0.0.0/8,::1", **fields: str) -> dict[str, Any]:
    """The environ of a request from `peer` with these forwarded fields."""
    environ: dict[str, Any] = {
        "twistserve.peer": peer,
        "REMOTE_ADDR": peer,
        "REMOTE_PORT": "1",
        "SERVER_PORT": "8000",
        "HTTP_HOST": "inside",
        "wsgi.url_scheme": "http",
    }
    environ |= {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in fields.items()}
    TrustedPeers(trusted.split(",")).apply(environ)
    return environ


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("203.0.113.9:4711, 10.1.2.3", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("203.0.113.9, unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("unknown", "127.0.0.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(hops: str, client: str) -> None:
    """A client may write what it likes on the left; what is no address ends the walk."""
    assert applied("127.0.0.1", **{"for": hops})["REMOTE_ADDR"] == client


def test_what_a_trusted_peer_says_besides() -> None:
    """The scheme is believed, of a list the nearest proxy's; host and port are left to Django's settings."""
    environ = applied("10.9.9.9", proto="http, HTTPS", host="www.example, x", port="8443")
    assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ["SERVER_PORT"]) == ("https", "inside", "8000")
    assert (environ["HTTP_X_FORWARDED_HOST"], environ["HTTP_X_FORWARDED_PORT"]) == ("www.example, x", "8443")
    assert applied("10.9.9.9", proto="gopher")["wsgi.url_scheme"] == "http"


def test_an_untrusted_peers_fields_are_removed() -> None:
    """Nothing changes, and Django sees none of them."""
    environ = applied("203.0.113.1", **{"for": "1.2.3.4"}, proto="https", host="evil.example", port="1")
    assert environ["REMOTE_ADDR"] == "203.0.113.1"
    assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == ("http", "inside")
    assert not [name for name in environ if "FORWARDED" in name]


def test_all_peers_can_be_trusted() -> None:
    """`*` trusts every peer, and so every hop: the leftmost is the client."""
    assert applied("203.0.113.1", "*", **{"for": "1.2.3.4, 5.6.7.8"})["REMOTE_ADDR"] == "1.2.3.4"


@pytest.mark.parametrize(
    ("word", "peers", "others"),
    [
        ("loopback", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"], ["10.0.0.1", "unix", "-", ""]),
        (
            "private",
            ["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "100.127.9.9", "fd00::1"],
            ["127.0.0.1", "172.32.0.1", "100.128.0.1", "203.0.113.1", "fe80::1", "2001:db8::1", "unix", "-"],
        ),
        ("unix", ["unix"], ["127.0.0.1", "10.0.0.1", "-", ""]),
        ("*", ["unix", "203.0.113.1", "2001:db8::1", "-"], []),
        ("unix,192.0.2.0/24", ["unix", "192.0.2.7"], ["127.0.0.1"]),
    ],
)
def test_words_for_sets_of_peers(word: str, peers: list[str], others: list[str]) -> None:
    """Each stands for the peers that one would expect, and for no other."""
    trusted = TrustedPeers(word.split(","))
    assert [peer for peer in peers if not trusted.trusts(peer)] == []
    assert [peer for peer in others if trusted.trusts(peer)] == []


def test_the_peer_of_a_unix_socket() -> None:
    """It has no address, and is trusted by its name."""
    for trusted, request_id in (("unix", "a-1"), ("127.0.0.1", "")):
        connection = FakeConnection(UNIXAddress(None))
        request = make_request(b"/", (b"X-Request-ID", b"a-1"), remote="-", connection=connection)
        EnvironMaker(TrustedPeers([trusted])).identify(request)
        assert request.request_id.decode() == request_id


def test_a_proxy_that_is_not_named_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """By its address, the field, and the option that is to name it: a redirect to https may go on for ever."""
    peers = TrustedPeers(["127.0.0.1"])
    for peer in ("10.0.0.9", "10.0.0.10"):
        peers.apply({"twistserve.peer": peer, "HTTP_X_FORWARDED_PROTO": "https"})
    [line] = caplog.messages
    assert line.startswith("X-Forwarded-Proto was removed from a request of 10.0.0.9, which --forwarded-allow-ips")
    peers = TrustedPeers([])
    peers.apply({"twistserve.peer": "unix", "HTTP_X_FORWARDED_FOR": "1.2.3.4"})
    assert "X-Forwarded-For was removed from a request of a Unix socket" in caplog.messages[-1]


def test_what_is_no_network_is_refused() -> None:
    """The option's validator relies on it."""
    with pytest.raises(ValueError, match="nonsense"):
        TrustedPeers(["nonsense"])


def test_clients_that_are_remembered() -> None:
    """They are found again, and as many as may be remembered are; what clients make up is bounded."""
    peers = TrustedPeers(["10.0.0.0/8"])
    for _ in range(2):
        for number in range(2000):
            client = f"203.0.{number // 250}.{number % 250}"
            assert peers.client("10.0.0.1", f"{client}, 10.0.0.2") == client
        assert peers.client("10.0.0.1", "x, " * 100 + "203.0.113.9") == "203.0.113.9"
        assert peers.client("10.0.0.3", "unknown") == "10.0.0.3"
    assert len(peers._clients) <= 1024
    assert max(len(hops) for _, hops in peers._clients) <= 128


@pytest.mark.parametrize(
    ("peer", "fields", "remote", "request_id"),
    [
        ("10.0.0.1", [("X-Forwarded-For", "203.0.113.9"), ("x-request-id", "a-1")], "203.0.113.9", "a-1"),
        ("10.0.0.1", [("X-Forwarded-For", "203.0.113.9"), ("x-forwarded-for", "10.0.0.2")], "203.0.113.9", None),
        ("10.0.0.1", [("X-Request-ID", "a b")], "10.0.0.1", None),
        ("10.0.0.1", [("X-Request-ID", "a"), ("X-Request-ID", "b")], "10.0.0.1", None),
        ("192.0.2.1", [("X-Forwarded-For", "203.0.113.9"), ("X-Request-ID", "a-1")], "192.0.2.1", ""),
        ("-", [("X-Forwarded-For", "203.0.113.9"), ("X-Request-ID", "a-1")], "-", ""),
    ],
)
def test_requests_that_need_no_environ(
    peer: str, fields: list[tuple[str, str]], remote: str, request_id: str | None
) -> None:
    """A file's request has the address and the id that a view's would have, if a trusted peer sent it."""
    request = make_request(b"/", *((name.encode(), value.encode()) for name, value in fields), remote=peer)
    EnvironMaker(TrustedPeers(["10.0.0.0/8"])).identify(request)
    assert request.remote == remote
    assert len(request.request_id) == 24 if request_id is None else request.request_id.decode() == request_id
