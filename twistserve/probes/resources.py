"""The resources of the probe port: startup, readiness, liveness and metrics."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from typing import Any, Protocol

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twistserve.http.request import Request
from twistserve.http.response import make_head
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics.catalogue import probe_status
from twistserve.metrics.exposition import Source, choose_format, expose, takes_gzip
from twistserve.probes.checks import PASSED, Result, Status, worst
from twistserve.probes.responses import Results, answer
from twistserve.redaction import redacted, without_directories

logger = get_logger(__name__)

PLAIN = b"text/plain; charset=utf-8"
MOST_SCRAPES = 4
"""Scrapes that may be collected at the same time; more of them means that one hangs."""
COMPRESSION = 1
"""zlib's level: the highest makes a scrape a quarter smaller and takes ten times as long."""

Changed = Callable[[str, bool, str], None]
"""Told a probe's name, whether it passes now, and why."""


class Pool(Protocol):
    """What readiness and liveness need to know of the request threads."""

    def snapshot(self) -> Any:
        """Threads, busy and stuck ones among them, and queued requests."""


class Probe(Resource):
    """Answers 200 when `results` all pass or warn, 503 when one fails.

    `changed` is told when that differs from the time before; `passing` stands for the time before the first.
    """

    isLeaf = True

    def __init__(
        self,
        name: str,
        results: Callable[[], Deferred[Results]],
        changed: Changed | None = None,
        passing: bool = False,
    ) -> None:
        super().__init__()
        self._results = results
        self._name = name
        self._changed = changed
        self._passing = passing

    def render_GET(self, request: Request) -> int:
        """Answer when the checks have, within their deadline; at once where none has to run."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        results = maybeDeferred(self._results)
        results.addErrback(lambda failure: {"probe": _raised(failure)})
        results.addCallback(self._note)
        results.addCallback(lambda found: self._answer(request, found) if not gone else None)
        return NOT_DONE_YET

    render_POST = render_GET

    def _note(self, results: Results) -> Results:
        """Tell of a change, even when the client has left: the kubelet may time out before the check finishes."""
        passing = worst(result.status for result in results.values()) is not Status.FAIL
        contain(probe_status.labels(self._name).set, passing)
        if self._changed is not None and passing is not self._passing:
            contain(self._changed, self._name, passing, "no check fails" if passing else _reason(results))
        self._passing = passing
        return results

    def _answer(self, request: Request, results: Results) -> None:
        status = worst(result.status for result in results.values())
        verbose = any(field.partition(b"=")[0] == b"verbose" for field in request.uri.partition(b"?")[2].split(b"&"))
        content_type, body = answer(results, (request.getHeader(b"accept") or b"").decode("latin-1"), verbose)
        reply(request, 503 if status is Status.FAIL else 200, content_type, body)


def _raised(failure: Failure) -> Result:
    return Result(Status.FAIL, output=f"raised {type(failure.value).__name__}")


def _reason(results: Results) -> str:
    failing = ((name, result.output) for name, result in results.items() if result.status is Status.FAIL)
    return "; ".join(f"{name}: {output}" if output else name for name, output in failing)


def reply(request: Request, status: int, content_type: bytes, body: bytes, *fields: tuple[bytes, bytes]) -> None:
    """Answer a request of the probe port; nothing here may be cached."""
    head = [
        (b"Content-Type", content_type),
        (b"Cache-Control", b"no-store"),
        (b"Content-Length", b"%d" % len(body)),
        *fields,
    ]
    request.send(status, make_head(status, head), b"" if request.method == b"HEAD" else body)


def step_of(lifecycle: Lifecycle) -> str:
    """The step of the start-up, safe to show: a command's arguments may hold secrets."""
    return without_directories(redacted(lifecycle.progress))


class Checks(Protocol):
    """What runs the checks of a probe."""

    def ask(self, probe: str) -> Deferred[Results]:
        """The results of the readiness or the liveness probe's checks."""


class ProbeResults:
    """What each probe looks at: the state when it answers, and checks whose results are new."""

    def __init__(self, lifecycle: Lifecycle, pool: Pool, checks: Checks, max_queued: int) -> None:
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
        return succeed({"startup": Result(Status.FAIL, round(lifecycle.step_age, 1), step_of(lifecycle))})

    def readiness(self) -> Deferred[Results]:
        """Passes when READY, the queue is short, and databases and the checks of readiness pass."""
        if self._lifecycle.state is not State.READY:
            return succeed(self._state())
        return self._checks.ask("readiness").addCallback(lambda found: {**self._state(), **found})

    def liveness(self) -> Deferred[Results]:
        """Passes when the reactor answers, which it does here, not all threads are stuck, and its checks pass."""
        if not self.django_ready:
            return succeed(self._process())
        return self._checks.ask("liveness").addCallback(lambda found: {**self._process(), **found})

    def _state(self) -> Results:
        """Whether requests are welcome now."""
        lifecycle, queued = self._lifecycle, self._pool.snapshot().queued
        if lifecycle.state is State.READY:
            return {"lifecycle": Result(Status.PASS, lifecycle.state.value), "queue": self._queue(queued)}
        output = f"the service is {lifecycle.state.value}, for {lifecycle.age:.1f} s"
        if lifecycle.state is State.STARTING:
            output += f": {step_of(lifecycle)}"
        return {"lifecycle": Result(Status.FAIL, lifecycle.state.value, output)}

    def _process(self) -> Results:
        """Whether requests can be served at all."""
        snapshot = self._pool.snapshot()
        observed = f"{snapshot.busy} of {snapshot.threads} busy"
        if snapshot.stuck:
            observed += f", {snapshot.stuck} stuck"
        all_stuck = 0 < snapshot.threads <= snapshot.stuck
        output = f"all {snapshot.threads} threads are stuck past their deadline" if all_stuck else None
        status = Status.FAIL if all_stuck else Status.PASS
        return {"reactor": PASSED, "threads": Result(status, observed, output)}

    def _queue(self, queued: int) -> Result:
        if queued < self._max_queued:
            return Result(Status.PASS, queued)
        return Result(Status.FAIL, queued, f"{queued} requests wait for a thread; the limit is {self._max_queued}")


class Metrics(Resource):
    """Prometheus text, or OpenMetrics for a scraper that prefers it, compressed for one that takes gzip.

    Collected on a thread: a project's own collector may block, and at most `MOST_SCRAPES` wait for one that hangs.
    `before` is called first, on the reactor, to bring the server's own up to date; what it returns is waited for.
    """

    isLeaf = True

    def __init__(self, before: Callable[[], object], reactor: Any, source: Source = REGISTRY) -> None:
        super().__init__()
        self._before = before
        self._source = source
        self._reactor = reactor
        self._collecting = 0

    def render_GET(self, request: Request) -> int:
        """Answer with what the source collects."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        content_type = choose_format((request.getHeader(b"accept") or b"").decode("latin-1"))
        compressed = takes_gzip((request.getHeader(b"accept-encoding") or b"").decode("latin-1"))

        def collect() -> None:
            try:
                body = expose(self._source, content_type)
                if compressed:
                    body = gzip.compress(body, COMPRESSION)
                self._reactor.callFromThread(give, 200, body)
            except BaseException as error:
                self._reactor.callFromThread(failed, error)

        def begin(result: object) -> None:
            threading.Thread(target=collect, name="metrics", daemon=True).start()

        def not_begun(failure: Failure) -> None:
            failed(failure.value)

        def failed(error: BaseException | None) -> None:
            logger.error("the metrics could not be collected", exc_info=error)
            give(500, f"collecting the metrics raised {type(error).__name__}\n".encode())

        def give(status: int, body: bytes) -> None:
            self._collecting -= 1
            if gone:
                return
            if status != 200:
                reply(request, status, PLAIN, body)
            else:
                coding = [(b"Content-Encoding", b"gzip")] if compressed else []
                reply(request, 200, content_type.encode(), body, *coding)

        if self._collecting >= MOST_SCRAPES:
            reply(request, 503, PLAIN, b"Earlier scrapes are still being collected: a collector hangs.\n")
            return NOT_DONE_YET
        self._collecting += 1
        maybeDeferred(self._before).addCallback(begin).addErrback(not_begun)
        return NOT_DONE_YET

    render_POST = render_GET


class ProbeRoot:
    """Finds a probe by its path; a trailing slash is tolerated, nothing redirects, and all only reads.

    POST reads too: Hurricane allowed it.
    """

    def __init__(self, probes: dict[str, Resource]) -> None:
        self._probes = {path.encode(): resource for path, resource in probes.items()}

    def find(self, request: Request) -> Resource:
        """The probe at the request's path."""
        if request.method not in (b"GET", b"HEAD", b"POST"):
            return NotAllowed()
        return self._probes.get(request.path.rstrip(b"/") or b"/") or NotFound(sorted(self._probes))


class NotAllowed(Resource):
    """405."""

    isLeaf = True

    def render(self, request: Request) -> int:
        """Answer any method."""
        reply(request, 405, PLAIN, b"Method not allowed.\n", (b"Allow", b"GET, HEAD, POST"))
        return NOT_DONE_YET


class NotFound(Resource):
    """404, naming what there is."""

    isLeaf = True

    def __init__(self, paths: list[bytes]) -> None:
        super().__init__()
        self._paths = paths

    def render(self, request: Request) -> int:
        """Answer any method."""
        body = b"Not found. There are: " + b", ".join(self._paths) + b"\n"
        reply(request, 404, PLAIN, body)
        return NOT_DONE_YET
