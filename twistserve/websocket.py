"""WebSockets, for views and mounted resources: `send` to a group of them, and a resource whose WebSockets join one.

from twistserve.websocket import send

send("news", "a text")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twistserve.resources.groups import Member, groups

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.web.resource import IResource

__all__ = ["deliver", "group_resource", "join", "leave", "send"]


def send(group: str, text: str) -> None:
    """Send a text to all WebSockets of a group, those of other workers too. From any thread; never blocks.

    Texts of one thread arrive in order. They are not kept for clients that connect later. In a process that serves
    nothing, such as a management command, nothing is sent, with a line at level DEBUG. Raises TypeError for what is no
    text, and ValueError for one that has more than 1 MiB or cannot be encoded.
    """
    groups.send(group, text)


def deliver(group: str, text: str) -> None:
    """Send a text to the group's WebSockets of this process alone, such as what a broker tells every process.

    As `send` otherwise.
    """
    groups.send(group, text, here=True)


def join(group: str, transport: Member) -> None:
    """Have a WebSocket of your own get what is sent to a group: its transport, from `negotiationFinished` on.

    Reactor thread, where its protocol is called.
    """
    groups.join(group, transport)


def leave(group: str, transport: Member) -> None:
    """Have it get that no more: to be called in `connectionLost`, for each group. Reactor thread."""
    groups.leave(group, transport)


def group_resource(
    group: str | Callable[[Any], str | Deferred[str | None] | None],
    *,
    on_text: Callable[[Any, str], object] | None = None,
    origins: Sequence[str] = (),
) -> IResource:
    """A resource for --mount whose WebSockets join a group; clients get what is sent to that.

    `group` is its name; or a function that finds it for a request of twisted.web, now or by a Deferred, and returns
    None to refuse it with 403. `on_text` is called with the request and each text that comes; without it they are
    ignored. Both are called on the reactor thread and must not block; they may be coroutines that await Deferreds.
    Pages of other origins are refused, but for `origins`, such as ["https://app.example.com"], or ["*"]. Raises
    ImportError without twistserve[websocket].
    """
    # Imported here: those who only send need none of it.
    from twistserve.resources.group_resource import GroupResource

    return GroupResource(group, on_text, origins)
