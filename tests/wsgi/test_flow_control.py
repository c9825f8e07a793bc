"""Blocks on their way from a request thread to a connection."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from twistserve.wsgi.flow_control import HIGH_WATER, ClientGone, FlowControl


def test_blocks_that_were_put_are_taken_together() -> None:
    """In their order; the reactor is to be told of the first alone."""
    flow = FlowControl()
    assert [flow.put(block) for block in (b"a", b"b", b"c")] == [True, False, False]
    assert flow.take() == b"abc"
    assert flow.take() == b""
    assert flow.put(b"d")
    assert flow.take() == b"d"


def test_a_block_by_itself_is_not_copied() -> None:
    """It goes to the connection as the application has made it."""
    flow, block = FlowControl(), bytes(1000)
    flow.put(block)
    assert flow.take() is block


def waiting(flow: FlowControl, woken: threading.Event, then: Callable[[], object]) -> list[object]:
    """What putting a block comes to, for which a thread has to wait until the reactor does something."""
    results: list[object] = []

    def put() -> None:
        try:
            results.append(flow.put(b"late"))
        except ClientGone:
            results.append("gone")

    thread = threading.Thread(target=put)
    thread.start()
    assert woken.wait(30)
    assert results == []
    then()
    thread.join(30)
    return results


@pytest.fixture
def woken() -> threading.Event:
    """Set when a thread is about to wait, having woken the reactor."""
    return threading.Event()


def test_a_thread_waits_while_the_transport_is_full(woken: threading.Event) -> None:
    """It wakes the reactor before, and goes on when there is room."""
    flow = FlowControl(woken.set)
    flow.pauseProducing()
    assert waiting(flow, woken, flow.resumeProducing) == [True]
    assert flow.take() == b"late"


def test_a_thread_waits_while_much_is_on_its_way(woken: threading.Event) -> None:
    """Until the reactor has taken it; a block may be larger than all that may wait."""
    flow = FlowControl(woken.set)
    flow.put(bytes(HIGH_WATER))
    flow.put(b"x")
    assert not woken.is_set()
    assert waiting(flow, woken, flow.take) == [True]
    flow.take()
    assert flow.put(bytes(10 * HIGH_WATER))


def test_a_client_that_leaves_ends_the_iteration(woken: threading.Event) -> None:
    """Of a thread that waits, and of one that comes later."""
    flow = FlowControl(woken.set)
    flow.pauseProducing()
    assert waiting(flow, woken, flow.stopProducing) == ["gone"]
    assert flow.gone
    with pytest.raises(ClientGone):
        flow.put(b"x")
