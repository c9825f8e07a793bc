"""What requests get while the project does not serve: why, in a page that becomes the site when that is mended."""

from __future__ import annotations

import base64
import hashlib
import secrets
from html import escape

from twisted.internet.defer import Deferred, succeed

from twistserve.http.negotiation import weights
from twistserve.http.request import Request
from twistserve.http.response import PLAIN, Response
from twistserve.http.site import Handler
from twistserve.options import Configuration
from twistserve.probes.checks import PASSED, Result, Status
from twistserve.probes.handlers import Probe, ProbeRoot, reply, respond_later
from twistserve.probes.responses import Results
from twistserve.redaction import redacted

WAITS = "application/vnd.twistserve.reload; page="
"""What a page accepts that waits for a change; then comes which page it is."""

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
pre { background: color-mix(in srgb, CanvasText 7%, Canvas); overflow-x: auto; padding: 1rem; }
"""
_SCRIPT = """
(async () => {
  for (;;) {
    try {
      await fetch(location.href, {method: "HEAD", cache: "no-store", headers: {Accept: "ACCEPT"}});
      break;
    } catch (error) {
      await new Promise(resolve => setTimeout(resolve, 1000));
    }
  }
  location.reload();
})();
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _policy(script: str) -> bytes:
    allowed = f"style-src {_hash(_STYLE)}; script-src {_hash(script)}; connect-src 'self'"
    return f"default-src 'none'; {allowed}; frame-ancestors 'none'".encode()


_CHANGED = reply(200, PLAIN, b"Something has changed.\n")


class ErrorPage:
    """The handler of the site's requests while the project does not serve: `message` and `traceback` say why."""

    def __init__(self, message: str, traceback: str) -> None:
        self._text = f"The project does not serve.\n\n{message}\n\n{traceback}".rstrip() + "\n"
        self._message, self._traceback = message, traceback
        self._waiting: list[Deferred[Response]] = []
        self._released = False
        # A browser may ask the one before over a connection that is still open.
        self._accept = WAITS + secrets.token_hex(8)
        self._script = _SCRIPT.replace("ACCEPT", self._accept)

    def __call__(self, request: Request) -> None:
        """Tell it; to a page that has been told, when something has changed."""
        accept = request.field(b"accept")
        if accept == self._accept and not self._released:
            waiting: Deferred[Response] = Deferred()
            self._waiting.append(waiting)
            respond_later(request, waiting)
        elif accept.startswith(WAITS):
            request.connection.respond(_CHANGED)
        elif "text/html" in weights(accept):
            page = self._page(again=request.method == b"GET").encode(errors="backslashreplace")
            policy = (b"Content-Security-Policy", _policy(self._script))
            request.connection.respond(reply(500, b"text/html; charset=utf-8", page, policy))
        else:
            request.connection.respond(reply(500, PLAIN, self._text.encode(errors="backslashreplace")))

    def release(self) -> None:
        """Something has changed: have the pages ask again."""
        self._released = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(_CHANGED)

    def _page(self, again: bool) -> str:
        hint = (
            "This page becomes the site when the error is mended."
            if again
            else "Send the form again when the error is mended."
        )
        traceback = f"<pre>{escape(self._traceback)}</pre>" if self._traceback else ""
        script = f"<script>{self._script}</script>" if again else ""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self._message)}</title><style>{_STYLE}</style></head>"
            f"<body><h1>{escape(self._message)}</h1><p>The project does not serve. {hint}</p>{traceback}{script}"
            "</body></html>"
        )


def failing_probes(configuration: Configuration, message: str) -> ProbeRoot:
    """The probes while the project does not start: the process lives, and only that; --probe is readiness."""

    def fails() -> Deferred[Results]:
        return succeed({"project": Result(Status.FAIL, output=f"does not start: {redacted(message)}")})

    handlers: dict[str, Handler] = {
        configuration.startup_probe: Probe("startup", fails),
        configuration.readiness_probe: Probe("readiness", fails),
    }
    if configuration.probe is None:
        handlers[configuration.liveness_probe] = Probe("liveness", lambda: succeed({"reactor": PASSED}))
    return ProbeRoot(handlers)
