"""Files to the network without copying them through the process: sendfile(2), driven by the reactor.

The reactor reads only what the kernel has in memory; what it has not a thread reads first. Where the kernel does not
tell, or sendfile cannot be used (TLS, HTTP/2), blocks are copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from twistserve.files import page_cache
from twistserve.files.cache import OpenFile
from twistserve.files.file_threads import FileThreads, Job
from twistserve.files.page_cache import BLOCK, Unknown
from twistserve.http.response import Consumer

WINDOW = 1024 * 1024
"""Bytes that are looked for in memory, or brought there, at once."""
TURN = 4 * 1024 * 1024
"""Bytes sent in one turn of the loop, so that a fast reader does not keep the others waiting."""


@implementer(IPullProducer, IPushProducer)
class FileTransfer:
    """A part of an open file, as the body of a response; reactor thread, but for its making.

    Takes over `file`, a regular one, and closes it. The response breaks off where the file turns out shorter or cannot
    be read. `threads` read what is not in memory; without them it is read here.

    A connection of TCP and a stream of HTTP/2 pull, each time that there is room. TLS would pull without end while
    there is nothing to send yet: there it pushes, until the transport is full.
    """

    _consumer: Consumer
    _transport: Any
    _plain = _pushes = False

    def __init__(self, file: OpenFile, offset: int, length: int, threads: FileThreads | None = None) -> None:
        self.file = file
        self.threads = threads
        self._offset = offset
        self._left = length
        self._job: Job | None = None
        """What a thread is doing for us."""
        self._in_memory = offset
        """Up to where the file is known to be in memory."""
        self._block = b""
        """What a thread has read and is to be sent."""
        self._open = True
        self._paused = False
        self._step = self._copy

    def begin(self, consumer: Consumer) -> None:
        """Begin; from then on the transport asks for more whenever it has room."""
        self._consumer, self._transport = consumer, consumer.transport
        self._plain = isinstance(self._transport, Connection) and not getattr(self._transport, "TLS", False)
        self._pushes = self._transport is not None and not self._plain
        if self._plain:
            self._step = self._sendfile
        consumer.registerProducer(self, self._pushes)
        if self._pushes and not self._paused:
            self.resumeProducing()

    def read(self) -> bytes:
        """All of it, instead of sending it. Blocks. Raises OSError."""
        return page_cache.read(self.file.descriptor, self._offset, self._left)

    # The transport

    def resumeProducing(self) -> None:
        """Send what fits, unless a thread is reading what comes next."""
        self._paused = False
        if not self._open or self._job is not None:
            return
        try:
            self._step()
        except (ConnectionError, TimeoutError):
            self._close()
            self._consumer.abortConnection()
        except OSError:
            self._finish(False)

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._paused = True

    def stopProducing(self) -> None:
        """The client left; the request is told of it too."""
        self._close()

    # Without copying

    def _sendfile(self) -> None:
        if self._transport.dataBuffer or self._transport._tempDataBuffer:
            # What was written before goes first; then the transport comes back here.
            self._transport.startWriting()
            return
        turn = TURN
        descriptor = self.file.descriptor
        while self._left and turn > 0:
            ready = self._ready()
            if not ready:
                return
            try:
                sent = os.sendfile(self._transport.fileno(), descriptor, self._offset, min(ready, turn))
            except BlockingIOError:
                break
            if sent == 0:
                self._finish(False)
                return
            self._advance(sent)
            self._consumer.sent(sent)
            turn -= sent
        if self._left:
            # Nothing is in the transport's buffer: it will find the socket writable, and come back here.
            self._transport.startWriting()
        else:
            self._finish(True)

    def _ready(self) -> int:
        """How many bytes may be sent now; if none, somebody else will go on."""
        if self.threads is None or self.file.warm:
            return self._left
        known = self._in_memory - self._offset
        if known <= 0:
            window = min(self._left, WINDOW)
            try:
                known = page_cache.cached(self.file.descriptor, self._offset, window)
            except Unknown:
                self._step = self._copy
                self._copy()
                return 0
            if not known:
                descriptor, offset = self.file.descriptor, self._offset
                self._ask(lambda: page_cache.fetch(descriptor, offset, window), self._fetched)
                return 0
            self._in_memory = self._offset + known
        return min(known, self._left)

    def _fetched(self, size: int) -> None:
        self._in_memory = self._offset + size
        if not size:
            self._finish(False)

    # By copying

    def _copy(self) -> None:
        while self._left and not self._paused:
            block, self._block = self._block or self._read(), b""
            if not block:
                return
            self._advance(len(block))
            self._consumer.write(block)
            if not self._open:
                return
            if not self._pushes:
                break
        if not self._left:
            self._finish(True)
        elif self._plain:
            # It may have been sent at once.
            self._transport.startWriting()

    def _read(self) -> bytes:
        """The next block; an empty one if a thread is to read it, or it cannot be read."""
        descriptor, offset, size = self.file.descriptor, self._offset, min(self._left, BLOCK)
        if self.threads is None:
            block: bytes | None = os.pread(descriptor, size, offset)
        else:
            try:
                block = page_cache.read_now(descriptor, offset, size)
            except Unknown:
                block = None
            if block is None:
                self._ask(lambda: os.pread(descriptor, size, offset), self._read_by_thread)
                return b""
        if not block:
            self._finish(False)
            return b""
        return block

    def _read_by_thread(self, block: bytes) -> None:
        self._block = block
        if not block:
            self._finish(False)

    # The threads

    def _ask(self, work: Callable[[], Any], told: Callable[[Any], None]) -> None:
        """Have a thread do what may block, and go on then. The client is not to blame for the time that it takes."""
        assert self.threads is not None
        deadline, self._consumer.deadline = self._consumer.deadline, 0.0

        def done(result: Any, error: BaseException | None) -> None:
            self._job = None
            if not self._open:
                self.file.close()
                return
            if deadline:
                self._consumer.extend_deadline()
            if error is not None:
                self._finish(False)
                return
            told(result)
            if not self._paused:
                self.resumeProducing()

        self._job = self.threads.submit(work, done)
        if self._job is None:
            # As many wait as may: the response breaks off, for nothing else can be said any more.
            self._finish(False)

    # The end

    def _advance(self, sent: int) -> None:
        self._offset += sent
        self._left -= sent

    def _finish(self, complete: bool) -> None:
        self._close()
        if complete:
            self._consumer.end()
        else:
            self._consumer.abort()

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        job, self._job = self._job, None
        # A thread that reads has the file: it is closed when that is done.
        if job is None or (self.threads is not None and self.threads.withdraw(job)):
            self.file.close()
