"""Lines are whole, wherever they go, and say what was so when they were logged."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, PROMPT, wait_for
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
from tests.support.functional.workers import wait_until_none_is_left, wait_until_ready

Project = Callable[..., Path]


VIEWS = """
import logging, os, subprocess, sys, threading
from django.http import HttpResponse
from django.urls import path
from django.utils import translation
from django.utils.translation import gettext_lazy
log = logging.getLogger("shop")

def hello(request):
    return HttpResponse("hello")

def deep(request):
    mark = request.GET["mark"]
    def descend(depth):
        if depth:
            descend(depth - 1)
        if depth % 2:
            return
        raise LookupError(f"begin-{mark}-" + "x" * 20_000 + f"-end-{mark}")
    descend(40)

def long(request):
    log.warning("begin-%s-%s-end-%s", request.GET["mark"], "y" * 200_000, request.GET["mark"])
    return HttpResponse("said")

def changing(request):
    state = {"now": 1}
    log.warning("the state is %s", state)
    state["now"] = 2
    with translation.override("de"):
        log.warning("translated %s", gettext_lazy("Yes"))
    return HttpResponse("said")

class Broken:
    def __str__(self):
        raise RuntimeError("no text")
    __repr__ = __str__

def broken(request):
    log.warning("an argument %s", Broken())
    log.warning("too few %s %s", 1)
    log.warning("too many", 1)
    logging.getLogger("twistserve.shop").warning("too few of ours %s %s", 1)
    log.warning("after that")
    return HttpResponse("said")

def no_text(request):
    log.warning(Broken())
    log.warning("after that")
    return HttpResponse("said")

def module(request):
    logging.warning("of the root")
    return HttpResponse("said")

def program(request):
    written = subprocess.run([sys.executable, "-c", "import os; print(len('z') * os.write(1, b'z' * 300_000))"],
                             stderr=subprocess.PIPE)
    return HttpResponse(f"{written.returncode} {written.stderr.decode()}")

def multiline(request):
    log.warning("one\\ntwo\\nthree\\rfour\\x85five\\u2028six\\x0bseven\\x1b[31meight\\x00nine")
    return HttpResponse("said")

urlpatterns = [path("", hello), path("deep/", deep), path("long/", long), path("changing/", changing),
               path("broken/", broken), path("no-text/", no_text), path("program/", program),
               path("multiline/", multiline), path("module/", module)]
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


@pytest.mark.parametrize("path", ["/deep/", "/long/"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_long_lines_in_a_pipe(launch: Launch, project: Project, form: str, path: str) -> None:
    """Lines longer than a pipe takes at once are whole."""
    assert_whole(launch, project(VIEWS), 1, form, path)


def assert_whole(launch: Launch, directory: Path, workers: int, form: str, path: str) -> None:
    """Requests at the same time, whose views log lines of many thousand characters, leave whole ones in a pipe."""
    with a_pipe() as pipe:
        server = launch("--log-format", form, "--workers", str(workers), cwd=directory, stdout=pipe.writing)
        pipe.given()
        pipe.read()
        if workers > 1:
            wait_until_ready(server, workers)

        def ask(number: int) -> None:
            for turn in range(8):
                server.get(f"{path}?mark={number}{turn}")

        threads = [in_background(partial(ask, number)) for number in range(6)]
        for thread in threads:
            thread.join(PATIENCE)
        assert dropped(server) == 0
        ends(server, PROMPT)
        lines = read_log(pipe.rest(), form)
    for number in range(6):
        for turn in range(8):
            mark = f"{number}{turn}"
            found = [line for line in lines if f"begin-{mark}-" in line.text]
            assert found, mark
            assert all(f"-end-{mark}" in line.text for line in found), mark


@pytest.mark.parametrize("path", ["/deep/", "/long/"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_long_lines_of_workers_in_a_pipe(launch: Launch, project: Project, form: str, path: str) -> None:
    """Lines longer than a pipe takes at once are not mixed with those of other workers."""
    assert_whole(launch, project(VIEWS), 3, form, path)


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_logged_is_what_was_so(launch: Launch, project: Project, form: str) -> None:
    """Arguments that change after the call, or depend on the thread, are shown as they were in the call."""
    server = launch("--log-format", form, cwd=project(VIEWS, settings="USE_I18N = True\nLANGUAGE_CODE = 'en'\n"))
    for _ in range(20):
        assert server.get("/changing/").text == "said"
    ends(server, PROMPT)
    messages = Counter(line["message"] for line in lines_of(server, form) if line["logger"] == "shop")
    assert messages == {"the state is {'now': 1}": 20, "translated Ja": 20}


@pytest.mark.parametrize("form", ["text", "json"])
def test_calls_that_are_wrong(launch: Launch, project: Project, form: str) -> None:
    """A call of logging with wrong arguments, or an argument without text, hurts neither its view nor later lines."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    assert server.get("/broken/").text == "said"
    ends(server, PROMPT)
    the_line(read_log(server.stdout, form), "after that")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_message_without_text(launch: Launch, project: Project, form: str) -> None:
    """A message that cannot even be shown by repr() does not make the view's call raise: Python's handlers do not."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    assert server.get("/no-text/").text == "said"
    ends(server, PROMPT)
    the_line(read_log(server.stdout, form), "after that")


@pytest.mark.parametrize("form", ["text", "json"])
def test_functions_of_the_logging_module(launch: Launch, project: Project, form: str) -> None:
    """logging.warning() and its like, which give the root logger a handler where it has none, leave one line each."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    assert server.get("/module/").text == "said"
    server.get("/changing/")
    ends(server, PROMPT)
    lines = lines_of(server, form)
    assert the_line(lines, "of the root")["logger"] == "root"
    assert the_line(lines, "the state is")["logger"] == "shop"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_programs_that_a_view_runs(launch: Launch, project: Project, workers: str) -> None:
    """A program that inherits standard output can write as much as it likes: the pipe is not made non-blocking."""
    with a_pipe() as pipe:
        server = launch("--workers", workers, cwd=project(VIEWS), stdout=pipe.writing)
        pipe.given()
        answers: list[str] = []
        thread = in_background(lambda: answers.append(server.get("/program/").text))
        wait_for(lambda: server.probe("/alive").status == 200, "it to be alive")
        pipe.read()
        thread.join(PATIENCE)
        assert answers == ["0 "]
        wait_for(lambda: pipe.text.count("z") >= 300_000, "all that the program has written")


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_of_one_message(launch: Launch, project: Project, form: str) -> None:
    """A message of several lines has a prefix for each in text, and is one line in json."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    server.get("/multiline/")
    ends(server, PROMPT)
    written = server.stdout_path.read_bytes().decode()
    lines = read_log(written, form)
    if form == "json":
        said = [line["message"] for line in lines if line["logger"] == "shop"]
        assert said == ["one\ntwo\nthree\rfour\x85five\u2028six\x0bseven\x1b[31meight\x00nine"]
    else:
        assert [line["message"] for line in lines if line["logger"] == "shop"][:2] == ["one", "two"]


def test_a_log_file_that_is_rotated(launch: Launch, project: Project) -> None:
    """twistd's log file is rotated on SIGUSR1 and when it is large, as without us; no line is lost at that."""
    directory = project(VIEWS)
    server = launch(cwd=directory, runner="daemon", until=None)
    assert server.wait() == 0

    def ready() -> bool:
        with suppress(OSError):
            return server.probe("/ready").status == 200
        return False

    wait_for(ready, "the daemon to be ready")
    ask_again_and_again(server, 100)
    pid = int((directory / "twistd.pid").read_text())
    log = directory / "twistd.log"
    wait_for(lambda: log.read_text().count('"GET / ') == 100, "the lines to be written")
    os.kill(pid, signal.SIGUSR1)
    wait_for((directory / "twistd.log.1").exists, "the log file to be rotated")
    ask_again_and_again(server, 100)
    wait_for(lambda: log.exists() and log.read_text().count('"GET / ') == 100, "the lines in the new file")
    os.kill(pid, signal.SIGTERM)
    wait_until_none_is_left(server)
    for each in (log, directory / "twistd.log.1"):
        read_log(each.read_text(), "text")
