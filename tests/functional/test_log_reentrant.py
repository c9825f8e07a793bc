"""Lines that are logged in the middle of logging: by a signal handler, a finalizer, or the text of an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, PROMPT
from tests.support.functional.logs import (
    Launch,
    alive,
    ask_again_and_again,
    dropped,
    ends,
    in_background,
    launching_with_streams,
    lines_of,
    read_log,
)

Project = Callable[..., Path]


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

SIGNALS = """
import logging, signal
def told(number, frame):
    logging.getLogger("shop").warning("alarm")
    logging.getLogger("twistserve.shop").warning("alarm of ours")
    signal.setitimer(signal.ITIMER_REAL, 0.002)
signal.signal(signal.SIGALRM, told)
signal.setitimer(signal.ITIMER_REAL, 0.002)
"""
"""Settings whose signal handler logs some hundred times a second, in the thread of the reactor."""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


@pytest.mark.parametrize("form", ["text", "json"])
def test_signal_handlers(launch: Launch, project: Project, form: str) -> None:
    """A signal handler of the application may log, wherever the reactor is, and stops nothing."""
    server = launch("--log-format", form, cwd=project(VIEWS, settings=SIGNALS), runner="manage")
    threads = [in_background(lambda: ask_again_and_again(server, 300, "/?marked")) for _ in range(4)]
    for thread in threads:
        thread.join(PATIENCE)
    alive(server)
    assert dropped(server) == 0
    ends(server, PROMPT)
    lines = read_log(server.stdout, form)
    assert len([line for line in lines if line["logger"] == "twistserve.access"]) == 1200
    assert [line.text for line in lines if line["level"] == "ERROR"] == []
    assert "alarm of ours" in server.stdout


@pytest.mark.parametrize("form", ["text", "json"])
def test_finalizers(launch: Launch, project: Project, form: str) -> None:
    """So may finalizers, which run in any thread, in the middle of anything."""
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
