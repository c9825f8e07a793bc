"""What a worker's process runs: ``python -m twistserve.workers NAME SOCKETS``, or ``preloaded`` for --preload's.

Only our parent process can start it.
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
    """Run until the parent wants no more."""
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
    # Before anything imports one by itself; a worker runs on the reactor that is made for it.
    reactor = install()
    keep_installed()
    # After the metrics have their place: declaring them opens their files.
    from twistserve.composition.worker import run
    from twistserve.logs.observer import observe_twisted

    collector.resume()
    observe_twisted()
    run(name, Descriptors.started(sockets), reactor)


def preload() -> None:
    """Load the application when the parent says so, and fork workers until it wants no more."""
    from twistserve.workers.kept_metrics import keep

    keep()
    # After that: its own metrics are declared where they are imported.
    from twistserve.composition.preloaded import run

    run(socket.socket(fileno=CONTROL), PRELOADED_LOG_LOCK)


if __name__ == "__main__":
    if sys.argv[1] == "preloaded":
        preload()
    else:
        main(sys.argv[1], int(sys.argv[2]))
