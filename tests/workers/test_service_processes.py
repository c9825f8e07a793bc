"""The processes of services that run once: which there are, when they are ready, and what is told of them."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone

from tests.support.composition import configuration
from tests.support.lifecycle import Reactor
from twistserve.lifecycle import Lifecycle, State
from twistserve.load import Load
from twistserve.probes.checks import Result, Status
from twistserve.workers import service_processes as module
from twistserve.workers.protocol import AnnounceEnd, Begin, DescribeServices, DrainWorker, LogStacks, RunProbe
from twistserve.workers.results import to_json
from twistserve.workers.service_processes import ServiceProcesses

FEED = {"name": "feed", "dotted": "prices.Feed", "state": "running", "seconds": 1.0, "up": True, "values": {}}


class Process:
    """The process of a service, which answers what the test has it answer."""

    def __init__(self, commands: Any, exited: Any, lines: Any) -> None:
        self.commands, self.exited = commands, exited
        self.asked: list[Any] = []
        self.signals: list[int] = []
        self.pid, self.at_end = 1, False
        self.answers: dict[Any, Any] = {
            RunProbe: {"results": to_json({"service:feed": Result(Status.PASS, "running")})},
            DescribeServices: {"services": [FEED]},
        }

    def start(self, reactor: Any, name: str, environ: Any, descriptors: Any, log_lock: int) -> None:
        self.name, self.environ, self.descriptors = name, environ, descriptors

    def ask(self, command: Any, **arguments: Any) -> Deferred[Any]:
        self.asked.append(command)
        answer = self.answers.get(command, {"load": Load()})
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def signal(self, number: int) -> None:
        self.signals.append(number)


class Services:
    """The services as a part of a parent, and their processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes: list[Process] = []
        self.published: list[tuple[str, str]] = []
        self.dead: list[tuple[Any, str]] = []
        monkeypatch.setattr(module, "WorkerProcess", self.make)
        monkeypatch.setattr(module, "mark_process_dead", lambda *arguments: self.dead.append(arguments))
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        options = configuration(workers="2", service=["prices.Feed", "stock.restock"], graceful_timeout="4")
        self.of_workers: list[Any] = []
        supervisor: Any = SimpleNamespace(ask_all=lambda command, seconds: succeed(self.of_workers))
        directory = lambda: "/run/metrics"  # noqa: E731
        self.service = ServiceProcesses(
            options, self.lifecycle, directory, supervisor, lambda *words: self.published.append(words), self.reactor
        )
        self.service.startService()

    def make(self, *arguments: Any) -> Process:
        self.processes.append(Process(*arguments))
        return self.processes[-1]

    def run(self, *names: str) -> list[Process]:
        """Have these run, and be ready."""
        self.service.run_once(names)
        for process in self.processes:
            process.commands.ready()
        return self.processes

    def check(self) -> Any:
        return now(self.service.check())


def now(waited: Deferred[Any]) -> Any:
    found: list[Any] = []
    waited.addCallback(found.append)
    [one] = found
    return one


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    return Services(monkeypatch)


def test_each_has_a_process_when_a_worker_says_so(services: Services) -> None:
    """Not before, and one however many workers say it. The workers start when all are ready."""
    assert services.processes == []
    started: list[Any] = []
    for _ in range(2):
        services.service.run_once(["feed", "restock"]).addCallback(started.append)
    feed, restock = services.processes
    assert [each.name for each in services.processes] == ["service-feed", "service-restock"]
    assert feed.environ["PROMETHEUS_MULTIPROC_DIR"] == "/run/metrics"
    assert (feed.descriptors, feed.asked) == ([], [Begin])
    restock.commands.at_step("starting the services", "restock")
    assert services.lifecycle.progress.startswith("starting the services: feed, restock, for ")
    restock.commands.ready()
    assert started == []
    assert services.lifecycle.progress.startswith("starting the services: feed, for ")
    feed.commands.ready()
    assert len(started) == 2


def test_a_later_worker_waits_for_nothing(services: Services) -> None:
    """Nor does one whose services all run in workers."""
    started: list[Any] = []
    services.service.run_once([]).addCallback(started.append)
    assert len(started) == 1
    services.lifecycle.enter(State.READY, "a test")
    services.service.run_once(["feed"]).addCallback(started.append)
    assert len(started) == 2
    services.service.stopService()
    services.service.run_once(["feed"]).addCallback(started.append)
    assert len(started) == 3


def test_one_that_replaces_another_waits_for_its_end(services: Services) -> None:
    """When it has imported what it is to start."""
    [old] = services.run("feed")
    services.lifecycle.enter(State.READY, "a test")
    services.service.reload()
    [_, new] = services.processes
    assert DrainWorker not in old.asked
    started: list[Any] = []
    new.commands.may_start().addCallback(started.append)
    assert DrainWorker in old.asked
    assert started == []
    old.exited("status 0")
    assert started == [{}]


def test_what_it_sends_to_websockets_is_for_the_workers(services: Services) -> None:
    """It has none itself."""
    [feed] = services.run("feed")
    feed.commands.publish(["prices", "EUR 3"])
    assert services.published == [("prices", "EUR 3")]


def test_a_drain_is_announced_at_once(services: Services) -> None:
    """Services may take on nothing more, while requests are still served."""
    [feed] = services.run("feed")
    services.lifecycle.enter(State.READY, "a test")
    assert AnnounceEnd not in feed.asked
    services.lifecycle.enter(State.DRAINING, "a test")
    assert AnnounceEnd in feed.asked
    assert DrainWorker not in feed.asked


def test_the_set_follows_what_new_workers_say(services: Services) -> None:
    """After SIGHUP a service may run in each worker."""
    [feed, restock] = services.run("feed", "restock")
    services.lifecycle.enter(State.READY, "a test")
    started: list[Any] = []
    services.service.run_once(["restock"]).addCallback(started.append)
    assert DrainWorker in feed.asked
    assert DrainWorker not in restock.asked
    # It never runs twice: neither in a worker nor, if the code changes again, in another process.
    services.service.run_once(["feed", "restock"]).addCallback(started.append)
    assert (len(services.processes), started) == (2, [])
    services.service.log_stacks()
    assert LogStacks in feed.asked
    feed.exited("status 0")
    assert services.dead == [("feed", "/run/metrics")]
    assert (len(services.processes), len(started)) == (3, 2)


def test_a_start_that_fails_ends_the_start_of_all(services: Services, capfd: pytest.CaptureFixture[str]) -> None:
    """With the reason that the process has sent."""
    services.service.run_once(["feed"])
    [process] = services.processes
    process.commands.at_step("starting the services", "feed")
    process.commands.failed("the service feed (prices.Feed) does not start: OSError: no prices")
    process.exited("status 1")
    assert services.lifecycle.failure == "the service feed (prices.Feed) does not start: OSError: no prices"


def test_one_that_never_runs_later_is_logged_and_tried_again_on_sighup(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends nothing that serves."""
    services.lifecycle.enter(State.READY, "a test")
    services.service.run_once(["feed"])
    services.processes[0].exited("status 1")
    assert services.lifecycle.state is State.READY
    assert "SIGHUP tries again" in caplog.text
    services.service.reload()
    assert len(services.processes) == 2


def test_its_readiness_is_asked_of_its_process(services: Services) -> None:
    """One that does not run fails, unless it is known to have no check."""
    [feed] = services.run("feed")
    assert services.check() == {"service:feed": Result(Status.PASS, "running")}
    feed.answers[RunProbe] = ConnectionDone()
    assert services.check()["service:feed"].status is Status.WARN
    feed.exited("killed by SIGKILL")
    assert services.check()["service:feed"].status is Status.WARN


def test_without_its_process_a_check_fails(services: Services) -> None:
    """Nobody can say that it would pass."""
    [feed] = services.run("feed")
    feed.answers[RunProbe] = {"results": to_json({"service:feed": Result(Status.PASS, "ready")})}
    assert services.check() == {"service:feed": Result(Status.PASS, "ready")}
    feed.exited("killed by SIGKILL")
    assert services.check()["service:feed"].status is Status.FAIL


def test_all_are_described_where_they_run(services: Services) -> None:
    """Those in workers once for each; one without a process too."""
    [feed, restock] = services.run("feed", "restock")
    restock.exited("killed by SIGKILL")
    cache = {**FEED, "name": "cache"}
    services.of_workers = [(SimpleNamespace(number=number), {"services": [cache]}) for number in (1, 2)]
    found = now(services.service.describe())
    assert [(each["name"], each["up"], each["where"]) for each in found] == [
        ("cache", True, "worker 1"),
        ("cache", True, "worker 2"),
        ("feed", True, "process 1"),
        ("restock", False, "its process does not run or does not answer"),
    ]
    assert feed.asked.count(DescribeServices) == 1


def test_the_end(services: Services) -> None:
    """They stop together, and all are gone then."""
    services.lifecycle.enter(State.READY, "a test")
    processes = services.run("feed", "restock")
    services.lifecycle.enter(State.DRAINING, "a test")
    stopped: list[Any] = []
    services.service.stopService().addCallback(stopped.append)
    assert all(DrainWorker in each.asked for each in processes)
    for process in processes:
        assert stopped == []
        process.exited("status 0")
    assert stopped == [None]
    services.service.run_once(["feed"])
    assert len(services.processes) == 2


def test_one_that_does_not_end_is_killed(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    """When what is left of --graceful-timeout, and a little more, is over; it is named."""
    services.lifecycle.enter(State.READY, "a test")
    [process] = services.run("feed")
    services.lifecycle.enter(State.DRAINING, "a test")
    services.reactor.advance(1.5)
    stopped: list[Any] = []
    services.service.stopService().addCallback(stopped.append)
    services.reactor.pump([0.1] * 49)
    assert process.signals == []
    services.reactor.pump([0.1] * 2)
    assert process.signals == [signal.SIGKILL]
    assert "the service feed (prices.Feed) has not stopped after 5.1 s: its process is killed" in caplog.messages
    process.exited("killed by SIGKILL")
    assert stopped == [None]


def test_what_is_for_all_processes(services: Services) -> None:
    """Their stacks, and SIGKILL at the cut."""
    [process] = services.run("feed")
    services.service.log_stacks()
    services.service.kill()
    assert process.asked[-1] is LogStacks
    assert process.signals == [signal.SIGKILL]


def test_one_that_asks_for_another_is_replaced(services: Services) -> None:
    """On SIGTERM to its process; its restarts are counted with those of workers."""
    before = REGISTRY.get_sample_value("twistserve_worker_restarts_total", {"reason": "signal"}) or 0
    [process] = services.run("feed")
    process.commands.replace_me("signal", "received SIGTERM")
    assert len(services.processes) == 2
    services.processes[1].commands.may_start()
    process.exited("status 0")
    assert REGISTRY.get_sample_value("twistserve_worker_restarts_total", {"reason": "signal"}) == before + 1
