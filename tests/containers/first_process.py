"""The first process of a real container, with a read-only root and half a CPU."""

from __future__ import annotations

import time
from contextlib import suppress

from tests.containers.alone import Container
from tests.support.functional.harness import fetch, wait_for
from tests.support.functional.processes import children, status, title


def check_orphans_and_status(*args: str) -> None:
    """The first process is ours, nothing of a shell's children stays, and SIGTERM ends all with status 0."""
    with Container(*args) as container:
        wait_for(lambda: title(container.first) == "twistserve: init", "the first process to have its title")
        assert fetch(container.port, "/first/orphans/").text == "left"
        wait_for(lambda: len(children(container.first)) == 1, "orphans to be gone")
        assert fetch(container.port, "/first/statuses/").text == f"{[*range(10)]} {[*range(10)]}"
        began = time.monotonic()
        assert container.stop() == 0
        assert time.monotonic() - began < 10
        assert "the function ran" in container.log()


def check_bound() -> None:
    """C code that keeps the interpreter's lock is killed at the bound, which is before the grace is over."""
    with Container("--graceful-timeout", "1", "--drain-delay", "0") as container:
        with suppress(OSError):
            fetch(container.port, "/first/compute/", timeout=0.5)
        assert status(container.first)["Threads"] == "1"
        began = time.monotonic()
        assert container.stop() == 137
        assert time.monotonic() - began < 13


def check() -> None:
    """All of it, with one process and with workers."""
    check_orphans_and_status()
    check_orphans_and_status("--workers", "2")
    check_bound()
