"""The probes' handlers, without sockets: what they look at, when, and in which turn of the reactor they respond."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.support.http1 import OK
from tests.support.requests import make_request
from twistserve.http.request import Request
from twistserve.http.response import Response
from twistserve.lifecycle import Lifecycle, State
from twistserve.load import Load
from twistserve.probes import handlers
from twistserve.probes.checks import PASSED, Check, Result, Status, worst
from twistserve.probes.django_checks import DjangoChecks
from twistserve.probes.handlers import Metrics, Probe, ProbeResults, ProbeRoot
from twistserve.probes.port import ProbeSite
from twistserve.probes.responses import Results


class Transport(StringTransport):
    """A transport of our reactor's: what is sent is gone at once, what is written waits for the next turn."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def send(self, buffers: list[bytes]) -> None:
        self.sent += b"".join(buffers)

    def setTcpNoDelay(self, enabled: bool) -> None: ...


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have connections take the transport for one of our reactor's."""
    monkeypatch.setattr("twistserve.http.http1.Server", Transport)


@dataclass
class Bench:
    """The probes of a service that a test can do anything with."""

    clock: Clock = field(default_factory=Clock)
    pool: Load = field(default_factory=lambda: Load(threads=2, busy=0, queued=0, stuck=0))
    checks: dict[str, Deferred[Results]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lifecycle = Lifecycle(self.clock)
        self.results = ProbeResults(self.lifecycle, self, self, max_queued=3)
        self.results.django_ready = True

    def snapshot(self) -> Load:
        return self.pool

    def ask(self, probe: str) -> Deferred[Results]:
        self.checks[probe] = Deferred()
        return self.checks[probe]

    def ready(self) -> None:
        self.lifecycle.enter(State.READY, "test")

    def liveness(self) -> Results:
        found: list[Results] = []
        self.results.liveness().addCallback(found.append)
        self.checks["liveness"].callback({})
        return found[0]


def exchange(probe: Probe | Metrics, request: bytes, transport: StringTransport | None = None) -> bytes:
    """What a probe at /probe has sent when the turn of the reactor is over in which it got the request."""
    transport = transport or Transport()
    site: Any = ProbeSite(ProbeRoot({"/probe": probe}), reactor=Clock())
    connection = site.buildProtocol(None)
    connection.makeConnection(transport)
    connection.dataReceived(request)
    if isinstance(transport, Transport):
        assert transport.value() == b"", "nothing is left to the next turn"
        return transport.sent
    sent: bytes = transport.value()
    return sent


def body_of(response: bytes) -> Any:
    return json.loads(response.partition(b"\r\n\r\n")[2])


GET = b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n"


# In the same turn


def test_startup_responds_in_the_same_turn() -> None:
    """The startup probe asks no thread: its response is sent before the reactor turns to something else."""
    bench = Bench()
    response = exchange(Probe("startup", bench.results.startup), GET)
    assert response.startswith(b"HTTP/1.1 503 ")
    assert body_of(response)["checks"]["startup"][0]["output"].startswith("the process is starting")
    bench.ready()
    assert exchange(Probe("startup", bench.results.startup), GET).startswith(b"HTTP/1.1 200 ")


def test_liveness_without_checks_responds_in_the_same_turn() -> None:
    """Where no check is tagged `liveness` there is no thread to ask."""
    bench = Bench()
    results = ProbeResults(bench.lifecycle, bench, DjangoChecks((), 5.0, bench.clock), max_queued=3)
    results.django_ready = True
    response = exchange(Probe("liveness", results.liveness), GET)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert list(body_of(response)["checks"]) == ["reactor", "threads"]


def test_results_of_less_than_a_second_ago_are_sent_in_the_same_turn() -> None:
    """A check whose result is new needs no thread."""
    bench = Bench()
    bench.ready()
    work: list[Any] = []
    bench.clock.callFromThread = lambda function, *arguments: function(*arguments)  # type: ignore[attr-defined]
    check = Check("shop", lambda: PASSED, 5.0, bench.clock, lambda: False, work.append)
    probe = Probe("readiness", lambda: check.run().addCallback(lambda result: {"shop": result}))
    assert exchange(probe, GET) == b""
    work.pop()()
    assert exchange(probe, GET).startswith(b"HTTP/1.1 200 ")
    assert work == []


def test_head_gets_only_a_head() -> None:
    """The response to HEAD comes in the same turn too, with the length that GET would have."""
    bench = Bench()
    bench.ready()
    response = exchange(Probe("startup", bench.results.startup), GET.replace(b"GET", b"HEAD"))
    assert response.endswith(b"\r\n\r\n")
    length = len(exchange(Probe("startup", bench.results.startup), GET).partition(b"\r\n\r\n")[2])
    assert b"Content-Length: %d\r\n" % length in response


def test_responses_to_pipelined_probes_are_in_order() -> None:
    """Several probes on one connection get as many responses."""
    responses = exchange(Probe("startup", Bench().results.startup), 3 * GET)
    assert responses.count(b"HTTP/1.1 503 ") == 3


def test_another_reactor_will_do() -> None:
    """With transports that are not ours the response is written, and that reactor sends it."""
    response = exchange(Probe("startup", Bench().results.startup), GET, StringTransport())
    assert response.startswith(b"HTTP/1.1 503 ")
    assert body_of(response)["status"] == "fail"


# The form


def test_text_and_durations() -> None:
    """Accept: text/plain gets text, and ?verbose how long checks took."""
    results = {"shop": Result(Status.WARN, output="the shelves creak", seconds=0.25)}
    request = GET.replace(b"Host: x", b"Host: x\r\nAccept: text/plain").replace(b"/probe", b"/probe?verbose")
    response = exchange(Probe("readiness", lambda: _fired(results)), request)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in response
    assert response.endswith(b"\r\n\r\nwarn\nwarn shop: the shelves creak (0.250 s)\n")


@pytest.mark.parametrize("query", [b"verbose", b"verbose=1", b"a=b&verbose", b"verbose="])
def test_what_verbose_is(query: bytes) -> None:
    """With a value or without one, alone or not."""
    probe = Probe("readiness", lambda: _fired({"shop": Result(Status.PASS, seconds=0.25)}))
    response = exchange(probe, GET.replace(b"/probe", b"/probe?" + query))
    assert body_of(response)["checks"]["shop"][0]["seconds"] == 0.25


def test_what_verbose_is_not() -> None:
    """Another parameter is ignored."""
    probe = Probe("readiness", lambda: _fired({"shop": Result(Status.PASS, seconds=0.25)}))
    assert b"seconds" not in exchange(probe, GET.replace(b"/probe", b"/probe?x=verbose"))


def test_a_probe_that_breaks_fails() -> None:
    """What is wrong with the probe itself is a failure, and says so."""

    def results() -> Deferred[Results]:
        raise RuntimeError("password=x")

    response = exchange(Probe("readiness", results), GET)
    assert response.startswith(b"HTTP/1.1 503 ")
    assert body_of(response)["checks"] == {"probe": [{"status": "fail", "output": "raised RuntimeError"}]}


def _fired(results: Results) -> Deferred[Results]:
    fired: Deferred[Results] = Deferred()
    fired.callback(results)
    return fired


# Who is asked


def test_a_probe_by_its_path() -> None:
    """A slash at the end is tolerated; where there is none, the response says which there are; POST reads too."""
    root = ProbeRoot({"/startup": respond_ok, "/": respond_ok})
    for path in (b"/startup", b"/startup/", b"/startup?verbose", b"/st%61rtup", b"/", b"//"):
        for method in (b"GET", b"HEAD", b"POST"):
            assert response_of(root, path, method).status == 200
    missing = response_of(root, b"/started", b"GET")
    assert (missing.status, missing.body) == (404, b"Not found. There are: /, /startup\n")
    refused = response_of(root, b"/startup", b"PUT")
    assert refused.status == 405
    assert b"\r\nAllow: GET, HEAD, POST\r\n" in refused.head
    assert all(b"\r\nCache-Control: no-store\r\n" in response.head for response in (missing, refused))


def respond_ok(request: Request) -> None:
    request.connection.respond(OK)


def response_of(root: ProbeRoot, path: bytes, method: bytes) -> Response:
    request = make_request(path, method=method)
    root(request)
    response: Response = request.connection.response
    return response


def test_a_client_that_leaves_gets_nothing() -> None:
    """Until then what its request waits for can be told."""
    results: Deferred[Results] = Deferred()
    request = make_request(b"/probe")
    Probe("readiness", lambda: results)(request)
    later: Any = request.pending
    assert later.where() == "what it asks for was being gathered"
    later.given_up()
    results.callback({"shop": PASSED})
    assert request.connection.response is None


# Who is told


def told(outcomes: list[Result]) -> list[tuple[str, bool, str]]:
    """What a probe tells of itself while it is asked once for each of these results."""
    found: list[tuple[str, bool, str]] = []
    remaining = iter(outcomes)

    def ask() -> Deferred[Results]:
        return succeed({"lifecycle": PASSED, "queue": next(remaining)})

    probe = Probe("readiness", ask, lambda *result: found.append(result))
    for _ in outcomes:
        probe(make_request())
    return found


def test_a_probe_tells_whether_it_passes_and_why_not() -> None:
    """A warning passes; the failing checks are named."""
    outcomes = [PASSED, Result(Status.WARN, output="slow"), Result(Status.FAIL, output="full"), Result(Status.FAIL)]
    assert told(outcomes) == [
        ("readiness", True, "no check fails"),
        ("readiness", True, "no check fails"),
        ("readiness", False, "queue: full"),
        ("readiness", False, "queue"),
    ]


def test_a_probe_tells_it_when_nobody_waits_for_the_response() -> None:
    """A kubelet that gave up before the check's deadline does not hide that the check failed."""
    found: list[bool] = []
    results: Deferred[Results] = Deferred()
    probe = Probe("liveness", lambda: results, lambda name, passing, reason: found.append(passing))
    request = make_request()
    probe(request)
    pending: Any = request.pending
    pending.given_up()
    results.callback({"check": Result(Status.FAIL)})
    assert found == [False]
    assert request.connection.response is None


# What they look at


def test_readiness_tells_the_state_when_it_responds() -> None:
    """A drain that begins while a check runs makes the response a failure: it would be old otherwise."""
    bench = Bench()
    bench.ready()
    found: list[Results] = []
    bench.results.readiness().addCallback(found.append)
    assert found == []
    bench.lifecycle.enter(State.DRAINING, "test")
    bench.checks["readiness"].callback({"shop": PASSED})
    assert worst(result.status for result in found[0].values()) is Status.FAIL
    assert found[0]["lifecycle"].observed == "draining"
    assert found[0]["shop"] == PASSED


def test_readiness_tells_the_queue_when_it_responds() -> None:
    """Requests that have come to wait while a check ran count."""
    bench = Bench()
    bench.ready()
    found: list[Results] = []
    bench.results.readiness().addCallback(found.append)
    bench.pool = Load(threads=2, busy=2, queued=3, stuck=0)
    bench.checks["readiness"].callback({})
    assert found[0]["queue"].status is Status.FAIL


def test_readiness_asks_nothing_unless_ready() -> None:
    """Starting or draining, it fails at once."""
    bench = Bench()
    for state in (State.STARTING, State.DRAINING):
        bench.lifecycle.enter(state, "test")
        found: list[Results] = []
        bench.results.readiness().addCallback(found.append)
        assert found[0]["lifecycle"].observed == state.value
    assert bench.checks == {}


def test_liveness_fails_while_all_threads_are_stuck() -> None:
    """Replacements included, a process without a thread that can serve is of no use; one that comes back is enough."""
    bench = Bench(pool=Load(threads=4, busy=4, queued=9, stuck=4))
    threads = bench.liveness()["threads"]
    assert threads.status is Status.FAIL
    assert threads.output == "all 4 threads are stuck past their deadline"
    bench.pool = Load(threads=4, busy=4, queued=9, stuck=3)
    assert bench.liveness()["threads"] == Result(Status.PASS, "4 of 4 busy, 3 stuck")


def test_liveness_passes_without_threads() -> None:
    """Before there are threads, and when they have ended, nobody is stuck."""
    bench = Bench(pool=Load(threads=0, busy=0, queued=0, stuck=0))
    assert bench.liveness()["threads"].status is Status.PASS


def test_steps_show_no_secrets() -> None:
    """The start-up's step may be a command with anything in its arguments."""
    bench = Bench()
    bench.lifecycle.at_step("running the command 'load redis://shop:t0p@cache/0 --password=t0p /srv/t0p/x.json'")
    for ask in (bench.results.startup, bench.results.readiness):
        found: list[Results] = []
        ask().addCallback(found.append)
        (result,) = found[0].values()
        assert "running the command 'load redis://" in str(result.output)
        assert "t0p" not in str(result.output)


# The metrics


class Reactor(Clock):
    """A Clock whose other threads are this one."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        function(*args)


class Broken:
    """A collector that ends the thread that asks it."""

    def collect(self) -> Iterable[Any]:
        raise SystemExit


def scraped(metrics: Metrics) -> bytes:
    transport = StringTransport()
    exchange(metrics, b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n", transport)
    assert metrics._collecting == 0
    sent: bytes = transport.value()
    return sent


def test_a_scrape_that_fails_takes_nothing_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a collector raises, and where no thread can be had: each scrape is told, and the next one is tried."""
    monkeypatch.setattr(handlers, "ServerThread", OnThisThread)
    metrics = Metrics(lambda: None, Reactor(), Broken())
    assert all(b"raised SystemExit" in scraped(metrics) for _ in range(9))
    monkeypatch.setattr(handlers, "ServerThread", Unstartable)
    assert all(b" 500 " in scraped(metrics) for _ in range(9))
    assert b"raised RuntimeError" in scraped(metrics)


class OnThisThread:
    """A thread that runs where it is started."""

    def __init__(self, target: Callable[[], None], **keywords: Any) -> None:
        self.start = target


class Unstartable(OnThisThread):
    """A thread where the system has none to give."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(self.fail)

    def fail(self) -> None:
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("path", [b"/probe", b"/metrics"])
def test_a_response_that_cannot_be_made(path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is a 500 at once, and the log has the error: a probe that hangs would say less."""

    def results() -> Deferred[Results]:
        return succeed({"odd": Result(Status.PASS, object())})  # type: ignore[arg-type]

    metrics = Metrics(lambda: fail(KeyError("no counts")), Clock())
    request = make_request(path)
    ProbeRoot({"/probe": Probe("readiness", results), "/metrics": metrics})(request)
    assert request.connection.response.status == 500
    assert metrics._collecting == 0
    assert "could not be" in caplog.text
