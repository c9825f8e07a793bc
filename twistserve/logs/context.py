"""What belongs to every line that is logged while a request is served, and in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class ServedRequest(Protocol):
    """What a log line tells of the request during which it was logged."""

    request_id: bytes
    fields: list[tuple[bytes, bytes]]


served: ContextVar[ServedRequest | None] = ContextVar("twistserve.request", default=None)
"""The request that the present context serves. asgiref carries it into the threads and loops of async views."""


@contextmanager
def serving(request: ServedRequest) -> Iterator[None]:
    """Let what is logged meanwhile tell this request; for the reactor's thread, which serves none by itself."""
    token = served.set(request)
    try:
        yield
    finally:
        served.reset(token)


class Process:
    """The name of this process where there are several, such as worker-1; set once, when it starts."""

    name = ""


def request_fields(request: ServedRequest | None) -> dict[str, Any]:
    """`request_id` and `traceparent` (W3C Trace Context), as far as there are any."""
    fields: dict[str, Any] = {}
    if request is None:
        return fields
    if request.request_id:
        fields["request_id"] = request.request_id.decode("latin-1")
    for name, value in request.fields:
        if len(name) == 11 and name.lower() == b"traceparent":
            fields["traceparent"] = value.decode("latin-1")
    return fields
