"""The ready-made resource: who may join a group, and what its WebSockets do."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from wsproto.events import BytesMessage, TextMessage

from tests.support.resources import Mounted, body_of
from tests.support.websockets import Client
from twistserve.resources import group_resource as module
from twistserve.resources.group_resource import GroupResource
from twistserve.resources.groups import Groups


@pytest.fixture(autouse=True)
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    """Those of the test alone."""
    mine = Groups()
    mine.begin(lambda call: call())
    monkeypatch.setattr(module, "groups", mine)
    return mine


def lab(group: Any = "news", on_text: Any = None, origins: tuple[str, ...] = ()) -> Mounted:
    return Mounted(GroupResource(group, on_text, origins))


def test_a_member(groups: Groups) -> None:
    """It gets what is sent to the group, until it leaves; what it sends is ignored, or handed on."""
    came: list[str] = []
    client = Client(lab(on_text=lambda request, text: came.append(text)))
    quiet = Client(lab())
    groups.deliver("news", "hello")
    assert [event.data for event in client.take()] == ["hello"]  # type: ignore[attr-defined]
    for each in (client, quiet):
        each.send(TextMessage("up"), BytesMessage(b"up"))
    assert came == ["up"]
    client.socket.connectionLost(None)
    groups.deliver("news", "late")
    assert client.take() == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"http://x", 101),
        (b"https://X:443", 101),
        (b"https://app.example.com", 101),
        (b"https://shop.example.com", 101),
        (b"https://evil.example", 403),
        (b"http://x.evil.example", 403),
        (b"http://x:8000", 403),
        (b"null", 403),
        (b"http://[", 403),
    ],
)
def test_origins(origin: bytes, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """A page of another site may not use the cookies of this one, unless it is named."""
    fields = ((b"Origin", origin), (b"X-Forwarded-Host", b"shop.example.com"))
    client = Client(lab(origins=("https://app.example.com/",)), *fields)
    assert client.connection.statuses == [status]
    assert ("add the page's to origins" in caplog.text) is (status == 403)
    assert Client(lab(origins=("*",)), *fields).connection.statuses == [101]


def test_a_group_for_each_client(groups: Groups) -> None:
    """Found for the request, now or later; None refuses."""
    found: Deferred[str | None] = Deferred()
    now = Client(lab(lambda request: request.getCookie(b"user").decode()), (b"Cookie", b"user=ada"))
    later = Client(lab(lambda request: found))
    assert later.connection.statuses == []
    found.callback("ada")
    groups.deliver("ada", "hello")
    for client in (now, later):
        assert [event.data for event in client.take()] == ["hello"]  # type: ignore[attr-defined]
    refused = Client(lab(lambda request: None))
    assert refused.connection.statuses == [403]
    assert body_of(refused.connection) == b"You may not open this WebSocket.\n"


def test_a_group_that_is_not_found(caplog: pytest.LogCaptureFixture) -> None:
    """500, and the log says why; nothing for a client that has left meanwhile."""
    assert Client(lab(lambda request: 1 // 0)).connection.statuses == [500]
    assert "ZeroDivisionError" in caplog.text
    found: Deferred[str] = Deferred()
    client = Client(lab(lambda request: found))
    client.connection.lose()
    found.callback("news")
    assert client.connection.sent == b""
    failing: Deferred[str] = Deferred()
    client = Client(lab(lambda request: failing))
    client.connection.lose()
    failing.errback(LookupError("late"))
    assert client.connection.sent == b""


def test_no_websocket() -> None:
    """Who asks without an upgrade is told what this is; one that is broken is refused."""
    plain = lab().ask()
    assert plain.statuses == [400]
    assert b"This is a WebSocket" in body_of(plain)
    assert lab().ask(b"/r", b"Upgrade: websocket", b"Connection: Upgrade").statuses == [400]


HANDSHAKE = {
    b"Upgrade": b"websocket",
    b"Connection": b"keep-alive, Upgrade",
    b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version": b"13",
}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 101),
        ({b"Connection": b"keep-alive"}, 400),
        ({b"Sec-WebSocket-Key": b""}, 400),
        ({b"Sec-WebSocket-Version": b"8"}, 426),
        ({b"Upgrade": b"websocket, h2c"}, 400),
        ({b"Upgrade": b"websocket\xff"}, 400),
        ({b"Connection": b"Upgrade, \xff"}, 400),
        ({b"Sec-WebSocket-Version": b"\xff"}, 426),
        ({b"Sec-WebSocket-Protocol": b"\xff"}, 400),
        ({b"Sec-WebSocket-Extensions": b"\xff"}, 400),
        ({b"Origin": b"http://\xff"}, 403),
        ({b"X-A": b"\xff"}, 101),
    ],
)
def test_a_handshake_that_is_wrong(change: dict[bytes, bytes], status: int) -> None:
    """The client's fault, so nothing for the log at level ERROR; RFC 6455 section 4.4 on versions."""
    fields = [b"%b: %b" % each for each in (HANDSHAKE | change).items() if each[1]]
    with capturedLogs() as logged:
        connection = lab().ask(b"/r", *fields)
    assert connection.statuses == [status]
    assert (b"Sec-Websocket-Version: 13\r\n" in connection.sent) is (status == 426)
    assert logged == []


def test_on_text_fails(caplog: pytest.LogCaptureFixture) -> None:
    """At once or later: the WebSocket ends with 1011, and the log has the traceback."""

    async def later(request: Any, text: str) -> None:
        raise LookupError(text)

    def now(request: Any, text: str) -> None:
        raise LookupError(text)

    for on_text in (now, later):
        client = Client(lab(on_text=on_text))
        client.send(TextMessage("up"), TextMessage("again"))
        [close] = client.take()
        assert close.code == 1011  # type: ignore[attr-defined]
    assert caplog.text.count("on_text failed for a WebSocket of the group 'news'") == 4


def test_origins_that_are_no_list() -> None:
    """Would be one for each character."""
    with pytest.raises(TypeError, match="give a list"):
        GroupResource("news", None, "https://app.example.com")
