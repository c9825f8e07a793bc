"""--service in one process: what may be named, when it runs, and what it may tell."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.draining import hold, listens, wait_until_closed
from tests.support.functional.harness import (
    AT_ONCE,
    PROMPT,
    SETTLE,
    Serve,
    Server,
    assert_failed,
    lines_with,
    refuses,
    release,
    serving,
    wait_for,
)
from tests.support.functional.services import events, said, service_metric, write_stock
from tests.support.functional.status_page import document

STOP_GRACE = 3.0
"""Seconds that services have beyond --drain-delay and --graceful-timeout."""

END_GRACE = 10.0
"""Seconds beyond both after which the process is gone, whatever a service does."""

Run = Callable[..., Server]


def services(*words: str) -> list[str]:
    """The options that name these services."""
    return [part for word in words for part in ("--service", word)]


@pytest.fixture
def run(serve: Serve, tmp_path: Path) -> Run:
    """Start a server of the services: `run("stock.Feed", options=["--threads", "1"], until=None)`."""

    def starter(*names: str, options: list[str] | None = None, settings: str = "", **kwargs: Any) -> Server:
        directory = write_stock(tmp_path / "project", settings)
        return serve(*services(*names), *(options or []), cwd=directory, settings="site_settings", **kwargs)

    return starter


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with a service of each kind, for tests that only ask."""
    directory = tmp_path_factory.mktemp("services")
    names = ("stock.Feed", "shelf=stock.GROUP", "stock.Bare", "stock.table", "stock.COPY")
    project = write_stock(directory / "project")
    options = [*services(*names), "--check-timeout", "1"]
    with serving(*options, cwd=project, logs=directory, settings="site_settings") as started:
        yield started


def readiness(server: Server, name: str) -> tuple[int, dict[str, Any]]:
    """The status of /ready, and what it says of a service."""
    reply = server.probe("/ready")
    [entry] = reply.json()["checks"][f"service:{name}"]
    return reply.status, entry


@contextmanager
def asked_for(server: Server, name: str, text: str = "") -> Iterator[None]:
    """A file that tells a service what to do, as long as the block runs."""
    path = server.cwd / name
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


def assert_ends(server: Server, bound: float) -> float:
    """SIGTERM ends the server within so many seconds, with status 0; how many it took."""
    asked = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait(bound) == 0, server.output
    return time.monotonic() - asked


# What may be named


def test_what_is_named_is_started_in_order_and_in_its_thread(server: Server) -> None:
    """Classes, a function and objects, with Twisted's own Service or without; their module comes in the main thread."""
    [imported] = events(server, "imported")
    assert (imported.thread, imported.words) == ("main", "imported True")
    [called] = events(server, "called")
    assert (called.thread, called.words) == ("reactor", "called feed True starting")
    starts = events(server, "start ")
    assert [event.words for event in starts] == [
        f"start {it} one" for it in ("feed", "member", "bare", "table", "copy")
    ]
    assert {event.thread for event in starts} == {"reactor"}
    [ready] = events(server, "state ready")
    assert called.at < starts[0].at < starts[-1].at < ready.at


UNUSABLE = {
    "word": ("stock", ["--service", "'stock'", "command line"]),
    "empty": ("", ["--service", "command line"]),
    "no-dotted": ("feed=", ["--service", "'feed='"]),
    "space-in-name": ("a b=stock.Feed", ["--service", "'a b'"]),
    "two-names": ("feed=x=stock.Feed", ["--service", "feed=x=stock.Feed"]),
    "no-module": ("absent.Feed", ["absent.Feed", "no module 'absent'"]),
    "no-attribute": ("stock.absent", ["stock.absent", "'stock'", "'absent'"]),
    "module": ("os.path", ["os.path", "module"]),
    "number": ("stock.NUMBER", ["stock.NUMBER", "int"]),
    "another-class": ("stock.NoService", ["stock.NoService", "IService"]),
    "returns-none": ("stock.returns_none", ["stock.returns_none", "None"]),
    "coroutine": ("stock.returns_coroutine", ["stock.returns_coroutine", "coroutine"]),
    "argument": ("stock.takes_more", ["stock.takes_more", "'shelf'", "lifecycle", "reactor"]),
    "raises": ("stock.raises", ["stock.raises", "LookupError", "the shelf is gone"]),
    "start-raises": ("stock.StartRaises", ["startraises", "LookupError", "the shelf is gone"]),
    "start-fails": ("stock.StartFails", ["startfails", "LookupError", "the shelf is gone"]),
    "start-exits": ("stock.StartExits", ["startexits", "SystemExit"]),
}


@pytest.mark.parametrize(("word", "named"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_a_service_ends_the_start(run: Run, word: str, named: list[str]) -> None:
    """With status 1 and one line that names it and what is wrong with it."""
    assert_failed(run(word, until=None), *named)


def test_an_empty_name(run: Run) -> None:
    """It is refused as any other that is no name."""
    server = run("=stock.Feed", until=None)
    wait_for(lambda: server.process.poll() is not None or "start-up is complete" in server.stdout, "an end or a start")
    assert server.process.poll() is not None, "it has started"
    assert_failed(server, "--service", "'=stock.Feed'")


def test_two_services_of_one_name(run: Run) -> None:
    """They are refused, with the name and both of them."""
    assert_failed(run("stock.Feed", "feed=stock.ticker", until=None), "'feed'", "stock.Feed", "stock.ticker")


# When it runs


def test_a_setting_with_manage_py(run: Run) -> None:
    """Services may be named in the settings, as a list; `manage.py serve` runs them as well."""
    setting = "TWISTSERVE = {'SERVICE': ['stock.Feed', 'shelf=stock.Bare']}\n"
    server = run(settings=setting, runner="manage")
    assert service_metric(server, "twistserve_service_up") == {'{service="feed"}': 1, '{service="shelf"}': 1}
    assert_ends(server, PROMPT)
    assert said(server, "stop ") != []


def test_the_environment(run: Run) -> None:
    """It has one a line; a start that fails says that it was the environment."""
    server = run(env={"TWISTSERVE_SERVICE": "stock.Feed\nshelf=stock.Bare"})
    assert said(server, "start ") == ["start feed one", "start bare one"]
    assert_ends(server, PROMPT)
    assert_failed(run(env={"TWISTSERVE_SERVICE": "stock"}, until=None), "TWISTSERVE_SERVICE", "'stock'")


def test_a_start_is_waited_for(run: Run) -> None:
    """/startup names the service whose start takes time; the web port and the next service come after it."""
    server = run("stock.Opening", "stock.Feed", "stock.Consumer", until=None)
    wait_for(lambda: said(server, "starting opening"), lambda: f"the start\n{server.output}")
    startup = server.probe("/startup")
    assert (startup.status, server.probe("/ready").status, server.probe("/alive").status) == (503, 503, 200)
    assert "opening" in startup.json()["checks"]["startup"][0]["output"]
    assert document(server)["lifecycle"]["state"] == "starting"
    assert refuses(server.port)
    assert said(server, "start ") == []
    assert service_metric(server, "twistserve_service_up")['{service="opening"}'] == 0
    (server.cwd / "open").touch()
    server.wait_until("/ready")
    assert said(server, "start ") == ["start opening one", "start feed one"]
    assert service_metric(server, "twistserve_service_up")['{service="opening"}'] == 1
    assert_ends(server, PROMPT)
    assert said(server, "state") == ["state starting", "state ready", "state draining", "state stopped"]
    assert said(server, "paused") == ["paused"]


def test_sigterm_while_a_service_starts(run: Run) -> None:
    """It ends the start at once, with status 0, and the services that have started stop."""
    server = run("stock.Feed", "stock.Opening", "stock.COPY", until=None)
    wait_for(lambda: said(server, "starting opening"), lambda: f"the start\n{server.output}")
    assert_ends(server, STOP_GRACE)
    assert "stop feed one" in said(server)
    assert "start copy one" not in said(server)
    assert server.stderr == ""
    assert "Traceback" not in server.output


def test_services_stop_after_the_last_request_and_before_the_probe_port_closes(run: Run) -> None:
    """All at the same time; what a service observes of the lifecycle comes at the beginning of the drain."""
    names = ("stock.Closing", "stock.Closing2", "stock.Feed", "stock.Consumer")
    server = run(*names, options=["--drain-delay", "0", "--graceful-timeout", "60"])
    client = hold(server, "last")
    server.signal(signal.SIGTERM)
    wait_until_closed(server)
    wait_for(lambda: said(server, "paused") and said(server, "state draining"), "the drain to be told")
    assert said(server, "stop") == []
    assert server.answers("/alive")
    release(server)
    assert client.outcome().startswith("200 held")
    answered = time.monotonic()
    wait_for(lambda: len(said(server, "stopping")) == 2, "both to be asked to stop")
    assert min(event.at for event in events(server, "stop")) > events(server, "paused")[0].at
    assert server.answers("/alive")
    assert server.probe("/ready").status == 503
    (server.cwd / "close").touch()
    assert server.wait(PROMPT) == 0
    assert not listens(server.probe_port)
    assert {*said(server, "stop ")} == {"stop closing one", "stop closing2 one", "stop feed one"}
    assert events(server, "stop closing one")[0].at > answered
    assert server.stderr == ""


def test_services_that_do_not_stop_well(run: Run) -> None:
    """One that never stops is left behind after three seconds more than the drain, by name; who raises is logged."""
    names = ("stock.Tripping", "stock.StopRaises", "stock.StopFails", "stock.StopExits", "stock.Endless", "stock.Feed")
    server = run(*names, options=["--drain-delay", "0", "--graceful-timeout", "0.5"])
    seconds = assert_ends(server, 0.5 + END_GRACE)
    assert 0.5 + STOP_GRACE <= seconds < 0.5 + STOP_GRACE + AT_ONCE
    [left] = lines_with(server.stdout, "left behind")
    assert " twistserve.service.endless: " in left
    errors = {"stopraises": "the lid is stuck", "stopfails": "the door is stuck", "stopexits": "SystemExit"}
    for name, error in errors.items():
        assert lines_with(server.stdout, "ERROR", f" twistserve.service.{name}: ", error)
    assert lines_with(server.stdout, "ERROR", "the drain is blocked")
    assert {*said(server, "stop ")} == {f"stop {name} one" for name in ("feed", "tripping", *errors)}
    assert server.stderr == ""


def test_requests_may_use_up_the_time_of_the_drain(run: Run) -> None:
    """Services have three seconds then, and what has not stopped is left behind."""
    server = run("stock.Endless", options=["--drain-delay", "0", "--graceful-timeout", "0.5"])
    client = hold(server, "cut")
    seconds = assert_ends(server, 0.5 + END_GRACE)
    client.closes()
    assert seconds >= 0.5 + STOP_GRACE
    [stopping] = events(server, "stopping endless")
    assert lines_with(server.stdout, " twistserve.service.endless: ", "left behind")
    assert stopping.thread == "reactor"


def test_a_service_that_blocks_the_reactor_when_it_stops(run: Run) -> None:
    """The process is gone in time all the same, with status 0, and one line names the service."""
    server = run("stock.Feed", "stock.Blocking", options=["--drain-delay", "0", "--graceful-timeout", "0.5"])
    assert_ends(server, 0.5 + END_GRACE + 1)
    [line] = lines_with(server.stdout, "cut off at the end of its time")
    assert "blocking" in line


def test_a_second_signal_ends_services_at_once(run: Run) -> None:
    """Also one that would take longer; the log does not say that it had all its time."""
    server = run("stock.Endless", options=["--drain-delay", "0"])
    server.signal(signal.SIGTERM)
    wait_for(lambda: said(server, "stopping endless"), "the stop")
    assert_ends(server, AT_ONCE)
    assert "Traceback" not in server.output
    assert lines_with(server.stdout, "endless", "28.0 s") == []


def test_a_run_in_a_thread_is_waited_for(run: Run) -> None:
    """The end waits for the run of a TimerService, as its Deferred says; the probe port is open as long."""
    server = run("stock.restock")
    wait_for(lambda: said(server, "restocking"), "the first run")
    server.signal(signal.SIGTERM)
    wait_until_closed(server)
    assert server.answers("/alive")
    (server.cwd / "restocked").touch()
    assert server.wait(PROMPT) == 0
    assert said(server, "restock") == ["restocking", "restocked"]
    assert lines_with(server.stdout, "left behind") == []


# What it may tell


def test_what_readiness_says_of_services(server: Server) -> None:
    """Each has an entry; without `check_ready` it passes as long as the service runs."""
    reply = server.probe("/ready").json()
    assert reply["status"] == "pass"
    for name in ("feed", "shelf", "bare", "table", "copy"):
        assert reply["checks"][f"service:{name}"][0]["status"] == "pass"


@pytest.mark.parametrize(
    ("verdict", "output"),
    {
        "text": ("text the feed is stale", "the feed is stale"),
        "later-text": ("later the feed is stale", "the feed is stale"),
        "raises": ("raise hunter2", "raised LookupError"),
        "fails": ("fail hunter2", "raised LookupError"),
        "exits": ("exit", "raised SystemExit"),
    }.values(),
)
def test_check_ready(server: Server, verdict: str, output: str) -> None:
    """A text fails readiness and is shown; what is raised fails it by its type; None passes, and all goes on."""
    with asked_for(server, "verdict", verdict):
        wait_for(lambda: server.answers("/ready", 503), "readiness to fail")
        status, entry = readiness(server, "feed")
        assert (status, entry["status"], entry["output"]) == (503, "fail", output)
        assert server.answers("/alive")
        assert server.get("/who/").status == 200
    with asked_for(server, "verdict", "later"):
        server.wait_until("/ready")
        assert readiness(server, "feed")[1]["status"] == "pass"


def test_check_ready_that_is_never_done(serve: Serve, tmp_path: Path) -> None:
    """It fails after `--check-timeout`, at once the next time, and passes when it is done."""
    directory = write_stock(tmp_path / "project")
    (directory / "verdict").write_text("hang")
    options = [*services("stock.Feed"), "--check-timeout", "0.5"]
    server = serve(*options, cwd=directory, settings="site_settings", until="/startup")
    asked = time.monotonic()
    status, entry = readiness(server, "feed")
    assert 0.4 < time.monotonic() - asked < AT_ONCE
    assert (status, entry["status"]) == (503, "fail")
    assert "0.5 s" in entry["output"]
    assert server.answers("/alive")
    (directory / "verdict").unlink()
    (directory / "hung").touch()
    server.wait_until("/ready")


def test_metrics(server: Server) -> None:
    """What `metrics()` returns is there with each scrape, beside whether each service runs and counters of its own."""
    first, second = (service_metric(server, "twistserve_service_value") for _ in range(2))
    symbols, scrapes = (f'{{name="{name}",service="feed"}}' for name in ("symbols", "scrapes"))
    assert (first[symbols], second[scrapes] - first[scrapes]) == (7, 1)
    assert {*first} == {symbols, scrapes}
    up = service_metric(server, "twistserve_service_up")
    assert up == {f'{{service="{name}"}}': 1 for name in ("feed", "shelf", "bare", "table", "copy")}
    assert "stock_starts_total 4.0" in server.probe("/metrics").text
    with asked_for(server, "figures"):
        reply = server.probe("/metrics")
        assert reply.status == 200
        assert 'twistserve_service_up{service="feed"} 1.0' in reply.text
    assert service_metric(server, "twistserve_service_value")[symbols] == 7


def test_the_status_page(server: Server) -> None:
    """It tells of each service whether it runs, as JSON and for people."""
    found = {each["name"]: each for each in document(server)["services"]}
    assert {*found} == {"feed", "shelf", "bare", "table", "copy"}
    assert all(each["up"] for each in found.values())
    page = server.probe("/").text
    for name in found:
        assert name in page
    [option] = [each for each in document(server)["options"] if each["option"] == "--service"]
    assert "stock.Feed" in option["value"]
    assert option["source"] == "the command line"


def test_the_log(server: Server) -> None:
    """Lines about a service come from a logger of its name; its own from its own."""
    for name in ("feed", "shelf", "bare", "table", "copy"):
        assert lines_with(server.stdout, f" twistserve.service.{name}: ")
    assert lines_with(server.stdout, " stock: the feed has started")


def test_a_timer_service_whose_function_raises(run: Run) -> None:
    """It warns, is 0 in the metric, and an ERROR in the log, whether or not anybody asks."""
    server = run("stock.ticker", "stock.Feed")
    (server.cwd / "break").touch()
    wait_for(lambda: "out of ticks" in server.stdout, "the end of the ticker")
    wait_for(lambda: service_metric(server, "twistserve_service_up")['{service="ticker"}'] == 0, "the metric")
    time.sleep(SETTLE)
    status, entry = readiness(server, "ticker")
    assert (status, entry["status"], readiness(server, "feed")[1]["status"]) == (200, "warn", "pass")
    [found] = [each for each in document(server)["services"] if each["name"] == "ticker"]
    assert not found["up"]
    assert lines_with(server.stdout, " ERROR ", " twistserve.service.ticker: ")
    assert_ends(server, PROMPT)


def test_the_log_has_the_end_of_a_service_that_nobody_asks_about(run: Run) -> None:
    """The ERROR comes without a probe."""
    server = run("stock.ticker")
    (server.cwd / "break").touch()
    wait_for(lambda: lines_with(server.stdout, " ERROR ", " twistserve.service.ticker: "), "the line", PROMPT / 3)
