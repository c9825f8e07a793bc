"""Processes that end by themselves, after many requests, with age or much memory, without any request being lost."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, Serve, Server, assert_failed, wait_for
from tests.support.functional.wire import Wire, asking, wire

LIFETIME = 50

VIEWS = """
import time

from django.conf import settings
from django.http import HttpResponse
from django.urls import path

kept = []


def hello(request):
    return HttpResponse("hello")


def hold(request):
    kept.append(b"x" * (int(request.GET.get("megabytes", 0)) << 20))
    (settings.BASE_DIR / "entered").touch()
    while not (settings.BASE_DIR / "open").exists():
        time.sleep(0.01)
    return HttpResponse("held")


urlpatterns = [path("hello/", hello), path("hold/", hold)]
"""

Recycle = Callable[[Server, Wire], None]
Launch = Callable[..., Server]


@pytest.fixture
def launch(serve: Serve, project: Callable[..., Path]) -> Launch:
    """Start a server of the views above."""
    directory = project(VIEWS)

    def launcher(*args: str, **kwargs: object) -> Server:
        return serve(*args, "--no-access-log", cwd=directory, settings="site_settings", **kwargs)

    return launcher


def greet(server: Server, times: int) -> None:
    """Have requests answered, on one connection."""
    with wire(server.port) as connection:
        for _ in range(times):
            connection.send(asking("/hello/"))
            assert connection.answer().body == b"hello"


def greet_until_it_ends(server: Server, times: int = sys.maxsize) -> None:
    """Send requests, each on a connection of its own, until the port is closed or readiness fails."""
    with suppress(OSError):
        for _ in range(times):
            if server.probe("/ready").status != 200:
                break
            server.get("/hello/")


def hold(server: Server, connection: Wire, megabytes: int = 0) -> None:
    """Have a view wait until the file `open` is there, and keep so much memory."""
    connection.send(asking(f"/hold/?megabytes={megabytes}"))
    wait_for((server.cwd / "entered").exists, "the request to reach its view")


def outlive(server: Server, connection: Wire) -> None:
    """Hold a request while others use up the lifetime."""
    hold(server, connection)
    greet_until_it_ends(server)


def grow(server: Server, connection: Wire) -> None:
    """Hold a request that occupies more memory than is wanted."""
    greet(server, 2 * LIFETIME)
    hold(server, connection, megabytes=200)


def age(server: Server, connection: Wire) -> None:
    """Hold a request until the age is reached."""
    hold(server, connection)


WAYS = [
    pytest.param(("--max-lifetime", str(LIFETIME)), outlive, id="lifetime"),
    pytest.param(("--max-age", "5"), age, id="age"),
    pytest.param(("--max-memory", "200"), grow, id="memory"),
]


def assert_recycled(server: Server, fewest: int, most: int) -> None:
    """It ends with status 0, and its log says why."""
    assert server.wait(PROMPT) == 0
    [requests] = re.findall(r"ready -> draining .*?(\d+) requests", server.stdout)
    assert fewest <= int(requests) <= most
    assert "Traceback" not in server.output
    assert server.stderr == ""


def test_it_ends_after_so_many_requests(launch: Launch) -> None:
    """Not before --max-lifetime, and at the latest a tenth after it."""
    server = launch("--max-lifetime", str(LIFETIME))
    greet(server, LIFETIME - 1)
    began = time.monotonic()
    while time.monotonic() - began < 2.2:  # two looks at what was answered; probes are no requests
        assert server.answers("/ready")
        time.sleep(0.05)
    greet_until_it_ends(server, times=1 + LIFETIME // 10)
    assert_recycled(server, LIFETIME, LIFETIME + LIFETIME // 10)


def test_it_ends_at_an_age(launch: Launch) -> None:
    """Not before --max-age, every request until then answered, and with status 0."""
    began = time.monotonic()
    server = launch("--max-age", "2", "--drain-delay", "1")
    with suppress(ConnectionRefusedError):  # the port is closed
        while True:
            assert server.get("/hello/").body == b"hello"
    assert server.wait(PROMPT) == 0
    assert time.monotonic() - began >= 3
    [lived] = re.findall(r"ready -> draining after ([\d.]+) s: ready for \d+ s, at most 2 s were wanted", server.stdout)
    assert 2 <= float(lived) < PROMPT
    assert server.stderr == ""


def test_what_is_reached_first_ends_it(launch: Launch) -> None:
    """Of --max-lifetime, --max-age and --max-memory."""
    server = launch("--max-age", "3600", "--max-lifetime", "5", "--max-memory", "100000")
    greet(server, 5)
    assert_recycled(server, 5, 5)


@pytest.mark.parametrize("runner", ["twist", "manage"])
def test_other_runners_end_with_status_0_too(launch: Launch, runner: str) -> None:
    """However it was started."""
    server = launch("--max-lifetime", "5", runner=runner)
    greet(server, 5)
    assert_recycled(server, 5, 5)


@pytest.mark.parametrize(("options", "use_up"), WAYS)
def test_a_request_in_flight_is_answered(launch: Launch, options: tuple[str, ...], use_up: Recycle) -> None:
    """Readiness fails, liveness passes, and the process ends when the request is answered."""
    server = launch(*options)
    with wire(server.port) as connection:
        use_up(server, connection)
        server.wait_until("/ready", 503)
        assert server.probe("/alive").status == 200
        (server.cwd / "open").touch()
        answer = connection.answer()
        assert (answer.status, answer.body, answer.headers["Connection"]) == (200, b"held", "close")
    assert server.wait(PROMPT) == 0
    assert "Traceback" not in server.output


def test_a_signal_does_not_cut_the_drain(launch: Launch) -> None:
    """The request in flight is answered all the same, and nothing is complained of."""
    server = launch("--max-lifetime", str(LIFETIME))
    with wire(server.port) as connection:
        outlive(server, connection)
        server.wait_until("/ready", 503)
        server.signal(signal.SIGTERM)
        wait_for(lambda: "SIGTERM" in server.stdout, "SIGTERM to be received")
        assert server.answers("/ready", 503), "the drain goes on"
        (server.cwd / "open").touch()
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"held")
    assert server.wait(PROMPT) == 0
    assert "Traceback" not in server.output
    assert "Unhandled" not in server.output


def test_a_second_signal_stops_at_once(launch: Launch) -> None:
    """The request in flight is cut off, with status 0 and without its graceful timeout."""
    server = launch("--max-lifetime", str(LIFETIME))
    with wire(server.port) as connection:
        outlive(server, connection)
        server.wait_until("/ready", 503)
        server.signal(signal.SIGTERM)
        wait_for(lambda: "SIGTERM" in server.stdout, "SIGTERM to be received")
        server.signal(signal.SIGTERM)
        assert connection.rest() == b""
        assert server.wait(PROMPT) == 0
    assert "GET /hold/" in server.stdout


def test_the_drain_has_its_delay(launch: Launch) -> None:
    """New connections are served for --drain-delay, and do not begin the drain anew."""
    server = launch("--max-lifetime", "3", "--drain-delay", "2")
    greet(server, 3)
    server.wait_until("/ready", 503)
    for _ in range(10):
        greet(server, 1)
    assert server.wait(PROMPT) == 0
    assert server.stdout.count("ready -> draining") == 1


def test_bad_values(launch: Launch) -> None:
    """One readable line that names the option and the value, and status 1."""
    bad = [("--max-lifetime", "-1"), ("--max-lifetime", "1.5"), ("--max-memory", "-1"), ("--max-memory", "lots")]
    bad += [("--max-age", "-1"), ("--max-age", "1h")]
    servers = [launch(*words, until=None) for words in bad]
    for server, words in zip(servers, bad, strict=True):
        assert_failed(server, *words)


def test_a_bad_setting(serve: Serve, project: Callable[..., Path]) -> None:
    """The same for what the settings say."""
    directory = project(settings="TWISTSERVE = {'MAX_MEMORY': '1 GB', 'THREADS': 1}\n")
    assert_failed(serve(cwd=directory, settings="site_settings", until=None), "MAX_MEMORY", "1 GB")
