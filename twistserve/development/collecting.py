"""collectstatic while its files are served: it writes elsewhere, and what has changed replaces what is served.

So a run that fails, or that the end of the process cuts off, changes nothing of what is served.
"""

from __future__ import annotations

import filecmp
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from twistserve.development.watched_files import Reading, State, state_of
from twistserve.errors import StartError
from twistserve.logs import get_logger

logger = get_logger(__name__)

Renew = Callable[[Callable[[], None], Any], None]
"""Has files replaced by the first, and serves them as they are then; the second is the storage that made them."""


Sources = dict[str, tuple[str, State | None]]
"""Where each file was collected from, by its name, and the state of that."""


class CollectingFailed(Exception):
    """collectstatic did not get to its end, and nothing has changed; the message says why, in one line."""


class Collector:
    """Runs collectstatic; `renew` is what serves its files. One thread at a time, never the reactor's.

    Where it writes is a temporary directory, which keeps what was collected from one run to the next, so that each
    copies only what has changed.
    """

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._collected: Sources = {}
        self._published: Reading = {}
        """The states of the collected files that are served."""
        self.cancelled = False
        """Whether nothing that is served may change any more; set by any thread."""

    @property
    def directory(self) -> str:
        """Where it collects."""
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="twistserve-static-", ignore_cleanup_errors=True)
        return os.path.realpath(self._temporary.name)

    def close(self) -> None:
        """Remove what it has collected."""
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
        self._collected, self._published = {}, {}

    def collect(self) -> int:
        """Collect what has changed; returns how many files of STATIC_ROOT have. Blocks. Raises `CollectingFailed`."""
        try:
            storage, root = _storage(self.directory)
            sources = _sources()
            self._drop_changed(storage, sources)
            self._run(storage)
            return self._publish(storage, root, sources)
        except (Exception, SystemExit) as error:
            # There may be half a file: the next run begins with nothing.
            self.close()
            logger.debug("collectstatic", exc_info=True)
            raise CollectingFailed(_in_one_line(error)) from error

    def _drop_changed(self, storage: Any, sources: Sources) -> None:
        """Have every file collected anew whose source is another than the one that was collected.

        collectstatic itself leaves out what is not newer, and what is newer within the same second.
        """
        for name in self._collected.keys() | sources.keys():
            if self._collected.get(name) != sources.get(name):
                storage.delete(name)

    def _run(self, storage: Any) -> None:
        from django.core.management import call_command, get_commands, load_command_class

        application: Any = get_commands()["collectstatic"]
        command: Any = load_command_class(application, "collectstatic")
        # Not the process's own, whose manifest the requests read meanwhile.
        command.storage = storage
        # Its messages about files that failed are in what it raises too.
        call_command(command, interactive=False, verbosity=0, stdout=io.StringIO(), stderr=io.StringIO())

    def _publish(self, storage: Any, root: str, sources: Sources) -> int:
        """Put the files that have changed in their places, all or none."""
        found = (os.path.join(at, name) for at, _, names in os.walk(self.directory) for name in names)
        collected = {path: state for path in found if (state := state_of(path)) is not None}
        replacements: list[tuple[str, str]] = []
        try:
            os.makedirs(root, exist_ok=True)
            for path, target in self._changed(collected, root):
                temporary = f"{os.path.dirname(target)}/.twistserve-{os.getpid()}-{len(replacements)}"
                replacements.append((temporary, target))
                shutil.copy2(path, temporary)
                _make_newer(temporary, target)
            self._put(storage, replacements)
        finally:
            for temporary, _ in replacements:
                if os.path.lexists(temporary):
                    os.unlink(temporary)
        self._published, self._collected = collected, sources
        return len(replacements)

    def _changed(self, collected: Reading, root: str) -> Iterator[tuple[str, str]]:
        """The collected files that are not served as they are, and where they belong."""
        for path, state in collected.items():
            target = os.path.join(root, os.path.relpath(path, self.directory))
            if self._published.get(path) == state and os.path.isfile(target):
                continue
            if os.path.isdir(target):
                raise CollectingFailed(f"{target!r} is a directory, and a file is to be in its place: remove it")
            # A link is replaced too: what it leads to changes whenever somebody likes.
            if os.path.islink(target) or not os.path.exists(target) or not filecmp.cmp(path, target, shallow=False):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                yield path, target

    def _put(self, storage: Any, replacements: list[tuple[str, str]]) -> None:
        def replace() -> None:
            if self.cancelled:
                raise CollectingFailed("the process ends")
            for temporary, target in replacements:
                os.replace(temporary, target)

        self._renew(replace, storage)
        # Pages may name the new files only now.
        _reload_manifest()


def _storage(directory: str) -> tuple[Any, str]:
    """The storage of static files, made to write into a directory, and where else it would write."""
    from django.core.files.storage import FileSystemStorage, storages

    parameters: Any = storages.backends["staticfiles"]
    storage: Any = storages.create_storage(parameters)
    if not isinstance(storage, FileSystemStorage):
        raise CollectingFailed(
            f"the storage {parameters['BACKEND']!r} of the setting STORAGES writes no files into STATIC_ROOT, where"
            " --static serves them: use django.contrib.staticfiles.storage.StaticFilesStorage or one made from it, or"
            " leave --static-watch out"
        )
    root = os.fspath(storage.location)
    storage.base_location = storage.location = directory
    return storage, root


def _make_newer(path: str, target: str) -> None:
    """Have a file differ from the one that it replaces in the second of its time.

    ETag and Last-Modified are made of that and the size: two of the same size may come within a second.
    """
    try:
        replaced = int(os.stat(target).st_mtime)
    except OSError:
        return
    if int(os.stat(path).st_mtime) <= replaced:
        os.utime(path, (replaced + 1, replaced + 1))


def _sources() -> Sources:
    """Where collectstatic finds each file."""
    from django.contrib.staticfiles import finders

    # They remember which directories there were.
    finders.get_finder.cache_clear()  # type: ignore[attr-defined]
    found: Sources = {}
    for finder in finders.get_finders():
        for path, storage in finder.list([]):
            name = os.path.join(getattr(storage, "prefix", None) or "", path)
            if name not in found:
                source = storage.path(path)
                found[name] = source, state_of(source)
    return found


def _reload_manifest() -> None:
    """Have {% static %} name the files of the last run (ManifestStaticFilesStorage)."""
    from django.contrib.staticfiles import storage

    served: Any = storage.staticfiles_storage
    if hasattr(served, "load_manifest"):
        served.hashed_files, served.manifest_hash = served.load_manifest()


def _in_one_line(error: BaseException) -> str:
    from django.core.management import CommandError

    # Where in Django or a storage it was raised does not help to correct a file.
    known = isinstance(error, (CollectingFailed, StartError, CommandError))
    text = str(error) if known else f"{type(error).__name__}: {error}"
    # More of a line comes after it.
    return " ".join(text.split()).rstrip(".")
