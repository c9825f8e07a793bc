"""The log of forked children, which write their lines themselves, and the last lines before the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, PROMPT, UNTRACED, Server, release, wait_for
from tests.support.functional.logs import VIEWS as LOGGING_VIEWS
from tests.support.functional.logs import (
    Launch,
    a_pipe,
    ask_again_and_again,
    dropped,
    ends,
    in_background,
    launching_with_streams,
    lines_of,
    read_log,
    the_line,
)
from tests.support.functional.workers import Held, wait_until_none_is_left, wait_until_ready

Project = Callable[..., Path]

FORMS = pytest.mark.parametrize("form", ["text", "json"])
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])

VIEWS = (
    LOGGING_VIEWS
    + """
import multiprocessing, threading

def child(name):
    log.warning("child %s of %s", name, os.getppid())
    logging.getLogger("twistserve.shop").warning("ours in child %s", name)
    try:
        raise LookupError("gone in the child")
    except LookupError:
        log.exception("failed in child %s", name)

def waited_for(pid):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False

def forks(request):
    pid = os.fork()
    if not pid:
        try:
            child(request.GET["name"])
        finally:
            os._exit(0)
    return HttpResponse(str(waited_for(pid)))

def processes(request):
    context = multiprocessing.get_context(request.GET["method"])
    started = [context.Process(target=child, args=(f"process-{number}",)) for number in range(2)]
    for each in started:
        each.start()
    for each in started:
        each.join(30)
    codes = [each.exitcode for each in started]
    for each in started:
        each.kill()
    return HttpResponse(str(codes))

def heavily(request):
    stopped = threading.Event()
    def chatter():
        while not stopped.is_set():
            log.warning("chatter")
            logging.getLogger("twistserve.shop").warning("chatter of ours")
    threads = [threading.Thread(target=chatter) for _ in range(2)]
    for thread in threads:
        thread.start()
    answers = []
    for number in range(30):
        pid = os.fork()
        if not pid:
            log.warning("child %02d", number)
            os._exit(0)
        answers.append(waited_for(pid))
    stopped.set()
    for thread in threads:
        thread.join()
    return HttpResponse(str(answers.count(True)))

def grandchild(request):
    pid = os.fork()
    if not pid:
        log.warning("the child")
        second = os.fork()
        if not second:
            log.warning("the grandchild")
            os._exit(0)
        waited_for(second)
        os._exit(0)
    return HttpResponse(str(waited_for(pid)))

def printing_child(request):
    pid = os.fork()
    if not pid:
        print("printed by the child")
        sys.stdout.flush()
        os._exit(0)
    return HttpResponse(str(waited_for(pid)))

urlpatterns += [
    path("fork/", forks), path("processes/", processes), path("heavily/", heavily), path("grandchild/", grandchild),
    path("printing-child/", printing_child),
]
"""
)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


# Children


@WORKERS
@FORMS
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_a_forked_child(launch: Launch, project: Project, runner: str, form: str, workers: str) -> None:
    """What it logs, through the application's loggers or ours, is written before it ends, once, in the format."""
    server = launch("--log-format", form, "--workers", workers, cwd=project(VIEWS), runner=runner)
    for number in range(5):
        assert server.get(f"/fork/?name=number-{number}").text == "True", "the child ended by itself"
    for number in range(5):
        assert server.stdout.count(f"ours in child number-{number}") == 1, server.output
        line = the_line(lines_of(server, form), f"failed in child number-{number}")
        assert (line["logger"], line["level"]) == ("shop", "ERROR")
    assert server.output.count("LookupError: gone in the child") == 5
    assert dropped(server) == 0
    ends(server, PROMPT)
    lines = lines_of(server, form)
    for number in range(5):
        assert (line := the_line(lines, f"child number-{number} of "))["logger"] == "shop", line


@pytest.mark.parametrize("method", ["fork", "spawn"])
@FORMS
def test_children_of_multiprocessing(launch: Launch, project: Project, form: str, method: str) -> None:
    """Those of multiprocessing log as well; spawned ones import the project anew, and have Python's logging."""
    server = launch("--log-format", form, cwd=project(VIEWS), env={"PYTHONPATH": "."})
    assert server.get(f"/processes/?method={method}", timeout=90).text == "[0, 0]", server.output
    for number in range(2):
        assert server.output.count(f"child process-{number} of ") == 1, server.output
        assert f"failed in child process-{number}" in server.output
    ends(server, PROMPT)
    if method == "fork":
        lines_of(server, form)


@WORKERS
@pytest.mark.parametrize("form", ["text", "json"])
def test_forks_while_other_threads_log(launch: Launch, project: Project, form: str, workers: str) -> None:
    """No child inherits a lock that nobody will release; each writes its line, whole, and writes no other's again."""
    server = launch("--log-format", form, "--workers", workers, cwd=project(VIEWS), env=UNTRACED)
    background = in_background(lambda: ask_again_and_again(server, 300, "/shout/?text=x"))
    assert server.get("/heavily/", timeout=120).text == "30"
    background.join(PATIENCE)
    ends(server, PROMPT)
    lines = lines_of(server, form)
    for number in range(30):
        the_line(lines, f"child {number:02}")
    access = [line for line in lines if line["logger"] == "twistserve.access" and "/shout/" in line.text]
    assert len(access) == 300, "no child has written what its parent had queued"


def test_a_fork_while_the_queue_is_full(launch: Launch, project: Project) -> None:
    """A child of a server whose output nobody reads does not write its parent's queue; the parent serves on."""
    with a_pipe() as pipe:
        server = launch(cwd=project(VIEWS), stdout=pipe.writing)
        pipe.given()
        ask_again_and_again(server, 1500, "/?before")
        answers: list[str] = []
        thread = in_background(lambda: answers.append(server.get("/fork/?name=late").text))
        assert server.get("/", timeout=20).text == "hello"
        pipe.read()
        thread.join(PATIENCE)
        assert answers == ["True"]
        ends(server, PROMPT)
        lines = read_log(pipe.rest(), "text")
    the_line(lines, "child late of ")
    assert len([line for line in lines if "GET /?before" in line.text]) == 1500


@FORMS
def test_children_of_children(launch: Launch, project: Project, form: str) -> None:
    """A child of a child writes its lines too."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    assert server.get("/grandchild/").text == "True"
    lines = lines_of(server, form)
    the_line(lines, "the child")
    the_line(lines, "the grandchild")


@FORMS
def test_a_child_that_prints(launch: Launch, project: Project, form: str) -> None:
    """What a forked child prints is there, in json as an object."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    assert server.get("/printing-child/").text == "True"
    wait_for(lambda: "printed by the child" in server.stdout, f"its line\n{server.output}")
    if form == "json":
        assert the_line(lines_of(server), "printed by the child")["message"] == "printed by the child"


# The end


def held_to_the_end(server: Server, number: int) -> None:
    """End a server while a request is in flight that logs so many lines at the last moment."""
    held = Held(server, "last", f"&number={number}")
    server.signal(15)
    server.wait_until("/ready", 503)
    release(server)
    assert held.outcome() == "200 held last"
    assert server.wait() == 0
    wait_until_none_is_left(server)


@WORKERS
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_what_is_logged_right_before_the_end(launch: Launch, project: Project, runner: str, workers: str) -> None:
    """Lines of the last request are all there, and its access line, and how it ended, in this order."""
    server = launch("--log-format", "json", "--workers", workers, cwd=project(VIEWS), runner=runner)
    wait_for(lambda: server.answers("/ready"), "it to be ready")
    held_to_the_end(server, 3000)
    lines = lines_of(server)
    said = [line["message"] for line in lines if line["logger"] == "shop"]
    assert said == [f"at the end {number:05}" for number in range(3000)]
    the_line(lines, "twistserve.access", "name=last")
    assert any("stopped" in line["message"] for line in lines if line["logger"].startswith("twistserve"))


def test_a_daemon_writes_its_last_lines(launch: Launch, project: Project) -> None:
    """So does a daemon into its log file."""
    directory = project(VIEWS)
    server = launch(cwd=directory, runner="daemon", until=None)
    assert server.wait() == 0
    pid_file = directory / "twistd.pid"
    pid = int(wait_for(lambda: pid_file.read_text() if pid_file.exists() else None, "the pid file"))
    log = directory / "twistd.log"
    wait_for(lambda: log.exists() and "-> ready" in log.read_text(), "it to be ready")
    ask_again_and_again(server, 500, "/shout/?text=early")
    os.kill(pid, 15)
    wait_until_none_is_left(server)
    lines = read_log(log.read_text(), "text")
    assert len([line for line in lines if line["message"] == "said early"]) == 500
    assert len([line for line in lines if line["logger"] == "twistserve.access"]) == 500
    assert any("stopped" in line["message"] for line in lines)


def test_a_slow_reader_at_the_end(launch: Launch, project: Project) -> None:
    """What waits in the queue at the end is written as soon as somebody reads, though only then."""
    with a_pipe() as pipe:
        server = launch("--graceful-timeout", "5", cwd=project(VIEWS), stdout=pipe.writing)
        pipe.given()
        ask_again_and_again(server, 1500, "/?queued")
        server.signal(15)
        wait_for(lambda: not _answers(server), "the probe port to close")
        pipe.read()
        assert server.wait() == 0
        text = pipe.rest()
    lines = read_log(text, "text")
    assert len([line for line in lines if "GET /?queued" in line.text]) == 1500
    assert any("stopped" in line["message"] for line in lines)


def _answers(server: Server) -> bool:
    try:
        return server.probe("/alive").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_handler_of_the_project_has_the_last_lines(launch: Launch, project: Project, workers: str) -> None:
    """A handler of the project gets what our threads log to the end, through the same queue."""
    settings = """
LOGGING = {
    "version": 1,
    "formatters": {"own": {"format": "OWN %(process)d %(name)s %(message)s"}},
    "handlers": {"own": {"class": "logging.FileHandler", "filename": BASE_DIR / "own.log", "formatter": "own"}},
    "root": {"handlers": ["own"], "level": "INFO"},
}
"""
    server = launch("--workers", workers, cwd=project(VIEWS, settings=settings))
    wait_until_ready(server, 2) if workers == "2" else None
    ask_again_and_again(server, 500, "/?marked")
    ends(server, PROMPT)
    lines = (server.cwd / "own.log").read_text().splitlines()
    assert all(line.startswith("OWN ") for line in lines)
    assert len([line for line in lines if "GET /?marked" in line]) == 500
    assert any("stopped" in line for line in lines)


def test_a_start_that_fails_says_so(launch: Launch, project: Project) -> None:
    """The line that says why a start fails is written before the process ends with status 1."""
    server = launch("--command", "nothing", cwd=project(VIEWS), until=None)
    assert server.wait() == 1
    assert "nothing" in server.output
