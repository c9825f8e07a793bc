"""Whether a TimerService still calls its function: one that raises ends it, and Twisted does not say so elsewhere."""

from __future__ import annotations

from twisted.application.internet import TimerService


def has_failed(service: object) -> bool:
    """Whether this is a TimerService that runs, and whose function has raised. Reactor thread."""
    return isinstance(service, TimerService) and bool(service.running) and not service._loop.running
