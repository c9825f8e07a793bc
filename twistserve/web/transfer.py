"""Files to the network without copying them through the process: sendfile(2), driven by the reactor."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.interfaces import IPullProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

BLOCK = 256 * 1024
"""Bytes read at once where sendfile cannot be used (TLS, HTTP/2)."""
TURN = 4 * 1024 * 1024
"""Bytes sent in one turn of the loop, so that a fast reader does not keep the others waiting."""


@implementer(IPullProducer)
class FileTransfer:
    """Sends a part of an open file as the body of a request's answer, whose head was sent; reactor thread.

    Takes over `descriptor`, which must be a regular file's, and closes it. Calls `done(complete)` once, unless the
    client left; the transfer is not complete where the file turned out shorter or could not be read.
    """

    def __init__(self, request: Any, descriptor: int, offset: int, length: int, done: Callable[[bool], None]) -> None:
        self._request = request
        self._transport = request.channel.transport
        self._descriptor = descriptor
        self._offset = offset
        self._left = length
        self._done = done
        plain = isinstance(self._transport, Connection) and not getattr(self._transport, "TLS", False)
        self._step = self._sendfile if plain else self._copy

    def start(self) -> None:
        """Begin; the reactor asks for more whenever the socket has room."""
        self._request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Send what fits."""
        if self._descriptor < 0:
            return
        try:
            self._step()
        except (ConnectionError, TimeoutError):
            self._close()
            self._request.channel.abortConnection()
        except OSError:
            self._finish(False)

    def stopProducing(self) -> None:
        """The client left; the request is told of it too."""
        self._close()

    def _sendfile(self) -> None:
        if self._transport.dataBuffer or self._transport._tempDataBuffer:
            # What was written before goes first; then the transport comes back here.
            self._transport.startWriting()
            return
        turn = TURN
        while self._left and turn > 0:
            try:
                sent = os.sendfile(self._transport.fileno(), self._descriptor, self._offset, min(self._left, turn))
            except BlockingIOError:
                break
            if sent == 0:
                self._finish(False)
                return
            self._advance(sent)
            turn -= sent
        if self._left:
            # Nothing is in the transport's buffer: it will find the socket writable, and come back here.
            self._transport.startWriting()
        else:
            self._finish(True)

    def _copy(self) -> None:
        block = os.pread(self._descriptor, min(self._left, BLOCK), self._offset)
        if not block:
            self._finish(False)
            return
        self._advance(len(block))
        self._request.channel.write(block)
        if not self._left:
            self._finish(True)

    def _advance(self, sent: int) -> None:
        self._offset += sent
        self._left -= sent
        self._request.sentLength += sent

    def _finish(self, complete: bool) -> None:
        self._close()
        self._request.unregisterProducer()
        self._done(complete)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


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


def send_file(request: Any, descriptor: int, offset: int, length: int) -> None:
    """Send a part of a file and end the answer; abort the connection if the file is shorter than was said."""

    def done(complete: bool) -> None:
        if complete:
            request.finish()
        else:
            request.abort()

    FileTransfer(request, descriptor, offset, length, done).start()
