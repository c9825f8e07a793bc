"""What the access log makes of what clients and proxies send."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.http1 import MALFORMED, Recorder, Transport, get
from twistserve.http.access_log import AccessLog
from twistserve.http.site import Site


class Log:
    """Keeps what it is given."""

    access_is_ours = True

    def __init__(self, least: int = logging.INFO) -> None:
        self.least = least
        self.prefix = ""
        self.prefixes: list[int] = []
        self.lines: list[tuple[int, str]] = []
        self.records: list[tuple[int, str, dict[str, Any]]] = []

    def access_level(self) -> int:
        return self.least

    def access_prefix(self, seconds: float, level: int) -> str:
        self.prefixes.append(level)
        return self.prefix

    def write_access(self, texts: Sequence[tuple[int, str]], count: int) -> None:
        lines = [(level, line) for level, text in texts for line in text.split("\n")]
        assert len(lines) == count
        self.lines += lines

    def record_access(self, level: int, line: str, fields: dict[str, Any]) -> None:
        self.records.append((level, line, fields))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


FORGED = '1.2.3.4\x1b[31m"evil \u2028\n\\'


def logged(peer: str, data: bytes, as_json: bool) -> list[str]:
    """The lines of a connection from this peer on which these bytes arrive."""
    log = Log()
    access_log = AccessLog(log, as_json)
    refused = lambda remote, status, reason: access_log.refused(remote, status)  # noqa: E731
    site = Site(Recorder(at_once=True), Clock(), None, access_log.responded, refused)
    connection = site.buildProtocol(None)
    connection.makeConnection(Transport(peerAddress=IPv4Address("TCP", peer, 1234)))
    connection.dataReceived(data)
    site.tell()
    return log.texts


@pytest.mark.parametrize("data", [get(b"/"), MALFORMED], ids=["responded", "refused"])
def test_a_forged_address_stays_within_its_field(data: bytes) -> None:
    """An address is the first word of its line, whatever somebody gives for one."""
    [text] = logged(FORGED, data, as_json=False)
    assert text.startswith(r"1.2.3.4\x1b\x5b31m\x22evil\x20\x2028\x0a\x5c - - [")
    assert text.isprintable()
    [text] = logged(FORGED, data, as_json=True)
    assert text.isprintable()
    assert json.loads(text)["remote"] == FORGED


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "-"])
@pytest.mark.parametrize("data", [get(b"/"), MALFORMED], ids=["responded", "refused"])
def test_an_address_is_logged_as_it_is(peer: str, data: bytes) -> None:
    """Nothing of an address is escaped."""
    [text] = logged(peer, data, as_json=False)
    assert text.startswith(f"{peer} - - [")


@pytest.mark.parametrize("data", [get(b"/"), MALFORMED], ids=["responded", "refused"])
def test_an_ipv4_client_of_a_socket_of_both_kinds(data: bytes) -> None:
    """Its address is the one that people know."""
    [text] = logged("::ffff:192.0.2.1", data, as_json=False)
    assert text.startswith("192.0.2.1 - - [")
    [text] = logged("::ffff:192.0.2.1", data, as_json=True)
    assert json.loads(text)["remote"] == "192.0.2.1"


def test_what_we_cut_off_is_not_called_its_clients_doing() -> None:
    """It is logged as an error of the server, once, though its connection is lost after that."""
    log = Log()
    site = Site(Recorder(), Clock(), on_responses=AccessLog(log).responded)
    connection = site.buildProtocol(None)
    transport = Transport()
    transport.abortConnection = lambda: connection.connectionLost(Failure(ConnectionDone()))  # type: ignore[method-assign]
    connection.makeConnection(transport)
    connection.dataReceived(get(b"/"))
    site.abort()
    [line] = log.texts
    assert '"GET / HTTP/1.1" 503 0 ' in line


@dataclass
class Responded:
    """A request that was responded to by a status."""

    status: int
    fields: list[tuple[bytes, bytes]] = field(default_factory=lambda: [(b"traceparent", b"00-1-2-01")])
    request_id: bytes = b"r1"
    remote: str = "192.0.2.1"
    method: bytes = b"GET"
    target: bytes = b"/?q=1"
    version: str = "1.1"
    sent: int = 5
    duration: float = 0.25
    queue_time: float = 0.125


LEVELS = {200: logging.INFO, 304: logging.INFO, 404: logging.WARNING, 499: logging.WARNING, 503: logging.ERROR}


@pytest.mark.parametrize("as_json", [False, True])
def test_the_level_of_a_line_is_that_of_its_status(as_json: bool) -> None:
    """A 5xx is an error, a 4xx a warning, and what is below the wanted level is not logged."""
    log = Log()
    AccessLog(log, as_json).responded([Responded(status) for status in LEVELS])
    assert [level for level, _ in log.lines] == list(LEVELS.values())
    log = Log(logging.ERROR)
    AccessLog(log, as_json).responded([Responded(status) for status in LEVELS])
    AccessLog(log, as_json).responded([Responded(200)])
    assert [level for level, _ in log.lines] == [logging.ERROR]


def test_a_line_as_json() -> None:
    """It has what every line of the log has, and the fields of a request."""
    log = Log()
    AccessLog(log, as_json=True).responded([Responded(404)])
    fields = json.loads(log.texts[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("time"))
    assert fields == {
        "level": "WARNING",
        "logger": "twistserve.access",
        "message": "GET /?q=1 404",
        "request_id": "r1",
        "remote": "192.0.2.1",
        "method": "GET",
        "path": "/?q=1",
        "status": 404,
        "bytes": 5,
        "duration": 0.25,
        "queue_time": 0.125,
        "traceparent": "00-1-2-01",
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_handlers_of_the_project_get_records(as_json: bool) -> None:
    """Where lines do not go to our output alone, each is a record with the fields for our formatter."""
    log = Log()
    log.access_is_ours = False
    AccessLog(log, as_json).responded([Responded(503)])
    [(level, line, fields)] = log.records
    assert level == logging.ERROR
    assert fields["status"] == 503
    assert json.loads(line)["path"] == "/?q=1" if as_json else '"GET /?q=1 HTTP/1.1" 503 ' in line


def test_lines_of_text_begin_as_the_log_says() -> None:
    """All in their order; the prefix is made once for a level: made for each, it took as long as the rest of a line."""
    log = Log()
    log.prefix = "12:00 twistserve.access: "
    access_log = AccessLog(log)
    access_log.responded([Responded(200), Responded(503), Responded(200)])
    assert log.prefixes == [logging.INFO, logging.ERROR]
    assert [level for level, _ in log.lines] == [logging.INFO, logging.ERROR, logging.INFO]
    access_log.refused("192.0.2.1", 400)
    assert [text.startswith("12:00 twistserve.access: 192.0.2.1 - - [") for text in log.texts] == [True] * 4


def test_each_line_has_its_own_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was written of the one before."""
    log = Log()
    access_log = AccessLog(log)
    for seconds in (1767225599.9, 1767225600.0, 1767225600.9):
        monkeypatch.setattr("time.time", lambda seconds=seconds: seconds)
        access_log.responded([Responded(200)])
    times = [re.findall(r"\[(.*)\]", text)[0] for text in log.texts]
    assert times == ["31/Dec/2025:23:59:59 +0000", *["01/Jan/2026:00:00:00 +0000"] * 2]


def test_lines_of_json_begin_with_nothing() -> None:
    """Each is an object and no more, responded to or refused."""
    log = Log()
    log.prefix = "12:00 twistserve.access: "
    access_log = AccessLog(log, as_json=True)
    access_log.responded([Responded(200)])
    access_log.refused("192.0.2.1", 400)
    assert [json.loads(text)["status"] for text in log.texts] == [200, 400]
