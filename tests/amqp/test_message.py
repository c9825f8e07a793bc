"""A message: what it holds, how it is decoded, and the copy of it that is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.amqp import message
from twistserve.amqp import Reject


def test_what_it_holds() -> None:
    """With a name for log lines."""
    found = message(b'{"id": 7}', 3, message_id="abc", headers={"x": 1}, redelivered=True)
    assert (found.json(), found.text, found.redelivered, found.failures) == ({"id": 7}, '{"id": 7}', True, 0)
    assert (found.exchange, found.routing_key, found.headers) == ("shop", "orders.new", {"x": 1})
    assert str(found) == "the message 'abc' of the queue orders"
    assert str(message(tag=3)) == "the message 'number 3' of the queue orders"


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"\xff", None, "decoded as utf-8: invalid start byte at byte 0"),
        (b"x", "gzip", "decoded as gzip: LookupError"),
    ],
)
def test_text_that_cannot_be_decoded(body: bytes, encoding: str | None, said: str) -> None:
    """No other try would help: it is rejected, and the body not repeated."""
    with pytest.raises(Reject, match=said):
        _ = message(body, content_encoding=encoding).text
    assert message("ä".encode("latin-1"), content_encoding="latin-1").text == "ä"


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"secret", "not JSON: Expecting value at character 0"), (b"\xff\xfe\xfd", "at byte|UnicodeDecode")],
)
def test_json_that_is_none(body: bytes, said: str) -> None:
    """As well."""
    with pytest.raises(Reject, match=said) as raised:
        message(body).json()
    assert "secret" not in str(raised.value)


def test_publishing() -> None:
    """Persistent, unless it is said otherwise."""
    published: list[tuple[Any, ...]] = []
    found = message(publish=lambda *arguments: published.append(arguments))
    found.publish("shop", "invoices", "text", content_type="text/plain")
    found.publish("", "queue", b"bytes", delivery_mode=1)
    assert [each[:3] for each in published] == [("shop", "invoices", b"text"), ("", "queue", b"bytes")]
    assert [(each[3].delivery_mode, each[3].content_type) for each in published] == [(2, "text/plain"), (1, None)]


def test_the_copy_that_is_tried_again() -> None:
    """It counts, and comes with what the first was published with; the broker is not to send it elsewhere too."""
    first = message(headers={"x": 1, "CC": ["other"], "BCC": ["third"]}, user_id="eve", message_id="m", priority=3)
    properties = first.copy_after_failure()
    again = message(exchange="", routing_key="orders", headers=properties.headers)
    assert (again.failures, again.exchange, again.routing_key) == (1, "shop", "orders.new")
    assert again.headers["x"] == 1
    assert not {"CC", "BCC"} & set(again.headers)
    assert (properties.user_id, properties.message_id, properties.priority) == (None, "m", 3)
    assert message(headers=again.copy_after_failure().headers).failures == 2
    assert message(headers={"x-twistserve-failures": "many"}).failures == 0
