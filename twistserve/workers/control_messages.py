"""Messages between the parent and the preloaded process (--preload): a word, its content, and file descriptors.

They go over a Unix socket of type SOCK_SEQPACKET, which keeps messages apart: one line of JSON each (unix(7)).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST = 200_000
"""Bytes of a message, a little less than the kernel takes at once."""
MOST_DESCRIPTORS = 250
"""Descriptors of a message: Linux passes 253 (unix(7), SCM_RIGHTS)."""
_LONGEST = 10_000
"""Characters of a text in a message."""


class Message(NamedTuple):
    """A word and what belongs to it."""

    word: str
    content: dict[str, Any]
    descriptors: list[int]


def send(control: socket.socket, word: str, descriptors: Sequence[int] = (), **content: Any) -> None:
    """Send a message; longer texts are cut. Raises OSError."""
    cut = {name: each[:_LONGEST] if isinstance(each, str) else each for name, each in content.items()}
    data = json.dumps([word, cut]).encode()
    if descriptors:
        socket.send_fds(control, [data], list(descriptors))
    else:
        control.send(data)


def receive(control: socket.socket) -> Message | None:
    """The next message, None at the end. Raises OSError; BlockingIOError where there is none yet."""
    data, descriptors, _, _ = socket.recv_fds(control, MOST, MOST_DESCRIPTORS)
    for each in descriptors:
        # recv_fds takes flags such as MSG_CMSG_CLOEXEC, but does not pass them on.
        os.set_inheritable(each, False)
    if not data:
        return None
    word, content = json.loads(data)
    return Message(word, content, descriptors)
