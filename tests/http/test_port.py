"""The web port as a service: when it opens, what it says, and how it drains; on a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from tests.support.http1 import Lab, get
from twistserve.errors import StartError
from twistserve.http.limits import Limits
from twistserve.http.port import Drain, WebService


@pytest.fixture(autouse=True)
def raised(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often the limit of open files was to be raised, which is left as it is."""
    raised: list[bool] = []
    monkeypatch.setattr("twistserve.net.open_files.raise_limit", lambda: raised.append(True))
    return raised


class Listener:
    """A port that notes what it is told; it is closed when the test says so."""

    def __init__(self, name: str, told: list[str], closed: Deferred[Any] | None = None) -> None:
        self.name, self.told, self.closed = name, told, closed or succeed(None)
        self.names: list[Any] = []
        self.opened: Deferred[None] = succeed(None)
        self.last: list[bool] = []

    def __str__(self) -> str:
        return self.name

    def open(self, factory: Any) -> Deferred[None]:
        self.told.append(f"open {self.name}")
        return self.opened

    def pause(self, paused: bool) -> None:
        self.told.append(f"{'pause' if paused else 'go on'} {self.name}")

    def close(self, last: bool = True) -> Deferred[Any]:
        self.last.append(last)
        self.told.append(f"close {self.name}")
        return self.closed


class Bench:
    """A service with two ports on a site; `waits` are what it has waited for, and for how many seconds at most."""

    def __init__(self, drain: Drain | None = None, connections: int = 10) -> None:
        self.told: list[str] = []
        self.lab = Lab(limits=Limits(max_connections=connections))
        self.ports = [Listener("a:80", self.told), Listener("b:80", self.told)]
        self.waits: list[tuple[Deferred[Any], float]] = []
        self.finished: Deferred[None] = succeed(None)
        self.service = WebService(
            self.ports, self.lab.site, drain or Drain(), self.wait, lambda: self.finished, lambda wanted: min(wanted, 7)
        )

    def wait(self, what: Deferred[Any], seconds: float) -> Deferred[None]:
        self.waits.append((what, seconds))
        self.told.append(f"wait {seconds:g}")
        waited: Deferred[None] = Deferred()

        def done(result: object) -> None:
            if not waited.called:
                waited.callback(None)

        what.addBoth(done)
        self.time_is_up = lambda: waited.callback(None)
        return waited

    def stop(self) -> list[None]:
        """Begin to stop; the list has one element when that is done."""
        stopped: list[None] = []
        self.service.stopService().addCallback(stopped.append)
        return stopped


def test_ports_open_one_after_another(caplog: pytest.LogCaptureFixture) -> None:
    """When the service is told, not when it starts; the log says where requests are served."""
    bench = Bench()
    bench.service.startService()
    assert bench.told == []
    with caplog.at_level("INFO"):
        bench.service.open()
    assert bench.told == ["open a:80", "open b:80"]
    assert [line for line in caplog.messages if "serving" in line] == ["serving on a:80", "serving on b:80"]


def test_a_port_that_cannot_be_opened() -> None:
    """The start fails with what the port has said, and no other port is opened."""
    bench = Bench()
    bench.ports[0].opened = fail(StartError("--port: no"))
    failures: list[Any] = []
    bench.service.open().addErrback(failures.append)
    assert str(failures[0].value) == "--port: no"
    assert bench.told == ["open a:80"]


def test_with_probes_the_ports_open_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Bounded from then on, and once; what is to be done before requests are served is done when it is told to open."""
    bench = Bench()
    failures: list[str] = []
    bench.service.early = failures.append
    bench.service.on_open = lambda: bench.told.append("begin")
    with caplog.at_level("INFO"):
        bench.service.startService()
        assert bench.told == ["open a:80", "open b:80"]
        assert bench.lab.site.limits.max_connections == 7
        bench.service.open()
    assert bench.told == ["open a:80", "open b:80", "begin"]
    assert [line for line in caplog.messages if ":80" in line] == [
        *("probes on a:80", "probes on b:80", "serving on a:80", "serving on b:80")
    ]
    assert failures == []


def test_a_port_with_probes_that_cannot_be_opened() -> None:
    """Why is told, so that the start fails."""
    bench = Bench()
    bench.ports[0].opened = fail(StartError("--port: no"))
    failures: list[str] = []
    bench.service.early = failures.append
    bench.service.startService()
    assert failures == ["--port: no"]


def test_a_start_with_probes_that_fails_ends_soon() -> None:
    """Nobody was to send requests here; who does so slowly is not waited for."""
    bench = Bench(Drain(delay=3))
    bench.service.early = lambda reason: None
    bench.service.startService()
    assert bench.stop() == [None]
    assert bench.told[2:] == ["close a:80", "close b:80", "wait 1"]


def test_connections_are_bounded_by_what_there_may_be() -> None:
    """The site learns how many that are when the ports open; at the bound all ports pause."""
    bench = Bench()
    bench.service.open()
    assert bench.lab.site.limits.max_connections == 7
    bench.told.clear()
    connections = [bench.lab.connect() for _ in range(7)]
    assert bench.told == ["pause a:80", "pause b:80"]
    connections[0].lose()
    assert bench.told[2:] == ["go on a:80", "go on b:80"]


def test_a_drain_serves_on_then_closes_then_waits(caplog: pytest.LogCaptureFixture) -> None:
    """In this order and with these times; it is over with the last response."""
    bench = Bench(Drain(delay=3, timeout=20))
    bench.service.open()
    connection = bench.lab.connect()
    connection.feed(get(b"/"))
    bench.told.clear()
    with caplog.at_level("INFO"):
        stopped = bench.stop()
        assert (bench.told, bench.lab.site.connections.draining) == (["wait 3"], False)
        bench.time_is_up()
    assert bench.told == ["wait 3", "close a:80", "close b:80", "wait 20"]
    assert bench.lab.site.connections.draining
    assert "draining: new requests are served for 3 s more, until the ports close" in caplog.messages
    assert "draining: waiting for 1 requests in flight, at most 20 s" in caplog.messages
    assert stopped == []
    bench.lab.recorder.respond()
    connection.lose()
    assert stopped == [None]
    assert connection.statuses == [200]


def test_a_request_that_takes_too_long_is_cut_off(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the time its connection is aborted, and the log names it."""
    bench = Bench()
    bench.service.open()
    connection = bench.lab.connect()
    aborted: list[bool] = []
    monkeypatch.setattr(connection.transport, "abortConnection", lambda: aborted.append(True), raising=False)
    connection.feed(get(b"/slow"))
    stopped = bench.stop()
    bench.time_is_up()
    assert (stopped, aborted) == ([None], [True])
    assert "GET /slow" in caplog.text


def test_threads_that_are_at_work_are_waited_for() -> None:
    """A view whose client has left may be writing to a database."""
    bench = Bench()
    bench.service.open()
    bench.finished = Deferred()
    stopped = bench.stop()
    assert stopped == []
    bench.finished.callback(None)
    assert stopped == [None]


def test_the_times_of_a_drain_may_change_until_it_begins() -> None:
    """A process that is reloaded has less."""
    bench = Bench(Drain(delay=3, timeout=20))
    bench.service.startService()
    bench.service.open()
    bench.service.times = Drain(timeout=2)
    bench.stop()
    assert "wait 2" in bench.told
    assert "wait 3" not in bench.told


def test_a_service_that_never_opened_has_no_delay() -> None:
    """Nobody sends requests here that could notice; the ports that were bound are given back."""
    bench = Bench(Drain(delay=3))
    assert bench.stop() == [None]
    assert bench.told == ["close a:80", "close b:80", "wait 25"]


@pytest.mark.parametrize("last", [True, False])
def test_who_closes_last_is_told(last: bool) -> None:
    """A process that others go on without leaves them the clients that wait."""
    bench = Bench()
    bench.service.last = last
    bench.stop()
    assert [port.last for port in bench.ports] == [[last], [last]]


def test_room_for_connections_is_made_at_the_start(raised: list[bool]) -> None:
    """The limit of open files is raised before anything is served."""
    Bench().service.startService()
    assert raised == [True]
