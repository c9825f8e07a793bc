"""What views and mounted resources import."""

from __future__ import annotations

import subprocess
import sys

import pytest
from twisted.web.resource import IResource

from twistserve import websocket
from twistserve.resources.groups import Groups


class Member:
    """A WebSocket."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def sendTextMessage(self, text: str) -> None:
        self.texts.append(text)


def test_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol's own may join and leave."""
    monkeypatch.setattr(websocket, "groups", groups := Groups())
    groups.begin(lambda call: call())
    member = Member()
    websocket.join("a", member)
    websocket.send("a", "1")
    websocket.deliver("a", "here")
    websocket.leave("a", member)
    websocket.send("a", "2")
    assert member.texts == ["1", "here"]


def test_a_resource() -> None:
    """For --mount."""
    assert IResource.providedBy(websocket.group_resource("news"))


def test_who_only_sends() -> None:
    """Imports neither the extra nor twisted.web, nor a reactor."""
    unwanted = {"wsproto", "twisted.web.resource", "twisted.internet.reactor"}
    code = f"import sys, twistserve.websocket; print(sorted({unwanted} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
