"""Lines that are logged in the middle of logging: by a finalizer, or the text of an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.harness import PATIENCE
from tests.functional.logs import (
    Launch,
    alive,
    ask_again_and_again,
    ends,
    in_background,
    launching_with_streams,
    lines_of,
)

Project = Callable[..., Path]

PROMPT = 15.0
"""Seconds in which a server without requests in flight is gone: less than --graceful-timeout, which is 25."""

VIEWS = """
import gc, logging, warnings
from django.http import HttpResponse
from django.urls import path
log, ours = logging.getLogger("shop"), logging.getLogger("twistserve.shop")

class Loud:
    def __init__(self):
        self.me = self
    def __del__(self):
        log.warning("finalized")
        ours.warning("finalized of ours")
        warnings.warn("finalized warning")
        print("finalized print")

def hello(request):
    return HttpResponse("hello")

def garbage(request):
    gc.set_threshold(3, 2, 2)
    for _ in range(5):
        Loud()
        log.warning("between")
        ours.warning("between of ours")
    return HttpResponse("said")

class Text:
    def __str__(self):
        log.warning("inner")
        ours.warning("inner of ours")
        print("inner print")
        return "text"

def nested(request):
    log.warning("outer %s", Text())
    ours.warning("outer of ours %s", Text())
    return HttpResponse("said")

urlpatterns = [path("", hello), path("garbage/", garbage), path("nested/", nested)]
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


@pytest.mark.parametrize("form", ["text", "json"])
def test_finalizers(launch: Launch, project: Project, form: str) -> None:
    """Finalizers may log, which run in any thread, in the middle of anything."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    threads = [in_background(lambda: ask_again_and_again(server, 40, "/garbage/")) for _ in range(4)]
    for thread in threads:
        thread.join(PATIENCE)
    alive(server)
    ask_again_and_again(server, 20)
    ends(server, PROMPT)
    assert server.output.count("/garbage/") >= 160
    assert "finalized of ours" in server.output
    if form == "json":
        lines_of(server)


@pytest.mark.parametrize("form", ["text", "json"])
def test_arguments_that_log(launch: Launch, project: Project, form: str) -> None:
    """So may the text of an argument."""
    server = launch("--log-format", form, cwd=project(VIEWS))
    ask_again_and_again(server, 20, "/nested/")
    alive(server)
    ends(server, PROMPT)
    for words in ("outer text", "outer of ours text", "inner of ours", "inner print"):
        assert server.output.count(words) >= 20, words
    if form == "json":
        lines_of(server)
