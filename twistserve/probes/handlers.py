"""What probes respond: startup, readiness, liveness and metrics."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from twistserve.http.request import Request
from twistserve.http.response import PLAIN, Response, whole
from twistserve.http.site import Handler
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.metrics.catalogue import probe_status
from twistserve.metrics.exposition import Source, choose_format, expose, takes_gzip
from twistserve.probes.checks import PASSED, Result, Status, worst
from twistserve.probes.responses import Results, answer
from twistserve.redaction import redacted, without_directories
from twistserve.server_thread import ServerThread

logger = get_logger(__name__)

MOST_SCRAPES = 4
"""Scrapes that may be collected at the same time; more of them means that one hangs."""
COMPRESSION = 1
"""zlib's level: the highest makes a scrape a quarter smaller and takes ten times as long."""

Told = Callable[[str, bool, str], None]
"""Told the name of a probe that was asked, whether it passes, and why."""


class Pool(Protocol):
    """What readiness and liveness need to know of the request threads."""

    def snapshot(self) -> Any:
        """Threads, busy and stuck ones among them, and queued requests."""


class Probe:
    """Responds by 200 when `results` all pass or warn, by 503 when one fails; `told` which it was, each time."""

    def __init__(
        self,
        name: str,
        results: Callable[[], Deferred[Results]],
        told: Told | None = None,
    ) -> None:
        self._results = results
        self._name = name
        self._told = told

    def __call__(self, request: Request) -> None:
        """Respond when the checks have, within their deadline; at once where none has to run."""
        results = maybeDeferred(self._results)
        results.addErrback(lambda failure: {"probe": _raised(failure)})
        results.addCallback(self._note)
        respond_later(request, results.addCallback(partial(self._response, request)))

    def _note(self, results: Results) -> Results:
        """Tell of it even when the client has left: the kubelet may time out before the check finishes."""
        passing = worst(result.status for result in results.values()) is not Status.FAIL
        contain(probe_status.labels(self._name).set, passing)
        if self._told is not None:
            contain(self._told, self._name, passing, "no check fails" if passing else _reason(results))
        return results

    def _response(self, request: Request, results: Results) -> Response:
        status = worst(result.status for result in results.values())
        query = request.target.partition(b"?")[2].split(b"&")
        verbose = any(argument.partition(b"=")[0] == b"verbose" for argument in query)
        content_type, body = answer(results, request.field(b"accept"), verbose)
        return reply(503 if status is Status.FAIL else 200, content_type, body)


class _Later:
    """A response that is not there yet."""

    def __init__(self, request: Request) -> None:
        self._request: Request | None = request
        request.pending = self

    def given_up(self) -> None:
        """Nothing is to be sent any more."""
        self._request = None

    def is_waiting(self) -> bool:
        """Never for a request thread."""
        return False

    def where(self) -> str:
        """Where it stands."""
        return "what it asks for was being gathered"

    def give(self, response: Response) -> None:
        """It is there."""
        if self._request is not None:
            self._request.connection.respond(response)


def respond_later(request: Request, response: Deferred[Response]) -> None:
    """Respond when the response is there, unless the client has left by then; by 500 if it cannot be made."""
    later = _Later(request)
    response.addErrback(_not_made).addCallback(later.give)


def _not_made(failure: Failure) -> Response:
    logger.error("a response of the probe port could not be made", exc_info=failure.value)
    return reply(500, PLAIN, b"The response could not be made; the log says why.\n")


def _raised(failure: Failure) -> Result:
    return Result(Status.FAIL, output=f"raised {type(failure.value).__name__}")


def _reason(results: Results) -> str:
    failing = ((name, result.output) for name, result in results.items() if result.status is Status.FAIL)
    return "; ".join(f"{name}: {output}" if output else name for name, output in failing)


def reply(status: int, content_type: bytes, body: bytes, *fields: tuple[bytes, bytes]) -> Response:
    """A response of the probe port; nothing here may be cached."""
    return whole(status, body, content_type, (b"Cache-Control", b"no-store"), *fields)


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


class Metrics:
    """Prometheus text, or OpenMetrics for a scraper that prefers it, compressed for one that takes gzip.

    Collected on a thread: a project's own collector may block, and at most `MOST_SCRAPES` wait for one that hangs.
    `before` is called first, on the reactor, to bring the server's own up to date; what it returns is waited for.
    """

    def __init__(self, before: Callable[[], object], reactor: Any, source: Source = REGISTRY) -> None:
        self._before = before
        self._source = source
        self._reactor = reactor
        self._collecting = 0

    def __call__(self, request: Request) -> None:
        """Respond by what the source collects."""
        if self._collecting >= MOST_SCRAPES:
            text = b"Earlier scrapes are still being collected: a collector hangs.\n"
            request.connection.respond(reply(503, PLAIN, text))
            return
        self._collecting += 1
        content_type = choose_format(request.field(b"accept"))
        compressed = takes_gzip(request.field(b"accept-encoding"))
        begun = maybeDeferred(self._before)
        collected = begun.addCallback(lambda result: self._collect(content_type, compressed))
        response = collected.addCallbacks(partial(_metrics, content_type, compressed), _not_collected)
        respond_later(request, response.addBoth(self._done))

    def _collect(self, content_type: str, compressed: bool) -> Deferred[bytes]:
        """Collect on a thread."""
        body: Deferred[bytes] = Deferred()

        def collect() -> None:
            try:
                found = expose(self._source, content_type)
                if compressed:
                    found = gzip.compress(found, COMPRESSION)
                self._reactor.callFromThread(body.callback, found)
            except BaseException as error:
                self._reactor.callFromThread(body.errback, error)

        ServerThread(target=collect, name="metrics", daemon=True).start()
        return body

    def _done(self, result: Response | Failure) -> Any:
        self._collecting -= 1
        return result


def _metrics(content_type: str, compressed: bool, body: bytes) -> Response:
    coding = [(b"Content-Encoding", b"gzip")] if compressed else []
    return reply(200, content_type.encode(), body, *coding)


def _not_collected(failure: Failure) -> Response:
    logger.error("the metrics could not be collected", exc_info=failure.value)
    return reply(500, PLAIN, f"collecting the metrics raised {type(failure.value).__name__}\n".encode())


class ProbeRoot:
    """Finds a probe by its path; a trailing slash is tolerated, nothing redirects, and all only reads.

    POST reads too: Hurricane allowed it.
    """

    def __init__(self, probes: dict[str, Handler]) -> None:
        self._probes = {path.encode(): handler for path, handler in probes.items()}
        self._not_found = reply(404, PLAIN, b"Not found. There are: " + b", ".join(sorted(self._probes)) + b"\n")

    def __call__(self, request: Request) -> None:
        """Have the probe at the request's path respond; without one, name those there are."""
        if request.method not in (b"GET", b"HEAD", b"POST"):
            request.connection.respond(_NOT_ALLOWED)
        elif (probe := self.find(request.path)) is not None:
            probe(request)
        else:
            request.connection.respond(self._not_found)

    def find(self, path: bytes) -> Handler | None:
        """What responds at a path, if anything does; it is decoded, as it is for the application."""
        if b"%" in path:
            path = unquote_to_bytes(path)
        return self._probes.get(path.removesuffix(b"/") or b"/")


_NOT_ALLOWED = reply(405, PLAIN, b"Method not allowed.\n", (b"Allow", b"GET, HEAD, POST"))
