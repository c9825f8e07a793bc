"""Files below a URL prefix: WhiteNoise decides what is served with which headers, the transfer is ours.

Types, ETag and Last-Modified, compressed variants, caching of hashed names come from WhiteNoise's index, made
once at the start (under DEBUG: looked up anew each time). Small static files are sent from memory, larger ones
and all media by sendfile. Whatever the file system may hold up is done by threads of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from whitenoise.responders import Redirect, StaticFile

from twistserve.files import responder
from twistserve.files.cache import MemoryCache, OpenFiles, key_of
from twistserve.files.file_threads import FileThreads, Job
from twistserve.files.representation import conditions, is_not_modified, wanted_variant
from twistserve.files.responder import Asked
from twistserve.files.sendfile import FileTransfer
from twistserve.http.deadlines import Deadline, Deadlines
from twistserve.http.request import Request
from twistserve.http.response import Response
from twistserve.http.site import Handler
from twistserve.logs.containment import contain
from twistserve.metrics import catalogue as metrics
from twistserve.net.open_files import most_kept

Find = Callable[[str, str], StaticFile | Redirect | None]
"""From a path relative to the prefix, and the URL path, to WhiteNoise's entry. A directory's path ends in a slash."""


class Renewed(Exception):
    """There is a new index since a request was looked up."""


class FileHandler:
    """Serves the files that `find` finds: GET and HEAD, no directory listing, no way out of the root.

    `depth` is how many segments of a path come before what is relative to it. `cache` holds small files; None for
    files that may change, whose `find` blocks. `identify` is told of a request that may have come through a proxy.
    `otherwise` handles requests for which there is no file.
    """

    def __init__(
        self,
        kind: str,
        find: Find,
        threads: FileThreads,
        cache: MemoryCache | None = None,
        deadlines: Deadlines | None = None,
        identify: Callable[[Request], None] = lambda request: None,
        otherwise: Handler | None = None,
        depth: int = 0,
    ) -> None:
        self._identify = identify
        self._kind = kind
        self._depth = depth
        self._otherwise = otherwise
        self._find = find
        self.threads = threads
        self._cache = cache
        self._open_files = OpenFiles(most_kept)
        self.deadlines = deadlines

    def __call__(self, request: Request) -> None:
        """Respond by the file, 206, 304, 404, 405 or 416; 503 where it cannot be opened now."""
        request.handler = self._kind
        key, forwarded = key_of(request)
        if forwarded:
            self._identify(request)
        reads = request.method in (b"GET", b"HEAD")
        if not reads and self._otherwise is None:
            request.connection.respond(responder.NOT_ALLOWED)
        elif self._cache is not None and (held := self._cache.asked(key)) is not None:
            request.connection.respond(held)
        elif (relative := safe_path(request.segments[self._depth :])) is None:
            self.absent(request)
        else:
            asked = Asked(conditions(request.fields), request.method == b"HEAD", reads)
            url = request.path.decode("latin-1")
            if self._cache is None:
                look_up = partial(self._find, relative, url)
                self._open(request, lambda: responder.response_for(look_up(), asked))
            else:
                self._handle_indexed(request, self._find(relative, url), asked, self._cache)

    def renew(self, cache: MemoryCache) -> None:
        """Forget all files: they and the index have changed, while `threads` were paused."""
        self._cache = cache
        self._open_files.clear()

    def absent(self, request: Request) -> None:
        """There is no such file: 404, or whatever else responds."""
        if self._otherwise is not None:
            self._otherwise(request)
        else:
            request.connection.respond(responder.NOT_FOUND)

    def send(self, request: Request, response: Response) -> None:
        """Respond; our threads read what of a file is not in memory."""
        if (transfer := _transfer(response)) is not None:
            transfer.threads = self.threads
        request.connection.respond(response)

    def _handle_indexed(
        self, request: Request, found: StaticFile | Redirect | None, asked: Asked, cache: MemoryCache
    ) -> None:
        """Respond on the spot if nothing need be opened."""
        if found is None:
            self.absent(request)
            return
        if isinstance(found, Redirect):
            request.connection.respond(responder.redirection(found))
            return
        path, listed = wanted_variant(found, asked.conditions)
        if is_not_modified(found, listed, asked.conditions):
            request.connection.respond(responder.not_modified(listed))
            return
        whole = asked.head_only or "HTTP_RANGE" not in asked.conditions
        if whole and (held := cache.get(path)) is not None:
            cache.responded(key_of(request)[0], held)
            request.connection.respond(held)
            return
        if (file := self._open_files.get(path)) is not None:
            response = responder.response_from(found, file, listed, asked)
            if response.producer is None:
                file.close()
                request.connection.respond(response)
                return
            if (response.length or 0) > responder.SMALL:
                self.send(request, response)
                return
            # A small part, which is read: another descriptor is simpler than one that is shared with a thread.
            file.close()
        share = path not in self._open_files

        def work() -> Response:
            if self._cache is not cache:
                raise Renewed
            return responder.response_with(found, path, listed, asked, share)

        self._open(request, work, lambda response: self._keep(path, response, asked))

    def _keep(self, path: str, response: Response, asked: Asked) -> None:
        """Have an indexed file at hand from now on."""
        if (transfer := _transfer(response)) is not None:
            self._open_files.put(path, transfer.file)
        elif self._cache is not None and response.status == 200 and not asked.head_only:
            self._cache.put(path, response)

    def _open(
        self,
        request: Request,
        work: Callable[[], Response],
        keep: Callable[[Response], None] = lambda response: None,
    ) -> None:
        Opening(self, request, work, keep).begin()


def _transfer(response: Response) -> FileTransfer | None:
    """What sends the file of one of our responses, if it is not read already; nothing else produces here."""
    return cast("FileTransfer | None", response.producer)


class Opening:
    """A request that waits for its file: what `Request.pending` is meanwhile. Reactor thread.

    `keep` is told of the response before it is sent.
    """

    deadline = Deadline(time.time)
    """Infinitely far, unless requests have one."""

    def __init__(
        self,
        handler: FileHandler,
        request: Request,
        work: Callable[[], Response],
        keep: Callable[[Response], None],
    ) -> None:
        self._handler = handler
        self._request = request
        self._work = work
        self._keep = keep
        self._job: Job | None = None
        self._over = False

    def begin(self) -> None:
        """Have the file opened, unless too many wait for that."""
        request = self._request
        self._job = self._handler.threads.submit(self._work, self._opened)
        if self._job is None:
            contain(metrics.rejected_requests.labels("queue_full").inc)
            request.connection.respond(responder.TOO_MANY)
            return
        request.pending = self
        if self._handler.deadlines is not None:
            self._handler.deadlines.begin(self)

    def is_waiting(self) -> bool:
        """Always: for a thread, or with one for the file system."""
        return True

    def where(self) -> str:
        """Where it stands, in one line."""
        begun = self._job is not None and self._job.begun
        return "its file is being opened" if begun else "waiting for a thread that opens files"

    def given_up(self) -> None:
        """The client has left: close what is opened for it."""
        self._end()
        if self._job is not None:
            self._handler.threads.withdraw(self._job)

    def timed_out(self) -> None:
        """The deadline has passed: the file system does not answer."""
        if self._over:
            return
        self.given_up()
        contain(metrics.request_timeouts.inc)
        self._request.connection.respond(responder.TOO_LATE)

    def _end(self) -> None:
        self._over = True
        self._request.pending = None
        if self._handler.deadlines is not None:
            self._handler.deadlines.done(self)

    def _opened(self, response: Response | None, raised: BaseException | None) -> None:
        """The thread is done."""
        if response is None and not isinstance(raised, Renewed):
            assert raised is not None
            response = responder.response_to_error(raised, self._request.path.decode("latin-1"))
        if response is None:
            self._look_again()
            return
        if self._over:
            if response.producer is not None:
                response.producer.stopProducing()
            return
        self._end()
        try:
            self._keep(response)
            if response is responder.NOT_FOUND:
                self._handler.absent(self._request)
            else:
                self._handler.send(self._request, response)
        except BaseException:
            self._request.connection.site.failed(self._request)

    def _look_again(self) -> None:
        """What was found is the index's from before."""
        if self._over:
            return
        self._end()
        try:
            self._handler(self._request)
        except BaseException:
            self._request.connection.site.failed(self._request)


def safe_path(segments: list[bytes]) -> str | None:
    """The relative path that decoded URL segments name, or None where they try to name anything else.

    That of a directory ends in a slash, or is empty.
    """
    for place, segment in enumerate(segments, 1):
        if not segment and place == len(segments):
            continue
        if segment in (b"", b".", b"..") or b"/" in segment or b"\0" in segment:
            return None
    return os.fsdecode(b"/".join(segments)) if segments else None
