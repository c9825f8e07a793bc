"""The WSGI environ of a request (PEP 3333), and whom to believe about where it came from."""

from __future__ import annotations

import re
import sys
from typing import IO, Any

from twistserve.http.request import Request
from twistserve.metrics.catalogue import METHODS
from twistserve.wsgi.file_wrapper import FileWrapper
from twistserve.wsgi.flow_control import ClientGone
from twistserve.wsgi.forwarded import TrustedPeers

_HEX = re.compile(rb"%([0-9A-Fa-f]{2})")
_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_KEYS: dict[bytes, str | None] = {}
_MAX_KEYS = 1024
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

    def prepare(self, request: Request) -> None:
        """Ask a connection, at its first request, for what all its environs have in common. Reactor thread."""
        channel = request.channel
        if channel.environ is None:
            channel.environ = self._of_connection(request)

    def make(self, request: Request, body: IO[bytes]) -> dict[str, Any]:
        """The environ of a request that is prepared and whose body is complete. Request threads.

        Raises `ClientGone`: the connection may be lost meanwhile.
        """
        channel, uri = request.channel, request.uri
        if channel is None:
            raise ClientGone
        environ: dict[str, Any] = channel.environ.copy()
        method = _METHODS.get(request.method)
        environ["REQUEST_METHOD"] = request.method.decode("latin-1") if method is None else method
        environ["PATH_INFO"] = unquote(request.path).decode("latin-1")
        environ["QUERY_STRING"] = uri.partition(b"?")[2].decode("latin-1")
        environ["REQUEST_URI"] = environ["RAW_URI"] = uri.decode("latin-1")
        environ["SERVER_PROTOCOL"] = request.clientproto.decode("latin-1")
        environ["wsgi.input"] = body
        environ["wsgi.errors"] = sys.stderr
        for name, raw in request.raw_headers:
            key = _KEYS.get(name, "")
            if key == "":
                key = _remember(name)
            if key is not None:
                if key in environ:
                    environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + raw.decode("latin-1")
                else:
                    environ[key] = raw.decode("latin-1")
        # The body is complete, so the length is known for a chunked one too.
        environ["CONTENT_LENGTH"] = str(request.body_length) if request.has_body else ""
        self._trusted.apply(environ)
        request.remote = environ["REMOTE_ADDR"] or "-"
        trusted = self._trusted.trusts(environ["twistserve.peer"])
        self._give_id(request, environ.get("HTTP_X_REQUEST_ID") if trusted else None)
        environ["HTTP_X_REQUEST_ID"] = request.request_id.decode()
        return environ

    def identify(self, request: Request) -> None:
        """Give a request that needs no environ what `make` does: its client's address, and an id. Reactor thread.

        Only where a trusted peer has sent it.
        """
        peer = request.remote
        if self._trusted.trusts(peer):
            if hops := _field(request, b"x-forwarded-for"):
                request.remote = self._trusted.client(peer, hops)
            self._give_id(request, _field(request, b"x-request-id"))

    def _of_connection(self, request: Request) -> dict[str, Any]:
        peer, host = request.client, request.host
        environ: dict[str, Any] = {
            **self._common,
            "SERVER_NAME": getattr(host, "host", "localhost"),
            "SERVER_PORT": str(getattr(host, "port", "0")),
            # An IPv4 client of a socket that serves IPv6 too.
            "REMOTE_ADDR": (getattr(peer, "host", None) or "").removeprefix("::ffff:"),
            "REMOTE_PORT": str(getattr(peer, "port", "")),
            "wsgi.url_scheme": "https" if request.isSecure() else "http",
        }
        environ["twistserve.peer"] = environ["REMOTE_ADDR"]
        return environ

    def _give_id(self, request: Request, given: str | None) -> None:
        """The id that a trusted peer has given, else a new one; echoed by the channel."""
        valid = given if given is not None and _ID.fullmatch(given) else None
        request.request_id = request.site.new_id() if valid is None else valid.encode()


def _field(request: Request, wanted: bytes) -> str:
    """The value of a field; those of one name are one list (RFC 9110 section 5.3)."""
    return ",".join([value.decode("latin-1") for name, value in request.raw_headers if name.lower() == wanted])


def unquote(path: bytes) -> bytes:
    """Decode the percent-encoding of a path; what is not one stays."""
    return _HEX.sub(lambda match: bytes((int(match[1], 16),)), path) if b"%" in path else path


def _remember(name: bytes) -> str | None:
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
