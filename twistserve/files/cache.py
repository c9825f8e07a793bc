"""Static files that are at hand: small ones in memory, and descriptors of large ones.

Both are of files that the index has, which do not change before the next start, or the next index (`Renewal`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twistserve.files.representation import CONDITIONS
from twistserve.http.request import Request
from twistserve.http.response import Response

CACHE = 32 * 1024 * 1024
"""Bytes of all files kept in memory."""

_FORWARDED = frozenset((b"x-forwarded-for", b"x-request-id"))
_NOTED = _FORWARDED.union(CONDITIONS)
_NOTED_SIZES = frozenset(map(len, _NOTED))
_MOST_ASKED = 4096
_LONGEST_ASKED = 512


Key = tuple[bytes, bytes]
"""What the response to most requests depends on: the path, and the encodings that are accepted."""


class MemoryCache:
    """Small files by path and encoding, as long as they fit, and by what is asked for most directly.

    The second way spares what leads to the file, a sixth of such a request.
    """

    def __init__(self, size: int = CACHE) -> None:
        self._left = size
        self._files: dict[str, Response] = {}
        self._asked: dict[Key | None, Response] = {}
        # The dictionary's own method: one call less is a twentieth of such a response.
        self.asked = self._asked.get
        """The file that was the response to a request with a key, or None; None has no file."""

    def get(self, path: str) -> Response | None:
        """The file, if it is held."""
        return self._files.get(path)

    def put(self, path: str, response: Response) -> None:
        """Hold a file, if it fits and is not held already."""
        size = len(response.body)
        if path not in self._files and size <= self._left:
            self._left -= size
            self._files[path] = response

    def responded(self, key: Key | None, held: Response) -> None:
        """Remember that `held` is the response to requests with this key; what clients make up is bounded."""
        if key is not None and len(key[0]) + len(key[1]) <= _LONGEST_ASKED:
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            self._asked[key] = held


def key_of(request: Request) -> tuple[Key | None, bool]:
    """Path and encodings of a request that depends on nothing else, and whether it has fields that proxies add.

    None in place of the key of another request. Both at once, for looking through the fields is a third of the work.
    """
    encodings, forwarded, conditional = b"", False, False
    for name, value in request.fields:
        if len(name) in _NOTED_SIZES and (lower := name.lower()) in _NOTED:
            if lower == b"accept-encoding" and not encodings:
                encodings = value
            elif lower in _FORWARDED:
                forwarded = True
            else:
                conditional = True
    return None if conditional else (request.path, encodings), forwarded


class OpenFile:
    """A file that is open, for one response or for several. Reactor thread.

    `warm` says that all of it was read through, where the kernel does not tell what it would have to wait for.
    """

    __slots__ = ("_users", "descriptor", "size", "warm")

    def __init__(self, descriptor: int, size: int, warm: bool = False) -> None:
        self.descriptor = descriptor
        self.size = size
        self.warm = warm
        self._users = 1

    def share(self) -> OpenFile:
        """Keep it open for one more, who closes it as well."""
        self._users += 1
        return self

    def close(self) -> None:
        """One needs it no more; the last one closes it."""
        self._users -= 1
        if not self._users:
            os.close(self.descriptor)


class OpenFiles:
    """Files by path that stay open, as many as `most()` says: those that were asked for last. Reactor thread.

    Who downloads one of them takes no descriptor of its own, and waits for no thread that opens it.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._files: dict[str, OpenFile] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def get(self, path: str) -> OpenFile | None:
        """The file for one more response, if it is open."""
        file = self._files.pop(path, None)
        if file is None:
            return None
        self._files[path] = file
        return file.share()

    def clear(self) -> None:
        """Keep none open any longer."""
        while self._files:
            self._files.popitem()[1].close()

    def put(self, path: str, file: OpenFile) -> None:
        """Keep a file open; those that were not asked for for longest make way."""
        if path in self._files:
            return
        self._files[path] = file.share()
        while len(self._files) > self._most():
            self._files.pop(next(iter(self._files))).close()
