"""Texts to groups of WebSockets, from any thread."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from twistserve.resources import groups as module
from twistserve.resources.groups import LONGEST, Groups


class Member:
    """A WebSocket; one that is `closed` raises. Without a hash, as Twisted's are."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, closed: bool = False) -> None:
        self.closed = closed
        self.texts: list[str] = []

    def __eq__(self, other: object) -> bool:
        return True

    def sendTextMessage(self, text: str) -> None:
        if self.closed:
            raise RuntimeError
        self.texts.append(text)


class Bench:
    """Groups whose reactor runs when it is told to; `published` went to other processes."""

    def __init__(self) -> None:
        self.groups = Groups()
        self.calls: list[Callable[[], None]] = []
        self.published: list[tuple[str, str]] = []
        self.groups.begin(self.calls.append)
        self.groups.publish = lambda group, text: self.published.append((group, text))

    def run(self) -> None:
        while self.calls:
            self.calls.pop(0)()

    def joined(self, *groups: str, closed: bool = False) -> Member:
        member = Member(closed)
        for group in groups:
            self.groups.join(group, member)
        return member


def test_who_gets_a_text() -> None:
    """The members of the group, each once, those of other processes too; one that is closed disturbs no other."""
    bench = Bench()
    bench.joined("a", closed=True)
    one, both = bench.joined("a"), bench.joined("a", "b")
    bench.groups.send("a", "1")
    bench.groups.send("b", "2")
    assert len(bench.calls) == 1
    bench.run()
    assert (one.texts, both.texts) == (["1"], ["1", "2"])
    assert bench.published == [("a", "1"), ("b", "2")]
    bench.groups.leave("a", both)
    bench.groups.leave("a", both)
    bench.groups.leave("c", both)
    bench.groups.send("a", "3")
    bench.run()
    assert (one.texts, both.texts) == (["1", "3"], ["1", "2"])


def test_what_came_from_another_process() -> None:
    """Is not sent back."""
    bench = Bench()
    member = bench.joined("a")
    done: list[None] = []
    bench.groups.deliver("a", "1").addCallback(done.append)
    assert not done
    bench.groups.send("a", "2", here=True)
    bench.run()
    assert (member.texts, bench.published) == (["1", "2"], [])
    assert done == [None]
    Groups().deliver("a", "1").addCallback(done.append)
    assert done == [None, None]


def test_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Get texts over several turns of the reactor, each in order; who joins meanwhile gets the next one."""
    monkeypatch.setattr(module, "TURN", 10)
    bench = Bench()
    members = [bench.joined("a") for _ in range(25)]
    for text in "123":
        bench.groups.send("a", text)
    assert len(bench.calls) == 1
    bench.calls.pop(0)()
    assert sum(len(member.texts) for member in members) <= 10
    late = bench.joined("a")
    bench.run()
    assert all(member.texts == ["1", "2", "3"] for member in members)
    assert late.texts == ["2", "3"]
    assert len(bench.published) == 3


def test_many_threads() -> None:
    """The order of each is kept, and nothing is lost."""
    bench = Bench()
    member = bench.joined("a")

    def send(name: str) -> None:
        for number in range(200):
            bench.groups.send("a", f"{name}{number:03}")

    threads = [threading.Thread(target=send, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.run()
    assert len(member.texts) == 600
    for name in "xyz":
        mine = [text for text in member.texts if text[0] == name]
        assert mine == sorted(mine)


def test_what_waits_for_the_reactor_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What finds no room is dropped, counted, and told once."""
    monkeypatch.setattr(module, "MOST_QUEUED", 10)
    name = "twistserve_websocket_texts_dropped_total"
    before = REGISTRY.get_sample_value(name) or 0.0
    bench = Bench()
    member = bench.joined("a")
    for text in ("01234567", "abc", "def"):
        bench.groups.send("a", text)
    bench.run()
    bench.groups.send("a", "ghi")
    bench.run()
    assert member.texts == ["01234567", "ghi"]
    assert REGISTRY.get_sample_value(name) == before + 2
    assert caplog.text.count("texts for WebSockets are dropped") == 1


def test_what_cannot_be_sent() -> None:
    """Is the caller's mistake."""
    bench = Bench()
    for wrong in (b"bytes", None):
        with pytest.raises(TypeError, match="takes two texts"):
            bench.groups.send("a", wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="send a URL"):
        bench.groups.send("a", "x" * (LONGEST + 1))
    with pytest.raises(UnicodeEncodeError):
        bench.groups.send("a", "\udc80")
    assert bench.calls == []


def test_a_process_without_websockets(caplog: pytest.LogCaptureFixture) -> None:
    """Sends nothing: a management command, or a test."""
    with caplog.at_level(logging.DEBUG):
        Groups().send("a", "text")
    assert "nothing was sent to the WebSockets of 'a'" in caplog.text


FORKS = """
import os, threading
from twistserve.resources.groups import groups

groups.begin(lambda call: print("delivered", flush=True))
groups._lock.acquire()
if (child := os.fork()) == 0:
    thread = threading.Thread(target=groups.send, args=("a", "text"))
    thread.start()
    thread.join(30)
    os._exit(thread.is_alive())
print(os.waitpid(child, 0)[1])
"""


def test_a_forked_child() -> None:
    """Has no WebSockets, and does not wait for what another thread of its parent was at."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
