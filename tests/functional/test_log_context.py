"""What a line in json tells of the request that it belongs to, and of the worker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, Reply, Server, raw, wait_for
from tests.support.functional.logs import Launch, Line, ends, in_background, launching_with_streams, lines_of, the_line

Project = Callable[..., Path]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RUNNERS = pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])

VIEWS = """
import asyncio, contextvars, logging, os, sys, threading, time, warnings
from asgiref.sync import async_to_sync, sync_to_async
from concurrent.futures import ThreadPoolExecutor
from django.core.signals import request_finished, request_started
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
log = logging.getLogger("shop")

def say(request, where):
    log.warning("%s of %s", where, request.GET.get("mark"))

class Middleware:
    def __init__(self, get_response):
        self.get_response = get_response
    def __call__(self, request):
        say(request, "middleware before")
        response = self.get_response(request)
        say(request, "middleware after")
        return response

def view(request):
    say(request, "view")
    logging.getLogger("twistserve.shop").warning("our logger of %s", request.GET["mark"])
    logging.getLogger().warning("root logger of %s", request.GET["mark"])
    return HttpResponse("said")

async def asynchronous(request):
    say(request, "async view")
    await sync_to_async(say)(request, "sync_to_async")
    await sync_to_async(say, thread_sensitive=False)(request, "another thread")
    await asyncio.to_thread(say, request, "to_thread")
    await asyncio.gather(*(asyncio.create_task(task(request, number)) for number in range(2)))
    return HttpResponse("said")

async def task(request, number):
    await asyncio.sleep(0)
    say(request, f"task {number}")

def streaming(request):
    def chunks():
        for number in range(3):
            say(request, f"chunk {number}")
            yield "x" * 10
    return StreamingHttpResponse(chunks())

class Closing(HttpResponse):
    def close(self):
        super().close()
        say(self.asked, "close")

def closing(request):
    response = Closing("said")
    response.asked = request
    return response

def closing_stream(request):
    def chunks():
        try:
            yield "x"
            yield "y"
        finally:
            say(request, "generator closed")
    return StreamingHttpResponse(chunks())

def pool(request):
    with ThreadPoolExecutor(1) as executor:
        executor.submit(contextvars.copy_context().run, say, request, "copied context").result()
    return HttpResponse("said")

def failing(request):
    say(request, "failing view")
    raise LookupError(f"gone {request.GET['mark']}")

def warning(request):
    warnings.warn(f"warned of {request.GET['mark']}")
    return HttpResponse("said")

def hanging(request):
    say(request, "hanging")
    time.sleep(20)
    return HttpResponse("late")

def reading(request):
    say(request, f"read {len(request.body)}")
    return HttpResponse("said")

def extra(request):
    log.warning("with extra", extra={"order": 17, "shelf": {"row": 3}, "thing": object(), "name_of": "\\udcff"})
    log.error("with stack", stack_info=True)
    try:
        raise KeyError("inner")
    except KeyError:
        log.exception("with exception")
    log.warning("not json %s", float("nan"), extra={"ratio": float("nan"), "time": "mine", "level": "mine"})
    log.log(25, "a level of its own")
    return HttpResponse("said")

def later(request):
    mark = request.GET["mark"]
    threading.Thread(target=lambda: (time.sleep(0), log.warning("later of %s", mark))).start()
    return HttpResponse("said")

def told(name):
    return lambda sender, **kwargs: log.warning("signal %s", name)
request_finished.connect(told("finished"), weak=False)
request_started.connect(told("started"), weak=False)

urlpatterns = [path(f"{each.__name__}/", each) for each in (
    view, asynchronous, streaming, closing, closing_stream, pool, failing, warning, hanging, reading, extra, later,
)]
"""
SETTINGS = "MIDDLEWARE = ['site_urls.Middleware']\n"
SAID = {
    "view": ("view", "our logger", "root logger"),
    "asynchronous": ("async view", "sync_to_async", "another thread", "to_thread", "task 0", "task 1"),
    "streaming": ("chunk 0", "chunk 1", "chunk 2"),
    "closing": ("close",),
    "closing_stream": ("generator closed",),
    "pool": ("copied context",),
    "failing": ("failing view",),
    "warning": ("warned",),
}
"""What is said in a view, or because of it, with " of " and the request's mark."""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


def ask(server: Server, path: str, mark: str) -> Reply:
    reply = server.get(f"{path}?mark={mark}", headers={"traceparent": PARENT.replace("0af7", mark[:4])})
    assert reply.headers["X-Request-ID"]
    return reply


# The request


def assert_told(lines: list[Line], mark: str, reply: Reply, words: tuple[str, ...]) -> None:
    """Each of these lines, and the access line, tells the request."""
    for each in ("middleware before", "middleware after", *words):
        line = the_line(lines, f"{each} of {mark}")
        assert line.get("request_id") == reply.headers["X-Request-ID"], line.text
        assert line.get("traceparent") == PARENT.replace("0af7", mark[:4]), line.text
    access = the_line([line for line in lines if line["logger"] == "twistserve.access"], mark)
    assert access["request_id"] == reply.headers["X-Request-ID"]
    assert access["traceparent"] == PARENT.replace("0af7", mark[:4])


@pytest.mark.parametrize("path", SAID)
@WORKERS
def test_lines_tell_their_request(launch: Launch, project: Project, path: str, workers: str) -> None:
    """Whatever is logged while a request is served has the id of its response, and its traceparent."""
    server = launch("--log-format", "json", "--workers", workers, cwd=project(VIEWS, settings=SETTINGS))
    marks = [f"{number:04x}-mark" for number in range(5)]
    replies = {mark: ask(server, f"/{path}/", mark) for mark in marks}
    ends(server, PROMPT)
    lines = lines_of(server)
    for mark, reply in replies.items():
        assert_told(lines, mark, reply, SAID[path])
    finished = [line for line in lines if line["message"].startswith("signal ")]
    known = {reply.headers["X-Request-ID"] for reply in replies.values()}
    assert [line.text for line in finished if line.get("request_id") not in known] == []


def test_requests_at_the_same_time(launch: Launch, project: Project) -> None:
    """Of requests side by side, over threads that serve one after the other, each has its own."""
    server = launch("--log-format", "json", "--threads", "3", cwd=project(VIEWS, settings=SETTINGS))
    replies: dict[str, tuple[str, Reply]] = {}

    def client(number: int) -> None:
        for turn, path in enumerate(("view", "asynchronous", "streaming", "closing_stream") * 3):
            mark = f"{number:02x}{turn:02x}-mark"
            replies[mark] = (path, ask(server, f"/{path}/", mark))

    threads = [in_background(partial(client, number)) for number in range(6)]
    for thread in threads:
        thread.join(60)
    ends(server, PROMPT)
    lines = lines_of(server)
    assert len(replies) == 72
    for mark, (path, reply) in replies.items():
        assert_told(lines, mark, reply, SAID[path])
    assert len({reply.headers["X-Request-ID"] for _, reply in replies.values()}) == 72


@RUNNERS
def test_what_django_logs_of_a_request(launch: Launch, project: Project, runner: str) -> None:
    """The traceback of a failed request tells the request too, and a 404."""
    server = launch("--log-format", "json", cwd=project(VIEWS, settings=SETTINGS), runner=runner)
    failed, missing = ask(server, "/failing/", "abcd"), ask(server, "/nope/", "abce")
    assert (failed.status, missing.status) == (500, 404)
    ends(server, PROMPT)
    lines = lines_of(server)
    line = the_line(lines, "Internal Server Error")
    assert line["request_id"] == failed.headers["X-Request-ID"]
    assert line["traceparent"] == PARENT.replace("0af7", "abcd")
    assert "LookupError: gone abcd" in line["exception"]
    assert "in failing" in line["exception"]
    assert the_line(lines, "Not Found")["request_id"] == missing.headers["X-Request-ID"]


def test_an_id_of_the_client(launch: Launch, project: Project) -> None:
    """Where X-Request-ID of the request is taken over, lines have that one; without traceparent they have none."""
    server = launch("--log-format", "json", cwd=project(VIEWS, settings=SETTINGS))
    reply = server.get("/view/?mark=own", headers={"X-Request-ID": "of-the-client"})
    ends(server, PROMPT)
    lines = lines_of(server)
    line = the_line(lines, "root logger of own")
    assert line["request_id"] == reply.headers["X-Request-ID"]
    assert "traceparent" not in line or not line["traceparent"]


def test_what_the_server_says_of_a_request(launch: Launch, project: Project) -> None:
    """Lines of ours about a request, that it has timed out or is cut off, tell it too, whichever thread writes them."""
    server = launch(
        *("--log-format", "json", "--request-timeout", "1", "--graceful-timeout", "0.2"),
        cwd=project(VIEWS, settings=SETTINGS),
    )
    reply = ask(server, "/hanging/", "abcd")
    assert reply.status == 504
    thread = in_background(lambda: ask(server, "/hanging/", "abce"))
    wait_for(lambda: "hanging of abce" in server.stdout, "the second to be in its view")
    server.signal(15)
    assert server.wait(PROMPT) == 0
    thread.join(60)
    lines = lines_of(server)
    timed_out = the_line(lines, "request timed out")
    assert timed_out.get("request_id") == reply.headers["X-Request-ID"], timed_out.text
    known = the_line(lines, "hanging of abce")["request_id"]
    assert [line.text for line in lines if "cut off" in line["message"] and line.get("request_id") != known] == []


def test_lines_of_no_request(launch: Launch, project: Project) -> None:
    """What is logged outside of a request tells none, though the thread has served one."""
    server = launch("--log-format", "json", "--threads", "1", cwd=project(VIEWS, settings=SETTINGS))
    ask(server, "/view/", "abcd")
    ends(server, PROMPT)
    for line in lines_of(server):
        if line["logger"].startswith(("twistserve.lifecycle", "twistserve.http", "twistserve.probes")):
            assert "request_id" not in line, line.text


def test_keep_alive_requests_are_told_apart(launch: Launch, project: Project) -> None:
    """Requests on one connection, pipelined, have their own ids."""
    server = launch("--log-format", "json", cwd=project(VIEWS, settings=SETTINGS))
    head = "GET /view/?mark=p{} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
    text = "".join(head.format(number, "Connection: close\r\n" if number == 4 else "") for number in range(5))
    received = raw(server.port, text.encode()).decode()
    ids = re.findall(r"(?im)^x-request-id: (\S+)", received)
    assert len(set(ids)) == 5
    ends(server, PROMPT)
    lines = lines_of(server)
    assert [the_line(lines, f"root logger of p{number}")["request_id"] for number in range(5)] == ids


# The worker


@RUNNERS
def test_the_worker(launch: Launch, project: Project, runner: str) -> None:
    """With workers, lines tell which of them they are of: access lines, the application's, Django's."""
    server = launch("--log-format", "json", "--workers", "2", cwd=project(VIEWS, settings=SETTINGS), runner=runner)
    for number in range(10):
        ask(server, "/failing/", f"{number:04x}")
    ends(server, PROMPT)
    lines = lines_of(server)
    for line in lines:
        if line["logger"] in ("twistserve.access", "shop", "django.request"):
            assert re.fullmatch(r"(worker-)?[12]", str(line.get("worker"))), line.text


# The access log


def test_keys_of_the_access_log(launch: Launch, project: Project) -> None:
    """The keys of the access log are those documented before there was more than the access log in json."""
    server = launch("--log-format", "json", cwd=project(VIEWS, settings=SETTINGS))
    reply = server.get(
        "/view/?mark=%20x",
        headers={"traceparent": PARENT, "User-Agent": 'agent "\xff'},
    )
    raw(server.port, b"nonsense\r\n\r\n")
    ends(server, PROMPT)
    lines = [line for line in lines_of(server) if line["logger"] == "twistserve.access"]
    line = the_line(lines, "/view/")
    assert line["request_id"] == reply.headers["X-Request-ID"]
    assert (line["remote"], line["method"], line["status"]) == ("127.0.0.1", "GET", 200)
    assert line["path"] == "/view/?mark=%20x"
    assert line["bytes"] == len(reply.body)
    assert isinstance(line["bytes"], int)
    assert 0 < line["duration"] < 60
    assert 0 <= line["queue_time"] <= line["duration"]
    assert line["user_agent"].startswith('agent "')
    assert line["traceparent"] == PARENT
    assert the_line(lines, "refused with 400").get("method") in (None, "", "-")


def test_other_fields(launch: Launch, project: Project) -> None:
    """Extra fields, stacks and exceptions are in the object, and nothing of them breaks it or its own keys."""
    server = launch("--log-format", "json", cwd=project(VIEWS, settings=SETTINGS))
    ask(server, "/extra/", "abcd")
    ends(server, PROMPT)
    lines = lines_of(server)
    assert the_line(lines, "with extra")["message"] == "with extra"
    assert "KeyError: 'inner'" in the_line(lines, "with exception")["exception"]
    assert "in extra" in the_line(lines, "with stack").text
    line = the_line(lines, "not json nan")
    assert line["level"] == "WARNING", "the record's own level wins"
    assert "NaN" not in line.text, "RFC 8259 has no NaN"
    assert json.loads(line.text, parse_constant=pytest.fail)
