"""What handles messages: a project's class derives from `Handler`."""

from __future__ import annotations

from twistserve.amqp.message import Message


class Handler:
    """Handles messages, each in a thread, with Django's connections as in a request.

    One object handles the messages of a process; with --threads above 1, several at the same time. The attributes are
    what --queue, --exchange and --exchange-type say where they are not given.
    """

    queue = ""
    exchange = ""
    exchange_type = "topic"
    durable = True
    """Whether exchange, queue and messages outlive the broker's restart."""

    def get_routing_keys(self, queue_name: str) -> list[str]:
        """What the queue is bound to the exchange with; the queue's name if the list is empty.

        Main thread; of a consumer that --service makes, the reactor's, where it must not block.
        """
        return []

    def handle(self, message: Message) -> None:
        """Handle a message: it is acknowledged when this returns, and tried again when it raises.

        May be called more than once for the same message. Raises `Reject` for one that no other try can help.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method handle")
