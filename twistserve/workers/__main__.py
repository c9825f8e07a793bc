"""What a worker's process runs: ``python -m twistserve.workers NAME SOCKETS``; only our parent process can start it."""

from __future__ import annotations

from twistserve import collector

# isort: split
import twistserve.net.late_tls  # noqa: F401

# isort: split
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from setproctitle import setproctitle
from twisted.internet.error import ReactorNotRunning

from twistserve.allocator import share_arena
from twistserve.net.other_reactors import keep_installed
from twistserve.net.reactor import install
from twistserve.workers.protocol import FOR_THE_PARENT

NUMBER = 1
"""Where the name of a worker, such as worker-2, has its number."""


def main(name: str, sockets: int) -> None:
    """Run until the parent wants no more."""
    for each in FOR_THE_PARENT:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_PARENT)
    share_arena()
    setproctitle(f"twistserve: {name.replace('-', ' ')}")
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import values

        from twistserve.workers.allocated_files import install as install_allocated
        from twistserve.workers.directory import hold

        hold(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        install_allocated()
        # By the worker's number instead of its pid: its replacement goes on counting where it stopped.
        number = name.split("-")[NUMBER]
        values.ValueClass = values.MultiProcessValue(lambda: number)
    # Before anything imports one by itself; a worker runs on the reactor that is made for it.
    reactor = install()
    keep_installed()
    # After the metrics have their place: declaring them opens their files.
    from twistserve.composition.worker import worker
    from twistserve.logs.context import Process
    from twistserve.logs.observer import observe_twisted
    from twistserve.workers.child import Parent, connect, end_early, stop_listening

    collector.resume()
    Process.name = name
    observe_twisted()

    def begin(configuration: dict[str, Any], prepares: bool, parent: Parent) -> Any:
        return worker(configuration, name, sockets, prepares, parent)

    def end() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    reactor.callWhenRunning(end_early, lambda: reactor.callFromThread(end))
    connect(Parent(begin, end), sockets)
    reactor.run()
    stop_listening()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
