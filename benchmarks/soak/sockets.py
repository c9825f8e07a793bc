"""The WebSockets of the site under soak: what a client sends comes back to all that are open."""

from __future__ import annotations

from typing import Any

from twistserve.websocket import group_resource, send

GROUP = "soak"


def resource() -> Any:
    """For --mount."""
    return group_resource(GROUP, on_text=lambda request, text: send(GROUP, text))
