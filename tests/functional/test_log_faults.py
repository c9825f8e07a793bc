"""Standard streams that cannot be written: each line is lost and counted, and that is all it costs."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, PROMPT, Server, raw, wait_for
from tests.support.functional.logs import (
    VIEWS,
    Launch,
    a_pipe,
    alive,
    ask_again_and_again,
    connections,
    dropped,
    ends,
    in_background,
    launching_with_streams,
    leave_in_the_middle,
    metric,
    read_log,
    wait_until_released,
)
from tests.support.functional.workers import titles, wait_until_none_is_left, wait_until_ready

Project = Callable[..., Path]

RUNNERS = ("twistd", "twist", "manage")
RUNNERS_AND_FORMS = [("twistd", "text"), ("twistd", "json"), ("twist", "text"), ("manage", "combined")]
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
HOSTILE = b"\xff\xfe \xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x89 \xed\xb3\xbf \x7f\x1b[31m"
"""A User-Agent of bytes that no encoding has, a letter, a sign, a picture, a lone surrogate and an escape sequence."""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


def assert_unhurt(server: Server, number: int = 1) -> None:
    """Twelve clients that leave, of a server of ten connections, are forgotten; it serves on and ends quickly."""
    leave_in_the_middle(server, 12, HOSTILE)
    wait_until_released(server)
    for _ in range(12 * number):
        assert server.get("/", timeout=20).text == "hello"
    assert server.get("/fail/").status == 500
    assert server.get("/nope").status == 404
    assert server.get("/warn/").text == "warned"
    alive(server)
    wait_until_released(server)


# Streams that refuse


@WORKERS
@pytest.mark.parametrize(("runner", "form"), RUNNERS_AND_FORMS)
def test_a_full_disk(launch: Launch, project: Project, runner: str, form: str, workers: str) -> None:
    """Standard output on a full device costs the lines, which are counted, and no connection; the drain is quick."""
    server = launch(
        *("--max-connections", "10", "--log-format", form, "--workers", workers),
        cwd=project(VIEWS),
        runner=runner,
        redirect=">/dev/full",
    )
    assert_unhurt(server, int(workers))
    wait_for(lambda: dropped(server) >= 14 + 12 * int(workers), lambda: f"the lines counted, not {dropped(server)}")
    ends(server, PROMPT)
    wait_until_none_is_left(server)


@pytest.mark.parametrize("redirect", ["2>/dev/full", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_full_disk_for_standard_error(launch: Launch, project: Project, runner: str, redirect: str) -> None:
    """Standard error may be full as well, or alone."""
    server = launch("--max-connections", "10", cwd=project(VIEWS), runner=runner, redirect=redirect)
    assert_unhurt(server)
    ends(server, PROMPT)


@WORKERS
def test_a_pipe_whose_reader_is_gone(launch: Launch, project: Project, workers: str) -> None:
    """What reads the log ends before anything is written: the service does not notice."""
    with a_pipe() as pipe:
        pipe.hang_up()
        arguments = ("--max-connections", "10", "--workers", workers)
        server = launch(*arguments, cwd=project(VIEWS), stdout=pipe.writing)
        assert_unhurt(server, int(workers))
        assert dropped(server) >= 14
        ends(server, PROMPT)


@WORKERS
def test_a_reader_that_goes_while_serving(launch: Launch, project: Project, workers: str) -> None:
    """What reads the log ends later: lines from then on are lost and counted, and nothing else happens."""
    with a_pipe() as pipe:
        arguments = ("--max-connections", "10", "--workers", workers)
        server = launch(*arguments, cwd=project(VIEWS), stdout=pipe.writing, stderr=pipe.writing)
        pipe.given()
        assert dropped(server) == 0
        pipe.hang_up()
        assert_unhurt(server, int(workers))
        wait_for(lambda: dropped(server) >= 14, "the lines to be counted")
        ends(server, PROMPT)


def test_a_file_at_its_limit(launch: Launch, project: Project, tmp_path: Path) -> None:
    """A file that may not grow any more (as on a full volume) costs lines; what was written before is whole."""
    server = launch("--max-connections", "10", cwd=project(VIEWS), limits="ulimit -f 16; trap '' XFSZ")
    ask_again_and_again(server, 200)
    assert_unhurt(server)
    wait_for(lambda: dropped(server) > 0, "lines to be counted")
    ends(server, PROMPT)
    written = server.stdout
    read_log(written[: written.rindex("\n") + 1], "text")


@WORKERS
def test_a_daemon_whose_log_file_is_on_a_full_disk(launch: Launch, project: Project, workers: str) -> None:
    """A log file of twistd's that cannot be written costs its lines, which are counted."""
    directory = project(VIEWS)
    (directory / "twistd.log").symlink_to("/dev/full")
    server = launch("--max-connections", "10", "--workers", workers, cwd=directory, runner="daemon", until=None)
    assert server.wait() == 0, server.output

    def is_ready() -> bool:
        with suppress(OSError):
            return server.probe("/ready").status == 200
        return False

    wait_for(is_ready, f"the daemon to be ready\n{server.output}")
    assert_unhurt(server, int(workers))
    wait_for(lambda: dropped(server) >= 14, "the lines to be counted")
    os.kill(int((directory / "twistd.pid").read_text()), 15)
    wait_until_none_is_left(server)


def test_the_counter_stays_at_zero(launch: Launch, project: Project) -> None:
    """Where every line is written, none is counted as dropped; and every request has its line."""
    server = launch(cwd=project(VIEWS))
    ask_again_and_again(server, 3000)
    assert dropped(server) == 0
    ends(server, PROMPT)
    assert server.stdout.count('"GET / HTTP/1.1" 200') == 3000


# Streams that nobody reads


@WORKERS
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_pipe_that_nobody_reads(launch: Launch, project: Project, form: str, workers: str) -> None:
    """A full pipe holds nobody up: pages, errors, probes, clients that leave; and the server ends in time."""
    with a_pipe() as pipe:
        server = launch(
            *("--workers", workers, "--log-format", form, "--graceful-timeout", "2"),
            cwd=project(VIEWS),
            stdout=pipe.writing,
        )
        ask_again_and_again(server, 2000)
        alive(server)
        for path in ("/fail/", "/nope", "/warn/", "/shout/?text=x"):
            server.get(path, timeout=20)
        assert server.get("/many/?number=2000").text == "said"
        leave_in_the_middle(server, 12)
        wait_until_released(server)
        alive(server)
        assert server.probe("/ready").status == 200
        server.signal(15)
        assert server.wait(2 + 10 + PROMPT) == 0


def test_printing_into_a_pipe_that_nobody_reads(launch: Launch, project: Project) -> None:
    """With json a view that prints is not held up either: what it prints goes through the same queue."""
    with a_pipe() as pipe:
        server = launch("--log-format", "json", cwd=project(VIEWS), stdout=pipe.writing, stderr=pipe.writing)
        ask_again_and_again(server, 2000)
        assert server.get("/print/", timeout=20).text == "printed"
        alive(server)


@WORKERS
def test_more_lines_than_the_queue_holds(launch: Launch, project: Project, workers: str) -> None:
    """The queue is bounded: of a pipe that nobody reads, what does not fit is counted, and memory does not grow on."""
    with a_pipe() as pipe:
        server = launch("--workers", workers, "--threads", "2", cwd=project(VIEWS), stdout=pipe.writing)

        def loses() -> bool:
            ask_again_and_again(server, 10, "/many/?number=2000")
            return dropped(server) > 1000

        wait_for(loses, "lines to be counted", 100)
        alive(server)
        before = metric(server, "process_resident_memory_bytes") if workers == "1" else 0
        ask_again_and_again(server, 20, "/many/?number=2000")
        if workers == "1":
            assert metric(server, "process_resident_memory_bytes") < before + 8_000_000


@WORKERS
def test_a_reader_that_begins_late(launch: Launch, project: Project, workers: str) -> None:
    """Once somebody reads again, what was queued and what comes later is written, each line whole."""
    with a_pipe() as pipe:
        server = launch("--workers", workers, cwd=project(VIEWS), stdout=pipe.writing)
        pipe.given()
        ask_again_and_again(server, 1000, "/?early")
        pipe.read()
        wait_for(lambda: pipe.text.count("GET /?early") == 1000, lambda: f"1000 lines: {pipe.text.count('early')}")
        server.get("/?later")
        wait_for(lambda: "GET /?later" in pipe.text, "a line from after that")
        assert dropped(server) == 0
        ends(server, PROMPT)
        read_log(pipe.rest(), "text")


# Streams that are closed


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_closed_streams(launch: Launch, project: Project, runner: str, redirect: str) -> None:
    """Streams that are closed at the start keep nothing from starting, serving, and ending with status 0."""
    server = launch("--max-connections", "10", cwd=project(VIEWS), runner=runner, redirect=redirect)
    assert_unhurt(server)
    assert server.get("/print/").text == "printed"
    ends(server, PROMPT)
    assert "AssertionError" not in server.output
    assert "AttributeError" not in server.output


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("redirect", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_with_workers(launch: Launch, project: Project, redirect: str, form: str) -> None:
    """The same with workers: they become ready, serve and end."""
    arguments = ("--max-connections", "10", "--workers", "2", "--log-format", form)
    server = launch(*arguments, cwd=project(VIEWS), redirect=redirect)
    wait_until_ready(server)
    assert_unhurt(server, 2)
    ends(server, PROMPT)
    wait_until_none_is_left(server)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_closed_streams_become_nobodys_sockets(launch: Launch, project: Project, workers: str) -> None:
    """Where standard streams are closed, their numbers are not given to sockets, which a child would write into."""
    server = launch("--workers", workers, cwd=project(VIEWS), redirect="<&- >&- 2>&-")
    ask_again_and_again(server, 10)
    for pid in titles(server):
        for number in range(3):
            with suppress(FileNotFoundError):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                assert not re.match(r"socket:|anon_inode:|pipe:", target), (pid, number, target)


def test_a_start_that_fails_with_closed_streams(launch: Launch, project: Project) -> None:
    """A start that cannot succeed ends with status 1 though nobody hears why."""
    server = launch(cwd=project(VIEWS, settings="raise LookupError('x')\n"), redirect=">&- 2>&-", until=None)
    assert server.wait() == 1


# Streams that cannot encode


ENCODINGS = pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}]
)


@ENCODINGS
@pytest.mark.parametrize(("runner", "form"), RUNNERS_AND_FORMS)
def test_a_stream_that_cannot_encode(
    launch: Launch, project: Project, runner: str, form: str, env: dict[str, str]
) -> None:
    """Whatever clients send and the application logs is written, backslash-escaped where need be, and none dropped."""
    server = launch(
        *("--max-connections", "10", "--log-format", form), cwd=project(VIEWS), runner=runner, env=env, redirect="2>&1"
    )
    leave_in_the_middle(server, 12, HOSTILE)
    wait_until_released(server)
    request = b"GET /?\xff\xc3\xbc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: %s\r\n\r\n" % HOSTILE
    for _ in range(12):
        raw(server.port, request)
    assert server.get("/non-ascii/").text == "said"
    assert server.get("/fail/").status == 500
    assert connections(server) == 0
    assert dropped(server) == 0
    ends(server, PROMPT)
    lines = read_log(server.stdout, form)
    [said] = [line for line in lines if line["logger"] == "shop"]
    if form == "json":
        assert said["message"] == "price \u20ac \U0001f409 \\udcff \xfc"
    elif env:
        assert said["message"] == r"price \u20ac \U0001f409 \udcff \xfc"
    else:
        assert said["message"] == "price \u20ac \U0001f409 \\udcff \xfc"
    if env:
        assert server.stdout.isascii()
    assert "\x1b" not in server.stdout
    assert len([line for line in lines if line["logger"] == "twistserve.access"]) >= 26
    assert "is gone" in server.stdout


def test_a_stream_that_cannot_encode_with_workers(launch: Launch, project: Project) -> None:
    """Workers escape as the one process does."""
    server = launch("--workers", "2", cwd=project(VIEWS), env={"PYTHONIOENCODING": "ascii"})
    leave_in_the_middle(server, 30, HOSTILE)
    for _ in range(10):
        assert server.get("/non-ascii/").text == "said"
    wait_until_released(server)
    assert dropped(server) == 0
    ends(server, PROMPT)
    lines = read_log(server.stdout, "text")
    said = [line["message"] for line in lines if line["logger"] == "shop"]
    assert said == [r"price \u20ac \U0001f409 \udcff \xfc"] * 10


# Requests in flight, and metrics that raise


def test_a_drain_with_a_request_in_flight(launch: Launch, project: Project) -> None:
    """The drain waits for the request that is there, not for those whose lines could not be written."""
    directory = project(VIEWS)
    server = launch("--max-connections", "10", cwd=directory, redirect=">/dev/full 2>&1")
    leave_in_the_middle(server, 9, HOSTILE)
    answers: list[str] = []
    thread = in_background(lambda: answers.append(server.get("/hold/?name=one").text))
    wait_for((directory / "entered-one").exists, "the request to reach its view")
    server.signal(15)
    server.wait_until("/ready", 503)
    (directory / "go").touch()
    thread.join(PATIENCE)
    assert answers == ["held one"]
    assert server.wait(PROMPT) == 0


@pytest.mark.parametrize("error", ["OSError('no space')", "ValueError('x')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_metrics_that_raise(launch: Launch, project: Project, error: str) -> None:
    """Whatever raises in counting while requests are served releases each connection, and states go on changing."""
    directory = project(
        VIEWS,
        settings=f"""
import prometheus_client, prometheus_client.values
def breaks(method):
    def wrapper(self, *args, **kwargs):
        if (BASE_DIR / "broken").exists():
            raise {error}
        return method(self, *args, **kwargs)
    return wrapper
for each in (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram):
    for name in ("inc", "dec", "set", "observe"):
        if hasattr(each, name):
            setattr(each, name, breaks(getattr(each, name)))
for name in ("inc", "set"):
    setattr(prometheus_client.values.ValueClass, name, breaks(getattr(prometheus_client.values.ValueClass, name)))
""",
    )
    server = launch("--max-connections", "10", cwd=directory)
    (directory / "broken").touch()
    leave_in_the_middle(server, 12)
    for _ in range(12):
        with suppress(http.client.HTTPException):
            assert server.get("/", timeout=20).status == 200
    alive(server)
    assert server.get("/", timeout=20).text == "hello"
    ends(server, PROMPT)


def test_a_broken_pipe_of_a_shell(launch: Launch, project: Project) -> None:
    """`twistd ... | head -1`: head ends after a line, and the service serves on."""
    with subprocess.Popen(["head", "-1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as head:
        assert head.stdin is not None
        assert head.stdout is not None
        server = launch("--max-connections", "10", cwd=project(VIEWS), stdout=head.stdin.fileno())
        head.stdin.close()
        assert head.wait(PATIENCE) == 0
        assert b"probes on" in head.stdout.read()
        assert_unhurt(server)
        ends(server, PROMPT)
