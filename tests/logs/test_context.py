"""What log lines tell of the request during which they were logged."""

from __future__ import annotations

import contextvars
from dataclasses import dataclass, field

from twistserve.logs.context import request_fields, served, serving


@dataclass
class Request:
    """A request as the log knows it."""

    request_id: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)


def test_a_request_is_served_for_a_while() -> None:
    """Also within another one, also if an error ends it; other contexts do not know of it."""
    one, two = Request(b"1"), Request(b"2")
    before = contextvars.copy_context()
    with serving(one):
        try:
            with serving(two):
                assert served.get() is two
                assert before.run(served.get) is None
                raise LookupError
        except LookupError:
            assert served.get() is one
    assert served.get() is None


def test_the_fields_of_a_request() -> None:
    """Those that there are, in whichever letters it was sent."""
    assert request_fields(None) == {}
    assert request_fields(Request()) == {}
    headers = [(b"X-Traceparent", b"no"), (b"TraceParent", b"00-1-2-01"), (b"tracestates", b"no")]
    assert request_fields(Request(b"id", headers)) == {"request_id": "id", "traceparent": "00-1-2-01"}
