"""What idle keep-alive connections cost: memory of the server, and its rate while they are open."""

from __future__ import annotations

import logging
import math
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.rounds import Sample, drive
from benchmarks.servers import Server
from benchmarks.serving import Running, Stage, serving
from benchmarks.workloads import WORKLOADS

PATIENCE = 10.0
"""Seconds a connection may take until it has its answer."""
PORTS_EACH = 20_000
"""Connections from one source address; the system has about 28,000 ports for each."""
SPARE_FILES = 1_000

logger = logging.getLogger("benchmarks")


@dataclass(frozen=True)
class IdleRound:
    """One round: the hello rate without idle connections, then with them."""

    without: Sample
    beside: Sample
    opened: int
    """Connections that got an answer and stayed open."""
    lost: int
    """Those of them that the server had closed at the end of the round."""
    bytes_each: float
    """Growth of the server's resident memory since before the first of all rounds, divided by `opened`."""


def raise_file_limit(connections: int) -> None:
    """Allow so many connections to this process and the servers it starts. Raises ValueError if the system does not."""
    wanted = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))


def measure_idle(stage: Stage, server: Server, connections: int) -> list[IdleRound]:
    """Drive hello without and with idle connections in turn. Raises `RefusedError`."""
    hello = WORKLOADS[0]
    rounds = []
    with serving(stage, server, hello, reference=server) as running:
        drive(stage, running, hello)
        before = running.tree.resident_bytes()
        for number in range(stage.rounds):
            without = drive(stage, running, hello)
            with idle_connections(running, hello.path, connections) as idle:
                grown = running.tree.resident_bytes() - before
                beside = drive(stage, running, hello)
                lost = sum(map(_closed, idle))
                each = grown / len(idle) if idle else math.nan
                rounds.append(IdleRound(without, beside, len(idle), lost, each))
            logger.info(
                "%s, round %d of %d: %d idle, %.0f bytes each, %.0f/s without, %.0f/s beside",
                *(server.name, number + 1, stage.rounds, len(idle), each, without.rate, beside.rate),
            )
    return rounds


@contextmanager
def idle_connections(running: Running, path: str, connections: int) -> Iterator[list[socket.socket]]:
    """Open connections, one after the other, each of which has had one answer; fewer if the server stops answering."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with ExitStack() as stack:
        idle: list[socket.socket] = []
        for number in range(connections):
            source = f"127.0.0.{2 + number // PORTS_EACH}"
            try:
                connection = socket.create_connection(
                    ("127.0.0.1", running.port), timeout=PATIENCE, source_address=(source, 0)
                )
                stack.enter_context(connection)
                connection.sendall(request)
                answer = connection.recv(65536)
            except OSError as error:
                logger.warning("%s: connection %d: %s", running.server.name, number + 1, error)
                break
            if not answer.startswith(b"HTTP/1.1 200"):
                logger.warning("%s: connection %d: answered %r", running.server.name, number + 1, answer[:100])
                break
            connection.setblocking(False)
            idle.append(connection)
        yield idle


def _closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    try:
        while connection.recv(65536):  # the rest of the answer
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
