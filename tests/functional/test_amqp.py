"""manage.py consume with a real RabbitMQ: what becomes of messages, of the process, and of what is wrong."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.functional.consumers import Consume, consuming_project, make_consume, seen
from tests.support.functional.harness import PROMPT, Serve, Server, assert_failed, lines_with, wait_for
from tests.support.functional.rabbitmq import RabbitMQ, Talk, temporary_broker


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with temporary_broker() as broker:
        yield broker


@pytest.fixture
def talk(broker: RabbitMQ) -> Iterator[Talk]:
    talk = Talk(broker)
    yield talk
    talk.connection.close()


@pytest.fixture
def queue() -> str:
    """The name of a queue that no other test has."""
    return f"queue-{uuid4().hex[:8]}"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return consuming_project(tmp_path / "project")


@pytest.fixture
def consume(serve: Serve, shop: Path, broker: RabbitMQ) -> Consume:
    return make_consume(serve, shop)


def wait_until_seen(shop: Path, *lines: str) -> None:
    wait_for(lambda: all(line in seen(shop) for line in lines), lambda: f"{lines} in {seen(shop)}")


def ends(server: Server) -> bool:
    """Whether it ends as it should when it is told to, without waiting for anything."""
    server.signal(signal.SIGTERM)
    return server.wait(PROMPT) == 0


def metric(server: Server, name: str) -> float:
    [line] = lines_with(server.probe("/metrics").text, f"twistserve_amqp_{name}{{")
    return float(line.split()[-1])


# Messages


def test_messages_are_handled(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """With Django's connections; probes, metrics and the page tell of it, and the process ends with status 0."""
    broker.ctl("add_user", "eve", "sesame")
    broker.ctl("set_permissions", "eve", ".*", ".*", ".*")
    url = broker.url.replace("guest:guest", "eve:sesame")
    server = consume("handlers.Notes", "--amqp-url", url, "--queue", queue)
    talk.publish(queue, b"hello", b"query", timestamp=1)
    wait_until_seen(shop, "hello 0 0", "42")
    wait_for(lambda: metric(server, "messages_succeeded_total") == 2, "two messages to be counted")
    assert metric(server, "lag_seconds_count") == 2
    assert server.probe("/startup").status == server.probe("/alive").status == 200
    checks = server.probe("/ready").json()["checks"]
    assert checks["service:consumer"][0]["observedValue"] == "ready"
    page = server.probe("/").text
    assert "handlers.Notes" in page
    assert "No process serves" not in page
    assert ends(server)
    assert talk.waiting(queue) == 0
    assert "sesame" not in server.output + page
    assert server.stderr == ""


def test_what_fails(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """It is tried again and then dead-lettered; what cannot be decoded at once; the thread goes on, whatever it is."""
    dead = f"dead-{queue}"
    talk.channel.exchange_declare(dead, "fanout")
    talk.channel.queue_declare(dead)
    talk.channel.queue_bind(dead, dead)
    words = ("--dead-letter-exchange", dead, "--retries", "1")
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue, *words)
    talk.publish(queue, b"raise", b"json", b"exit", b"\xff", b"good", content_type="text/x")
    wait_until_seen(shop, "raise 0 0", "raise 0 1", "exit 0 1", "good 0 0")
    wait_for(lambda: talk.waiting(dead) == 4, "four messages to be dead")
    bodies = {body: properties for properties, body in iter(lambda: talk.take(dead), None) if body}
    assert set(bodies) == {b"raise", b"json", b"exit", b"\xff"}
    assert bodies[b"raise"].headers["x-twistserve-failures"] == 1
    assert bodies[b"json"].headers["x-death"][0]["reason"] == "rejected"
    assert bodies[b"raise"].content_type == "text/x"
    assert metric(server, "messages_rejected_total") == 4
    assert lines_with(server.stdout, "is rejected: the body is not JSON: Expecting value at character 0")
    assert lines_with(server.stdout, "has failed 2 times, the last time with SystemExit: 3")
    assert ends(server)


def test_an_outage_of_the_database(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """Messages wait for its end, and none is given up."""
    (shop / "data").rename(shop / "away")
    words = ("--retries", "0")
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue, *words, until="/startup")
    talk.publish(queue, b"query")
    wait_for(lambda: lines_with(server.stdout, "waits for its database", "tried again in 2 s"), "the second failure")
    (shop / "away").rename(shop / "data")
    wait_until_seen(shop, "42")
    wait_for(lambda: metric(server, "messages_in_hand") == 0, "it to be acknowledged")
    assert metric(server, "messages_rejected_total") == 0
    assert ends(server)


def test_what_a_handler_publishes(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """It has arrived when the message is acknowledged; where nothing takes it, the message has failed."""
    (shop / "go").touch()
    other = f"other-{queue}"
    talk.channel.queue_declare(other)
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue, "--retries", "0")
    talk.publish(queue, f"publish {other}".encode(), b"publish nowhere")
    wait_until_seen(shop, "published")
    wait_for(lambda: lines_with(server.stdout, "'nowhere': no queue is bound there"), "the other to fail")
    taken = talk.take(other)
    assert taken is not None
    assert (taken[0].message_id, taken[0].delivery_mode, taken[1]) == ("copy", 2, b"published")
    assert ends(server)


def test_a_broker_that_blocks_publishers(
    consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str
) -> None:
    """The log says so, publishing fails in time, and others are consumed meanwhile; nothing is lost."""
    words = ("--publish-timeout", "1", "--threads", "2")
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue, *words)
    other = f"other-{queue}"
    talk.channel.queue_declare(other)
    talk.publish(queue, f"publish {other}".encode(), b"wait after")
    broker.ctl("set_vm_memory_high_watermark", "0.0000001")
    try:
        (shop / "go").touch()
        wait_for(lambda: lines_with(server.stdout, "blocks publishers: low on memory"), "the line of the block")
        wait_for(lambda: lines_with(server.stdout, "no confirm within the 1 s of --publish-timeout"), "the failure")
        (shop / "after").touch()
        wait_until_seen(shop, "waited after")
        assert server.probe("/ready").status == 200
    finally:
        broker.ctl("set_vm_memory_high_watermark", "0.4")
    wait_until_seen(shop, "published")
    wait_for(lambda: metric(server, "messages_in_hand") == 0, "all to be acknowledged")
    assert ends(server)
    assert talk.waiting(queue) == 0


# From Django-Hurricane


def test_a_handler_of_django_hurricane(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path) -> None:
    """By its names of the broker, with the routing keys that it binds; what it rejects is gone."""
    environ = {"AMQP_HOST": "127.0.0.1", "AMQP_PORT": str(broker.port), "AMQP_USER": "guest", "AMQP_PASSWORD": "guest"}
    words = ("--queue", "topic.read.consumer1", "--exchange", "topics", "--req-queue-len", "10", "--reconnect")
    server = consume("handlers.Topic", *words, env=environ)
    talk.publish("topic.read", b"yes", b"no", b"yes", exchange="topics")
    wait_for(lambda: seen(shop).count("topic.read yes") == 2, "the messages to be handled")
    wait_for(lambda: metric(server, "messages_rejected_total") == 1, "one to be rejected")
    talk.channel.queue_declare("topic.read.consumer1", durable=False)
    assert ends(server)
    assert talk.waiting("topic.read.consumer1") == 0


# The end


def test_a_drain(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """No more messages come; what is in hand is finished, and what no thread has begun goes back."""
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue, "--prefetch", "3")
    talk.publish(queue, b"wait go", b"second", b"third", b"fourth")
    wait_until_seen(shop, "wait go 0 0")
    wait_for(lambda: talk.waiting(queue) == 1, "three to be delivered")
    server.signal(signal.SIGQUIT)
    wait_for(lambda: lines_with(server.stdout, "thread handler-0, serving the message 'number 1'"), "the stacks")
    server.signal(signal.SIGTERM)
    wait_for(lambda: talk.waiting(queue) == 3, "two to be back")
    assert server.probe("/ready").status == 503
    (shop / "go").touch()
    assert server.wait(PROMPT) == 0
    assert seen(shop) == ["wait go 0 0", "waited go"]
    assert talk.waiting(queue) == 3


def test_a_handler_that_hangs(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """Its thread is replaced, and liveness fails when all are stuck; the drain leaves it behind and says so."""
    words = ("--handler-timeout", "0.2", "--graceful-timeout", "1")
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue, *words)
    talk.publish(queue, b"wait ever")
    wait_for(lambda: lines_with(server.stdout, "more than --handler-timeout; its thread is at"), "the line")
    assert server.probe("/alive").status == 200
    talk.publish(queue, b"wait ever")
    server.wait_until("/alive", 503)
    assert ends(server)
    assert len(lines_with(server.stdout, "is left behind after", "the broker delivers it again")) == 2
    wait_for(lambda: talk.waiting(queue) == 2, "both to be back")


def test_a_second_signal(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """Waits for nothing."""
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue)
    talk.publish(queue, b"wait ever")
    wait_until_seen(shop, "wait ever 0 0")
    server.signal(signal.SIGTERM)
    wait_for(lambda: lines_with(server.stdout, "ready -> draining"), "the drain")
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0
    wait_for(lambda: talk.waiting(queue) == 1, "it to be back")


def test_recycling_counts_messages(consume: Consume, broker: RabbitMQ, talk: Talk, queue: str) -> None:
    """It drains after so many, as a server does after requests."""
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue, "--max-lifetime", "2")
    talk.publish(queue, b"one", b"two")
    assert server.wait() == 0
    assert lines_with(server.stdout, "2 messages handled, at most 2 were wanted")


# The broker


def test_tls(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """By the authority that is named; by the system's it is not believed."""
    url = f"amqps://localhost:{broker.tls_port}/"
    server = consume("handlers.Notes", "--queue", queue, "--amqp-url", f"{url}?cacertfile={broker.certificate}")
    refused = consume("handlers.Notes", "--queue", queue, "--amqp-url", url, until="/startup")
    talk.publish(queue, b"hello")
    wait_until_seen(shop, "hello 0 0")
    assert ends(server)
    assert "certificate verify failed" in refused.probe("/ready").text
    assert ends(refused)


def test_a_queue_that_is_deleted(consume: Consume, broker: RabbitMQ, talk: Talk, shop: Path, queue: str) -> None:
    """The consumer notices, and declares it again."""
    server = consume("handlers.Notes", "--amqp-url", broker.url, "--queue", queue)
    talk.channel.queue_delete(queue)
    wait_for(
        lambda: lines_with(server.stdout, "its queue was deleted, perhaps; another connection is tried in 1 s"), "it"
    )
    server.wait_until("/ready")
    talk.publish(queue, b"hello")
    wait_until_seen(shop, "hello 0 0")


def test_what_does_not_mend_by_waiting(consume: Consume, broker: RabbitMQ, talk: Talk, queue: str) -> None:
    """Ends the start, in one line that says what is wrong and never the password."""
    talk.channel.queue_declare(queue, durable=False)
    talk.channel.queue_declare(f"{queue}-ttl", durable=True, arguments={"x-message-ttl": 5000})
    here = ("--amqp-url", broker.url)
    wrong = broker.url.replace("guest:guest", "guest:hush")
    named = {
        ("handlers.NoHandler", "--queue", queue, *here): ("the handler handlers.NoHandler", "is no handler"),
        ("handlers.Gone", "--queue", queue, *here): ("'handlers' has no 'Gone'",),
        ("gone.Handler", "--queue", queue, *here): ("there is no module 'gone'",),
        ("handlers.Topic", *here): ("there is no queue to consume from: give --queue",),
        ("--queue", queue, *here): ("there is no handler",),
        ("handlers.Notes",): ("there is no broker to consume from: give --amqp-url or --amqp-host",),
        ("handlers.Notes", "--amqp-url", wrong): ("refuses the user or the password", "ACCESS_REFUSED"),
        ("handlers.Notes", "--amqp-url", f"{broker.url}nowhere"): ("vhost nowhere not found",),
        ("handlers.Notes", "--queue", queue, *here): ("PRECONDITION_FAILED", "'durable'", "--no-declare"),
        ("handlers.Notes", "--queue", f"{queue}-ttl", *here): ("PRECONDITION_FAILED", "x-message-ttl"),
        ("handlers.Notes", "--queue", f"{queue}-2", "--no-declare", *here): ("NOT_FOUND - no queue",),
        ("handlers.Notes", "--dead-letter-exchange", "gone", *here): ("no exchange 'gone'",),
        ("handlers.Notes", "--no-reconnect", "--amqp-url", "amqp://127.0.0.1:1"): ("cannot be reached",),
    }
    servers = {words: consume(*words, until=None) for words in named}
    for words, server in servers.items():
        line = assert_failed(server, *named[words])
        assert "hush" not in line + server.output
    server = consume("handlers.Notes", "--queue", f"{queue}-ttl", "--no-declare", *here)
    assert ends(server)


def test_a_broker_that_is_not_there(consume: Consume) -> None:
    """The start is complete, readiness says why not, liveness passes; SIGTERM is not kept waiting."""
    server = consume("handlers.Notes", "--amqp-url", "amqp://127.0.0.1:1", until="/startup")
    reply = server.probe("/ready")
    assert reply.status == 503
    assert "amqp://127.0.0.1:1 cannot be reached" in reply.text
    assert server.probe("/alive").status == 200
    wait_for(lambda: lines_with(server.stdout, "another connection is tried in 2 s"), "the second attempt")
    assert ends(server)


def test_a_broker_that_says_nothing(consume: Consume) -> None:
    """It accepts, and is silent: SIGTERM is heard during the start."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        server = consume("handlers.Notes", "--amqp-url", url, until=None)
        wait_for(lambda: lines_with(server.stdout, "starting the consumer: consumer"), "the start")
        server.signal(signal.SIGTERM)
        assert server.wait(PROMPT) == 0


# Beside the web service


@pytest.mark.parametrize("workers", ["1", "2"])
def test_beside_the_web_service(serve: Serve, broker: RabbitMQ, talk: Talk, shop: Path, workers: str) -> None:
    """In its process, or with workers in one of its own; readiness is of both, and one drain ends them."""
    environ = {"TWISTSERVE_AMQP_URL": broker.url}
    words = ("--service", "handlers.beside", "--workers", workers)
    server: Any = serve(*words, cwd=shop, settings="site_settings", env=environ)
    talk.publish("beside", f"hello {workers}".encode())
    wait_until_seen(shop, f"hello {workers} 0 0")
    assert "service:beside" in server.probe("/ready").json()["checks"]
    wait_for(lambda: metric(server, "messages_succeeded_total") == 1, "it to be counted")
    assert ends(server)
    assert talk.waiting("beside") == 0
