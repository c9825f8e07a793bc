"""LOGGING is applied once in a process: its handlers are made once, and none is flushed or closed by the start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT
from tests.support.functional.logs import VIEWS, Launch, ends, handlers_logging, launching_with_streams
from tests.support.functional.workers import titles, wait_until_ready

Project = Callable[..., Path]

RUNNERS = pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])

HANDLERS = """
import logging, os, sys, time
from pathlib import Path
HERE = Path(__file__).resolve().parent

def note(name):
    with open(HERE / name, "a") as record:
        record.write(f"{os.getpid()}\\n")

class SlowFlush(logging.StreamHandler):
    def flush(self):
        time.sleep(60)

class Counting(logging.StreamHandler):
    def __init__(self):
        super().__init__(sys.stdout)
        note("constructed")

    def close(self):
        note("closed")
        super().close()
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


@pytest.mark.parametrize("workers", ["1", "2"])
@RUNNERS
def test_logging_is_applied_once(launch: Launch, project: Project, runner: str, workers: str) -> None:
    """Each process that imports the settings makes their handlers once, and closes none while it serves."""
    directory = project(VIEWS, settings=handlers_logging("site_handlers.Counting"), site_handlers=HANDLERS)
    server = launch("--workers", workers, cwd=directory, runner=runner)
    if workers == "2":
        wait_until_ready(server)
    server.get("/")
    made = (directory / "constructed").read_text().split()
    assert len(made) == len(set(made)), f"some process made them more than once: {made}"
    # The parent under manage.py, and the process that runs the system checks.
    assert int(workers) <= len(made) <= int(workers) + 2
    running = {str(pid) for pid in titles(server)}
    closed = (directory / "closed").read_text().split() if (directory / "closed").exists() else []
    assert running.isdisjoint(closed)


@RUNNERS
def test_a_flush_that_takes_a_minute(launch: Launch, project: Project, runner: str) -> None:
    """A handler of LOGGING whose flush takes a minute holds the start up for none of it."""
    directory = project(VIEWS, settings=handlers_logging("site_handlers.SlowFlush", "shop"), site_handlers=HANDLERS)
    began = time.monotonic()
    server = launch(cwd=directory, runner=runner)
    assert time.monotonic() - began < 50
    assert server.get("/").text == "hello"


def test_a_log_file_of_the_project_is_opened_once(launch: Launch, project: Project) -> None:
    """A handler that truncates its file has every line from the start on."""
    directory = project(
        VIEWS,
        settings=handlers_logging("logging.FileHandler").replace(
            "'class'", "'filename': BASE_DIR / 'project.log', 'mode': 'w', 'class'"
        ),
    )
    server = launch(cwd=directory)
    server.get("/?marked")
    ends(server, PROMPT)
    text = (directory / "project.log").read_text()
    for words in ("GET /?marked", "start-up: loading the WSGI application", "serving on", "received SIGTERM"):
        assert text.count(words) == 1, text
