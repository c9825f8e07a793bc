"""A request that a resource of the probe port can be asked with."""

from __future__ import annotations

from twisted.web.test.requesthelper import DummyRequest


class Request(DummyRequest):
    """As far as the resources know it."""

    def send(self, status: int, head: bytes, body: bytes) -> None:
        self.setResponseCode(status)
        self.write(body)
        self.finish()
