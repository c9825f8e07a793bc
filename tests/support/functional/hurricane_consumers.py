"""A handler written for Django-Hurricane, and how its messages and its process fare with both consumers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.support.functional.harness import Server, free_port, start, wait_for
from tests.support.functional.hurricane import Side
from tests.support.functional.observations import Observations
from tests.support.functional.rabbitmq import RabbitMQ, Talk

IMPORTS = {"hurricane": "hurricane.amqp.basehandler", "twistserve": "twistserve.amqp"}
"""The module that the handler's class is imported from: the one line that differs."""
HANDLERS = """
import time
from pathlib import Path

from {module} import TopicHandler

HERE = Path(__file__).resolve().parent.parent


class Handler(TopicHandler):
    def on_message(self, _channel, basic_deliver, properties, body):
        text = body.decode()
        with (HERE / "seen").open("a") as seen:
            seen.write(f"{{basic_deliver.routing_key}} {{text}}\\n")
        if text == "raise":
            raise ValueError("it was asked to")
        if text == "reject":
            self.reject_message(basic_deliver.delivery_tag)
            return
        while text == "wait" and not (HERE / "go").exists():
            time.sleep(0.02)
        self.acknowledge_message(basic_deliver.delivery_tag)

    def get_routing_keys(self, queue_name):
        return [queue_name.rsplit(".", 1)[0]]


class NoHandler:
    pass
"""


@contextmanager
def consuming(
    side: Side, *words: str, until: str | None = "/startup", env: dict[str, str] | None = None
) -> Iterator[Server]:
    """A consumer for as long as the block runs."""
    if not side.directory.exists():
        side.write()
        (side.directory / "shop" / "consumers.py").write_text(HANDLERS.format(module=IMPORTS[side.app]))
    port = free_port()
    server = start(
        *words,
        *("--probe-port", str(port + 1)),
        cwd=side.directory,
        logs=side.directory / "logs",
        runner="consume",
        settings=None,
        port=port,
        programs=side.programs,
        env={"PYTHONDONTWRITEBYTECODE": "1", "PROMETHEUS_DISABLE_CREATED_SERIES": "true", **(env or {})},
    )
    try:
        if until:
            server.wait_until(until)
        yield server
    finally:
        server.kill()


def observed(side: Side, broker: RabbitMQ) -> Observations:
    """What there is to see of messages, probes, the loss of a connection, the end, and starts that fail."""
    env = {"AMQP_HOST": "127.0.0.1", "AMQP_PORT": str(broker.port)}
    queue = f"{side.app}.read.one"
    words = ("shop.consumers.Handler", "--queue", queue, "--exchange", side.app)
    return (
        _messages(side, broker, words, env)
        | _losses(side, broker, words, env)
        | _ends(side, broker, words, env)
        | _failing(side, broker, env)
    )


def _has_ended_or_consumes_again(side: Side, server: Server) -> bool:
    return (
        server.process.poll() is not None
        or server.stdout.count("QOS set to" if side.is_hurricane else "consuming from the queue") == 2
    )


def _seen(side: Side) -> list[str]:
    path = side.directory / "seen"
    return path.read_text().splitlines() if path.exists() else []


def _messages(side: Side, broker: RabbitMQ, words: tuple[str, ...], env: dict[str, str]) -> Observations:
    talk, key = Talk(broker), f"{side.app}.read"
    with consuming(side, *words, env=env) as server:
        wait_for(lambda: broker.consumers(words[2]) == 1, "the consumer")
        seen = {f"consume {path}: status": str(server.probe(path).status) for path in ("/startup", "/ready", "/alive")}
        wait_for(lambda: talk.routes(side.app, key, b"yes"), "the binding")
        seen["consume, another routing key"] = "routed" if talk.routes(side.app, "other", b"no") else "not routed"
        talk.routes(side.app, key, b"reject")
        wait_for(lambda: f"{key} reject" in _seen(side), "the messages to be handled")
        talk.routes(side.app, key, b"raise")
        talk.routes(side.app, key, b"after")
        wait_for(lambda: f"{key} raise" in _seen(side), "the handler to raise")
        wait_for(lambda: f"{key} after" in _seen(side) or server.process.poll() is not None, "what comes then")
        seen["consume, after a handler that raises"] = (
            f"status {server.wait()}" if server.process.poll() is not None else "the next message"
        )
    # What a process that has ended leaves there would end the next.
    wait_for(lambda: broker.consumers(words[2]) == 0, "the consumer to be gone")
    talk.channel.queue_purge(words[2])
    talk.connection.close()
    return seen


def _losses(side: Side, broker: RabbitMQ, words: tuple[str, ...], env: dict[str, str]) -> Observations:
    seen: Observations = {}
    for how, more in (("", ()), (" with --reconnect", ("--reconnect",))):
        with consuming(side, *words, *more, env=env) as server:
            wait_for(lambda: broker.consumers(words[2]) == 1, "the consumer")
            broker.ctl("close_all_connections", "a test")
            wait_for(partial(_has_ended_or_consumes_again, side, server), "what comes then")
            ended = server.process.poll()
            seen[f"consume, the connection is lost{how}"] = "connected again" if ended is None else f"status {ended}"
        with consuming(side, *words, *more, "--amqp-port", str(free_port()), env=env, until=None) as server:
            case = f"consume /ready without a broker{how}: status"
            if side.is_hurricane and not more:
                # It is known to end, and may do so between two questions.
                seen[case] = f"ended with {server.wait()}"
            else:
                seen[case] = str(server.wait_until("/startup").probe("/ready").status)
    return seen


def _ends(side: Side, broker: RabbitMQ, words: tuple[str, ...], env: dict[str, str]) -> Observations:
    talk, key = Talk(broker), f"{side.app}.read"
    talk.channel.queue_purge(words[2])
    with consuming(side, *words, env=env) as server:
        wait_for(lambda: broker.consumers(words[2]) == 1, "the consumer")
        (side.directory / "seen").unlink()
        talk.routes(side.app, key, b"wait")
        talk.routes(side.app, key, b"next")
        wait_for(lambda: _seen(side) == [f"{key} wait"], "the message to be in hand")
        server.signal(signal.SIGTERM)
        (side.directory / "go").touch()
        status = server.wait()
        wait_for(lambda: broker.consumers(words[2]) == 0, "the consumer to be gone")
        left = {"wait": "acknowledged"}
        while taken := talk.take(words[2]):
            left[taken[1].decode()] = "in the queue"
    talk.connection.close()
    return {"consume, SIGTERM: status": str(status), "consume, a message in hand at SIGTERM": left["wait"]}


def _failing(side: Side, broker: RabbitMQ, env: dict[str, str]) -> Observations:
    queue = ("--queue", "q", "--exchange", "e")
    cases = {
        "without a host": (("shop.consumers.Handler", *queue), {}),
        "with a class that is no handler": (("shop.consumers.NoHandler", *queue), env),
        "with a handler that is not there": (("shop.consumers.Gone", *queue), env),
        "with a wrong password": (
            ("shop.consumers.Handler", *queue),
            {**env, "AMQP_USER": "guest", "AMQP_PASSWORD": "x"},
        ),
    }
    seen: Observations = {}
    for name, (words, given) in cases.items():
        with consuming(side, *words, until=None, env=given) as server:
            seen[f"consume {name}: status"] = str(server.wait())
    return seen
