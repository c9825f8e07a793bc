"""Files below a URL prefix: WhiteNoise decides what is served with which headers, the transfer is ours.

Types, ETag and Last-Modified, compressed variants, caching of hashed names come from WhiteNoise's index, made
once at the start (under DEBUG: looked up anew each time). Small static files are answered out of memory, larger ones
and all media by sendfile. Whatever the file system may hold up is done by threads of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from whitenoise.responders import Redirect, StaticFile

from twistserve.files import responder as file_answers
from twistserve.files.cache import MemoryCache, OpenFiles, key_of
from twistserve.files.file_threads import FileThreads, Job
from twistserve.files.representation import conditions, is_not_modified, wanted_variant
from twistserve.files.responder import Asked, FileAnswer
from twistserve.files.sendfile import send_file
from twistserve.http.deadlines import Deadline, Deadlines
from twistserve.http.request import Request
from twistserve.http.response import make_head
from twistserve.metrics import catalogue as metrics
from twistserve.net.open_files import most_kept

Find = Callable[[str, str], StaticFile | Redirect | None]
"""From a path relative to the prefix, and the URL path, to WhiteNoise's entry. A directory's path ends in a slash."""


class FileResource(Resource):
    """Serves the files that `find` finds: GET and HEAD, no directory listing, no way out of the root.

    `cache` holds small files; None for files that may change, whose `find` blocks. `identify` is told of a request that
    may have come through a proxy. `otherwise` answers where there is no file.
    """

    isLeaf = True

    def __init__(
        self,
        handler: str,
        find: Find,
        threads: FileThreads,
        cache: MemoryCache | None = None,
        deadlines: Deadlines | None = None,
        identify: Callable[[Request], None] = lambda request: None,
        otherwise: IResource | None = None,
    ) -> None:
        super().__init__()
        self._identify = identify
        self._handler = handler
        self._otherwise = otherwise
        self._find = find
        self.threads = threads
        self._cache = cache
        self._open_files = OpenFiles(most_kept)
        self.deadlines = deadlines

    def render(self, request: Request) -> int:
        """Answer with the file, 206, 304, 404, 405 or 416; 503 where it cannot be opened now."""
        request.handler = self._handler
        key, forwarded = key_of(request)
        if forwarded:
            self._identify(request)
        if request.method not in (b"GET", b"HEAD") and self._otherwise is None:
            give(request, file_answers.NOT_ALLOWED)
        elif self._cache is not None and (held := self._cache.asked(key)) is not None:
            request.send(200, held.head, b"" if request.method == b"HEAD" else held.body)
        elif (relative := safe_path(request.postpath)) is None:
            self.absent(request)
        else:
            reads = request.method in (b"GET", b"HEAD")
            asked = Asked(conditions(request.raw_headers), request.method == b"HEAD", reads)
            url = request.path.decode("latin-1")
            if self._cache is None:
                look_up = partial(self._find, relative, url)
                self._open(request, lambda: file_answers.answer_for(look_up(), asked))
            else:
                self._render_indexed(request, self._find(relative, url), asked, self._cache)
        return NOT_DONE_YET

    def absent(self, request: Request) -> None:
        """There is no such file: 404, or whatever else answers."""
        if self._otherwise is not None:
            self._otherwise.render(request)
        else:
            give(request, file_answers.NOT_FOUND)

    def _render_indexed(
        self, request: Request, found: StaticFile | Redirect | None, asked: Asked, cache: MemoryCache
    ) -> None:
        """Answer on the spot if nothing need be opened."""
        if found is None:
            self.absent(request)
            return
        if isinstance(found, Redirect):
            give(request, file_answers.redirection(found))
            return
        path, listed = wanted_variant(found, asked.conditions)
        if is_not_modified(found, listed, asked.conditions):
            give(request, file_answers.not_modified(listed))
            return
        whole = asked.head_only or "HTTP_RANGE" not in asked.conditions
        if whole and (held := cache.get(path)) is not None:
            cache.answered(key_of(request)[0], held)
            request.send(200, held.head, b"" if asked.head_only else held.body)
            return
        if (file := self._open_files.get(path)) is not None:
            answer = file_answers.answer_from(found, file, listed, asked)
            if answer.file is None:
                file.close()
            if answer.length > file_answers.SMALL or answer.file is None:
                give(request, answer, self.threads)
                return
            # A small part, which is read: another descriptor is simpler than one that is shared with a thread.
            file.close()
        share = path not in self._open_files
        work = partial(file_answers.answer_with, found, path, listed, asked, share)
        self._open(request, work, lambda answer: self._keep(path, answer, asked))

    def _keep(self, path: str, answer: FileAnswer, asked: Asked) -> None:
        """Have an indexed file at hand from now on."""
        if answer.file is not None:
            self._open_files.put(path, answer.file)
        elif self._cache is not None and answer.status == 200 and not asked.head_only:
            self._cache.put(path, answer.headers, answer.body)

    def _open(
        self,
        request: Request,
        work: Callable[[], FileAnswer],
        keep: Callable[[FileAnswer], None] = lambda answer: None,
    ) -> None:
        Opening(self, request, work, keep).begin()


class Opening:
    """A request that waits for its file: what `Request.exchange` is meanwhile. Reactor thread.

    `keep` is told of the answer before it is sent.
    """

    deadline = Deadline(time.time)
    """Infinitely far, unless requests have one."""

    def __init__(
        self,
        resource: FileResource,
        request: Request,
        work: Callable[[], FileAnswer],
        keep: Callable[[FileAnswer], None],
    ) -> None:
        self._resource = resource
        self._request = request
        self._work = work
        self._keep = keep
        self._job: Job | None = None
        self._over = False

    def begin(self) -> None:
        """Have the file opened, unless too many wait for that."""
        request = self._request
        self._job = self._resource.threads.submit(self._work, self._opened)
        if self._job is None:
            request.site.count(metrics.rejected_requests.labels("queue_full"))
            give(request, file_answers.TOO_MANY)
            return
        request.exchange = self
        if self._resource.deadlines is not None:
            self._resource.deadlines.begin(self)

    def where(self) -> str:
        """Where it stands, in one line."""
        begun = self._job is not None and self._job.begun
        return "its file is being opened" if begun else "waiting for a thread that opens files"

    def client_left(self) -> None:
        """The client has left: close what is opened for it."""
        self._end()
        if self._job is not None:
            self._resource.threads.withdraw(self._job)

    def timed_out(self) -> None:
        """The deadline has passed: the file system does not answer."""
        if self._over:
            return
        self.client_left()
        self._request.site.count(metrics.request_timeouts)
        give(self._request, file_answers.TOO_LATE)

    def _end(self) -> None:
        self._over = True
        self._request.exchange = None
        if self._resource.deadlines is not None:
            self._resource.deadlines.done(self)

    def _opened(self, answer: FileAnswer | None, error: BaseException | None) -> None:
        """The thread is done."""
        if answer is None:
            assert error is not None
            answer = file_answers.answer_to_error(error, self._request.path.decode("latin-1"))
        if self._over:
            if answer.file is not None:
                answer.file.close()
            return
        self._end()
        try:
            self._keep(answer)
            if answer is file_answers.NOT_FOUND:
                self._resource.absent(self._request)
            else:
                give(self._request, answer, self._resource.threads)
        except Exception:
            # As with what fails while a request is rendered, its connection goes on or ends.
            self._request.processingFailed(Failure())


def give(request: Request, answer: FileAnswer, threads: FileThreads | None = None) -> None:
    """Send an answer; `threads` read what of its file is not in memory."""
    head = make_head(answer.status, answer.headers)
    if answer.file is None:
        request.send(answer.status, head, b"" if request.method == b"HEAD" else answer.body)
    else:
        request.send_head(answer.status, head)
        send_file(request, answer.file, answer.first, answer.length, threads)


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


class PrefixResource(Resource):
    """The root: requests below a prefix, or for a path, go to its resource, all others to `default`."""

    def __init__(self, default: IResource) -> None:
        super().__init__()
        self.default = default
        self._paths: dict[bytes, IResource] = {}
        self._prefixes: list[tuple[bytes, int, IResource]] = []

    def mount(self, prefix: str, resource: IResource) -> None:
        """Serve `resource` below a URL prefix such as '/static/'; of two that fit, the longer one wins."""
        path = b"/%b/" % prefix.strip("/").encode()
        self._prefixes.append((path, path.count(b"/") - 1, resource))
        self._prefixes.sort(key=lambda mounted: -mounted[1])

    def mount_at(self, path: str, resource: IResource) -> None:
        """Serve `resource` at one URL path, decoded, unless that is below a prefix."""
        self._paths[os.fsencode(path)] = resource

    def find(self, request: Request) -> IResource:
        """The resource of a request; leaves the rest of its path in `postpath`. What Site asks."""
        path = request.path
        if b"%" in path:
            # Segment by segment: a slash that is encoded does not divide.
            path = b"/" + b"/".join([segment.replace(b"/", b"%2F") for segment in request.segments])
        for prefix, depth, resource in self._prefixes:
            if path.startswith(prefix):
                request.depth = depth
                return resource
        return self._paths.get(path, self.default)
