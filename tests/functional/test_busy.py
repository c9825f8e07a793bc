"""A process whose request threads compute: everything else is answered all the same, however threads are let at it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.functional.harness import Reply, Server, serving, wait_for, write_project

VIEWS = """
import threading
import time

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

MEETING = threading.Barrier(4)


def hello(request):
    return HttpResponse(request.GET["name"])


def compute(request):
    number = request.GET["number"]
    (settings.BASE_DIR / f"computing-{number}").touch()
    rounds = 0
    while not (settings.BASE_DIR / "enough").exists():
        sum(range(200_000))
        rounds += 1
    return HttpResponse(str(rounds))


def meet(request):
    MEETING.wait(20)
    return HttpResponse("met")


def pieces(request):
    def make():
        for number in range(50):
            sum(range(5000))
            yield f"{number} "

    return StreamingHttpResponse(make())


def sleep(request):
    time.sleep(0.005)
    return HttpResponse("slept")


urlpatterns = [path(f"{view.__name__}/", view) for view in (hello, compute, meet, pieces, sleep)]
"""
CLIENTS = 12


@pytest.fixture(params=[1, 3], ids=["one", "three"])
def busy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server with eight threads, of which one or three compute until the test ends."""
    write_project(tmp_path, VIEWS)
    with (
        ThreadPoolExecutor(3) as clients,
        serving("--threads", "8", cwd=tmp_path, logs=tmp_path, settings="site_settings") as server,
    ):
        computing: list[Future[Reply]] = [
            clients.submit(server.get, f"/compute/?number={number}") for number in range(request.param)
        ]
        for number in range(request.param):
            wait_for((tmp_path / f"computing-{number}").exists, f"computation {number}")
        yield server
        (tmp_path / "enough").touch()
        for one in computing:
            reply = one.result()
            assert reply.status == 200
            assert int(reply.text) > 0


def test_each_gets_its_own_answer(busy: Server) -> None:
    """Requests that compute a little, wait a little, or answer piece by piece, from more clients than threads."""

    def ask(client: int) -> list[str]:
        return [
            busy.get(path).text
            for number in range(15)
            for path in (f"/hello/?name={client}-{number}", "/sleep/", "/pieces/")
        ]

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(ask, range(CLIENTS)))
    pieces = "".join(f"{number} " for number in range(50))
    assert answers == [
        [text for number in range(15) for text in (f"{client}-{number}", "slept", pieces)] for client in range(CLIENTS)
    ]


def test_requests_that_wait_for_one_another_meet(busy: Server) -> None:
    """Each of them has a thread: those that wait don't count among those that compute."""
    with ThreadPoolExecutor(4) as clients:
        replies = list(clients.map(lambda _: busy.get("/meet/"), range(4)))
    assert [reply.text for reply in replies] == ["met"] * 4


def test_probes_pass(busy: Server) -> None:
    """All three of them, while requests come one after the other."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(busy.get, f"/hello/?name={number}") for number in range(200)]
        statuses = [busy.probe(path).status for path in ("/startup", "/ready", "/alive", "/metrics") * 3]
        assert [one.result().text for one in asked] == [str(number) for number in range(200)]
    assert statuses == [200] * 12
