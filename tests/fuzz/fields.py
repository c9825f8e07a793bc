"""Fields whose values are parsed in Python: X-Forwarded-For and -Proto, Accept and Accept-Encoding, Range."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from whitenoise.responders import StaticFile

from tests.fuzz.pieces import nothing_logged
from twistserve.files.representation import conditions, is_not_modified, wanted_range, wanted_variant
from twistserve.http.negotiation import weights
from twistserve.wsgi.forwarded import TrustedPeers

PEER = "10.0.0.1"
FILE = Path(__file__)


class _Fixture:
    def __init__(self) -> None:
        self.file = StaticFile(str(FILE), [("Content-Type", "text/plain"), ("ETag", '"abc"')])
        self.peers = TrustedPeers(["private"])


_fixture = _Fixture()


def fuzz(data: bytes) -> None:
    """One value, as each of these fields. Raises where something is raised, or comes out that may not."""
    text = data.decode("latin-1")
    with nothing_logged():
        _forwarded(text)
        assert all(0 <= weight <= 1 for weight in weights(text).values())
        for name in (b"Range", b"If-Range", b"If-None-Match", b"If-Modified-Since", b"Accept-Encoding"):
            _file([(name, data)] if name == b"Range" else [(b"Range", b"bytes=1-5"), (name, data)])


def _forwarded(text: str) -> None:
    environ: dict[str, Any] = {"twistserve.peer": PEER, "REMOTE_ADDR": PEER, "wsgi.url_scheme": "http"}
    environ |= {"HTTP_X_FORWARDED_FOR": text, "HTTP_X_FORWARDED_PROTO": text}
    _fixture.peers.apply(environ)
    ipaddress.ip_address(environ["REMOTE_ADDR"])
    assert environ["wsgi.url_scheme"] in ("http", "https")


def _file(fields: list[tuple[bytes, bytes]]) -> None:
    size, asked = FILE.stat().st_size, conditions(fields)
    _, listed = wanted_variant(_fixture.file, asked)
    is_not_modified(_fixture.file, listed, asked)
    part = wanted_range(_fixture.file, listed, asked, size)
    assert part is None or part[0] > part[1] or 0 <= part[0] <= part[1] < size
