"""Files below a URL prefix: WhiteNoise decides what is served with which headers, the transfer is ours.

Types, ETag and Last-Modified, compressed variants, caching of hashed names come from WhiteNoise's index, made
once at the start (under DEBUG: looked up anew each time). Small static files are answered out of memory,
larger ones and all media by sendfile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from whitenoise.responders import StaticFile

from twistserve.negotiation import weight, weights
from twistserve.web.request import RawHeaders, Request, make_head
from twistserve.web.transfer import send_file

Find = Callable[[str, str], StaticFile | None]
"""From a path relative to the prefix, and the URL path, to WhiteNoise's entry."""

SMALL = 64 * 1024
"""Bytes of the largest file that is kept in memory."""
CACHE = 32 * 1024 * 1024
"""Bytes of all files kept in memory."""

_CONDITIONS = {
    name: "HTTP_" + name.decode().replace("-", "_").upper()
    for name in (b"range", b"if-none-match", b"if-modified-since", b"if-range", b"accept-encoding")
}
"""What files depend on, and how WhiteNoise calls it."""
_CONDITION_SIZES = frozenset(map(len, _CONDITIONS))
_UNNAMED = 0.0001
"""What is wanted of a file as it is where a client does not say: less than the least weight of a compressed one."""
_MOST_ASKED = 4096
_LONGEST_ASKED = 512


class Cached(NamedTuple):
    """A small file ready to be sent."""

    head: bytes
    body: bytes


class MemoryCache:
    """Small files by path and encoding, as long as they fit, and by what is asked for most directly.

    The second way spares what leads to the file, a sixth of such a request.
    """

    def __init__(self, size: int = CACHE) -> None:
        self._left = size
        self._files: dict[str, Cached] = {}
        self._asked: dict[tuple[bytes, bytes], Cached] = {}

    def get(self, path: str) -> Cached | None:
        """The file, if it is held."""
        return self._files.get(path)

    def put(self, path: str, headers: RawHeaders, body: bytes) -> None:
        """Hold a file, if it fits and is not held already."""
        if path not in self._files and len(body) <= self._left:
            self._left -= len(body)
            self._files[path] = Cached(make_head(200, headers), body)

    def asked(self, request: Request) -> Cached | None:
        """The file that was the answer to a request like this one."""
        key = _unconditional(request)
        return None if key is None else self._asked.get(key)

    def answered(self, request: Request, held: Cached) -> None:
        """Remember that `held` is the answer to requests like this one; what clients make up is bounded."""
        key = _unconditional(request)
        if key is not None and len(key[0]) + len(key[1]) <= _LONGEST_ASKED:
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            self._asked[key] = held


def _unconditional(request: Request) -> tuple[bytes, bytes] | None:
    """Path and encodings of a request that depends on nothing else; None for another."""
    encodings = b""
    for name, value in request.raw_headers:
        if len(name) in _CONDITION_SIZES and (lower := name.lower()) in _CONDITIONS:
            if lower != b"accept-encoding" or encodings:
                return None
            encodings = value
    return request.path, encodings


class FileResource(Resource):
    """Serves the files that `find` finds: GET and HEAD, no directory listing, no way out of the root.

    `cache` holds small files; None for files that may change.
    """

    isLeaf = True

    def __init__(self, handler: str, find: Find, cache: MemoryCache | None = None) -> None:
        super().__init__()
        self._handler = handler
        self._find = find
        self._cache = cache

    def render(self, request: Request) -> int:
        """Answer with the file, 206, 304, 404, 405 or 416."""
        request.handler = self._handler
        if request.method not in (b"GET", b"HEAD"):
            _reply(request, 405, [(b"Allow", b"GET, HEAD")], b"Method not allowed.\n")
            return NOT_DONE_YET
        if self._cache is not None and (held := self._cache.asked(request)) is not None:
            request.send(200, held.head, b"" if request.method == b"HEAD" else held.body)
            return NOT_DONE_YET
        relative = safe_path(request.postpath)
        try:
            found = None if relative is None else self._find(relative, request.path.decode("latin-1"))
        except OSError:
            found = None
        if found is None:
            _reply(request, 404, [], b"Not found.\n")
        else:
            self._serve(request, found)
        return NOT_DONE_YET

    def _serve(self, request: Request, found: StaticFile) -> None:
        asked = conditions(request.raw_headers)
        if is_not_modified(found, asked):
            headers = raw(found.not_modified_response.headers)
            request.send(304, make_head(304, headers), b"")
            return
        if request.method == b"HEAD":
            # Ranges are defined for GET alone (RFC 9110 section 14.2).
            asked.pop("HTTP_RANGE", None)
        path, listed = wanted_variant(found, asked)
        if self._cache is not None and (held := self._cache.get(path)) is not None and "HTTP_RANGE" not in asked:
            self._cache.answered(request, held)
            request.send(200, held.head, b"" if request.method == b"HEAD" else held.body)
            return
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            _reply(request, 404, [], b"Not found.\n")
            return
        self._send(request, found, path, raw(listed), descriptor, asked)

    def _send(
        self,
        request: Request,
        found: StaticFile,
        path: str,
        headers: RawHeaders,
        descriptor: int,
        asked: dict[str, str],
    ) -> None:
        size = os.fstat(descriptor).st_size
        headers = [field for field in headers if field[0] != b"Content-Length"]
        first, last = 0, size - 1
        status = 200
        if wanted := wanted_range(found, asked, size):
            first, last = wanted
            if first > last or first >= size:
                os.close(descriptor)
                _reply(request, 416, [(b"Content-Range", b"bytes */%d" % size)], b"Range not satisfiable.\n")
                return
            status = 206
            headers.append((b"Content-Range", b"bytes %d-%d/%d" % (first, last, size)))
        length = last - first + 1
        headers += [(b"Content-Length", b"%d" % length), (b"Accept-Ranges", b"bytes")]
        if request.method == b"HEAD" or length <= SMALL:
            body = b"" if request.method == b"HEAD" else os.pread(descriptor, length, first)
            os.close(descriptor)
            if self._cache is not None and status == 200 and request.method == b"GET":
                self._cache.put(path, headers, body)
            request.send(status, make_head(status, headers), body)
            return
        request.send_head(status, make_head(status, headers))
        send_file(request, descriptor, first, length)


def conditions(headers: RawHeaders) -> dict[str, str]:
    """The fields of a request that files depend on; those of one name are one list (RFC 9110 section 5.3)."""
    asked: dict[str, str] = {}
    for field, value in headers:
        name = _CONDITIONS.get(field.lower())
        if name is not None:
            text = value.decode("latin-1")
            asked[name] = f"{asked[name]}, {text}" if name in asked else text
    return asked


def is_not_modified(found: StaticFile, asked: dict[str, str]) -> bool:
    """Whether the client's copy is current (RFC 9110 section 13.1.2: any of a list, compared weakly, or `*`)."""
    tags = asked.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        return tags.strip() == "*" or found.etag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    return bool(found.is_not_modified(asked))


def wanted_variant(found: StaticFile, asked: dict[str, str]) -> tuple[str, Any]:
    """The path and headers of the variant that is wanted most, of several the smallest (RFC 9110 section 12.5.3).

    WhiteNoise looks for the names of codings alone, which is right where they have no weights. As there, `*` lets
    in no compressed one. If none is wanted it is the file as it is.
    """
    encodings = asked.get("HTTP_ACCEPT_ENCODING", "")
    if ";" not in encodings or len(found.alternatives) == 1:
        chosen: tuple[str, Any] = found.get_path_and_headers(asked)
        return chosen
    wanted = weights(encodings)

    def wish(alternative: tuple[Any, str, Any]) -> float:
        coding = dict(alternative[2]).get("Content-Encoding")
        return weight(wanted, coding) if coding else weight(wanted, "identity", "*") or _UNNAMED

    _, path, headers = max(found.alternatives, key=wish)
    return path, headers


def wanted_range(found: StaticFile, asked: dict[str, str], size: int) -> tuple[int, int] | None:
    """The first and last byte of the range asked for, or None for all; first > last is not satisfiable.

    WhiteNoise's own rule takes a range of one byte for none. If-Range: RFC 9110 section 13.1.5.
    """
    text = asked.get("HTTP_RANGE")
    if not text:
        return None
    condition = asked.get("HTTP_IF_RANGE")
    if condition is not None and condition not in (found.etag, dict(found.alternatives[0][2]).get("Last-Modified")):
        return None
    try:
        first, last = found.parse_byte_range(text)
    except ValueError:
        return None
    if "=-" in text.replace(" ", ""):  # the last bytes; none of them is not satisfiable
        return (max(size + first, 0), size - 1) if first else (1, 0)
    if last is not None and last < first:
        return None
    return first, size - 1 if last is None else min(last, size - 1)


def raw(headers: Any) -> RawHeaders:
    """WhiteNoise's header list in bytes."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def safe_path(segments: list[bytes]) -> str | None:
    """The relative path that decoded URL segments name, or None where they try to name anything else."""
    for segment in segments:
        if segment in (b"", b".", b"..") or b"/" in segment or b"\0" in segment:
            return None
    return os.fsdecode(b"/".join(segments)) or None


def _reply(request: Request, status: int, headers: RawHeaders, body: bytes) -> None:
    headers = [
        *headers,
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    request.send(status, make_head(status, headers), b"" if request.method == b"HEAD" else body)


class PrefixResource(Resource):
    """The root: requests below a prefix go to its resource, all others to `default`."""

    def __init__(self, default: IResource) -> None:
        super().__init__()
        self._default = default
        self._prefixes: list[tuple[bytes, int, IResource]] = []

    def mount(self, prefix: str, resource: IResource) -> None:
        """Serve `resource` below a URL prefix such as '/static/'; of two that fit, the longer one wins."""
        path = b"/%b/" % prefix.strip("/").encode()
        self._prefixes.append((path, path.count(b"/") - 1, resource))
        self._prefixes.sort(key=lambda mounted: -mounted[1])

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
        return self._default
