"""Static files that change while they are served: old or new, complete, and with the headers that are theirs.

The index and what is at hand of its files belong together, so all are replaced in one turn of the reactor. No file is
opened while the files themselves are replaced: such requests wait that long, others are answered from memory or by
what is open already, with what was there before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from twistserve.files.cache import MemoryCache
from twistserve.files.file_threads import FileThreads
from twistserve.files.handler import FileHandler
from twistserve.files.index import StaticIndex


class Renewal:
    """Replaces an index of static files and what its `handlers`, which use `threads`, have at hand.

    `mount` mounts what is served outside the index's prefix; `call` is callFromThread.
    """

    def __init__(
        self,
        index: StaticIndex,
        threads: FileThreads,
        handlers: Sequence[FileHandler],
        mount: Callable[[], None],
        call: Callable[..., Any],
    ) -> None:
        self._index = index
        self._threads = threads
        self._handlers = handlers
        self._mount = mount
        self._call = call

    def renew(self, replace: Callable[[], None], storage: Any) -> None:
        """Have `replace` change the files, and serve what there is then, whether it fails or not.

        Blocks, in any thread but the reactor's. What `replace` raises travels; raises `StartError` if there can be no
        index.
        """
        self._wait_for(self._threads.pause)
        put_into_force: Callable[[], None] | None = None
        try:
            try:
                replace()
            finally:
                put_into_force = self._index.renewed(storage)
        finally:
            self._wait_for(lambda done: self._go_on(put_into_force, done))

    def _wait_for(self, begin: Callable[[Callable[[], None]], None]) -> None:
        """Have the reactor begin something, and wait until it is done."""
        done = threading.Event()
        self._call(begin, done.set)
        done.wait()

    def _go_on(self, put_into_force: Callable[[], None] | None, done: Callable[[], None]) -> None:
        try:
            if put_into_force is not None:
                put_into_force()
                self._forget()
        finally:
            self._threads.resume()
            done()

    def _forget(self) -> None:
        if self._index.changing:
            # Each request looks for its file.
            return
        cache = MemoryCache()
        for handler in self._handlers:
            handler.renew(cache)
        self._mount()
