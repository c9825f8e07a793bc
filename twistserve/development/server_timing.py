"""Server-Timing (https://www.w3.org/TR/server-timing/): what browsers show of a response's time in the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twistserve.http.response import fields_of
from twistserve.wsgi.handler import Call


class TimedCall(Call):
    """A call whose response tells how long it waited for a thread, and how long the application took for its head."""

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        write = super()._start_response(status, headers, exc_info)
        queue = self._started_at - self.request.received_at
        application = time.perf_counter() - self._started_at
        assert self._fields is not None
        value = b"queue;dur=%.1f, application;dur=%.1f" % (queue * 1000, application * 1000)
        self._fields += fields_of([(b"Server-Timing", value)])
        return write
