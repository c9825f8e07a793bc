"""Lifecycle events as webhooks: JSON, POSTed to each URL in order and tried again until it arrives or its time is up.

Everything here belongs to the reactor thread.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, race, succeed
from twisted.internet.task import deferLater

from twistserve import __version__
from twistserve.backoff import backoff
from twistserve.logs import get_logger
from twistserve.webhooks import Post
from twistserve.webhooks.formats import Format

logger = get_logger(__name__)

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

EVENT_DEADLINE = 300.0
"""Seconds from an event until it is given up."""
TRY_TIMEOUT = 10.0
"""Seconds a receiver has for its answer."""
PAUSE = backoff(1.0, 30.0)
"""Seconds between two tries, until one succeeds."""
STOP_PATIENCE = 5.0
"""Seconds that the end of the process waits for what is not delivered yet."""
CAPACITY = 1000
"""Events that may wait for one URL."""

NO_ANSWER = "no answer yet"
"""Why an event is not delivered, until a try has failed."""


def facts_of(app_version: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The fields that are the same in every event of this process: version, host, pod, namespace, where known."""
    host = socket.gethostname()
    facts = {
        "version": app_version,
        "host": host,
        # A pod's host name is its own name, unless it uses the network of its node.
        "pod": environ.get("POD_NAME") or (host if "KUBERNETES_SERVICE_HOST" in environ else None),
        "namespace": environ.get("POD_NAMESPACE") or _namespace_of_account(),
    }
    return {name: value for name, value in facts.items() if value}


def _namespace_of_account() -> str | None:
    try:
        return NAMESPACE_FILE.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


@dataclass(frozen=True)
class Event:
    """An event as it is sent to every URL; `deadline` is in the reactor's seconds."""

    name: str
    body: bytes
    headers: Mapping[str, str]
    deadline: float


class WebhookService(Service):
    """Tells each URL what is announced, as the `form` has it, and signed when there is a `secret`.

    The URLs know nothing of each other: one that does not answer delays no other. `hurry` fires when the end of
    the process must not wait any more.
    """

    name = "webhooks"

    def __init__(
        self,
        urls: Sequence[str],
        secret: str | None,
        form: Format,
        hurry: Callable[[], Deferred[None]],
        reactor: Any,
        post: Post | None = None,
    ) -> None:
        self._outboxes = [Outbox(url, reactor) for url in urls]
        self._secret = secret.encode(errors="surrogateescape") if secret is not None else None
        self._form = form
        self._passing = dict(form.assumed)
        self._hurry = hurry
        self._reactor = reactor
        self._post = post
        self._over = False

    def startService(self) -> None:
        """Begin to send, with what was announced before."""
        super().startService()
        post = self._post
        if post is None:
            # Slow to import, and of use only here.
            from twistserve.webhooks.client import poster

            post = poster(self._reactor)
        for outbox in self._outboxes:
            outbox.open(post)

    def announce(self, event: str, status: str, reason: str) -> None:
        """Queue an event for every URL; nothing is sent before the caller has returned to the reactor."""
        fields = None if self._over else self._form.fields(event, status, reason)
        if fields is None:
            return
        body = json.dumps(fields).encode()
        headers = {"Content-Type": "application/json", "User-Agent": f"twistserve/{__version__}"}
        if self._secret is not None:
            headers["X-Twistserve-Signature"] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        name = event if event == status else f"{event} {status}"
        queued = Event(name, body, headers, self._reactor.seconds() + EVENT_DEADLINE)
        for outbox in self._outboxes:
            outbox.put(queued)

    def note_probe(self, probe: str, passing: bool, reason: str) -> None:
        """Announce the result of a probe where it differs from the one before."""
        if self._form.tells_probes() and passing is not self._passing.get(probe):
            self._passing[probe] = passing
            self.announce(probe, "passing" if passing else "failing", reason)

    def stopService(self) -> Deferred[None]:
        """Announce the end; fires when all is delivered, or there is no more time for the rest."""
        if not self.running:
            self._over = True
            return succeed(None)
        super().stopService()
        self.announce("stopped", "stopped", "the service has stopped")
        self._over = True
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        drained: Deferred[Any] = gatherResults([outbox.drain() for outbox in self._outboxes], consumeErrors=True)
        patience: Deferred[Any] = deferLater(self._reactor, STOP_PATIENCE, lambda: None)
        await race([drained, patience, self._hurry()])


class Outbox:
    """The events on their way to one URL: in order, one at a time, each until it is delivered or its time is up.

    The pauses between tries grow with the failures of the URL, not of an event: many events do not make a receiver
    that is down be asked more often.
    """

    def __init__(self, url: str, reactor: Any) -> None:
        self._url, self._shown_url, self._authorization = _parts(url)
        self._reactor = reactor
        self._post: Post | None = None
        self._events: deque[Event] = deque()
        self._working = False
        self._pauses = 0
        self._tries = 0
        self._failure = NO_ANSWER
        self._in_flight: Deferred[int] | None = None
        self._resting: Deferred[None] | None = None
        self._drained: Deferred[None] | None = None

    def open(self, post: Post) -> None:
        """Begin to send."""
        self._post = post
        self._work()

    def put(self, event: Event) -> None:
        """Queue an event; when too many wait, the oldest goes."""
        if len(self._events) >= CAPACITY:
            # The very first may be on its way.
            dropped = self._events[1]
            del self._events[1]
            self._warn("%s: dropped, since %d events wait: %s", dropped.name, CAPACITY, self._failure)
        self._events.append(event)
        self._work()

    def drain(self) -> Deferred[None]:
        """Fires when no event waits any more; cancelled, those that still wait are given up."""
        if not self._working:
            return succeed(None)
        drained = self._drained = Deferred(lambda _: self._abandon())
        self._wake()
        return drained

    def _work(self) -> None:
        if self._post is not None and self._events and not self._working:
            self._working = True
            Deferred.fromCoroutine(self._deliver_all(self._post))

    async def _deliver_all(self, post: Post) -> None:
        # The caller may be answering a probe: that comes first.
        await self._rest(0)
        while self._events:
            event = self._events[0]
            left = event.deadline - self._reactor.seconds()
            if left <= 0:
                self._warn("%s: given up after %g s: %s", event.name, EVENT_DEADLINE, self._failure)
                self._next()
            elif await self._try(post, event, min(left, TRY_TIMEOUT)):
                self._pauses, self._failure = 0, NO_ANSWER
                self._next()
            elif self._events:
                await self._rest(PAUSE(self._pauses))
                self._pauses += 1
        self._working = False
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def _next(self) -> None:
        self._events.popleft()
        self._tries = 0

    async def _try(self, post: Post, event: Event, seconds: float) -> bool:
        """Whether the receiver has taken the event; why not is logged for the first try of an event."""
        self._tries += 1
        try:
            self._in_flight = post(self._url, event.body, {**event.headers, **self._authorization})
            status = await self._in_flight.addTimeout(seconds, self._reactor, _timed_out)
        except Exception as error:
            self._failure = _describe(error)
        else:
            if 200 <= status < 300:
                level = logging.INFO if self._tries > 1 else logging.DEBUG
                logger.log(level, "webhook %s: %s: delivered at try %d", self._shown_url, event.name, self._tries)
                return True
            self._failure = f"answered {status}" + (", a redirect is not followed" if 300 <= status < 400 else "")
        finally:
            self._in_flight = None
        if self._events and self._tries == 1:
            self._warn("%s: %s; it is tried again", event.name, self._failure)
        return False

    async def _rest(self, seconds: float) -> None:
        """Wait; once the outbox is draining, at most for the first pause."""
        if self._drained is not None:
            seconds = min(seconds, PAUSE(0))
        self._resting = Deferred()
        call = self._reactor.callLater(seconds, self._wake)
        await self._resting
        if call.active():
            call.cancel()

    def _wake(self) -> None:
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.callback(None)

    def _abandon(self) -> None:
        names = ", ".join(event.name for event in self._events)
        self._warn("given up at the end of the process: %s: %s", names, self._failure)
        self._events.clear()
        if self._in_flight is not None:
            self._in_flight.cancel()
        self._wake()

    def _warn(self, message: str, *arguments: object) -> None:
        logger.warning(f"webhook %s: {message}", self._shown_url, *arguments)


def _parts(url: str) -> tuple[str, str, dict[str, str]]:
    """The URL to ask, the one to show, which holds no secret, and the header for its user and password."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    asked = urlunsplit((parts.scheme, address, parts.path, parts.query, ""))
    shown = urlunsplit((parts.scheme, address, parts.path, "", ""))
    if parts.username is None:
        return asked, shown, {}
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return asked, shown, {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}


def _timed_out(result: object, seconds: float) -> int:
    raise TimeoutError(f"no answer within {seconds:g} s")


def _describe(error: Exception) -> str:
    """Why a try failed, in one line; twisted.web wraps the reasons of its errors into failures."""
    reasons = getattr(error, "reasons", None)
    cause = reasons[0].value if reasons else error
    return " ".join(str(cause).split()) or type(cause).__name__
