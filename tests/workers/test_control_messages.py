"""Messages between the parent and the preloaded process, over a pair of sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from twistserve.workers.control_messages import receive, send

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.setblocking(False)
    with one, other:
        yield one, other


def test_messages_arrive_one_by_one(ends: Ends) -> None:
    """With what belongs to them; then there is none yet, and none any more."""
    one, other = ends
    send(one, "loaded")
    send(one, "forked", request=3, pid=4711)
    assert receive(other) == ("loaded", {}, [])
    assert receive(other) == ("forked", {"request": 3, "pid": 4711}, [])
    with pytest.raises(BlockingIOError):
        receive(other)
    one.close()
    assert receive(other) is None


def test_descriptors_go_with_a_message(ends: Ends) -> None:
    """Under numbers of the receiver's own, and not for the programs that it starts."""
    reading, writing = os.pipe()
    send(ends[0], "fork", [writing], name="worker-1")
    message = receive(ends[1])
    assert message is not None
    [passed] = message.descriptors
    assert passed != writing
    assert not os.get_inheritable(passed)
    os.write(passed, b"hello")
    assert os.read(reading, 5) == b"hello"
    for each in (reading, writing, passed):
        os.close(each)


@pytest.mark.parametrize("text", ["z" * 1_000_000, "書" * 1_000_000, "\udc80"])
def test_however_much_is_said_it_arrives(ends: Ends, text: str) -> None:
    """An error may quote a whole page: the parent gets its beginning."""
    send(ends[0], "failed", message=text)
    message = receive(ends[1])
    assert message is not None
    assert message.content["message"] == text[:10_000]
