"""The call of a handler in its thread, with Django's connections as a request has them."""

from __future__ import annotations

from twistserve.amqp.handlers import Handler
from twistserve.amqp.message import Message
from twistserve.logs import get_logger

logger = get_logger(__name__)


class HandlerCall:
    """Calls a handler with messages; in any thread, and in several at the same time."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __call__(self, message: Message) -> BaseException | None:
        """Handle a message; returns what was raised, SystemExit too: it is the message's failure, not the thread's."""
        from django.db import close_old_connections, reset_queries

        try:
            # What Django does before a request, and after it.
            reset_queries()
            close_old_connections()
            self._handler.handle(message)
        except BaseException as error:
            return error
        finally:
            try:
                close_old_connections()
            except Exception:
                logger.exception("the database connections cannot be closed after %s", message)
        return None
