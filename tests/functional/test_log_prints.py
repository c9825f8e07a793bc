"""What Python code prints to sys.stdout and sys.stderr, as lines of the log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, Reply, Server
from tests.support.functional.logs import Launch, ends, launching_with_streams, lines_of, the_line

Project = Callable[..., Path]

RUNNERS = pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])

VIEWS = """
import os, sys, threading
from django.http import HttpResponse
from django.urls import path

def printing(request):
    mark = request.GET["mark"]
    print("one", end=" ")
    print("line", f"of {mark}", sep="-")
    sys.stdout.write(f"two lines {mark}\\nsecond line {mark}\\n")
    sys.stderr.write(f"to stderr {mark}\\n")
    sys.stdout.writelines([f"written ", f"lines {mark}\\n"])
    print(f"caf\\xe9 \\u20ac {mark}", flush=True)
    return HttpResponse("said")

def printing_bytes(request):
    sys.stdout.buffer.write(b"bytes \\xe2\\x82\\xac of %s\\n" % request.GET["mark"].encode())
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(b"not utf-8 \\xff\\xfe\\n")
    sys.stderr.buffer.flush()
    return HttpResponse("said")

def printing_threads(request):
    def chatter(name):
        for number in range(200):
            print("thread", end=" ")
            print(name, end=" ")
            print(number)
    threads = [threading.Thread(target=chatter, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return HttpResponse("said")

def printing_partly(request):
    print("no end of line", end="")
    return HttpResponse("said")

def about_streams(request):
    with open(os.devnull, "w") as other:
        before, sys.stdout = sys.stdout, other
        print("redirected by the view")
        sys.stdout = before
    return HttpResponse(f"{sys.stdout.isatty()} {sys.stdout.writable()} {sys.stdout.encoding} {sys.stdout.errors}")

urlpatterns = [path(f"{each.__name__}/", each) for each in (
    printing, printing_bytes, printing_threads, printing_partly, about_streams,
)]
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


def ask(server: Server, path: str, mark: str) -> Reply:
    return server.get(f"{path}?mark={mark}")


@RUNNERS
@WORKERS
def test_prints(launch: Launch, project: Project, runner: str, workers: str) -> None:
    """With json each line that is printed is an object, once whole, with the request that it is of."""
    server = launch("--log-format", "json", "--workers", workers, cwd=project(VIEWS), runner=runner)
    reply = ask(server, "/printing/", "abcd")
    ends(server, PROMPT)
    lines = lines_of(server)
    messages = (
        *("one line-of abcd", "two lines abcd", "second line abcd", "to stderr abcd"),
        *("written lines abcd", "caf\xe9 \u20ac abcd"),
    )
    for message in messages:
        [line] = [line for line in lines if line["message"] == message]
        assert line["request_id"] == reply.headers["X-Request-ID"]
        assert workers == "1" or re.fullmatch(r"(worker-)?[12]", str(line["worker"]))


@RUNNERS
def test_prints_of_bytes(launch: Launch, project: Project, runner: str) -> None:
    """What is written to sys.stdout.buffer is an object too, though it be no UTF-8."""
    server = launch("--log-format", "json", cwd=project(VIEWS), runner=runner)
    assert ask(server, "/printing_bytes/", "abcd").status == 200
    ends(server, PROMPT)
    lines = lines_of(server)
    assert the_line(lines, "of abcd", "bytes")["message"] == "bytes \u20ac of abcd"
    assert the_line(lines, "not utf-8")["message"].startswith("not utf-8 ")


def test_prints_of_threads(launch: Launch, project: Project) -> None:
    """Lines that threads print piece by piece are not mixed."""
    server = launch("--log-format", "json", cwd=project(VIEWS))
    ask(server, "/printing_threads/", "abcd")
    ends(server, PROMPT)
    printed = Counter(line["message"] for line in lines_of(server) if line["message"].startswith("thread"))
    assert printed == Counter(f"thread {name} {number}" for name in "abcd" for number in range(200))


@pytest.mark.parametrize("form", ["text", "combined", "json"])
@RUNNERS
def test_the_streams_are_still_streams(launch: Launch, project: Project, runner: str, form: str) -> None:
    """sys.stdout can be asked what it is, and replaced by a view, as contextlib.redirect_stdout does."""
    server = launch("--log-format", form, cwd=project(VIEWS), runner=runner)
    reply = ask(server, "/about_streams/", "abcd")
    assert re.match(r"False True (utf-?8|UTF-?8) \w+", reply.text), reply.text
    ends(server, PROMPT)
    assert "redirected by the view" not in server.output


@pytest.mark.parametrize("form", ["text", "combined"])
@RUNNERS
def test_prints_in_text(launch: Launch, project: Project, runner: str, form: str) -> None:
    """In text what is printed is there, once and whole."""
    server = launch("--log-format", form, cwd=project(VIEWS), runner=runner)
    ask(server, "/printing/", "abcd")
    ask(server, "/printing_bytes/", "abce")
    ends(server, PROMPT)
    for words in (
        "one line-of abcd",
        "second line abcd",
        "to stderr abcd",
        "caf\xe9 \u20ac abcd",
        "bytes \u20ac of abce",
    ):
        assert server.output.count(words) == 1, server.output


def test_prints_without_an_end(launch: Launch, project: Project) -> None:
    """A line whose end is never printed is there at the end of the process at the latest."""
    server = launch("--log-format", "json", cwd=project(VIEWS))
    ask(server, "/printing_partly/", "abcd")
    ends(server, PROMPT)
    assert the_line(lines_of(server), "no end of line")["message"] == "no end of line"
