"""A request as the metrics see it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Request:
    """A request that was responded to."""

    method: bytes = b"GET"
    status: int = 200
    handler: str = field(default="unit")
    duration: float = 0.02
    queue_time: float = 0.0
    body_length: int = 0
    sent: int = 0
    left: bool = False
