"""What the status page knows: dictionaries that JSON can say, as docs/status-page.md describes them."""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.python.failure import Failure

import twisted
from twistserve import __version__
from twistserve.http.request import Request
from twistserve.http.response import PLAIN, Response
from twistserve.in_force import options_in_force
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.options import Configuration
from twistserve.probes.checks import Result, Status, worst
from twistserve.probes.handlers import ProbeResults, reply, respond_later, step_of
from twistserve.probes.responses import Results

logger = get_logger(__name__)

PATIENCE = 1.0
"""Seconds that the page waits for the checks."""
LONGEST_OUTPUT = 1000

Described = dict[str, Any]


@dataclass(frozen=True)
class AskedProbe:
    """A probe: its name, its path, and what answers it."""

    name: str
    path: str
    ask: Callable[[], Deferred[Results]]


class StatusReport:
    """Gathers everything anew for each look; `workers` describes the processes that serve. Reactor thread.

    `django` is its version, and `services` describes those of --service.
    """

    def __init__(
        self,
        configuration: Configuration,
        django: str,
        lifecycle: Lifecycle,
        results: ProbeResults,
        workers: Callable[[], Deferred[list[Described]]],
        services: Callable[[], Deferred[list[Described]]],
        reactor: Any,
    ) -> None:
        self._lifecycle = lifecycle
        self._probes = [
            AskedProbe("startup", configuration.startup_probe, results.startup),
            AskedProbe("readiness", configuration.readiness_probe, results.readiness),
        ]
        if configuration.probe is None:
            self._probes.append(AskedProbe("liveness", configuration.liveness_probe, results.liveness))
        self._workers = workers
        self._services = services
        self._reactor = reactor
        self._latest: dict[str, tuple[float, Results]] = {}
        """What each probe answered last when we asked, and when that was."""
        self._host = socket.gethostname()
        self._versions = {
            "twistserve": __version__,
            "application": configuration.app_version,
            "django": django,
            "twisted": twisted.__version__,
            "python": platform.python_version(),
        }
        self._options = options_in_force(configuration)
        self._serves = configuration.serves

    def gather(self) -> Deferred[Described]:
        """Everything, within about `PATIENCE`."""
        probes = gatherResults([self._ask(probe) for probe in self._probes])
        return gatherResults([probes, self._workers(), self._services()]).addCallback(self._describe)

    def _ask(self, probe: AskedProbe) -> Deferred[Described]:
        """The probe's results if they come in time, else those from before: it goes on being asked."""

        def answered(results: Results) -> None:
            self._latest[probe.name] = self._reactor.seconds(), results
            if not answer.called:
                answer.callback(describe_probe(probe, results))

        def too_late(answer: Deferred[Described]) -> None:
            output = f"asked {PATIENCE:g} s ago, no answer yet"
            given_at, before = self._latest.get(probe.name, (0.0, {}))
            if before:
                output += f"; the last answer was given {self._reactor.seconds() - given_at:.0f} s ago"
            waiting = Result(Status.WARN, output=output, seconds=PATIENCE)
            answer.callback(describe_probe(probe, {"probe": waiting, **before}))

        answer: Deferred[Described] = Deferred(too_late)
        maybeDeferred(probe.ask).addErrback(_raised).addCallback(answered)
        return answer.addTimeout(PATIENCE, self._reactor)

    def _describe(self, found: list[Any]) -> Described:
        probes, workers, services = found
        lifecycle, now = self._lifecycle, datetime.now(UTC)
        return {
            "time": _rfc3339(now),
            "host": self._host,
            "lifecycle": {
                "state": lifecycle.state.value,
                "since": _rfc3339(now - timedelta(seconds=lifecycle.age)),
                "seconds": round(lifecycle.age, 1),
                "reason": step_of(lifecycle) if lifecycle.state is State.STARTING else lifecycle.reason,
            },
            "probes": probes,
            "serves": self._serves,
            "workers": workers,
            "services": [{**each, "values": _in_json(each["values"])} for each in services],
            "versions": self._versions,
            "options": self._options,
        }


def describe_probe(probe: AskedProbe, results: Results) -> Described:
    """A probe and its checks, which run side by side: it takes as long as the slowest."""
    return {
        "name": probe.name,
        "path": probe.path,
        "status": worst(result.status for result in results.values()).value,
        "seconds": max(filter(None, map(_seconds, results.values())), default=None),
        "checks": [
            {
                "name": name,
                "status": result.status.value,
                "seconds": _seconds(result),
                "observed": result.observed,
                "output": result.output and result.output[:LONGEST_OUTPUT],
            }
            for name, result in results.items()
        ],
    }


def _seconds(result: Result) -> float | None:
    return None if result.seconds is None else round(result.seconds, 4)


def _raised(failure: Failure) -> Results:
    return {"probe": Result(Status.FAIL, output=f"raised {type(failure.value).__name__}")}


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


class StatusDocument:
    """What `gather` finds, as `render` shows it; a browser is to load nothing with it but what `policy` allows."""

    def __init__(
        self,
        gather: Callable[[], Deferred[Described]],
        render: Callable[[Described], bytes],
        content_type: bytes,
        policy: str = "default-src 'none'; frame-ancestors 'none'",
    ) -> None:
        self._gather = gather
        self._render = render
        self._content_type = content_type
        self._fields = (
            (b"Content-Security-Policy", policy.encode()),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"X-Frame-Options", b"DENY"),
            (b"Referrer-Policy", b"no-referrer"),
        )

    def __call__(self, request: Request) -> None:
        """Respond when everything is gathered."""
        made = maybeDeferred(self._gather).addCallback(self._render)
        respond_later(request, made.addCallbacks(self._found, self._failed))

    def _found(self, body: bytes) -> Response:
        return reply(200, self._content_type, body, *self._fields)

    def _failed(self, failure: Failure) -> Response:
        logger.error("the status page could not be made", exc_info=failure.value)
        return reply(500, PLAIN, b"The status page could not be made; the log says why.\n", *self._fields)


def _in_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers of a service: JSON has no NaN and no infinity (RFC 8259 section 6)."""
    return {name: value if isfinite(value) else None for name, value in values.items()}


def as_json(status: Described) -> bytes:
    """The JSON document."""
    return json.dumps(status).encode() + b"\n"
