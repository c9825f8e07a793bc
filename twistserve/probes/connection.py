"""The connections of the probe port."""

from __future__ import annotations

from twisted.python.failure import Failure

from twistserve.http.head import Refusal
from twistserve.http.http1 import Http1Connection


class ProbeConnection(Http1Connection):
    """Has its place among the probes' connections, and threads take short turns while it is owed a response."""

    @property
    def busy(self) -> bool:
        """Whether a request is being responded to."""
        return self.request is not None

    def connectionMade(self) -> None:
        """Somebody is there."""
        super().connectionMade()
        descriptor = getattr(self.transport, "fileno", lambda: -1)()
        self.site.room_for_probes.joined(self, descriptor)

    def dataReceived(self, data: bytes) -> None:
        """A probe asks."""
        self.site.turns.begin(self)
        self.site.room_for_probes.used(self)
        super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Who asked is gone."""
        self.site.turns.end(self)
        self.site.room_for_probes.left(self)
        super().connectionLost(reason)

    def end(self) -> None:
        """The response is complete."""
        self.site.turns.end(self)
        super().end()

    def _refused(self, refusal: Refusal) -> None:
        self.site.turns.end(self)
        super()._refused(refusal)
