"""The response to a request for a file, as far as the file system is needed for it. On a thread for files.

Nothing here knows of requests or connections: what has been found goes to the reactor, which sends it.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from whitenoise.responders import NOT_MODIFIED_HEADERS, Redirect, StaticFile

from twistserve.files import page_cache
from twistserve.files.cache import OpenFile
from twistserve.files.representation import Fields, is_not_modified, raw, wanted_range, wanted_variant
from twistserve.files.sendfile import FileTransfer
from twistserve.http.response import Response, content_length, error, fields_of
from twistserve.logs import get_logger

logger = get_logger(__name__)

SMALL = 64 * 1024
"""Bytes of the largest file that is read at once, and may be kept in memory."""
WARM = 32 * 1024 * 1024
"""Bytes of the largest file that is read through before it is sent, where the kernel does not tell what it has."""

_NOT_THERE = frozenset(
    (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EACCES,
        errno.EPERM,
        errno.ENXIO,
        errno.EINVAL,
    )
)
"""What opening a file fails with that is not there, or not for us. Anything else may be otherwise in a moment."""


_OF_NOT_MODIFIED = frozenset(
    name.lower() for name in (*NOT_MODIFIED_HEADERS, "Content-Security-Policy", "X-Content-Type-Options")
)
"""Policies too: a cache that has stored a file without them must not go on without them (RFC 9111 section 4.3.4)."""


@dataclass(frozen=True)
class Asked:
    """What a request says of the file it wants: the fields that matter, and what is to be done with it."""

    conditions: dict[str, str]
    head_only: bool
    reads: bool = True
    """Whether it is to be read at all: by GET or HEAD."""


def response_for(found: StaticFile | Redirect | None, asked: Asked) -> Response:
    """The response with a file that was looked up just now. Blocks. Raises OSError."""
    if found is None:
        return NOT_FOUND
    if not asked.reads:
        return NOT_ALLOWED
    if isinstance(found, Redirect):
        return redirection(found)
    path, listed = wanted_variant(found, asked.conditions)
    if is_not_modified(found, listed, asked.conditions):
        return not_modified(listed)
    return response_with(found, path, listed, asked)


def response_with(found: StaticFile, path: str, listed: Fields, asked: Asked, share: bool = False) -> Response:
    """The response with one variant of a file, which is opened. Blocks. Raises OSError.

    One that is to be shared is made ready to be sent to everybody.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        warm = share and SMALL < size <= WARM and page_cache.warm(descriptor, size)
        response = _read_if_small(response_from(found, OpenFile(descriptor, size, warm), listed, asked))
        if response.producer is None:
            os.close(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return response


def response_from(found: StaticFile, file: OpenFile, listed: Fields, asked: Asked) -> Response:
    """The response with an open file; reads nothing."""
    size = file.size
    headers = [field for field in raw(listed) if field[0] != b"Content-Length"]
    first, last, status = 0, size - 1, 200
    # Ranges are defined for GET alone (RFC 9110 section 14.2).
    if not asked.head_only and (wanted := wanted_range(found, listed, asked.conditions, size)):
        first, last = wanted
        if first > last or first >= size:
            return error(416, b"Range not satisfiable.\n", (b"Content-Range", b"bytes */%d" % size))
        status = 206
        headers.append((b"Content-Range", b"bytes %d-%d/%d" % (first, last, size)))
    length = last - first + 1
    fields = [*fields_of(headers), content_length(length), *_RANGES]
    if asked.head_only:
        return Response(status, fields)
    return Response(status, fields, producer=FileTransfer(file, first, length), length=length)


_RANGES = fields_of([(b"Accept-Ranges", b"bytes")])


def _read_if_small(response: Response) -> Response:
    if response.producer is None or (response.length or 0) > SMALL:
        return response
    return Response(response.status, response.fields, response.producer.read())


def not_modified(listed: Fields) -> Response:
    """The client has the variant with these fields."""
    return Response(304, fields_of(raw([field for field in listed if field[0].lower() in _OF_NOT_MODIFIED])))


def redirection(found: Redirect) -> Response:
    """The way to the URL of an index file (WHITENOISE_INDEX_FILE)."""
    return Response(302, [*fields_of(raw(found.response.headers)), content_length(0)])


def response_to_error(raised: BaseException, path: str) -> Response:
    """404 for what is not there, 503 for what may be there in a moment, such as when too many files are open."""
    if isinstance(raised, OSError):
        if raised.errno in _NOT_THERE:
            return NOT_FOUND
        logger.error("a file could not be opened or read: %s: %s", path, raised)
        return UNAVAILABLE
    logger.error("looking for a file failed: %s", path, exc_info=raised)
    return error(500, b"The file could not be looked for.\n")


NOT_FOUND = error(404, b"Not found.\n")
NOT_ALLOWED = error(405, b"Method not allowed.\n", (b"Allow", b"GET, HEAD"))
UNAVAILABLE = error(503, b"The file cannot be opened now.\n")
TOO_MANY = error(503, b"Too many files are waiting to be opened.\n")
TOO_LATE = error(504, b"The file could not be opened in time.\n")
