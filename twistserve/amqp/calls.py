"""The call of a handler in its thread, with Django's connections as a request has them."""

from __future__ import annotations

from twistserve.amqp.failures import DatabaseGone
from twistserve.amqp.handlers import Handler
from twistserve.amqp.message import Message
from twistserve.errors import describe
from twistserve.logs import get_logger

logger = get_logger(__name__)


class HandlerCall:
    """Calls a handler with messages; in any thread, and in several at the same time."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __call__(self, message: Message) -> BaseException | None:
        """Handle a message; returns what was raised, SystemExit too: it is the message's failure, not the thread's.

        `DatabaseGone` is returned for an error of a database that cannot be connected to.
        """
        from django.db import InterfaceError, OperationalError, close_old_connections, reset_queries

        try:
            # What Django does before a request, and after it.
            reset_queries()
            close_old_connections()
            self._handler.handle(message)
        except (InterfaceError, OperationalError) as error:
            return DatabaseGone(describe(error)) if _is_database_gone() else error
        except BaseException as error:
            return error
        finally:
            try:
                close_old_connections()
            except Exception:
                logger.exception("the database connections cannot be closed after %s", message)
        return None


def _is_database_gone() -> bool:
    """Whether a database that this thread has used cannot be connected to; it may also have cancelled one query."""
    from django.db import InterfaceError, OperationalError, connections

    for connection in connections.all(initialized_only=True):
        try:
            connection.close()
            connection.ensure_connection()
        except (InterfaceError, OperationalError):
            return True
    return False
