"""Malformed requests: of how many does a server make what it must not?"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from benchmarks.compare.contenders import Contender
from benchmarks.compare.corpus import Case, Reply, cases, right
from benchmarks.compare.group import Column, Found, Group
from benchmarks.compare.lab import running
from benchmarks.serving import Stage

SILENCE = 3.0
"""Seconds without a first byte after which none is expected."""
PAUSE = 0.7
"""Seconds without another byte after which no more is expected."""
AT_ONCE = 6


def measure(stage: Stage, contender: Contender) -> Found:
    """Send all of the corpus."""
    all_cases = cases()
    with running(stage, contender) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(lambda case: sent(server.port, case), all_cases))
    judged = list(zip(all_cases, replies, strict=True))
    wrong = [case for case, reply in judged if not right(case, reply)]
    kinds = [[case for case in all_cases if (case.expected is not None) is valid] for valid in (False, True)]
    counts = [f"{sum(case in kind for case in wrong)} of {len(kind)}" for kind in kinds]
    return Found(tuple(counts), (named(wrong),) if wrong else ())


def named(wrong: Sequence[Case]) -> str:
    """The cases by what demands another treatment."""
    by_section: dict[str, list[str]] = {}
    for case in wrong:
        by_section.setdefault(case.section, []).append(case.name)
    return ". ".join(f"{section}: {'; '.join(names)}" for section, names in by_section.items())


def sent(port: int, case: Case) -> Reply:
    """Send a case over a connection of its own, and read until the server closes it or falls silent."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE) as connection:
        with suppress(OSError):
            connection.sendall(case.data)
        try:
            while data := connection.recv(65536):
                received += data
                connection.settimeout(PAUSE)
        except TimeoutError:
            return Reply(bytes(received), closed=False)
        except OSError:
            pass
    return Reply(bytes(received), closed=True)


GROUP = Group(
    "malformed",
    "Malformed requests",
    """A corpus of our own, `benchmarks/compare/malformed.toml`, sent straight to the server. It has a malformed request
    only if RFC 9112 or RFC 9110 says that it MUST be refused, or if servers that treat it differently let requests be
    smuggled past a proxy. The server is wrong if such a request reaches the application in any way that is not
    allowed; an error response, a close and silence are always right. Django refuses some of them, such as invalid
    hosts, which counts in the server's favour. Requests that are right but unusual have to be accepted. A proxy in
    front would refuse many of the malformed ones.""",
    (
        Column("malformed ones accepted", "Malformed requests that are accepted"),
        Column("right ones treated wrongly", "Right but unusual requests that are treated wrongly"),
    ),
    measure,
    together=True,
)
