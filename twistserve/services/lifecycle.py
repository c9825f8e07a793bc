"""What a service knows of the lifecycle of the instance. Reactor thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twistserve.lifecycle import Lifecycle, State
from twistserve.services.loading import Declared


class ServiceLifecycle:
    """The lifecycle for one service, whose errors are logged by its `logger`."""

    def __init__(self, lifecycle: Lifecycle, service: Declared, logger: Any) -> None:
        self._lifecycle = lifecycle
        self._service = service
        self._logger = logger

    @property
    def state(self) -> State:
        """The state of the process: its `value` is starting, ready, draining or stopped."""
        return self._lifecycle.state

    def observe(self, observer: Callable[[State, str], object]) -> None:
        """Call `observer` with each state from now on and why it was entered, the present one first."""

        def observe(state: State, reason: str) -> None:
            try:
                observer(state, reason)
            except (Exception, SystemExit):
                self._logger.exception("%s has raised in what it observes the lifecycle by", self._service)

        self._lifecycle.observe(observe)
