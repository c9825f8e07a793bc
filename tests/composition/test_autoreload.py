"""--autoreload: what the parent hands on and does with signals, and what the process that serves has of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import MultiService, Service

from tests.support import composition
from tests.support.composition import Composed, Log, Port, Reactor, configuration, named
from twistserve.composition import autoreload as module
from twistserve.composition import parts
from twistserve.development import command
from twistserve.development.autoreload import KILLED_AFTER
from twistserve.development.inheritance import OPTIONS, VARIABLE, Inheritance
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.process.ending import CUT, END, Ending


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("twistserve", "twisted")]
    before = [each.level for each in loggers]
    yield
    for each, level in zip(loggers, before, strict=True):
        each.setLevel(level)


class Socket:
    """A bound socket that notes how long its queue is."""

    def __init__(self, name: Any, number: int) -> None:
        self.name, self.number, self.backlog = name, number, 0
        self.error: OSError | None = None

    def getsockname(self) -> Any:
        return self.name

    def fileno(self) -> int:
        return self.number

    def listen(self, backlog: int) -> None:
        if self.error is not None:
            raise self.error
        self.backlog = backlog


class AutoreloadService(Service):
    """In place of what keeps a process running: notes what is asked of it."""

    name = "autoreload"

    def __init__(self, start: Any, watch: Any, error_site: Any, grace: float, lifecycle: Any, reactor: Any) -> None:
        self.start, self.watch, self.error_site, self.grace = start, watch, error_site, grace
        self.did: list[Any] = []

    def interrupt(self) -> None:
        self.did.append("interrupt")

    def signal(self, number: int) -> None:
        self.did.append(number)

    def kill(self) -> None:
        self.did.append("kill")


class ServingProcess:
    """In place of the process that serves: what it was started with."""

    def __init__(self, told: Any, ended: Any, reactor: Any) -> None:
        self.told, self.ended = told, ended

    def start(self, *arguments: Any) -> None:
        self.command, self.environ, self.sockets = arguments


class Watcher:
    """In place of what watches files."""

    def __init__(self, changed: Any, since: float, paths: Any = (), unreliable: Any = (), **options: Any) -> None:
        self.changed, self.since, self.paths, self.unreliable = changed, since, paths, unreliable
        self.options = options
        self.running = False

    def start(self) -> None:
        self.running = True


class Parent:
    """The tree of the parent for some options, and what it was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None, **given: Any) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.ending = Ending()
        self.ports: list[Port] = []
        self.error = error
        monkeypatch.setattr(parts, "Port", self.make_port)
        monkeypatch.setattr(module, "AutoreloadService", self.make_service)
        monkeypatch.setattr(module, "ErrorSite", self.make_error_site)
        monkeypatch.setattr(module, "ServingProcess", ServingProcess)
        monkeypatch.setattr(module, "Watcher", Watcher)
        monkeypatch.setattr(module, "service_tree", Composed)
        monkeypatch.setattr(command, "again", lambda: ["python", "-m", "it"])
        monkeypatch.setattr(command, "environment", lambda: {"NAME": "value", "RUN_MAIN": "no"})
        log: Any = Log()
        options = configuration(autoreload=True, **given)
        tree: Any = module.autoreload_parent(options, self.lifecycle, self.ending, log, self.reactor)
        self.tree: Composed = tree

    def make_port(self, *arguments: Any, **keywords: Any) -> Port:
        port = Port(*arguments, **keywords)
        number = 20 + len(self.ports)
        port.sockets = [Socket(port.where, number)]  # type: ignore[list-item]
        port.sockets[0].error = self.error
        self.ports.append(port)
        return port

    def make_service(self, *arguments: Any) -> AutoreloadService:
        self.service = AutoreloadService(*arguments)
        return self.service

    def make_error_site(self, configuration: Any, listeners: Any, probe_ports: Any, reactor: Any) -> str:
        self.listeners, self.probe_ports = listeners, probe_ports
        return "an error site"

    def start(self, started: float = 17.5, unreliable: tuple[str, ...] = ()) -> Any:
        anything: Any = None
        return self.service.start(started, list(unreliable), anything, anything)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **given: Parent(monkeypatch, **given)


# The parent


def test_it_is_a_log_and_what_keeps_a_process_running(parent: Any) -> None:
    """Ready at once: how the project's start goes is told by the process that serves."""
    found = parent()
    assert found.tree.order == ["log", "autoreload"]
    assert found.lifecycle.state is State.READY
    assert found.service.error_site == "an error site"
    assert not found.tree.options["sets_up"]


def test_connections_wait_from_the_start(parent: Any) -> None:
    """On both ports, whoever serves them later."""
    found = parent(host="127.0.0.1", port="8123", backlog="7")
    web, probes = found.ports
    assert (web.where, web.bound, web.sockets[0].backlog) == (("127.0.0.1", 8123), True, 7)
    assert (probes.where, probes.bound, probes.sockets[0].backlog) == (("127.0.0.1", 8124), True, 7)
    assert found.tree.names() == [web.where, probes.where]


def test_a_port_that_somebody_else_listens_on(parent: Any) -> None:
    """It may have been bound by both; that is told in one line."""
    with pytest.raises(StartError, match="Address already in use"):
        parent(port="8123", error=OSError(98, "Address already in use"))


def test_the_process_inherits_the_sockets(parent: Any) -> None:
    """Those of the site first, and what they were made for."""
    process = parent(port="8123").start(unreliable=("/srv/made.py",))
    inheritance = Inheritance(**json.loads(process.environ[VARIABLE]))
    assert (process.command, process.sockets) == (["python", "-m", "it"], [20, 21])
    assert (inheritance.web, inheritance.probes) == (1, 1)
    assert (inheritance.options["port"], inheritance.options["probe_port"]) == (8123, 8124)
    assert (inheritance.started, inheritance.unreliable) == (17.5, ["/srv/made.py"])


def test_the_process_has_the_first_environment(parent: Any) -> None:
    """And what Django's reloader tells a project with."""
    environ = parent().start().environ
    assert (environ["NAME"], environ["RUN_MAIN"]) == ("value", "true")
    assert set(environ) == {"NAME", "RUN_MAIN", VARIABLE}


def test_without_probes_there_is_one_port(parent: Any) -> None:
    """The error site opens none either."""
    found = parent(no_probe=True)
    assert len(found.ports) == 1
    assert found.start().sockets == [20]
    assert found.probe_ports() == []


def test_the_error_site_has_descriptors_of_its_own(parent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes them when it lets go, and the parent's stay."""
    found = parent()
    monkeypatch.setattr(os, "dup", lambda number: number + 100)
    [web], [probes] = found.listeners(), found.probe_ports()
    assert (web.descriptors, probes.descriptors) == ([120], [121])
    assert [each.bound for each in (web, probes)] == [False, False]


def test_what_is_watched_while_the_project_does_not_start(
    parent: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it was read from, what the developer has added, and new modules where it is; not where Python's are."""
    monkeypatch.chdir(tmp_path)
    env = tmp_path / ".env"
    env.write_text("")
    found = parent(autoreload_watch=[str(env)])
    # twistd may go elsewhere.
    monkeypatch.chdir("/")
    changes: list[str] = []
    files = ["/usr/src/shop/views.py", os.__file__, "/srv/lib/site-packages/django/apps.py", "/srv/x/apps.py"]
    watcher = found.service.watch(files, 17.5, ["/srv/made.py"], changes.append)
    assert watcher.running
    assert (watcher.paths, watcher.since) == ([*files, str(env)], 17.5)
    assert watcher.unreliable == ["/srv/made.py"]
    assert watcher.options["newcomers"] == sorted(["/usr/src/shop", "/srv/x", str(tmp_path)])
    watcher.changed("/srv/x/apps.py", True)
    assert changes == ["/srv/x/apps.py"]


def test_the_process_has_the_time_of_requests_and_of_the_rest(parent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent has more, so that it is not cut off in waiting, and kills the process if it is."""
    granted: list[float] = []
    monkeypatch.setattr(Ending, "grant", lambda ending, seconds: granted.append(seconds))
    found = parent(graceful_timeout="20")
    assert found.service.grace == 20 + END
    assert granted[-1] + END - CUT > found.service.grace + 2 * KILLED_AFTER
    found.ending.at_cut()
    assert found.service.did == ["kill"]


def test_sigterm(parent: Any) -> None:
    """The service tells the process when it is stopped; a second one goes on to it."""
    found = parent()
    found.tree.actions[signal.SIGTERM]("SIGTERM")
    assert (found.lifecycle.state, found.service.did, found.reactor.stops) == (State.DRAINING, [], 1)
    waiting = found.lifecycle.hurry()
    found.tree.actions[signal.SIGTERM]("SIGTERM")
    assert found.service.did == [signal.SIGTERM]
    assert waiting.called


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_end_of_a_developers_patience(parent: Any, number: signal.Signals) -> None:
    """Ctrl-C, or the terminal was closed: everything ends at once, and nothing is said."""
    found = parent()
    found.tree.actions[number](number.name)
    assert (found.lifecycle.state, found.service.did, found.reactor.stops) == (State.DRAINING, ["interrupt"], 1)
    assert not logging.getLogger("twistserve").isEnabledFor(logging.ERROR)


def test_sigquit(parent: Any) -> None:
    """The stacks are the other process's."""
    found = parent()
    found.tree.actions[signal.SIGQUIT]("SIGQUIT")
    assert (found.service.did, found.lifecycle.state) == ([signal.SIGQUIT], State.READY)


# The process that serves


class Web(composition.Web):
    """The web port's service."""

    times: Any = None


class Child:
    """The tree of the process that serves, and what it was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, inherited: dict[str, Any], **given: Any) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.watchers: list[Watcher] = []
        self.followed: list[Any] = []
        monkeypatch.setattr(module, "one_process", self.make_tree)
        monkeypatch.setattr(module, "Watcher", self.make_watcher)
        monkeypatch.setattr(module, "follow_start", self.followed.append)
        given_options = configuration(autoreload=True, **given)
        there = {name: getattr(given_options, name) for name in OPTIONS} | inherited
        # As they come.
        self.inheritance = Inheritance(1, 1, json.loads(json.dumps(there)), 17.5, ["/srv/made.py"])
        log: Any = Log()
        self.ending = Ending()
        self.tree: Any = module.autoreload_child(
            given_options, self.inheritance, self.lifecycle, self.ending, log, self.reactor
        )

    def make_watcher(self, *arguments: Any) -> Watcher:
        self.watchers.append(Watcher(*arguments))
        return self.watchers[-1]

    def make_tree(self, configuration: Any, *others: Any) -> Any:
        self.configuration, self.inherited, self.actions = configuration, *others[-2:]
        tree = MultiService()
        for service in (named("log"), Web()):
            service.setServiceParent(tree)
        return tree


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda inherited={}, **given: Child(monkeypatch, inherited, **given)


def test_it_is_one_process_that_watches_its_files(child: Any) -> None:
    """From its very start on; the parent is told how that goes."""
    found = child(autoreload_watch=["/"])
    assert [service.name for service in found.tree] == ["log", "web", "reloader"]
    [watcher] = found.watchers
    assert (watcher.since, watcher.paths, watcher.unreliable) == (17.5, ("/",), ["/srv/made.py"])
    assert found.followed == [found.lifecycle]
    assert found.inherited is found.inheritance


def test_nobody_waits_for_the_ports_to_close(child: Any) -> None:
    """No balancer is there that would have to notice first."""
    assert child(drain_delay="5").configuration.drain_delay == 0


def test_the_sockets_are_as_they_were_made(child: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Options that have changed meanwhile count for the next command; a line names each."""
    found = child({"port": 9000, "endpoint": ["tcp:9000"]}, probe_host="::1")
    assert (found.configuration.port, found.configuration.endpoint) == (9000, ("tcp:9000",))
    assert found.configuration.probe_host == "::1"
    assert caplog.messages == [
        f"--{name} has changed: that counts when the command is started anew" for name in ("port", "endpoint")
    ]


def test_options_that_are_as_they_were(child: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of them."""
    child(endpoint=["tcp:8000", "tcp:8002"])
    assert caplog.messages == []


def test_ctrl_c_in_the_process_that_serves(child: Any) -> None:
    """It drains nothing, for nobody waits."""
    found = child()
    waiting = found.lifecycle.hurry()
    found.actions[signal.SIGINT]("SIGINT")
    assert (found.lifecycle.state, found.reactor.stops) == (State.DRAINING, 1)
    assert waiting.called
    assert not logging.getLogger("twistserve").isEnabledFor(logging.ERROR)


def test_the_terminal_is_the_parents(child: Any) -> None:
    """The process is told by the parent what to do when it is closed; other signals are as without --autoreload."""
    found = child()
    found.actions[signal.SIGHUP]("SIGHUP")
    assert found.lifecycle.state is State.STARTING
    assert set(found.actions) == {signal.SIGINT, signal.SIGHUP}


def test_a_change_is_dealt_with_by_the_reactor(child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by another thread."""
    found = child()
    monkeypatch.setattr("twistserve.development.reloaded.tell", lambda **news: None)
    found.watchers[0].changed("/srv/views.py", False)
    assert found.reactor.stops == 0
    for call in found.reactor.from_threads:
        call()
    assert found.lifecycle.state is State.DRAINING
