"""The stock of books: WebSockets that show it, and a service that fills it up."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from django.db import connections
from twisted.application.internet import TimerService
from twisted.internet.threads import deferToThread

from catalogue.models import Book
from twistserve.websocket import group_resource, send

if TYPE_CHECKING:
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

logger = logging.getLogger(__name__)

RESTOCK_EVERY = 10.0
"""Seconds between two looks for books that are sold out."""
DELIVERY = 12
"""Copies in a delivery."""


def stock() -> IResource:
    """What pages open a WebSocket to, for --mount."""
    return group_resource("stock")


def tell_stock(pk: int) -> None:
    """Tell every page how many copies of a book there are."""
    copies = Book.objects.values_list("stock", flat=True).get(pk=pk)
    send("stock", json.dumps({"book": pk, "stock": copies}))


class Restock(TimerService):
    """Orders books that are sold out, now and then, for --service."""

    def __init__(self) -> None:
        super().__init__(RESTOCK_EVERY, lambda: deferToThread(self._restock).addErrback(self._failed))
        self._delivered = 0

    def metrics(self) -> dict[str, float]:
        """What /metrics has of it, as twistserve_service_value."""
        return {"delivered": self._delivered}

    def _restock(self) -> None:
        try:
            for pk in Book.objects.filter(stock=0).values_list("pk", flat=True):
                Book.objects.filter(pk=pk).update(stock=DELIVERY)
                self._delivered += DELIVERY
                tell_stock(pk)
        finally:
            # The thread may not be asked again for long.
            connections.close_all()

    def _failed(self, failure: Failure) -> None:
        """Go on: a function that raises ends the TimerService."""
        logger.error("no books could be ordered", exc_info=failure.value)
