"""What became of requests: counted by kind, with examples of what should not be."""

from __future__ import annotations

from collections import Counter, defaultdict

RIGHT = "right"
CROSSED = "crossed"
"""The connection had had no request for a second or more, and was closed as this one was on its way: HTTP has clients
ask again (RFC 9112 section 9.3.1, RFC 9113 section 6.8)."""
EXAMPLES = 20


class WrongError(Exception):
    """A response that is not what was asked for."""


class LostError(Exception):
    """A request without a complete response."""


class CrossedError(LostError):
    """The same on a connection that was idle for so long that the server may close it."""


class Tally:
    """Outcomes of the requests of clients that behave, and of what hostile ones do."""

    def __init__(self) -> None:
        self.ordinary: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.hostile: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.examples: list[str] = []

    def note(self, kind: str, error: Exception | None = None) -> None:
        """Count a request of a client that behaves."""
        if error is None:
            outcome = RIGHT
        elif isinstance(error, CrossedError):
            outcome = CROSSED
        else:
            outcome = "wrong" if isinstance(error, WrongError) else "lost"
            self._example(f"{kind}: {outcome}: {error!r}")
        self.ordinary[kind][outcome] += 1

    def note_hostile(self, kind: str, outcome: str, expected: bool) -> None:
        """Count what a hostile client met."""
        self.hostile[kind][outcome] += 1
        if not expected:
            self.hostile[kind]["unexpected"] += 1
            self._example(f"{kind}: {outcome}")

    def _example(self, text: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)

    @property
    def sent(self) -> int:
        """Requests of clients that behave."""
        return sum(counts.total() for counts in self.ordinary.values())

    def failures(self) -> int:
        """Requests that were lost or answered wrongly, and hostile clients that met what they should not."""
        bad = sum(counts["wrong"] + counts["lost"] for counts in self.ordinary.values())
        return bad + sum(counts["unexpected"] for counts in self.hostile.values())
