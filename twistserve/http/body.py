"""The body of a request while it is received: in memory, and in a temporary file beyond `SPOOL_SIZE`."""

from __future__ import annotations

import errno
import tempfile
from contextlib import suppress
from io import BytesIO
from typing import IO

from twistserve.http.head import Refusal
from twistserve.logs import get_logger

logger = get_logger(__name__)

SPOOL_SIZE = 1024 * 1024
"""Bytes of a body kept in memory; a larger one goes to a temporary file."""

_MOST_BLOCKS = 64
"""Blocks kept apart, and one more for each 4 KB of body: what comes byte by byte may not take forty times its size."""


class Body:
    """What has come of a body of at most `limit` bytes; reactor thread.

    Blocks are joined once, at the end: a BytesIO copies them as they come, again as it grows, and when it is read.
    """

    __slots__ = ("_blocks", "_file", "_limit", "size")

    def __init__(self, limit: int) -> None:
        self.size = 0
        """Bytes so far."""
        self._limit = limit
        self._blocks: list[bytes] = []
        self._file: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Add what has come. Raises `Refusal` beyond the limit, and where the temporary directory does not take it."""
        self.size += len(data)
        if self.size > self._limit:
            raise Refusal(413, "body_too_large")
        if self.size <= SPOOL_SIZE:
            self._blocks.append(data)
            if len(self._blocks) > _MOST_BLOCKS + (self.size >> 12):
                self._blocks = [b"".join(self._blocks)]
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="twistserve-")  # noqa: SIM115
                self._file.writelines(self._blocks)
                self._blocks.clear()
            self._file.write(data)
        except OSError as error:
            raise _not_stored(error) from error

    def open(self) -> IO[bytes]:
        """The body as a file, at its start; the caller closes it. Raises `Refusal` as `write` does."""
        if self._file is None:
            # Of one block that is shared, not copied.
            return BytesIO(self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks))
        try:
            self._file.seek(0)
        except OSError as error:
            raise _not_stored(error) from error
        return self._file

    def drop(self) -> None:
        """Discard it."""
        self._blocks.clear()
        if self._file is not None:
            close(self._file)


def close(body: IO[bytes]) -> None:
    """Close a body that is not wanted any more."""
    with suppress(OSError):  # what it holds back may not fit on the disk
        body.close()


def _not_stored(error: OSError) -> Refusal:
    logger.error("a request's body could not be stored: %s; check the space of the temporary directory", error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Refusal(503, "body_not_stored")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return Refusal(507 if full else 500, "body_not_stored")
