"""The resources of the probe port: startup, readiness, liveness and metrics."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Protocol

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from twistserve.lifecycle import Lifecycle, State
from twistserve.metrics import probe_status
from twistserve.probes.checks import PASSED, DjangoChecks, Result, Status, worst

Results = dict[str, Result]


class Pool(Protocol):
    """What readiness and liveness need to know of the request threads."""

    def snapshot(self) -> Any:
        """Threads, busy threads and queued requests."""


class Probe(Resource):
    """Answers 200 when `results` all pass or warn, 503 when one fails, as application/health+json."""

    isLeaf = True
    allowedMethods = (b"GET", b"HEAD", b"POST")

    def __init__(self, name: str, results: Callable[[], Deferred[Results]]) -> None:
        super().__init__()
        self._results = results
        self._name = name

    def render_GET(self, request: Request) -> int:
        """Answer when the checks have, within their deadline."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answer = self._results()
        answer.addErrback(lambda failure: {"probe": _raised(failure)})
        answer.addCallback(lambda results: self._answer(request, results) if not gone else None)
        return NOT_DONE_YET

    render_POST = render_GET

    def _answer(self, request: Request, results: Results) -> None:
        status = worst(result.status for result in results.values())
        probe_status.labels(self._name).set(status is not Status.FAIL)
        body = {
            "status": status.value,
            "checks": {name: [_entry(result)] for name, result in results.items()},
        }
        reply(
            request,
            503 if status is Status.FAIL else 200,
            b"application/health+json",
            json.dumps(body).encode() + b"\n",
        )


def _raised(failure: Failure) -> Result:
    return Result(Status.FAIL, output=f"raised {type(failure.value).__name__}")


def _entry(result: Result) -> dict[str, object]:
    fields = {"status": result.status.value, "observedValue": result.observed, "output": result.output}
    return {name: value for name, value in fields.items() if value is not None}


def reply(request: Request, status: int, content_type: bytes, body: bytes) -> None:
    """Answer a request of the probe port; nothing here may be cached."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()


class ProbeResults:
    """What each probe looks at, from the state at the time it is asked."""

    def __init__(self, lifecycle: Lifecycle, pool: Pool, checks: DjangoChecks, max_queued: int) -> None:
        self._lifecycle = lifecycle
        self._pool = pool
        self._checks = checks
        self._max_queued = max_queued
        self.django_ready = False
        """Whether Django is set up, so that checks can be found and run."""

    def startup(self) -> Deferred[Results]:
        """Passes once the lifecycle has reached READY; until then says which step runs and since when."""
        lifecycle = self._lifecycle
        if lifecycle.started:
            return succeed({"startup": PASSED})
        output = f"{lifecycle.step}, for {lifecycle.step_age:.1f} s"
        return succeed({"startup": Result(Status.FAIL, round(lifecycle.step_age, 1), output)})

    def readiness(self) -> Deferred[Results]:
        """Passes when READY, the queue is short, and databases and checks tagged readiness pass."""
        state, queued = self._lifecycle.state, self._pool.snapshot().queued
        if state is not State.READY:
            output = f"the service is {state.value}, for {self._lifecycle.age:.1f} s"
            if state is State.STARTING:
                output += f": {self._lifecycle.step}"
            return succeed({"lifecycle": Result(Status.FAIL, state.value, output)})
        results = {"lifecycle": Result(Status.PASS, state.value), "queue": self._queue(queued)}
        return self._checks.run(self._checks.readiness()).addCallback(lambda found: {**results, **found})

    def liveness(self) -> Deferred[Results]:
        """Passes when the reactor answers, which it does here, and checks tagged liveness pass."""
        snapshot = self._pool.snapshot()
        results = {
            "reactor": PASSED,
            "threads": Result(Status.PASS, f"{snapshot.busy} of {snapshot.threads} busy"),
        }
        if not self.django_ready:
            return succeed(results)
        return self._checks.run(self._checks.liveness()).addCallback(lambda found: {**results, **found})

    def _queue(self, queued: int) -> Result:
        if queued < self._max_queued:
            return Result(Status.PASS, queued)
        return Result(Status.FAIL, queued, f"{queued} requests wait for a thread; the limit is {self._max_queued}")


class Metrics(Resource):
    """Prometheus text, or OpenMetrics when the scraper accepts it.

    Collected on a thread: a project's own collector may block. `before` is called first, on the reactor, to
    bring the server's own up to date.
    """

    isLeaf = True

    def __init__(self, before: Callable[[], None], reactor: Any) -> None:
        super().__init__()
        self._before = before
        self._reactor = reactor

    def render_GET(self, request: Request) -> int:
        """Answer with what the default registry holds."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        encode, content_type = choose_encoder(request.getHeader("accept") or "")

        def answer(status: int, body: bytes) -> None:
            if not gone:
                kind = content_type if status == 200 else "text/plain; charset=utf-8"
                reply(request, status, kind.encode(), body)

        def collect() -> None:
            try:
                status, body = 200, encode(REGISTRY)
            except Exception as error:
                status, body = 500, f"collecting the metrics raised {type(error).__name__}\n".encode()
            self._reactor.callFromThread(answer, status, body)

        self._before()
        threading.Thread(target=collect, name="metrics", daemon=True).start()
        return NOT_DONE_YET


class ProbeRoot(Resource):
    """Finds a probe by its path; a trailing slash is tolerated, and nothing redirects."""

    def __init__(self, probes: dict[str, Resource]) -> None:
        super().__init__()
        self._probes = {path.encode(): resource for path, resource in probes.items()}

    def getChildWithDefault(self, path: bytes, request: Request) -> Resource:
        """The probe at the request's path."""
        return self._probes.get(request.path.rstrip(b"/")) or NotFound(sorted(self._probes))


class NotFound(Resource):
    """404, naming what there is."""

    isLeaf = True

    def __init__(self, paths: list[bytes]) -> None:
        super().__init__()
        self._paths = paths

    def render(self, request: Request) -> int:
        """Answer any method."""
        body = b"Not found. There are: " + b", ".join(self._paths) + b"\n"
        reply(request, 404, b"text/plain; charset=utf-8", body)
        return NOT_DONE_YET
