"""The program of a worker: ``python -m twistserve.workers NAME SOCKETS``; with ``preloaded``, of the preloaded process.

Only the parent can start it: it takes descriptors from there.
"""

from __future__ import annotations

from twistserve import collector

# isort: split
import twistserve.net.late_tls  # noqa: F401

# isort: split
import os
import signal
import socket
import sys

from setproctitle import setproctitle

from twistserve.allocator import share_arena
from twistserve.net.other_reactors import keep_installed
from twistserve.net.reactor import install
from twistserve.workers.protocol import CONTROL, FOR_THE_PARENT, PRELOADED_LOG_LOCK, Descriptors


def main(name: str, sockets: int) -> None:
    """Run a worker until the parent ends it."""
    for each in FOR_THE_PARENT:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_PARENT)
    share_arena()
    setproctitle(f"twistserve: {name.replace('-', ' ')}")
    if (directory := os.environ.get("PROMETHEUS_MULTIPROC_DIR")) is not None:
        from twistserve.workers.allocated_files import count_as
        from twistserve.workers.directory import hold

        hold(directory)
        count_as(name)
    # Before anything imports the default reactor.
    reactor = install()
    keep_installed()
    # After the metrics' directory is set: declaring metrics opens their files.
    from twistserve.composition.worker import run
    from twistserve.logs.observer import observe_twisted

    collector.resume()
    observe_twisted()
    run(name, Descriptors.started(sockets), reactor)


def preload() -> None:
    """Run the preloaded process: load the application and fork workers when the parent asks, until that ends it."""
    from twistserve.workers.kept_metrics import keep

    keep()
    # After `keep`: our own metrics are declared when their modules are imported.
    from twistserve.composition.preloaded import run

    run(socket.socket(fileno=CONTROL), PRELOADED_LOG_LOCK)


if __name__ == "__main__":
    if sys.argv[1] == "preloaded":
        preload()
    else:
        main(sys.argv[1], int(sys.argv[2]))
