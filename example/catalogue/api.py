"""The catalogue as JSON, by Klein beside Django: it shares the models, and takes no request thread."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import connections
from klein import Klein
from twisted.internet.threads import deferToThread

from catalogue.models import Book

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IRequest

app = Klein()
"""For --mount."""


@app.route("/books")
def books(request: IRequest) -> Deferred[bytes]:
    """All books, with their stock."""
    request.setHeader(b"Content-Type", b"application/json")
    return deferToThread(_books)


def _books() -> bytes:
    try:
        found: list[dict[str, Any]] = list(Book.objects.values("id", "title", "author__name", "stock"))
        return json.dumps(found).encode() + b"\n"
    finally:
        connections.close_all()
