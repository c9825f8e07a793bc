"""Clients of the shop: as many connections as wanted, always busy, each response looked at."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from tests.support.functional.harness import PATIENCE

PAGES: Mapping[str, bytes] = MappingProxyType(
    {"/": b"<!doctype html>", "/count/": b"6", "/slow/?seconds=0.2": b"slept 0.2", "/static/catalogue/style.css": b"{"}
)
"""Paths, and what their responses have: pages of the database, a thread that waits, a file."""
RIGHT = "right"


class Clients:
    """Connections to one port that ask for `pages` in turn, as long as the block runs, and keep what came of it."""

    def __init__(self, port: int, connections: int, pages: Mapping[str, bytes] = PAGES) -> None:
        self._port = port
        self._pages = pages
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(connections)]

    @property
    def sent(self) -> int:
        return sum(self.outcomes.values())

    @property
    def lost(self) -> int:
        return self.sent - self.outcomes[RIGHT]

    def __str__(self) -> str:
        return "".join(f"{count:6} {outcome}\n" for outcome, count in sorted(self.outcomes.items()))

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        for path in itertools.islice(itertools.cycle(self._pages), number, None):
            if self._stopped.is_set():
                break
            outcome = self._ask(connection, path)
            with self._lock:
                self.outcomes[outcome] += 1
            if outcome != RIGHT:
                # What is refused at once must not be asked in a circle.
                connection.close()
                self._stopped.wait(0.1)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> str:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return f"{path}: {error!r}"
        if response.status == 200 and self._pages[path] in body:
            return RIGHT
        return f"{path}: {response.status}, {body[:60]!r}"
