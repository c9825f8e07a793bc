"""What bounds a request: its deadline, the queue for a thread, and what the log tells of one that is stuck."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    PATIENCE,
    Serve,
    Server,
    assert_failed,
    at_once,
    serving,
    wait_for,
    write_project,
)
from tests.support.functional.wire import Wire, asking, wire

THREADS = 3
TIMEOUT = 1.2
"""Seconds a request may take in most of these tests: short, and longer than a noisy machine stands still."""
LATE = 6.0
"""Seconds after its deadline by which a request must have been given up."""

VIEWS = """
import sys
import threading
import time

from django.conf import settings
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

MEETINGS = {}


def stand_at_the_gate(gate):
    (settings.BASE_DIR / f"{gate}-entered").touch()
    while not (settings.BASE_DIR / f"{gate}-open").exists():
        time.sleep(0.01)


def hello(request):
    return HttpResponse("hello")


def hold(request):
    if "extend" in request.GET:
        request.META["twistserve.deadline"].extend(float(request.GET["extend"]))
    stand_at_the_gate(request.GET["gate"])
    return HttpResponse(request.GET.get("text", "held"))


def raising(request):
    stand_at_the_gate(request.GET["gate"])
    raise RuntimeError("raised behind the gate")


def streaming(request):
    def pieces():
        stand_at_the_gate(request.GET["gate"])
        yield "too late " * 10000
        yield "much too late"

    return StreamingHttpResponse(pieces())


def file(request):
    stand_at_the_gate(request.GET["gate"])
    return FileResponse(open(__file__, "rb"))


def begun(request):
    def pieces():
        yield "first"
        stand_at_the_gate(request.GET["gate"])
        yield "last!"

    headers = {"Content-Length": "10"} if "length" in request.GET else {}
    return StreamingHttpResponse(pieces(), headers=headers)


def meet(request):
    request.META["twistserve.deadline"].extend(30)
    meeting = MEETINGS.setdefault(request.GET["name"], threading.Barrier(int(request.GET["guests"])))
    meeting.wait(20)
    return HttpResponse("met")


@csrf_exempt
def remaining(request):
    deadline = request.META["twistserve.deadline"]
    told = [deadline.remaining()]
    for seconds in request.GET.getlist("extend"):
        deadline.extend(float(seconds))
        told.append(deadline.remaining())
    return HttpResponse(" ".join(map(str, told)))


urlpatterns = [
    path("hello/", hello),
    re_path("^hold/", hold),
    path("raising/", raising),
    path("streaming/", streaming),
    path("file/", file),
    path("begun/", begun),
    path("meet/", meet),
    path("remaining/", remaining),
]
"""

APPLICATIONS = """
import threading
from urllib.parse import parse_qs

from django.core.wsgi import get_wsgi_application
from site_urls import stand_at_the_gate

django = get_wsgi_application()
PLAIN = [("Content-Type", "text/plain")]


def gate_of(environ):
    return parse_qs(environ["QUERY_STRING"])["gate"][0]


class ClosingSlowly:
    def __init__(self, gate, blocks):
        self.gate = gate
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        stand_at_the_gate(self.gate)


def closing_in_chunks(environ, start_response):
    start_response("200 OK", PLAIN)
    return ClosingSlowly(gate_of(environ), [b"two ", b"blocks"])


def closing_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    return ClosingSlowly(gate_of(environ), [b"two blocks"])


def writing(environ, start_response):
    write = start_response("200 OK", PLAIN)
    stand_at_the_gate(gate_of(environ))
    write(b"too late")
    return [b"much too late"]


def listing(environ, start_response):
    stand_at_the_gate(gate_of(environ))
    start_response("200 OK", PLAIN)
    return [b"too late"]


def failing(environ, start_response):
    raise RuntimeError("the application fails at once")


RAW = {f"/raw/{each.__name__}/": each for each in (closing_in_chunks, closing_with_length, writing, listing, failing)}


def application(environ, start_response):
    # By how it begins: what follows is for hostile paths.
    raw = next((each for path, each in RAW.items() if environ["PATH_INFO"].startswith(path)), django)
    return raw(environ, start_response)
"""


class Gate:
    """Where a view stands until the test lets it go on; its text is its name."""

    numbers = itertools.count()

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = f"gate-{next(self.numbers)}"
        self.entered = server.cwd / f"{self.name}-entered"

    def __str__(self) -> str:
        return self.name

    def wait(self) -> None:
        """Wait until a view stands here."""
        wait_for(self.entered.exists, f"a view at {self}")

    def open(self) -> None:
        (self.server.cwd / f"{self.name}-open").touch()


class Lab:
    """A server, its gates, and how its metrics and output have changed since the test began."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.gates: list[Gate] = []
        self.began = len(server.stdout)
        self.before = server.probe("/metrics").text

    def gate(self) -> Gate:
        self.gates.append(Gate(self.server))
        return self.gates[-1]

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def log(self) -> str:
        return self.server.stdout[self.began :]

    def value(self, name: str) -> float:
        """A metric now."""
        return value_of(self.server.probe("/metrics").text, name)

    def counted(self, name: str) -> float:
        """By how much a metric has grown."""
        return self.value(name) - value_of(self.before, name)

    def wait_for(self, value: float, name: str) -> None:
        """Wait until a metric has this value."""
        wait_for(lambda: self.value(name) == value, f"{name} to be {value:g}")

    def wait_for_log(self, pattern: str) -> str:
        """Wait until this is in the log, and return its first group."""
        found = wait_for(lambda: re.search(pattern, self.log), f"{pattern!r} in the log")
        return found[1]

    def stack_of(self, request_line: str) -> str:
        """The stack that the log has with a request line."""
        pattern = rf"{re.escape(request_line)}[^\n]*\n((?:  [^\n]*\n)+)"
        bare = lambda: re.sub(r"(?m)^\S+ \S+ [A-Z]+ [\w.]+: ", "", self.log)  # noqa: E731
        return wait_for(lambda: re.search(pattern, bare()), f"the stack of {request_line} in the log")[1]

    def settle(self) -> None:
        """Let every view return, and wait for the threads."""
        for gate in self.gates:
            gate.open()
        self.wait_for(0, "twistserve_threads_busy")
        self.wait_for(0, "twistserve_threads_stuck")
        self.wait_for(0, "twistserve_http_request_queue_length")


def value_of(exposition: str, name: str) -> float:
    """A sample of a metric; 0 for one that was never counted."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", exposition, re.MULTILINE)
    return float(found[1]) if found else 0.0


def make_project(directory: Path) -> Path:
    return write_project(directory, VIEWS, "WSGI_APPLICATION = 'applications.application'\n", applications=APPLICATIONS)


def shared(tmp_path_factory: pytest.TempPathFactory, name: str, *options: str) -> Iterator[Server]:
    directory = make_project(tmp_path_factory.mktemp(name) / "project")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


def used(server: Server) -> Iterator[Lab]:
    """A shared server for one test, and what it said meanwhile, which pytest shows if the test fails."""
    lab = Lab(server)
    yield lab
    sys.stdout.write(f"--- stdout\n{lab.log}\n--- stderr\n{server.stderr}")
    lab.settle()


@pytest.fixture(scope="module")
def bounded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from shared(
        tmp_path_factory, "bounded", "--threads", str(THREADS), "--request-timeout", str(TIMEOUT), "--max-queue", "20"
    )


@pytest.fixture(scope="module")
def narrow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from shared(tmp_path_factory, "narrow", "--threads", "1", "--max-queue", "2")


@pytest.fixture
def lab(bounded_server: Server) -> Iterator[Lab]:
    """A server with `THREADS` threads and a deadline of `TIMEOUT` seconds."""
    yield from used(bounded_server)


@pytest.fixture
def narrow(narrow_server: Server) -> Iterator[Lab]:
    """A server with one thread, two places in the queue, and no deadline."""
    yield from used(narrow_server)


def held(gate: Gate, *, extend: float = 0.0, text: str = "held") -> bytes:
    """A request for a view that stands at the gate, and has asked for so many seconds before."""
    return asking(f"/hold/?gate={gate}&text={text}" + (f"&extend={extend:g}" if extend else ""))


@contextmanager
def together(lab: Lab, targets: list[bytes]) -> Iterator[tuple[list[Wire], list[Gate]]]:
    """A connection for each request, and the gate whose name ends its target."""
    gates = [lab.gate() for _ in targets]
    with ExitStack() as stack:
        connections = [stack.enter_context(wire(lab.port)) for _ in targets]
        for connection, target, gate in zip(connections, targets, gates, strict=True):
            connection.send(asking("{}").replace(b"{}", target + str(gate).encode()))
        yield connections, gates


def until_reset(connection: socket.socket) -> bytes:
    """What comes until the connection is reset; that it is closed instead is a failure."""
    received = b""
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return received
        assert data, "the connection is closed, not reset"
        received += data


def occupy(lab: Lab, requests: int, *, extend: float = 0.0) -> list[Gate]:
    """Have threads stand at gates of their own, for clients that leave at once where the threads get stuck."""
    gates = [lab.gate() for _ in range(requests)]
    for gate in gates:
        with wire(lab.port) as connection:
            connection.send(held(gate, extend=extend))
            gate.wait()
    return gates


# The deadline


def test_a_request_past_its_deadline_is_answered_and_told_of(lab: Lab) -> None:
    """504 at the deadline, its request line and its thread's stack in the log; its thread is stuck until it returns."""
    gate = lab.gate()
    with wire(lab.port) as connection:
        began = time.monotonic()
        connection.send(held(gate))
        answer = connection.answer()
        took = time.monotonic() - began
        assert answer.status == 504
        assert TIMEOUT - 0.05 < took < TIMEOUT + LATE
        assert b"held" not in answer.body
        connection.send(asking("/hello/"))
        assert connection.answer().body == b"hello"
    stack = lab.stack_of(f"GET /hold/?gate={gate}&text=held")
    assert re.search(r'site_urls.py", line \d+, in hold\n.*\n.*site_urls.py", line \d+, in stand_at_the_gate\n', stack)
    assert lab.value("twistserve_threads_stuck") == 1
    assert lab.counted("twistserve_http_request_timeouts_total") == 1
    lab.wait_for_log(rf'("GET /hold/\?gate={gate}\S* HTTP/1.1" 504 )')
    gate.open()
    lab.wait_for(0, "twistserve_threads_stuck")
    lab.wait_for(THREADS, "twistserve_threads")
    assert lab.counted("twistserve_http_request_timeouts_total") == 1
    assert "Traceback" not in lab.log


@pytest.mark.parametrize("path", ["/hold/", "/streaming/", "/raising/", "/file/", "/raw/writing/", "/raw/listing/"])
def test_a_late_answer_never_appears_in_the_next(lab: Lab, path: str) -> None:
    """However it comes: the connection is kept, and carries the next request's own answer and nothing else."""
    late, gate = lab.gate(), lab.gate()
    with wire(lab.port) as connection:
        connection.send(asking(f"{path}?gate={late}"))
        assert connection.answer().status == 504
        connection.send(held(gate, extend=60, text="right"))
        gate.wait()
        late.open()
        lab.wait_for(0, "twistserve_threads_stuck")
        gate.open()
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"right")
        connection.send(asking("/hello/"))
        assert connection.answer().body == b"hello"
    assert lab.counted("twistserve_http_request_timeouts_total") == 1
    assert "could not be sent" not in lab.log


def test_an_answer_that_has_begun_is_broken_off(lab: Lab) -> None:
    """At the deadline the connection is reset, so that no end of a connection looks like the end of the answer."""
    requests = {
        "chunked": asking("/begun/?gate={}"),
        "of known length": asking("/begun/?gate={}&length"),
        "to the end of the connection": asking("/begun/?gate={}", version="1.0"),
    }
    gates = [lab.gate() for _ in requests]
    connections = [socket.create_connection(("127.0.0.1", lab.port), timeout=PATIENCE) for _ in requests]
    try:
        for connection, request, gate in zip(connections, requests.values(), gates, strict=True):
            connection.sendall(request.replace(b"{}", str(gate).encode()))
        for kind, connection in zip(requests, connections, strict=True):
            received = b""
            while b"first" not in received:
                data = connection.recv(65536)
                assert data, f"{kind}: {received!r}"
                received += data
            assert received.startswith(b"HTTP/1.1 200 "), kind
            received += until_reset(connection)
            assert received.endswith((b"first", b"first\r\n")), kind
    finally:
        for connection in connections:
            connection.close()
    assert lab.value("twistserve_threads_stuck") == 3
    assert "in stand_at_the_gate" in lab.stack_of(f"GET /begun/?gate={gates[0]}")


@pytest.mark.parametrize("path", ["/raw/closing_in_chunks/", "/raw/closing_with_length/"])
def test_a_close_that_hangs_spoils_nothing(lab: Lab, path: str) -> None:
    """The answer is complete at once and right, the connection works on; past the deadline its thread is stuck."""
    gate = lab.gate()
    with wire(lab.port) as connection:
        connection.send(asking(f"{path}?gate={gate}"))
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"two blocks")
        gate.wait()
        connection.send(asking("/hello/"))
        assert connection.answer().body == b"hello"
        lab.wait_for(1, "twistserve_threads_stuck")
        assert "in close" in lab.stack_of(f"GET {path}?gate={gate}")
        connection.send(asking("/hello/"))
        assert connection.answer().body == b"hello"
        gate.open()
        lab.wait_for(0, "twistserve_threads_stuck")
        connection.send(asking("/hello/"))
        assert connection.answer().body == b"hello"


def test_a_client_that_left_does_not_hide_a_stuck_view(lab: Lab) -> None:
    """A view whose client left before the deadline is stuck after it, and told of in the log."""
    [gate] = occupy(lab, 1)
    lab.wait_for(1, "twistserve_threads_stuck")
    assert "in stand_at_the_gate" in lab.stack_of(f"GET /hold/?gate={gate}&text=held")
    gate.open()
    lab.wait_for(0, "twistserve_threads_stuck")
    assert lab.server.get("/hello/").text == "hello"


def test_stuck_threads_are_replaced_up_to_twice_as_many(lab: Lab) -> None:
    """The pool keeps its strength; with all replacements stuck too, liveness fails until one of them returns."""
    gates = occupy(lab, THREADS)
    lab.wait_for(THREADS, "twistserve_threads_stuck")
    assert lab.server.probe("/alive").status == 200
    meeting = f"/meet/?guests={THREADS}&name={gates[0]}"
    assert [reply.text for reply in at_once(THREADS, lambda: lab.server.get(meeting))] == ["met"] * THREADS

    gates += occupy(lab, THREADS)
    lab.wait_for(2 * THREADS, "twistserve_threads_stuck")
    assert lab.value("twistserve_threads") == 2 * THREADS
    failing = lab.server.probe("/alive")
    assert (failing.status, failing.json()["status"]) == (503, "fail")
    assert "stuck" in failing.text
    unrun = lab.gate()
    with wire(lab.port) as connection:
        connection.send(held(unrun))
        assert connection.answer().status == 504
    assert lab.value("twistserve_threads") == 2 * THREADS
    assert lab.value("twistserve_threads_stuck") == 2 * THREADS

    gates[0].open()
    lab.server.wait_until("/alive", 200)
    assert lab.server.get("/hello/").text == "hello"
    for gate in gates:
        gate.open()
    lab.wait_for(THREADS, "twistserve_threads")
    assert lab.value("twistserve_threads_stuck") == 0
    assert not unrun.entered.exists()

    occupy(lab, THREADS, extend=60)
    last = lab.gate()
    with wire(lab.port) as connection:
        connection.send(held(last, extend=60))
        lab.wait_for(1, "twistserve_http_request_queue_length")
        assert lab.value("twistserve_threads") == lab.value("twistserve_threads_busy") == THREADS


def test_a_request_that_still_waits_at_its_deadline_is_never_run(lab: Lab) -> None:
    """It gets 504 in its time, though those that run have asked for more; no thread is stuck because of it."""
    gates = occupy(lab, THREADS, extend=60)
    for _ in range(2):
        unrun = lab.gate()
        with wire(lab.port) as connection:
            began = time.monotonic()
            connection.send(held(unrun))
            assert connection.answer().status == 504
            took = time.monotonic() - began
        assert TIMEOUT - 0.05 < took < TIMEOUT + LATE, "those that asked for more time must not delay the others"
    assert lab.value("twistserve_http_request_queue_length") == 0
    assert lab.value("twistserve_threads_stuck") == 0
    assert lab.counted("twistserve_http_request_timeouts_total") == 2
    lab.wait_for_log(rf"(timed out.*GET /hold/\?gate={unrun})")
    for gate in gates:
        gate.open()
    assert lab.server.get("/hello/").text == "hello"
    lab.settle()
    assert not unrun.entered.exists()


def test_a_view_that_asked_for_more_time_gets_it(lab: Lab) -> None:
    """It answers long after others have met their deadline."""
    gate, other = lab.gate(), lab.gate()
    with wire(lab.port) as patient, wire(lab.port) as impatient:
        patient.send(held(gate, extend=60, text="after-all"))
        gate.wait()
        impatient.send(held(other))
        assert impatient.answer().status == 504
        gate.open()
        answer = patient.answer()
        assert (answer.status, answer.body) == (200, b"after-all")
    assert lab.counted("twistserve_http_request_timeouts_total") == 1


def test_a_view_can_ask_how_much_time_is_left(lab: Lab) -> None:
    """Seconds until the deadline; more time never makes it less."""
    told = [float(word) for word in lab.server.get("/remaining/?extend=100&extend=1&extend=200").text.split()]
    begun, extended, kept, again = told
    assert 0 < begun <= TIMEOUT
    assert 90 < extended <= 100
    assert 90 < kept <= extended
    assert 190 < again <= 200


def test_without_a_deadline_there_is_infinitely_much_time(narrow: Lab) -> None:
    """A view may ask all the same."""
    assert narrow.server.get("/remaining/?extend=1").text == "inf inf"


def test_a_slow_upload_does_not_count(lab: Lab) -> None:
    """A body that takes longer than the deadline to arrive leaves the view all of its time."""
    with wire(lab.port) as connection:
        connection.send(asking("/remaining/", "Content-Length: 1000", method="POST"))
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < 1.3 * TIMEOUT:
            connection.send(b"x")
            sent += 1
            time.sleep(0.05)
        connection.send(b"x" * (1000 - sent))
        answer = connection.answer()
    assert answer.status == 200
    assert 0 < float(answer.body) <= TIMEOUT
    assert lab.counted("twistserve_http_request_timeouts_total") == 0


def test_stuck_threads_do_not_delay_the_end(serve: Serve, tmp_path: Path) -> None:
    """Deadlines are kept while draining, and a view that never returns does not keep the process from ending."""
    options = ("--threads", "1", "--request-timeout", str(TIMEOUT), "--graceful-timeout", "50")
    server = serve(*options, cwd=make_project(tmp_path / "project"), settings="site_settings")
    lab = Lab(server)
    occupy(lab, 1)
    lab.wait_for(1, "twistserve_threads_stuck")
    gate = lab.gate()
    with wire(server.port) as connection:
        connection.send(held(gate))
        gate.wait()
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        answer = connection.answer()
        assert (answer.status, answer.headers["Connection"]) == (504, "close")
    assert server.wait(30) == 0
    assert time.monotonic() - began < 25
    assert "Traceback" not in server.output


# The queue


def test_a_full_queue_turns_requests_away(narrow: Lab) -> None:
    """Beyond --max-queue comes 503 with Retry-After, at once and without a thread; those who wait are served."""
    occupy(narrow, 1)
    gate = narrow.gate()
    gate.open()
    with wire(narrow.port) as one, wire(narrow.port) as two, wire(narrow.port) as three:
        one.send(held(gate, text="one"))
        two.send(held(gate, text="two"))
        narrow.wait_for(2, "twistserve_http_request_queue_length")
        began = time.monotonic()
        three.send(asking("/hold/", "Content-Length: 5", method="POST") + b"12345")
        answer = three.answer()
        assert time.monotonic() - began < 5
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert narrow.value("twistserve_http_request_queue_length") == 2
        assert narrow.counted('twistserve_http_rejected_requests_total{reason="queue_full"}') == 1
        narrow.gates[0].open()
        assert [one.answer().body, two.answer().body] == [b"one", b"two"]
        three.send(asking("/hello/"))
        assert three.answer().body == b"hello"
    assert narrow.counted('twistserve_http_rejected_requests_total{reason="queue_full"}') == 1


def test_those_who_leave_the_queue_are_not_run(narrow: Lab) -> None:
    """Nor do they take a place that another could have."""
    occupy(narrow, 1)
    unrun = [narrow.gate(), narrow.gate()]
    with wire(narrow.port) as one, wire(narrow.port) as two:
        for connection, gate in zip((one, two), unrun, strict=True):
            connection.send(held(gate))
        narrow.wait_for(2, "twistserve_http_request_queue_length")
    narrow.wait_for(0, "twistserve_http_request_queue_length")
    with wire(narrow.port) as one, wire(narrow.port) as two:
        one.send(asking("/hello/"))
        two.send(asking("/hello/"))
        narrow.wait_for(2, "twistserve_http_request_queue_length")
        narrow.gates[0].open()
        assert [one.answer().body, two.answer().body] == [b"hello", b"hello"]
    assert not any(gate.entered.exists() for gate in unrun)


def test_queue_time_is_measured(narrow: Lab) -> None:
    """The histogram has the seconds between the request and its thread."""
    occupy(narrow, 1)
    with wire(narrow.port) as connection:
        connection.send(asking("/hello/"))
        narrow.wait_for(1, "twistserve_http_request_queue_length")
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 0.5, "time to pass")
        waited = time.monotonic() - began
        narrow.gates[0].open()
        assert connection.answer().body == b"hello"
    assert narrow.counted("twistserve_http_request_queue_seconds_sum") >= waited
    assert narrow.counted("twistserve_http_request_queue_seconds_count") >= 1
    assert narrow.counted('twistserve_http_request_queue_seconds_bucket{le="0.25"}') <= 1


def test_free_threads_are_no_queue(serve: Serve, tmp_path: Path) -> None:
    """As many requests at once as there are threads are all served, whatever --max-queue is."""
    options = ("--threads", "8", "--max-queue", "1")
    server = serve(*options, cwd=make_project(tmp_path / "project"), settings="site_settings")
    for number in range(10):
        replies = at_once(8, lambda number=number: server.get(f"/meet/?guests=8&name={number}"))  # type: ignore[misc]
        assert [reply.status for reply in replies] == [200] * 8


# The log


def test_sigquit_logs_every_stack(lab: Lab) -> None:
    """The reactor's, idle threads', and those that serve requests with the request line; serving goes on."""
    [gate] = occupy(lab, 1, extend=60)
    for _ in range(2):
        lab.began = len(lab.server.stdout)
        lab.server.signal(signal.SIGQUIT)
        stack = lab.stack_of(f"GET /hold/?gate={gate}&text=held&extend=60")
        assert re.search(r'site_urls.py", line \d+, in stand_at_the_gate\n', stack)
        lab.wait_for_log(r"(SIGQUIT)")
        lab.wait_for_log(r"(MainThread)")
        assert len(re.findall(r'pool.py", line \d+, in _sleep\n', lab.log)) == THREADS - 1, "idle threads"
        assert lab.server.get("/hello/").text == "hello"
    assert lab.server.process.poll() is None


def test_sigquit_tells_where_the_start_stands(serve: Serve, tmp_path: Path) -> None:
    """A start that hangs is told of, and goes on."""
    directory = make_project(tmp_path / "project")
    with (directory / "applications.py").open("a") as module:
        module.write("\nstand_at_the_gate('start')\n")
    server = serve(cwd=directory, settings="site_settings", until=None)
    wait_for((directory / "start-entered").exists, "the start to stand at its gate")
    server.signal(signal.SIGQUIT)
    wait_for(lambda: "in stand_at_the_gate" in server.stdout, "the stack")
    (directory / "start-open").touch()
    server.wait_until()
    assert server.get("/hello/").text == "hello"


def test_no_path_forges_a_line(lab: Lab) -> None:
    """Every line that has what a client sent begins with what the server says, however the line is decoded."""
    hostile = (
        b"%0d%0aforged%0aforged%c2%85forged%e2%80%a8forged",
        b"%00forged%0bforged%0cforged%1cforged%1eforged%85forged",
        b'"forged"\\nforged\\x0aforged%1b[2Jforged',
    )
    requests = [b"/hold/" + text + b"?x=" + text + b"&gate=" for text in hostile]
    gates = occupy(lab, THREADS, extend=60)
    with together(lab, requests) as (connections, waiting):
        assert [connection.answer().status for connection in connections] == [504] * 3
    assert not any(gate.entered.exists() for gate in waiting)
    for gate in gates:
        gate.open()
    with together(lab, requests) as (connections, running):
        for gate in running:
            gate.wait()
        lab.server.signal(signal.SIGQUIT)
        for gate in running:
            lab.wait_for_log(rf"(thread \S+, serving GET .*gate={gate})")
        assert [connection.answer().status for connection in connections] == [504] * 3
        for connection, text in zip(connections, hostile, strict=True):
            connection.send(asking("/raw/failing/{}").replace(b"{}", text))
            assert connection.answer().status == 500
    with wire(lab.port) as connection:
        # No right target, but what becomes of it must not forge a line either.
        connection.send(b"GET /hold/\xc2\x85forged\xe2\x80\xa8forged\x85forged HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.answer()
    assert lab.counted("twistserve_http_request_timeouts_total") == 6
    lab.wait_for_log(r"(it waited|waiting)")
    access = lambda: len(re.findall(r'"GET /raw/failing/[^\n]*" 500 ', lab.log)) == 3  # noqa: E731
    wait_for(access, "the access log")
    written = lab.server.stdout_path.read_bytes()
    for encoding in ("utf-8", "latin-1"):
        lines = [line for line in written.decode(encoding, "replace").splitlines() if "forged" in line]
        assert len(lines) >= 18
        assert [line for line in lines if "/hold/" not in line and "/raw/" not in line] == []
        assert not any("\x1b" in line for line in lines)


# Options


def test_bad_values(serve: Serve, project: Callable[..., Path]) -> None:
    """One readable line that names the option and the value, and status 1."""
    directory = project()
    bad = [("--request-timeout", "-1"), ("--request-timeout", "soon"), ("--max-queue", "-1"), ("--max-queue", "0.5")]
    servers = [serve(*words, cwd=directory, settings="site_settings", until=None) for words in bad]
    for server, words in zip(servers, bad, strict=True):
        assert_failed(server, *words)
    variable = ("TWISTSERVE_REQUEST_TIMEOUT", "1m")
    assert_failed(serve(cwd=directory, settings="site_settings", until=None, env=dict([variable])), *variable)
