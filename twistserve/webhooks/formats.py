"""What the events of a webhook hold, by --webhook-format."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol

from twistserve.lifecycle import Lifecycle, State
from twistserve.project.preparing import APPLYING, WAITING
from twistserve.redaction import redacted

Fields = dict[str, object]
"""What JSON is made of."""


class Format(Protocol):
    """One kind of events."""

    assumed: Mapping[str, bool]
    """Whether probes are taken to pass before they are asked; of one that is not there, the first result is told."""

    def tells_probes(self) -> bool:
        """Whether the results of probes are told now."""

    def fields(self, event: str, status: str, reason: str) -> Fields | None:
        """What is sent of an event that happens now, or None where this format has no such event."""


class TwistserveFormat:
    """Our own: docs/webhooks.md. `facts` are in every event."""

    assumed: Mapping[str, bool] = MappingProxyType({"readiness": False, "liveness": True})

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._facts = facts

    def tells_probes(self) -> bool:
        """Always."""
        return True

    def fields(self, event: str, status: str, reason: str) -> Fields:
        """Every event, with the time to the microsecond."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {"event": event, "status": status, "reason": reason, "time": now, **self._facts}


class HurricaneFormat:
    """What django-hurricane 1.6 sends: docs/hurricane-metrics.md. Of a start that fails, the lifecycle knows why."""

    assumed: Mapping[str, bool] = MappingProxyType({})

    def __init__(self, facts: Mapping[str, str], lifecycle: Lifecycle) -> None:
        self._facts = facts
        self._lifecycle = lifecycle

    def tells_probes(self) -> bool:
        """Once the start is complete, and not in the drain, of which nothing is told either."""
        return self._lifecycle.state is State.READY

    def fields(self, event: str, status: str, reason: str) -> Fields | None:
        """The start and changes of probes, with the time in whole seconds."""
        if event not in ("startup", "readiness", "liveness"):
            return None
        told: Fields = {
            "info": f"{event.capitalize()} webhook",
            "type": event,
            "status": {"passing": "succeeded", "failing": "failed"}.get(status, status),
            "timestamp": int(time.time()),
            "podname": self._facts.get("pod") or self._facts.get("host"),
            "version": self._facts.get("version"),
        }
        if (event, status) == ("startup", "failed"):
            if self._lifecycle.step in (APPLYING, WAITING):
                told["status"] = "warning"
            told["traceback"] = redacted(_traceback(self._lifecycle.cause) or reason)
        return told


def _traceback(error: BaseException | None) -> str:
    """Of what was raised first: our own error only says it in other words."""
    return "".join(traceback.format_exception(error.__cause__ or error)) if error is not None else ""
