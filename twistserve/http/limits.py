"""What the HTTP side bounds: sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what a client may send and how long it may take; the defaults are the options'."""

    max_body: int = 100 * 1024 * 1024
    max_head: int = 64 * 1024
    header_timeout: float = 15.0
    """From the first byte of a request, or the opening of the connection, to the end of the head."""
    body_timeout: float = 30.0
    """Silence allowed while a body is received."""
    keep_alive_timeout: float = 75.0
    """Idle between two requests."""
    max_connections: int = 10_000


MAX_HEADERS = 256
"""Header fields of one request; beyond this the head is too large whatever its size."""

LINGER = 2.0
"""Seconds to go on reading after a refusal, so that the response is not destroyed by a reset (RFC 9112 section 9.6)."""

FRESH = 1.0
"""Seconds that a connection without a request yet has for sending one once the service drains."""

QUIET = 1.0
"""Seconds after its last response that a connection may bring another request once the service drains."""

LEFT = 5.0
"""Seconds that a request waits for a thread if its client has ended its sending side, and may have left."""
