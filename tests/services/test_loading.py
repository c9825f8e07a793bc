"""From dotted names to services: what may be named, and one line for what may not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.application.service import Service

from tests.support.composition import configuration
from twistserve.errors import StartError
from twistserve.services.loading import Declared, Loaded, declared, load, make

OFFERED = {"lifecycle": "the lifecycle", "reactor": "the reactor"}


def made(target: Any) -> Any:
    return make(Loaded(Declared("feed", "prices.Feed"), target), OFFERED)


def test_what_is_declared() -> None:
    """The name is the last part's, unless one is given."""
    found = declared(configuration(service=["prices.feeds.PriceFeed", "old_feed=prices:Feed", "shop.re_stock"][0::2]))
    assert found == [("pricefeed", "prices.feeds.PriceFeed"), ("re-stock", "shop.re_stock")]
    assert declared(configuration(service=["old=prices:Feed"])) == [("old", "prices.Feed")]


@pytest.mark.parametrize(
    "words", ["prices", "1=prices.Feed", "A=prices.Feed", "old_feed=prices.Feed", "=", "a.b c", "a.é"]
)
def test_what_cannot_be_declared(words: str) -> None:
    """It is named, with what to give instead."""
    with pytest.raises(StartError, match=r"--service: .*such as"):
        configuration(service=[words])


def test_two_of_one_name() -> None:
    """The line has both, and a name to give."""
    with pytest.raises(StartError) as raised:
        configuration(service=["a.feed", "b.Feed"])
    assert str(raised.value) == (
        "--service: a.feed and b.Feed are both named 'feed': give one another name, such as --service feed-2=b.Feed"
    )


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "tried_services.py"
    sys.modules.pop("tried_services", None)


def test_what_is_imported(module: Path) -> None:
    """In order; a service says by an attribute of what is named that each worker is to run it."""
    module.write_text("class Feed:\n    each_worker = True\nonce = 3\n")
    feed, once = load([Declared("feed", "tried_services.Feed"), Declared("once", "tried_services.once")])
    assert (feed.target.__name__, feed.in_each_worker) == ("Feed", True)
    assert (once.target, once.in_each_worker) == (3, False)


@pytest.mark.parametrize(
    ("dotted", "reason"),
    [
        ("tried_nothing.Feed", "there is no module 'tried_nothing': correct the dotted name, or give --pythonpath"),
        ("tried_services.Seed", "'tried_services' has no 'Seed': correct the dotted name"),
        ("tried_services.deeper.Feed", "'tried_services' has no 'deeper': correct the dotted name"),
    ],
)
def test_what_is_not_there(module: Path, dotted: str, reason: str) -> None:
    """The line says which part of the name is wrong."""
    module.write_text("")
    with pytest.raises(StartError) as raised:
        load([Declared("feed", dotted)])
    assert str(raised.value) == f"the service feed ({dotted}): {reason}"


@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit(3)"])
def test_an_import_that_fails(module: Path, code: str) -> None:
    """With the project's line, and whatever it raises."""
    module.write_text(f"\n{code}\n")
    with pytest.raises(
        StartError, match=r"cannot be imported: (ZeroDivisionError|SystemExit).*tried_services.py, line 2"
    ):
        load([Declared("feed", "tried_services.Feed")])


def test_what_provides_the_interface_is_taken_as_it_is() -> None:
    """An object, also one that could be called."""

    class Callable(Service):
        def __call__(self) -> None:
            raise AssertionError

    for service in (Service(), Callable()):
        assert made(service) is service


def test_what_makes_one_is_given_what_it_takes() -> None:
    """Classes and functions, with and without arguments."""

    class Taking(Service):
        def __init__(self, reactor: Any, retries: int = 3, *, lifecycle: Any = None) -> None:
            self.taken = reactor, retries, lifecycle

    assert made(Taking).taken == ("the reactor", 3, "the lifecycle")
    assert isinstance(made(Service), Service)
    service = Service()
    assert made(lambda: service) is service
    assert made(lambda *ignored, **also: service) is service


class Unreadable:
    __signature__ = "nothing"

    def __call__(self) -> Service:
        return Service()


def test_a_callable_whose_arguments_are_not_known_is_called_without() -> None:
    """As some of C code are."""
    assert isinstance(made(Unreadable()), Service)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (3, "is of int: name a Twisted IService, or a class or function that makes one"),
        (SimpleNamespace(), "is of SimpleNamespace: name a Twisted IService, or a class or function that makes one"),
        (lambda: None, "cannot be made: what was called has returned NoneType, which is no Twisted IService"),
        (lambda shop: None, "cannot be made: it takes 'shop', and there is only lifecycle and reactor to give"),
        (lambda reactor, /: None, "cannot be made: it takes 'reactor' by position: have it take it by name"),
    ],
)
def test_what_is_no_service(target: Any, reason: str) -> None:
    """The line says what it is instead."""
    with pytest.raises(StartError) as raised:
        made(target)
    assert str(raised.value) == f"the service feed (prices.Feed) {reason}"


@pytest.mark.parametrize("error", [ValueError("no prices"), SystemExit(3)])
def test_what_is_raised_while_it_is_made(error: BaseException) -> None:
    """Ends the start in one line."""

    def fail() -> None:
        raise error

    with pytest.raises(StartError, match=f"cannot be made: {type(error).__name__}: "):
        made(fail)


def test_one_that_says_what_is_wrong() -> None:
    """Its words are enough."""

    def fail() -> None:
        raise StartError("there is no broker")

    with pytest.raises(StartError) as raised:
        made(fail)
    assert str(raised.value) == "the service feed (prices.Feed) cannot be made: there is no broker"
