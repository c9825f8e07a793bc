"""Ten thousand messages while the broker is restarted and the consumer rolled over; the end without reconnection."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.functional.consumers import Consume, consuming_project, make_consume, seen
from tests.support.functional.harness import PROMPT, Serve, wait_for
from tests.support.functional.rabbitmq import RabbitMQ, Talk, temporary_broker

MESSAGES = 10_000
PREFETCH = 100


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with temporary_broker() as broker:
        yield broker


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return consuming_project(tmp_path / "project")


@pytest.fixture
def consume(serve: Serve, shop: Path, broker: RabbitMQ) -> Consume:
    return make_consume(serve, shop)


def test_no_message_is_lost(consume: Consume, broker: RabbitMQ, shop: Path) -> None:
    """Those that come twice had been delivered before a connection was lost, and the broker says so of each."""
    bounds = ("--threads", "4", "--prefetch", str(PREFETCH))
    words = ("handlers.Notes", "--amqp-url", broker.url, "--queue", "many", *bounds)
    old = consume(*words)
    begin = time.monotonic()
    talk = Talk(broker)
    talk.publish_many("many", (b"%d" % number for number in range(MESSAGES)))
    talk.connection.close()
    wait_for(lambda: len(seen(shop)) > MESSAGES / 5, "a fifth to be handled")
    broker.stop()
    old.wait_until("/ready", 503)
    assert old.probe("/alive").status == 200
    at_restart = len(seen(shop))
    assert at_restart < MESSAGES
    broker.start()
    old.wait_until("/ready")
    wait_for(lambda: len(seen(shop)) > at_restart + MESSAGES / 10, "more to be handled after the restart")
    new = consume(*words)
    old.signal(signal.SIGTERM)
    assert old.wait(PROMPT) == 0
    wait_for(lambda: len({line.split()[0] for line in seen(shop)}) == MESSAGES, "all to be handled")
    lines = [line.split() for line in seen(shop)]
    took = time.monotonic() - begin
    new.signal(signal.SIGTERM)
    assert new.wait(PROMPT) == 0
    often = Counter(number for number, *_ in lines)
    twice = {number for number, times in often.items() if times > 1}
    redelivered = {number for number, again, _ in lines if again == "1"}
    # pytest shows it with -rP.
    print(f"{MESSAGES} messages in {took:.1f} s, {len(twice)} of them twice, {len(redelivered)} marked as redelivered")  # noqa: T201
    assert {int(number) for number in often} == set(range(MESSAGES))
    assert twice <= redelivered
    # What was acknowledged as the connection was lost: the broker confirms no acknowledgement. The roll-over adds none.
    assert len(twice) <= PREFETCH
    talk = Talk(broker)
    assert talk.waiting("many") == 0
    talk.connection.close()


def test_without_reconnection(consume: Consume, broker: RabbitMQ) -> None:
    """The process ends with status 1 and the reason, so that Kubernetes starts another."""
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", "other", "--no-reconnect")
    broker.stop()
    assert server.wait() == 1
    [line] = server.stderr.splitlines()
    assert line.startswith(f"twistserve: the broker amqp://127.0.0.1:{broker.port} says: CONNECTION_FORCED")
    assert line.endswith("--no-reconnect: there is no other attempt")
    broker.start()
