"""A real RabbitMQ of the test's own: its node, ports, directory and epmd are nobody else's."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pika

from tests.support.certificates import write_certificate
from tests.support.functional.harness import PATIENCE, free_port, wait_for
from tests.support.functional.processes import children, is_running

logging.getLogger("pika").setLevel(logging.CRITICAL)

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
LOCAL = "{127,0,0,1}"


class RabbitMQ:
    """A broker in a directory; it may be stopped and started again, and keeps what is durable."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        epmd, distribution = free_port(), free_port()
        self.epmd = subprocess.Popen(["epmd", "-port", str(epmd), "-address", "127.0.0.1"], stdin=subprocess.DEVNULL)
        self.script: subprocess.Popen[bytes] | None = None
        self.node = f"twistserve-{self.port}@localhost"
        plugins = directory / "enabled_plugins"
        plugins.write_text("[].\n")
        self.tls_port = free_port()
        self.certificate = directory / "broker.pem"
        write_certificate(self.certificate, "localhost")
        settings = directory / "rabbitmq.conf"
        settings.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlisteners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            "log.console = true\nlog.console.level = warning\n"
            + "".join(f"ssl_options.{name}file = {self.certificate}\n" for name in ("cacert", "cert", "key"))
        )
        self.environ = {
            **os.environ,
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(epmd),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {LOCAL} +S 1:1",
            "RABBITMQ_CTL_ERL_ARGS": f"-kernel inet_dist_use_interface {LOCAL}",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        log = (self.directory / "rabbitmq.log").open("ab")
        with log:
            self.script = subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"],
                env=self.environ,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(self.answers, lambda: f"RabbitMQ to listen\n{self.log}")

    def answers(self) -> bool:
        """Whether it speaks AMQP: the port is open before that."""
        try:
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
        except (OSError, pika.exceptions.AMQPError):
            return False
        return True

    @property
    def pids(self) -> list[int]:
        """The script's, and those below it."""
        if self.script is None:
            return []
        found = [self.script.pid]
        for pid in found:
            found += children(pid)
        return found

    def stop(self) -> None:
        """End it as a restart does, by its own signal."""
        if self.script is None:
            return
        pids = self.pids
        for pid in pids[1:2]:
            os.kill(pid, signal.SIGTERM)
        try:
            self.script.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill(pids)
        wait_for(lambda: not any(map(is_running, pids)), "RabbitMQ's processes to end")
        self.script = None

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.script is None:
            return
        pids = self.pids
        # The script takes note of the end of what it has started, and ends too.
        self._kill(pids[1:])
        self.script.wait(PATIENCE)
        wait_for(lambda: not any(map(is_running, pids)), "RabbitMQ's processes to end")
        self.script = None

    @staticmethod
    def _kill(pids: Sequence[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ctl(self, *words: str) -> str:
        """What rabbitmqctl says."""
        done = subprocess.run(
            [PROGRAMS / "rabbitmqctl", "-q", "-n", self.node, *words],
            env=self.environ,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def consumers(self, queue: str) -> int:
        """Consumers of a queue; -1 if there is no such queue."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            return int(connection.channel().queue_declare(queue, passive=True).method.consumer_count)
        except pika.exceptions.ChannelClosedByBroker:
            return -1
        finally:
            connection.close()

    @property
    def log(self) -> str:
        return (self.directory / "rabbitmq.log").read_text(errors="replace")

    def end(self) -> None:
        self.kill()
        self.epmd.terminate()
        self.epmd.wait(PATIENCE)


class Talk:
    """A connection of the test's own to a broker."""

    def __init__(self, broker: RabbitMQ) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(broker.url))
        self.channel: Any = self.connection.channel()
        self.channel.confirm_delivery()

    def publish(self, queue: str, *bodies: bytes, exchange: str = "", **properties: Any) -> None:
        """Publish persistent messages, and have each confirmed."""
        given = pika.BasicProperties(**{"delivery_mode": 2, **properties})
        for body in bodies:
            self.channel.basic_publish(exchange, queue, body, given, mandatory=True)

    def publish_many(self, queue: str, bodies: Iterable[bytes]) -> None:
        """Publish persistent messages, all of which are on the disk when this returns."""
        channel = self.connection.channel()
        channel.tx_select()
        for body in bodies:
            channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
        channel.tx_commit()
        channel.close()

    def waiting(self, queue: str) -> int:
        """Messages of a queue that no consumer has."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def routes(self, exchange: str, routing_key: str, body: bytes) -> bool:
        """Publish a message, and say whether any queue has got it."""
        try:
            self.channel.basic_publish(exchange, routing_key, body, mandatory=True)
        except pika.exceptions.UnroutableError:
            return False
        return True

    def take(self, queue: str) -> tuple[Any, bytes] | None:
        """The next message of a queue: its properties and its body."""
        method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        return None if method is None else (properties, body)


@contextmanager
def temporary_broker() -> Iterator[RabbitMQ]:
    """One with a directory of its own, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="twistserve-rabbitmq-") as directory, running(Path(directory)) as broker:
        yield broker


@contextmanager
def running(directory: Path) -> Iterator[RabbitMQ]:
    """A broker for as long as the block runs."""
    broker = RabbitMQ(directory)
    try:
        broker.start()
        yield broker
    finally:
        broker.end()
