"""SIGUSR1, by which log rotation tells servers to reopen their files, ends no process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import Serve, wait_for
from tests.support.functional.workers import wait_until_ready, workers

LINE = "received SIGUSR1: it is ignored"


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_one_process(serve: Serve, runner: str) -> None:
    """It serves on, and a line says why the signal has changed nothing."""
    server = serve(runner=runner)
    server.signal(signal.SIGUSR1)
    wait_for(lambda: LINE in server.stdout, "the line")
    assert server.probe("/ready").status == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_before_it_serves(serve: Serve, project: Callable[..., Path]) -> None:
    """While the settings are imported, however long that takes, it is ignored too."""
    settings = (
        "import os, time\nwhile not os.path.exists('go'):\n    open('importing', 'w').close()\n    time.sleep(0.02)\n"
    )
    server = serve(cwd=project("urlpatterns = []", settings=settings), settings="site_settings", until=None)
    wait_for((server.cwd / "importing").exists, "the import to begin")
    server.signal(signal.SIGUSR1)
    (server.cwd / "go").touch()
    server.wait_until("/ready")


def test_the_file_of_twistd(serve: Serve) -> None:
    """twistd begins a new one."""
    server = serve(runner="with a log file")
    log, rotated = server.cwd / "twistd.log", server.cwd / "twistd.log.1"
    wait_for(lambda: "start-up is complete" in log.read_text(), "the log")
    server.signal(signal.SIGUSR1)
    wait_for(rotated.exists, "another file")
    assert server.probe("/ready").status == 200
    assert LINE not in log.read_text() + rotated.read_text()


def test_workers(serve: Serve) -> None:
    """They and their parent are the same after it as before, and the parent tells."""
    server = wait_until_ready(serve("--workers", "2"), 2)
    before = workers(server)
    for pid in (*before, server.process.pid):
        os.kill(pid, signal.SIGUSR1)
    wait_for(lambda: LINE in server.stdout, "the line")
    assert server.probe("/ready").status == 200
    assert workers(server) == before
