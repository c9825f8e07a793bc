"""What a worker tells its parent. Parent's reactor thread."""

from __future__ import annotations

import twistserve.workers.amp_before_tls  # noqa: F401

# isort: split
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.protocols import amp

from twistserve.workers.protocol import AtStep, Failed, MayStart, Prepared, Publish, Ready, ReplaceMe, RunOnce


class FromWorker(amp.CommandLocator):
    """The commands that a worker, or the process of a service, may send, and what they call."""

    def __init__(
        self,
        at_step: Callable[[str, str], None],
        ready: Callable[[], None],
        failed: Callable[[str], None],
        replace_me: Callable[[str, str], None],
        prepared: Callable[[], None] = lambda: None,
        run_once: Callable[[Sequence[str]], Deferred[None]] = lambda names: succeed(None),
        may_start: Callable[[], Deferred[None]] = lambda: succeed(None),
        publish: Callable[[str, str], None] = lambda group, text: None,
    ) -> None:
        super().__init__()
        self._run_once = run_once
        self._may_start = may_start
        self._publish = publish
        self._prepared = prepared
        self._at_step = at_step
        self._ready = ready
        self._failed = failed
        self._replace_me = replace_me

    @AtStep.responder
    def at_step(self, step: str, detail: str) -> dict[str, Any]:
        """A step of its start has begun."""
        self._at_step(step, detail)
        return {}

    @Prepared.responder
    def prepared(self) -> dict[str, Any]:
        """What is to run once has run."""
        self._prepared()
        return {}

    @RunOnce.responder
    def run_once(self, names: list[str]) -> Deferred[dict[str, Any]]:
        """It leaves these services to processes of their own."""
        return self._run_once(names).addCallback(lambda result: {})

    @MayStart.responder
    def may_start(self) -> Deferred[dict[str, Any]]:
        """It is about to start its service."""
        return self._may_start().addCallback(lambda result: {})

    @Publish.responder
    def publish(self, message: list[str]) -> dict[str, Any]:
        """It has a text for the WebSockets of the others."""
        self._publish(*message)
        return {}

    @Ready.responder
    def ready(self) -> dict[str, Any]:
        """It is ready."""
        self._ready()
        return {}

    @Failed.responder
    def failed(self, message: str) -> dict[str, Any]:
        """It cannot start."""
        self._failed(message)
        return {}

    @ReplaceMe.responder
    def replace_me(self, cause: str, reason: str) -> dict[str, Any]:
        """It asks to be replaced."""
        self._replace_me(cause, reason)
        return {}
