"""The WSGI environ of a request (PEP 3333), and whom to believe about where it came from."""

from __future__ import annotations

import itertools
import os
import re
import sys
from typing import IO, Any

from twisted.internet.address import UNIXAddress

from twistserve.http.request import Request
from twistserve.metrics.catalogue import METHODS
from twistserve.wsgi.file_wrapper import FileWrapper
from twistserve.wsgi.forwarded import FIELDS, UNIX, TrustedPeers

_HEX = re.compile(rb"%([0-9A-Fa-f]{2})")
_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_KEYS: dict[bytes, str | None] = {}
_MAX_KEYS = 1024
_FORWARDED = frozenset((b"x-forwarded-for", b"x-request-id"))
_FORWARDED_SIZES = frozenset(map(len, _FORWARDED))
_METHODS = {method.encode(): method for method in METHODS}


class EnvironMaker:
    """Makes environs; holds what is the same in all of them."""

    def __init__(self, trusted: TrustedPeers, multiprocess: bool = False) -> None:
        self._trusted = trusted
        self._common: dict[str, Any] = {
            "SCRIPT_NAME": "",
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }
        self._id_prefix = os.urandom(8).hex().encode()
        self._ids = itertools.count()

    def prepare(self, request: Request) -> dict[str, Any]:
        """Give a request its client's address and an id; what all environs of its connection have in common.

        Reactor thread.
        """
        self.identify(request)
        if not request.request_id:
            request.request_id = b"%b%08x" % (self._id_prefix, next(self._ids))
        connection = request.connection
        if connection.environ is None:
            connection.environ = self._of_connection(connection)
        environ: dict[str, Any] = connection.environ
        return environ

    def identify(self, request: Request) -> None:
        """Give a request the client's address and the id that a trusted peer has forwarded. Reactor thread."""
        peer = request.remote
        if peer == "-" and isinstance(request.connection.getPeer(), UNIXAddress):
            peer = UNIX
        if not self._trusted.trusts(peer):
            return
        forwarded = False
        for name, _ in request.fields:
            if len(name) in _FORWARDED_SIZES and name.lower() in _FORWARDED:
                forwarded = True
        if forwarded:
            if hops := request.field(b"x-forwarded-for"):
                client = self._trusted.client(peer, hops)
                request.remote = "-" if client == UNIX else client
            given = request.field(b"x-request-id")
            known = _ID.fullmatch(given) is not None
            request.request_id = given.encode() if known else b"%b%08x" % (self._id_prefix, next(self._ids))

    def make(self, request: Request, body: IO[bytes], common: dict[str, Any]) -> dict[str, Any]:
        """The environ of a request for which `prepare` has returned what is common. Request threads."""
        environ = common.copy()
        target, method = request.target, _METHODS.get(request.method)
        environ["REQUEST_METHOD"] = request.method.decode("latin-1") if method is None else method
        path = request.path
        environ["PATH_INFO"] = (unquote(path) if b"%" in path else path).decode("latin-1")
        environ["QUERY_STRING"] = target.partition(b"?")[2].decode("latin-1")
        environ["REQUEST_URI"] = environ["RAW_URI"] = target.decode("latin-1")
        environ["SERVER_PROTOCOL"] = f"HTTP/{request.version}"
        environ["wsgi.input"] = body
        environ["wsgi.errors"] = sys.stderr
        for name, raw in request.fields:
            key = _KEYS.get(name, "")
            if key == "":
                key = environ_key(name)
            if key is not None:
                if key in environ:
                    environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + raw.decode("latin-1")
                else:
                    environ[key] = raw.decode("latin-1")
        # The body is complete, so the length is known for a chunked one too.
        environ["CONTENT_LENGTH"] = str(request.body_length) if request.has_body else ""
        if not FIELDS.isdisjoint(environ):
            self._trusted.apply(environ)
        environ["HTTP_X_REQUEST_ID"] = request.request_id.decode()
        return environ

    def _of_connection(self, connection: Any) -> dict[str, Any]:
        peer, host = connection.getPeer(), connection.getHost()
        # "::ffff:": IPv4 on a socket that serves IPv6 too.
        name = getattr(host, "host", "localhost").removeprefix("::ffff:")
        environ: dict[str, Any] = {
            **self._common,
            # Brackets around an address of IPv6 (RFC 3875 section 4.1.14).
            "SERVER_NAME": f"[{name}]" if ":" in name else name,
            "SERVER_PORT": str(getattr(host, "port", "0")),
            "REMOTE_ADDR": (getattr(peer, "host", None) or "").removeprefix("::ffff:"),
            "REMOTE_PORT": str(getattr(peer, "port", "")),
            "wsgi.url_scheme": "https" if connection.isSecure() else "http",
        }
        environ["twistserve.peer"] = UNIX if isinstance(peer, UNIXAddress) else environ["REMOTE_ADDR"]
        return environ


def unquote(path: bytes) -> bytes:
    """Decode the percent-encoding of a path; what is not one stays."""
    return _HEX.sub(lambda match: bytes((int(match[1], 16),)), path)


def environ_key(name: bytes) -> str | None:
    """The environ's key for a header name; None for one that must not arrive.

    An underscore could pose as another field's dash, and HTTP_PROXY steers HTTP clients (httpoxy). The length
    of a chunked body is not the header's to say.
    """
    upper = name.decode("latin-1").upper()
    key: str | None = "HTTP_" + upper.replace("-", "_")
    if "_" in upper or upper in ("PROXY", "CONTENT-LENGTH", "TRANSFER-ENCODING"):
        key = None
    elif upper == "CONTENT-TYPE":
        key = "CONTENT_TYPE"
    if len(_KEYS) < _MAX_KEYS:
        _KEYS[name] = key
    return key
