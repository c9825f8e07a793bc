"""What goes wrong with the broker, in words; and whether waiting helps."""

from __future__ import annotations

import pytest
from pika import exceptions
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, DNSLookupError

from twistserve.amqp.failures import failed


@pytest.mark.parametrize(
    ("error", "said", "final"),
    [
        (
            exceptions.ConnectionClosedByBroker(403, "ACCESS_REFUSED - Login was refused"),
            "the broker refuses the user or the password: ACCESS_REFUSED - Login was refused",
            True,
        ),
        (
            exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost x not found"),
            "the broker says: NOT_ALLOWED - vhost x not found (create it",
            True,
        ),
        (exceptions.ChannelClosedByBroker(406, "PRECONDITION_FAILED"), "--no-declare, or delete it", True),
        (exceptions.ChannelClosedByBroker(404, "NOT_FOUND - no queue"), "no queue (create it", True),
        (exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), "the broker says: CONNECTION_FORCED", False),
        (exceptions.ProbableAuthenticationError("StreamLostError"), "was lost", False),
        (DNSLookupError("rabbit"), "cannot be found", False),
        (ConnectError(string="refused."), "cannot be reached: An error occurred while connecting: refused", False),
        (CancelledError(), "has not answered in time", False),
        (exceptions.ConsumerCancelled(), "its queue was deleted, perhaps", False),
        (exceptions.AMQPHeartbeatTimeout("no activity"), "has not been heard of: no activity", False),
        (ValueError(), "the connection to the broker was lost: ValueError", False),
    ],
)
def test_words(error: BaseException, said: str, final: bool) -> None:
    """In one line, with a remedy where there is one."""
    found = failed(error, "the broker")
    assert said in str(found)
    assert found.final is final
    assert "\n" not in str(found)
