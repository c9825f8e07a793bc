"""The private names of Twisted that WebSockets need are where they were."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.web import _websocket_impl
from twisted.web.http import HTTPChannel
from wsproto import ConnectionType, WSConnection

from twistserve.net.websocket_wire import MessageTooBig, UpgradingChannel, bound_messages


def test_what_twisted_asks_of_a_channel() -> None:
    """By the name that its own has; whoever has it not is told so."""
    name = "_protocolUpgradeForWebsockets"
    assert hasattr(HTTPChannel, name)
    with pytest.raises(NotImplementedError):
        getattr(UpgradingChannel(), name)(None)


def test_what_is_in_the_place_of_its_buffers() -> None:
    """What has the same methods, and a bound."""
    protocol: Any = None
    wire = _websocket_impl._WebSocketWireProtocol(WSConnection(ConnectionType.SERVER), lambda *each: None, protocol)
    theirs = {name: getattr(wire, name) for name in ("_textBuffer", "_bytesBuffer")}
    bound_messages(wire, 10)
    for name, buffer in theirs.items():
        assert set(dir(type(buffer))) >= {"add", "done"}
        ours, part = getattr(wire, name), type(buffer.data)()
        part += "01234" if isinstance(part, str) else b"01234"
        for _ in range(2):
            ours.add(part)
            ours.add(part)
            assert ours.done() == part + part
        ours.add(part + part)
        with pytest.raises(MessageTooBig):
            ours.add(part)
