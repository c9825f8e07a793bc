"""`--static-watch`: collectstatic runs when the sources of static files change, and what is served follows."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from twistserve.development.collecting import CollectingFailed, Collector, Renew
from twistserve.development.watched_files import Reading, changes, read
from twistserve.errors import StartError
from twistserve.files.index import has_finders
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.project.startup import Step

logger = get_logger(__name__)

POLL = 0.5
"""Seconds between two readings of the files."""
SETTLE = 0.2
"""Seconds without a change after which collectstatic runs: an editor may save a file in several steps."""
MOST_UNSETTLED = 5
"""Readings after which it runs though they still change."""
PATIENCE = 1.0
"""Seconds that the end waits for a run. What it has not put in its place by then stays as it was."""
_NAMED = 3


def static_watch(paths: Sequence[str], renew: Renew, lifecycle: Lifecycle, reactor: Any) -> list[StaticWatch]:
    """What watches these paths, if there are any and it is needed; `renew` is what `Collector` takes.

    Raises `StartError`.
    """
    if not paths:
        return []
    from django.conf import settings

    if has_finders():
        if not getattr(settings, "WHITENOISE_AUTOREFRESH", settings.DEBUG):
            raise StartError(
                "--static-watch: with the setting WHITENOISE_USE_FINDERS and without DEBUG nothing is collected, and"
                " files are looked for at the start alone: remove that setting, or leave --static-watch out"
            )
        logger.warning(
            "--static-watch is not needed: with DEBUG and django.contrib.staticfiles each request finds its static file"
            " where its source is, so nothing is collected; leave it out"
        )
        return []
    return [StaticWatch(paths, Collector(renew), lifecycle, reactor)]


class StaticWatch(Service):
    """Collects at the start and, in a thread of its own, whenever something below `paths` has changed."""

    name = "static-watch"

    def __init__(self, paths: Sequence[str], collector: Collector, lifecycle: Lifecycle, reactor: Any) -> None:
        self._paths = paths
        self._collector = collector
        self._reactor = reactor
        self._seen: Reading = {}
        """The files as they were at the last run."""
        self._latest: Reading = {}
        self._unsettled = 0
        """How many readings differ from those before, in a row."""
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: Deferred[None] = Deferred()
        self._patience: Any = None
        lifecycle.observe(self._follow)

    @property
    def step(self) -> Step:
        """What collects at the start, once Django is set up and the commands have run."""
        return "collecting the static files", self._collect_at_start

    def stopService(self) -> Deferred[None] | None:
        """Change nothing from now on, and wait for a run, but not for long."""
        super().stopService()
        self._collector.cancelled = True
        self._stopped.set()
        if self._thread is None:
            self._collector.close()
            return None
        self._patience = self._reactor.callLater(PATIENCE, self._ended.callback, None)
        return self._ended

    # The start-up's thread

    def _collect_at_start(self) -> None:
        """Raises `StartError`."""
        from django.apps import apps
        from django.conf import settings

        if not apps.is_installed("django.contrib.staticfiles"):
            raise StartError(
                "--static-watch needs django.contrib.staticfiles, whose collectstatic it runs: add that to the setting"
                " INSTALLED_APPS, or leave --static-watch out"
            )
        root = os.path.realpath(settings.STATIC_ROOT)
        for path in self._paths:
            if f"{os.path.realpath(path)}/".startswith(f"{root}/"):
                raise StartError(
                    f"--static-watch: {path!r} is in STATIC_ROOT, which collectstatic writes: give a directory that it"
                    " collects from, such as one of STATICFILES_DIRS"
                )
        self._seen = self._latest = self._read()
        try:
            count = self._collector.collect()
        except CollectingFailed as error:
            raise StartError(f"--static-watch: collectstatic failed: {error}") from error
        logger.info("collectstatic: %s copied; watching %s", _files(count), ", ".join(self._paths))

    # The watching thread

    def _run(self) -> None:
        pause = POLL
        while not self._stopped.wait(pause):
            try:
                pause = self.look()
            except Exception:
                logger.exception("--static-watch: looking for changed files failed; it is tried again")
                pause = POLL
        self._collector.close()
        self._reactor.callFromThread(self._thread_ended)

    def look(self) -> float:
        """Read the files, and collect what has changed. Blocks. Returns after how many seconds to do so again."""
        reading = self._read()
        before, self._latest = self._latest, reading
        if reading == self._seen:
            self._unsettled = 0
            return POLL
        if reading != before and self._unsettled < MOST_UNSETTLED:
            self._unsettled += 1
            return SETTLE
        self._unsettled = 0
        changed = changes(self._seen, reading)
        self._seen = reading
        self._collect(changed)
        return POLL

    def _read(self) -> Reading:
        from django.conf import settings

        # What is collected and what users upload is no source, wherever it is.
        excluded = (settings.STATIC_ROOT, settings.MEDIA_ROOT, self._collector.directory)
        return read(self._paths, filter(None, excluded))

    def _collect(self, changed: Sequence[str]) -> None:
        """Collect, and say so; what fails is tried again with the next change."""
        names = ", ".join(map(self._name, changed[:_NAMED]))
        if len(changed) > _NAMED:
            names += f" and {len(changed) - _NAMED} more"
        try:
            count = self._collector.collect()
        except CollectingFailed as error:
            if not self._stopped.is_set():
                logger.error(
                    "collectstatic failed for %s, and the static files from before are served on: %s; the next change"
                    " below --static-watch runs it again",
                    names,
                    error,
                )
        else:
            logger.info("collectstatic: %s copied for %s", _files(count), names)

    def _name(self, path: str) -> str:
        """The path below the one that is watched."""
        for root in self._paths:
            if path.startswith(f"{root}/"):
                return os.path.relpath(path, root)
        return os.path.basename(path)

    # The reactor

    def _follow(self, state: State, reason: str) -> None:
        if state is State.READY and self.running and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="static-watch", daemon=True)
            self._thread.start()

    def _thread_ended(self) -> None:
        if self._patience.active():
            self._patience.reset(0)


def _files(count: int) -> str:
    return f"{count} file" + ("" if count == 1 else "s")
