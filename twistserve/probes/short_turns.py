"""Letting the threads of the process take turns more often while a probe waits for its response.

While request threads compute, any other thread waits for the GIL as long as the switch interval times the threads that
want it too, and a probe with checks wants it a dozen times. With eight such threads on one core readiness took 228 ms
(p50) with Python's 5 ms, 49 ms with the short interval. That costs those who compute a tenth, so it is short only
then.
"""

from __future__ import annotations

import sys
from typing import Any

SHORT = 0.0002
"""Seconds of the switch interval meanwhile."""
MOST = 0.5
"""Seconds after which a probe that still waits has had its share: a check of it is slow or hangs."""


class ShortTurns:
    """Knows which connections wait for a response. Reactor thread."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: set[object] = set()
        self._usual = 0.0
        self._timer: Any = None

    def begin(self, connection: object) -> None:
        """A connection waits for a response."""
        if not self._waiting:
            self._usual = sys.getswitchinterval()
            sys.setswitchinterval(SHORT)
            self._timer = self._reactor.callLater(MOST, self._enough)
        self._waiting.add(connection)

    def end(self, connection: object) -> None:
        """It has its response, or is gone."""
        if self._waiting:
            self._waiting.discard(connection)
            if not self._waiting:
                self._timer.cancel()
                sys.setswitchinterval(self._usual)

    def _enough(self) -> None:
        self._waiting.clear()
        sys.setswitchinterval(self._usual)
