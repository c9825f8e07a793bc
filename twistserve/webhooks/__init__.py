"""What is POSTed to others when the lifecycle changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred

Post = Callable[[str, bytes, Mapping[str, str]], Deferred[int]]
"""POSTs a body with headers to a URL: fires with the response's status; cancelled, it closes the connection."""
