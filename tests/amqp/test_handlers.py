"""The base class of handlers."""

from __future__ import annotations

import pytest

from tests.support.amqp import message
from twistserve.amqp import Handler


def test_the_base_class_handles_nothing() -> None:
    """It binds to nothing, and is durable."""
    handler = Handler()
    assert (handler.get_routing_keys("q"), handler.durable, handler.queue) == ([], True, "")
    with pytest.raises(NotImplementedError, match="Handler has no method handle"):
        handler.handle(message())
