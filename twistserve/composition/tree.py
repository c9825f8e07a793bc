"""The root of the services: it starts them in order, and stops them one after another in reverse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import inlineCallbacks, maybeDeferred
from twisted.logger import ILogObserver
from twisted.python.components import Componentized

from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger

logger = get_logger(__name__)


class ServiceTree(MultiService):
    """The root of the services: starts its children in order and stops them one after another, in reverse.

    A plain MultiService stops all its children at the same time; a drain needs an order. And it stops those too that
    a failed start has not come to, which a service may not be ready for.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        super().__init__()
        self.setName("djangoserve")
        self._lifecycle = lifecycle
        self.before_start: Callable[[], None] = lambda: None
        """Called before the children start."""
        self._stopping: Any = None
        """The child that is being stopped."""
        self.log_observer: Any = None
        """What is to get Twisted's log events, for the application that twistd makes."""

    @property
    def stopping(self) -> str:
        """The name of the child that is being stopped, for a log line about what takes so long."""
        return "" if self._stopping is None else self._stopping.name or type(self._stopping).__name__

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of the application, which twistd asks for its log observer."""
        if self.log_observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log_observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start the children."""
        self.before_start()
        try:
            super().startService()
        except StartError as error:
            self._lifecycle.fail(str(error))

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop the children, the last started first, each when the one before has stopped."""
        self._lifecycle.enter(State.DRAINING, "the service was stopped")
        self.running = 0
        for child in reversed([child for child in self if child.running]):
            self._stopping = child
            try:
                yield maybeDeferred(child.stopService)
            except Exception:
                logger.exception("%s did not stop cleanly", self.stopping)
        self._stopping = None
        self._lifecycle.enter(State.STOPPED, "all services have stopped")
