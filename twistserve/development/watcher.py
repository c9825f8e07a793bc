"""Watches a project's files, by Django's reloader."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from twistserve.logs import get_logger
from twistserve.server_thread import ServerThread

logger = get_logger(__name__)

INTERVAL = 0.5
"""Seconds between two looks at the files, where Watchman does not tell of changes; with 1,500 they take 12 ms each."""
READY = 0.1
"""Seconds between two looks whether Django is set up."""

Changed = Callable[[str, bool], None]
"""Told which file has changed, and whether that was after the process had started but before the file was watched."""


class Watcher:
    """Watches in a thread of its own, in which `changed` is called, once.

    Watched are the modules that have been imported, templates and translations as Django says, and `paths`: files, and
    directories with all that is below. A file that is newer than `since`, the time of day at which the process was
    started, has changed while it was being read, unless it is one of `unreliable`; so has a module that has changed and
    was imported between two looks. With `newcomers` that goes for new files too, at any time: a module that is missing
    may appear.
    """

    def __init__(
        self,
        changed: Changed,
        since: float,
        paths: Iterable[str] = (),
        unreliable: Collection[str] = (),
        *,
        newcomers: Iterable[str] | None = None,
    ) -> None:
        self._changed = changed
        self._since = since
        self._paths = [Path(path).absolute() for path in paths]
        self._unreliable = unreliable
        self._newcomers = None if newcomers is None else [Path(path) for path in newcomers]
        self._stopped = threading.Event()
        self._last = ""

    def start(self) -> None:
        """Begin, as soon as Django's apps are there; at once if they need not be."""
        ServerThread(target=self._run, name="watcher", daemon=True).start()

    def stop(self) -> None:
        """End soon, and tell of nothing any more; callable from any thread."""
        self._stopped.set()

    def _run(self) -> None:
        from django.apps import apps

        while self._newcomers is None and not apps.ready:
            if self._stopped.wait(READY):
                return
        while not self._stopped.is_set():
            try:
                found = self._watch()
            except Exception:
                # Modules were imported or files removed while they were listed, or Watchman has ended.
                logger.debug("watching begins anew", exc_info=True)
                self._stopped.wait(INTERVAL)
                continue
            if found is not None and not self._stopped.is_set():
                self._changed(*found)
            return

    def _watch(self) -> tuple[str, bool] | None:
        """The file that has changed, and whether that was while it was read first; None when told to stop."""
        from django.utils.autoreload import file_changed

        reloader = self._reloader()
        file_changed.connect(self._note, sender=reloader)
        looks: Iterator[Any] = reloader.tick()
        first, began = True, time.time()
        looked, known = began, set[Path]()
        try:
            for _ in looks:
                if self._stopped.is_set():
                    return None
                before, looked = looked, time.time()
                modules = set(reloader.watched_files(include_globs=False))
                if first or self._newcomers is not None:
                    if (newer := self._newer(reloader.watched_files(), self._since)) is not None:
                        path, changed_at = newer
                        return path, changed_at < began
                # Django's takes what it sees first for what was read.
                elif (newer := self._newer(modules - known, before)) is not None:
                    return newer[0], True
                first, known = False, modules
        except SystemExit:
            # How Django's reloader says so.
            return self._last, False
        finally:
            file_changed.disconnect(self._note, sender=reloader)
            with suppress(Exception):
                reloader.stop()
        return None

    def _reloader(self) -> Any:
        """Django's, for what is to be watched."""
        from django.utils.autoreload import StatReloader, autoreload_started, get_reloader

        reloader = get_reloader()
        if isinstance(reloader, StatReloader):
            reloader.SLEEP_TIME = INTERVAL  # type: ignore[assignment]
        for path in self._paths:
            if path.is_dir():
                reloader.watch_dir(path, "**/*")
            else:
                reloader.extra_files.add(path)
        for directory in self._newcomers or ():
            reloader.watch_dir(directory, "*.py")
            reloader.watch_dir(directory, "*/__init__.py")
        for _, error in autoreload_started.send_robust(sender=reloader):
            if error is not None:
                logger.debug("a receiver of autoreload_started has raised", exc_info=error)
        return reloader

    def _newer(self, paths: Iterable[Path], since: float) -> tuple[str, float] | None:
        """A file that has changed since then, and when.

        One with a time in the future was not: a copied one may have such a time, and would be newer than every process.
        """
        for path in paths:
            with suppress(OSError):
                found = os.stat(path)
                is_newer = since < found.st_mtime <= time.time()
                if is_newer and stat.S_ISREG(found.st_mode) and str(path) not in self._unreliable:
                    return str(path), found.st_mtime
        return None

    def _note(self, sender: object, file_path: object, **others: object) -> None:
        """Remember which file it is; others say whether they have done what is necessary."""
        self._last = str(file_path)
