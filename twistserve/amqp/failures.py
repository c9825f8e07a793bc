"""What can go wrong: with a message, and with the broker in words that name no password."""

from __future__ import annotations

from typing import Any

_FINAL = {403, 404, 405, 406, 530}
"""AMQP reply codes of what does not mend by waiting: refused, not found, locked, declared differently, not allowed."""
_REMEDIES = {
    403: " (look at the user's permissions for the virtual host)",
    404: " (create it, or correct its name)",
    406: " (give the options that it was declared with, use it as it is with --no-declare, or delete it)",
    530: " (create it, or correct its name)",
}


class Reject(Exception):
    """Raised by a handler: the message is rejected at once, without another try."""


class DatabaseGone(Exception):
    """A handler has failed because its database cannot be reached; the message is for people."""


class ConnectionFailed(Exception):
    """There is no connection, or not any more; the message is for people. `final` says that waiting does not help."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(" ".join(message.splitlines()))
        self.final = final


def failed(error: BaseException, what: str) -> ConnectionFailed:
    """What has gone wrong with `what`, from what pika or Twisted has raised."""
    from pika import exceptions
    from twisted.internet.defer import CancelledError
    from twisted.internet.defer import TimeoutError as TooLate
    from twisted.internet.error import ConnectError, DNSLookupError

    if isinstance(error, (exceptions.ConnectionClosedByBroker, exceptions.ChannelClosedByBroker)):
        code, text = error.reply_code, as_text(error.reply_text)
        if code == 403 and isinstance(error, exceptions.ConnectionClosedByBroker):
            return ConnectionFailed(f"{what} refuses the user or the password: {text}", final=True)
        return ConnectionFailed(f"{what} says: {text}{_REMEDIES.get(code, '')}", final=code in _FINAL)
    words = str(error).rstrip(".") or type(error).__name__
    for kinds, said in (
        ((CancelledError, TooLate), f"{what} has not answered in time"),
        (DNSLookupError, f"{what} cannot be found: {words}"),
        (ConnectError, f"{what} cannot be reached: {words}"),
        (exceptions.ConsumerCancelled, f"{what} has cancelled the consumer: its queue was deleted, perhaps"),
        (exceptions.AMQPHeartbeatTimeout, f"{what} has not been heard of: {words}"),
    ):
        if isinstance(error, kinds):
            return ConnectionFailed(said)
    return ConnectionFailed(f"the connection to {what} was lost: {words}")


def as_text(value: Any) -> str:
    """A text of AMQP's; pika may leave it in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
