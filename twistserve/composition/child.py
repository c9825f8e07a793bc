"""What the processes of a parent have in common: workers, and those of services that run once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from twisted.application.service import Service

from twistserve.composition.parts import service_tree
from twistserve.lifecycle import Lifecycle
from twistserve.logs.log import LogService
from twistserve.options import Configuration
from twistserve.process.ending import WORKER_END, Ending
from twistserve.workers.child import Parent
from twistserve.workers.protocol import Descriptors


class Preloaded(NamedTuple):
    """What a worker has of the process that it was forked from, besides the application."""

    log: LogService
    handlers: Mapping[int, Any]
    """The application's handlers of signals."""


class Child:
    """The process, whose parent follows its start: its lifecycle, its end and its log."""

    def __init__(
        self,
        configuration: Configuration,
        descriptors: Descriptors,
        parent: Parent,
        reactor: Any,
        preloaded: Preloaded | None = None,
        delay: float = 0.0,
        end: float = WORKER_END,
    ) -> None:
        """The end may take `delay`, --graceful-timeout and `end` seconds in all."""
        self._descriptors = descriptors
        self._parent = parent
        self._reactor = reactor
        self.lifecycle = Lifecycle(reactor)
        self._ending = Ending(end=end, asks=())
        self._ending.grant(delay + configuration.graceful_timeout)
        self._ending.follow(self.lifecycle, reactor)
        parent.follow(self.lifecycle)
        if preloaded is not None:
            self.log = preloaded.log
            self._ending.replaced.update(preloaded.handlers)
        else:
            self.log = LogService(configuration.log_level, configuration.log_format)
        self.log.use_lock(descriptors.log_lock)
        self.log.take_streams()

    def start(
        self, services: Sequence[Service], names: Sequence[Any], actions: Mapping[int, Callable[[str], None]]
    ) -> None:
        """Start the services; for `names` and `actions` see `service_tree`.

        SIGTERM asks the parent for another process, unless there are no services: the start has failed.
        """
        heard: dict[int, Callable[[str], None]] = dict.fromkeys((signal.SIGINT, signal.SIGHUP), _not_ours)
        if services:
            heard[signal.SIGTERM] = lambda name: self._parent.ask_for_replacement("signal", f"received {name}")
        tree = service_tree(
            services,
            self.lifecycle,
            self._ending,
            lambda: names,
            self._reactor,
            {**heard, **actions},
            files=(self._descriptors.to_worker, self._descriptors.from_worker, self._descriptors.lifeline),
            at_drain=(signal.SIGTERM,),
        )
        self._reactor.addSystemEventTrigger("before", "shutdown", tree.stopService)
        tree.startService()


def _not_ours(name: str) -> None:
    """A signal to the whole group of processes: the parent knows what to do."""
