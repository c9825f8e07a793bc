"""What is noticed of a reactor that an application has installed; fails if Twisted renames what it is noticed by."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import twisted.internet
from twisted.internet import main
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor

from twistserve.net.other_reactors import _has_work, forget_installed, modules_with, replace


@pytest.fixture
def reactor() -> Iterator[Any]:
    """A reactor that nobody has installed."""
    reactor = SelectReactor()
    yield reactor
    for reader in reactor.removeAll():
        reader.connectionLost(None)
    reactor.waker.connectionLost(None)


def test_a_new_reactor_has_no_work(reactor: Any) -> None:
    """What every reactor does for itself is not work."""
    assert not _has_work(reactor)


@pytest.mark.parametrize(
    "use",
    [
        lambda reactor: reactor.callLater(60, print),
        lambda reactor: reactor.callFromThread(print),
        lambda reactor: reactor.callWhenRunning(print),
        lambda reactor: reactor.listenTCP(0, Factory(), interface="127.0.0.1"),
    ],
    ids=["callLater", "callFromThread", "callWhenRunning", "listenTCP"],
)
def test_a_reactor_that_is_asked_for_something_has_work(reactor: Any, use: Callable[[Any], object]) -> None:
    """Whoever has asked it for something waits for it to run."""
    use(reactor)
    assert _has_work(reactor)


def test_a_fork_forgets_the_reactor_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another can be installed, and takes its place in the modules that have imported it by name."""
    old, new = object(), object()
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", old)
    monkeypatch.setattr(twisted.internet, "reactor", old, raising=False)
    monkeypatch.setattr(main, "installReactor", print)
    module: Any = ModuleType("shop")
    module.clock = module.reactor = old
    module.name = "shop"
    monkeypatch.setitem(sys.modules, "shop", module)
    assert forget_installed() is old
    assert "twisted.internet.reactor" not in sys.modules
    main.installReactor(new)
    assert twisted.internet.reactor is new
    found = modules_with(old)
    assert vars(module) in found
    replace(old, new, [vars(module)])  # type: ignore[arg-type]
    assert (module.clock, module.reactor, module.name) == (new, new, "shop")
