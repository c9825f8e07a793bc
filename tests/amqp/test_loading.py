"""Dotted names of handlers, and what is wrong with those that are none."""

from __future__ import annotations

from typing import Any

import pytest

from twistserve.amqp import Handler, TopicHandler
from twistserve.amqp.loading import load_handler
from twistserve.errors import StartError


class Good(Handler):
    def handle(self, message: Any) -> None: ...


class Topic(TopicHandler):
    def on_message(self, *arguments: Any) -> None: ...


class Empty(Handler): ...


class EmptyTopic(TopicHandler): ...


class Coroutine(Handler):
    async def handle(self, message: Any) -> None: ...  # type: ignore[override]


class Wants(Good):
    def __init__(self, queue: str) -> None: ...


class Ends(Good):
    def __init__(self) -> None:
        raise SystemExit("no")


SOMETHING = 7


@pytest.mark.parametrize("kind", [Good, Topic])
def test_a_handler_is_made(kind: type[Handler]) -> None:
    """Of both kinds."""
    assert type(load_handler(f"{__name__}.{kind.__name__}")) is kind


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Gone", "has no .Gone.: correct the dotted name"),
        ("Exception.Orders", "has no .Exception.: correct the dotted name"),
        ("SOMETHING", "is of type int, which is no handler"),
        ("StartError", "is the class StartError, which is no handler: derive the class from twistserve.amqp.Handler"),
        ("Empty", "has no method handle"),
        ("EmptyTopic", "has no method on_message"),
        ("Coroutine", "handle is a coroutine"),
        ("Wants", "cannot be made: TypeError"),
        ("Ends", "cannot be made: SystemExit: no"),
    ],
)
def test_what_is_no_handler(name: str, said: str) -> None:
    """In one line that has the dotted name."""
    with pytest.raises(StartError, match=said) as raised:
        load_handler(f"{__name__}.{name}")
    assert f"the handler {__name__}.{name}" in str(raised.value)
