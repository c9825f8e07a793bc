"""What serves in one process: which parts there are, what is told of requests, and where files are mounted."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.support.composition import Reactor, configuration
from tests.support.http1 import OK
from tests.support.requests import make_request
from twistserve import server
from twistserve.errors import StartError
from twistserve.http.request import Request
from twistserve.http.site import Site
from twistserve.lifecycle import Lifecycle
from twistserve.metrics import catalogue as metrics
from twistserve.net import reactor as net
from twistserve.probes.handlers import ProbeRoot
from twistserve.server import Serving


class Log:
    """Keeps the lines of the access log."""

    access_is_ours = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.settled = 0

    def access_level(self) -> int:
        return 0

    def access_prefix(self, seconds: float, level: int) -> str:
        return ""

    def write_access(self, texts: Any, count: int) -> None:
        self.lines += [text for _, text in texts]

    def settle(self) -> None:
        self.settled += 1


class Index:
    """Files below a prefix."""

    changing = True

    def __init__(self, prefix: str, kind: str = "media") -> None:
        self.prefix, self.kind = prefix, kind
        self.loaded = False

    def load(self) -> None:
        self.loaded = True

    def check_url(self) -> str:
        return self.prefix

    def find(self, relative: str, url: str) -> None:
        return None


@pytest.fixture(autouse=True)
def _views_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "views_counted", True)


def serving(log: Log | None = None, **given: Any) -> Serving:
    reactor: Any = Reactor()
    anything: Any = log or Log()
    return Serving(configuration(wsgi="shop.wsgi.application", **given), [], Lifecycle(reactor), anything, reactor)


def counted(status: str) -> float:
    labels = {"method": "GET", "status": status, "handler": "none"}
    metrics.flush()
    return REGISTRY.get_sample_value("twistserve_http_requests_total", labels) or 0.0


def tell(parts: Serving) -> None:
    """Have a request over, and another refused."""
    request = make_request(b"/told")
    request.status = 299
    parts.site.requests.add(request)
    parts.site.responded(request)
    parts.site.tell()
    parts.site.refused("192.0.2.1", 431, "head_too_large")


@pytest.mark.parametrize(
    ("given", "lines", "counts"),
    [({}, 2, 1), ({"access_log": "false"}, 0, 1), ({"no_metrics": "true"}, 2, 0), ({"no_probe": "true"}, 2, 0)],
    ids=["all", "no access log", "no metrics", "no probe port"],
)
def test_what_is_told_of_requests(given: dict[str, str], lines: int, counts: int) -> None:
    """The log has a line and the metrics a count, unless either is switched off or nobody could read it."""
    log, before = Log(), counted("299")
    tell(serving(log, **given))
    assert (len(log.lines), counted("299") - before) == (lines, counts)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["ReactorLagService", "History"]),
        ({"no_metrics": "true"}, ["History"]),
        ({"no_status_page": "true"}, ["ReactorLagService"]),
        ({"no_probe": "true"}, []),
    ],
)
def test_what_observes(given: dict[str, Any], names: list[str]) -> None:
    """Only what somebody can look at is measured."""
    assert [type(each).__name__ for each in serving(**given).observers] == names


class Epoll(net.Reactor):
    """The type of our reactor, with nothing of what it opens."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("given", "cores", "kept"),
    [({"cpu_affinity": "auto"}, 2, True), ({"cpu_affinity": "auto"}, 1, False), ({}, 2, False)],
    ids=["two cores", "one core", "not asked for"],
)
def test_where_threads_are_kept_on_a_core(
    given: dict[str, str], cores: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where that is asked for, and there are several."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    anything: Any = Log()
    values = configuration(wsgi="shop.wsgi.application", no_probe="true", **given)
    made = Serving(values, [], Lifecycle(Reactor()), anything, Epoll())
    assert [type(each).__name__ for each in made.observers] == ["CoreKeeper"] * kept
    described = made.describe()
    assert (described["threads"]["limit"], described["core"]) == (8, None)


def test_another_reactor_keeps_no_threads_on_a_core(caplog: pytest.LogCaptureFixture) -> None:
    """One line says so."""
    assert serving(cpu_affinity="auto", no_probe="true").observers == []
    assert "--cpu-affinity auto has no effect with another reactor" in caplog.text


def test_how_busy_it_is() -> None:
    """Told by the load, and by the gauges after a flush."""
    parts = serving(threads="3")
    parts.site.requests.add(make_request())
    parts.flush_metrics()
    assert (parts.load().requests, parts.load().connections) == (1, 0)
    assert metrics.requests_in_progress._value.get() == 1


def test_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django first, then what is to run between, then the files, and the application last; each once."""
    done: list[str] = []
    indexes = [Index("/static/", "static"), Index("/media/")]
    monkeypatch.setattr(server, "file_indexes", lambda configuration: indexes)
    parts = serving()
    parts._application = SimpleNamespace(  # type: ignore[assignment]
        set_up=lambda applying: done.append("set up"), load=lambda: done.append("load")
    )
    parts._log.applying_logging = None  # type: ignore[method-assign,assignment]
    steps = parts.steps(
        [("between", lambda: done.append("between"))], lambda: done.append("told"), lambda: done.append("prepared")
    )
    assert [name for name, _ in steps] == [
        *("setting Django up", "between", "indexing the static files", "indexing the media files"),
        "loading the WSGI application",
    ]
    for _, step in steps:
        step()
    assert done == ["set up", "told", "between", "prepared", "load"]
    assert all(index.loaded for index in indexes)


def test_two_kinds_of_files_below_one_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """One would hide the other."""
    monkeypatch.setattr(server, "file_indexes", lambda configuration: [Index("/files/", "static"), Index("/files/")])
    parts = serving()
    first, second = parts._files
    parts._mount(first)
    with pytest.raises(StartError, match="STATIC_URL and MEDIA_URL are the same, '/files/'"):
        parts._mount(second)


def test_files_are_mounted_below_their_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not below it is the application's."""
    monkeypatch.setattr(server, "file_indexes", lambda configuration: [Index("/deep/media/")])
    parts = serving()
    parts._mount(parts._files[0])
    asked: list[bytes] = []
    parts._root.default = lambda request: asked.append(request.path)
    for path in (b"/deep/media/a/b.txt", b"/deep/", b"/"):
        request = make_request(path)
        parts._root(request)
        assert request.handler == ("media" if path.endswith(b"txt") else "none")
    assert asked == [b"/deep/", b"/"]


def test_a_view_at_a_breakpoint_has_no_deadline() -> None:
    """With --debugger, whatever --request-timeout says."""
    assert serving(request_timeout="3")._deadlines is not None
    assert serving(request_timeout="3", debugger=True)._deadlines is None


def test_static_files_that_are_not_served_yet_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they are, they are renewed."""
    parts = serving()
    done: list[object] = []
    parts.renew_static(lambda: done.append("replaced"), None)
    parts._renewal = SimpleNamespace(renew=lambda replace, storage: done.append(storage))  # type: ignore[assignment]
    parts.renew_static(lambda: done.append("replaced"), "storage")
    assert done == ["replaced", "storage"]


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({}, ["/told"]),
        ({"log_probes": "true"}, ["/told", "/ready"]),
        ({"log_probes": "true", "access_log": "false"}, ["/ready"]),
    ],
)
def test_probes_on_the_web_port(given: dict[str, str], lines: list[str]) -> None:
    """They are there before files and the application, which follow when the port is told to open; the log is apart."""
    log = Log()
    parts = serving(log, probe_port="8000", **given)
    probes = ProbeRoot({"/ready": lambda request: request.connection.respond(OK)})
    failed: list[str] = []
    parts.put_probes_first(probes, failed.append)
    assert parts.web.early == failed.append
    asked: list[bytes] = []
    parts._root.mount_at(["/ready"], lambda request: asked.append(request.path))

    def application(request: Request) -> None:
        asked.append(request.path)
        request.connection.respond(OK)

    parts._root.default = application
    statuses = []
    for path in (b"/told", b"/ready"):
        request = make_request(path)
        parts.site.handle(request)
        statuses.append(request.connection.response.status)
    parts.web.on_open()
    for path in (b"/told", b"/ready"):
        request = make_request(path)
        parts.site.handle(request)
        request.status = request.connection.response.status
        parts.site.responded(request)
        statuses.append(request.status)
    parts.site.tell()
    assert (statuses, asked) == ([503, 200, 200, 200], [b"/told"])
    assert [line.split()[6] for line in log.lines] == lines
    assert [type(each).__name__ for each in parts.observers] == ["ReactorLagService"]


def test_probes_that_have_a_port_of_their_own() -> None:
    """The web port's site knows nothing of them."""
    parts = serving()
    assert type(parts.site) is Site
    assert parts.site.handler is parts._root
    assert parts.web.early is None
