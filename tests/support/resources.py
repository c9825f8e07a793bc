"""A resource of twisted.web, mounted at /r of a site on a fake transport and a clock."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.support.http1 import LIMITS, Connection, Lab, get
from twistserve.http.deadlines import Deadlines
from twistserve.http.limits import Limits
from twistserve.resources.handler import ResourceHandler
from twistserve.wsgi.environ import EnvironMaker
from twistserve.wsgi.forwarded import TrustedPeers


class Later(Resource):
    """Leaves the response to the test: `requests` are those that it was given, `ends` how each of them ended."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []
        self.ends: list[Any] = []

    def render(self, request: Any) -> int:
        self.requests.append(request)
        request.notifyFinish().addBoth(self.ends.append)
        return NOT_DONE_YET


class Mounted(Lab):
    """The site; requests have a deadline of two seconds, and 192.168.1.1, which all come from, is a trusted proxy."""

    def __init__(self, resource: Any, limits: Limits = LIMITS) -> None:
        super().__init__(limits=limits)
        environs = EnvironMaker(TrustedPeers(["192.168.1.1"]))
        self.deadlines = Deadlines(2, self.clock)
        self.site.handler = ResourceHandler("/r", resource, environs, self.deadlines, self.clock)

    def ask(self, path: bytes = b"/r", *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> Connection:
        connection = self.connect()
        connection.feed(get(path, *fields, method=method) + body)
        return connection


def body_of(connection: Connection) -> bytes:
    """What follows the first head."""
    return connection.sent.partition(b"\r\n\r\n")[2]
