"""The stock of books: WebSockets that show it, and a service that fills it up."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from django.db import connections

from catalogue.models import Book
from twistserve.websocket import group_resource, send

if TYPE_CHECKING:
    from twisted.application.service import IService
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


def restock() -> IService:
    """Order books that are sold out, now and then, for --service."""
    # Imported here: a view uses this module in processes without Twisted too.
    from twisted.application.internet import TimerService
    from twisted.internet.threads import deferToThread

    def failed(failure: Any) -> None:
        # A function that raised would end the TimerService.
        logger.error("no books could be ordered", exc_info=failure.value)

    return TimerService(RESTOCK_EVERY, lambda: deferToThread(_restock).addErrback(failed))


def _restock() -> None:
    try:
        for pk in Book.objects.filter(stock=0).values_list("pk", flat=True):
            Book.objects.filter(pk=pk).update(stock=DELIVERY)
            tell_stock(pk)
    finally:
        # The thread may not be asked again for long.
        connections.close_all()
