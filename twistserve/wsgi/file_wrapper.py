"""``wsgi.file_wrapper``: how an application gives a file away, and whether the server can send it by itself."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any


class FileWrapper:
    """``wsgi.file_wrapper`` (PEP 3333): an iterator over a file-like object that the server may send by itself."""

    def __init__(self, filelike: Any, block_size: int = 8192) -> None:
        self._file = filelike
        self._block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        while block := self._file.read(self._block_size):
            yield block

    def open_part(self) -> tuple[int, int, int] | None:
        """A descriptor of one's own, the present offset and the bytes from there; None if it is no regular file."""
        try:
            descriptor = self._file.fileno()
            status = os.fstat(descriptor)
            offset = self._file.tell()
        except (AttributeError, OSError, ValueError):
            return None
        # A wrapper around a file, such as gzip's, has the descriptor of other bytes than it reads.
        if not stat.S_ISREG(status.st_mode) or not isinstance(_raw_file(self._file), io.FileIO):
            return None
        try:
            return os.dup(descriptor), offset, max(status.st_size - offset, 0)
        except OSError:  # too many files are open: the one that is open will do
            return None


def _raw_file(file: Any) -> Any:
    """The unbuffered file below Django's and Python's buffers."""
    if isinstance(getattr(file, "file", None), io.IOBase):
        file = file.file
    return getattr(file, "raw", file)
