"""The only process: the order of its services, where it listens, and what signals do."""

from __future__ import annotations

import signal
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.composition import Composed, Log, Port, Reactor, Serving, configuration, named
from twistserve.composition import one_process as module
from twistserve.composition import parts
from twistserve.development.inheritance import Inheritance
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.probes.django_checks import DjangoChecks
from twistserve.process.ending import Ending


class Process:
    """The tree for some options, and what it was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.ports: list[Port] = []
        self.steps: list[Any] = []
        self.recycled: Any = None
        monkeypatch.setattr(parts, "Port", self.make_port)
        monkeypatch.setattr(module, "Serving", self.make_serving)
        monkeypatch.setattr(module, "StartupService", self.make_startup)
        monkeypatch.setattr(module, "outside_services", self.make_outside)
        monkeypatch.setattr(module, "service_tree", Composed)
        log: Any = Log()
        inherited = {name: given.pop(name) for name in ("inheritance", "actions") if name in given}
        tree: Any = module.one_process(configuration(**given), self.lifecycle, Ending(), log, self.reactor, **inherited)
        self.tree: Composed = tree

    def make_port(self, *arguments: Any, **keywords: Any) -> Port:
        self.ports.append(Port(*arguments, **keywords))
        return self.ports[-1]

    def make_serving(self, *arguments: Any) -> Serving:
        self.serving = Serving(*arguments)
        return self.serving

    def make_startup(self, steps: Any, *arguments: Any) -> Any:
        self.steps = steps
        return named("start-up")

    def make_outside(self, configuration: Any, results: Any, *arguments: Any) -> Any:
        self.results, self.probe_sockets, self.on_web_port = results, *arguments[-2:]
        yield named("probes")
        yield named("webhooks")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **given: Process(monkeypatch, **given)


def test_probes_are_answered_before_the_start_up_and_after_the_web_port_has_closed(process: Any) -> None:
    """The log is the first that starts and the last that stops, and nothing is recycled that does not serve yet."""
    order = process(max_lifetime="1000").tree.order
    assert order == ["log", "observer", "probes", "webhooks", "pool", "web", "start-up", "recycling"]


def test_with_debug_its_reactor_is_watched(process: Any) -> None:
    """From the first to the last."""
    assert process(debug=True).tree.order[:2] == ["log", "slow callbacks"]


def test_it_says_where_it_serves(process: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Once it is ready."""
    found = process(port="8123", no_probe=True)
    with caplog.at_level("INFO", "twistserve.composition"):
        found.lifecycle.enter(State.READY, "a test")
    assert "the site is at http://127.0.0.1:8123/" in caplog.messages


def test_the_web_port_is_reserved_at_once(process: Any) -> None:
    """A conflict is told before anything has started."""
    found = process(host="127.0.0.1", port="8123")
    [port] = found.ports
    assert (port.where, port.options[0], port.bound) == (("127.0.0.1", 8123), "--port", True)
    assert found.serving.listeners == [port]


def test_endpoints_take_the_place_of_the_port(process: Any) -> None:
    """Nothing listens on --port then."""
    found = process(endpoint=["tcp:8123", "unix:/run/shop"])
    assert found.ports == []
    assert [str(each) for each in found.serving.listeners] == ["tcp:8123", "unix:/run/shop"]


def test_a_port_that_is_taken_is_an_error_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the option."""
    monkeypatch.setattr(module, "Serving", Serving)
    log: Any = Log()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = configuration(host="127.0.0.1", port=str(taken.getsockname()[1]), no_probe=True)
        with pytest.raises(StartError, match=r"^--port: "):
            module.one_process(given, Lifecycle(Reactor()), Ending(), log, Reactor())


def test_forked_children_have_none_of_the_ports(process: Any) -> None:
    """The names of all that listen are asked for when a child is forked."""
    found = process(endpoint=["tcp:8123", "tcp:8124"])
    for listener, name in zip(found.serving.listeners, ("one", "two"), strict=True):
        listener.names.append(name)
    assert found.tree.names() == ["one", "two"]


def test_the_steps_of_the_start_up(process: Any) -> None:
    """Commands run once Django is set up; checks may run from then on, and those of --check are prepared last."""
    found = process(command=["migrate", "seed --all"], check=["caches"])
    assert found.serving.between == ["running the command 'migrate'", "running the command 'seed --all'"]
    (name, set_up), last = found.steps
    assert (name, last[0]) == ("setting Django up", "preparing the checks of --check")
    assert not found.results.django_ready
    set_up()
    assert found.results.django_ready


@pytest.mark.parametrize("no_probe", [False, True])
def test_what_checks_have_to_tell(process: Any, monkeypatch: pytest.MonkeyPatch, no_probe: bool) -> None:
    """Is told once Django is set up, if there are probes."""
    told: list[str] = []
    monkeypatch.setattr(DjangoChecks, "tell", lambda checks: told.append("told"))
    [(_, set_up)] = process(no_probe=no_probe).steps
    assert told == []
    set_up()
    assert told == ["told"] * (not no_probe)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signals_that_end_it(process: Any, number: signal.Signals) -> None:
    """It drains, and the reactor stops."""
    found = process()
    found.tree.actions[number](number.name)
    assert (found.lifecycle.state, found.lifecycle.reason) == (State.DRAINING, f"received {number.name}")
    assert found.reactor.stops == 1


def test_sigquit_logs_the_stacks(process: Any) -> None:
    """And ends nothing."""
    found = process()
    found.tree.actions[signal.SIGQUIT]("SIGQUIT")
    assert found.serving.stacks == ["SIGQUIT"]
    assert found.lifecycle.state is State.STARTING


def test_sighup_needs_workers(process: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Where there are none a line says so, and it goes on."""
    found = process()
    found.tree.actions[signal.SIGHUP]("SIGHUP")
    assert "received SIGHUP, which is for the workers of --workers: there are none" in caplog.text
    assert found.lifecycle.state is State.STARTING


def test_being_recycled_is_a_drain(process: Any) -> None:
    """What has started the process starts another one."""
    found = process(max_lifetime="10")
    found.serving.site = SimpleNamespace(responses=99)
    found.lifecycle.enter(State.READY, "a test")
    found.tree.services[-1].look()
    assert found.lifecycle.state is State.DRAINING
    assert "99 requests answered" in found.lifecycle.reason
    assert found.reactor.stops == 1


def test_a_debugger_listens_before_anything_that_one_may_debug(process: Any) -> None:
    """Its step is the first; it stops when all else has, but the log."""
    found = process(debugger=True)
    assert found.tree.order[:2] == ["log", "debugger"]
    assert [name for name, _ in found.steps][:2] == ["listening for a debugger", "setting Django up"]


def test_static_files_are_collected_after_the_commands(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And watched until the end begins, before anything else stops."""

    def watch(paths: Any, renew: Any, *arguments: Any) -> Any:
        service: Any = named("static-watch")
        service.step = ("collecting the static files", lambda: None)
        return [service] if paths else []

    monkeypatch.setattr(module, "static_watch", watch)
    found = process(static=True, static_watch=["."], command=["migrate"])
    assert found.serving.between == ["running the command 'migrate'", "collecting the static files"]
    assert found.tree.order[-2:] == ["start-up", "static-watch"]
    assert "static-watch" not in process().tree.order


# With a parent


def test_the_sockets_of_a_parent(process: Any) -> None:
    """They are listened on in place of others, forked children have none of what came with them."""
    found = process(inheritance=Inheritance(2, 1, {}, 0.0, []))
    [port] = found.ports
    assert (port.bound, port.descriptors) == (False, [5, 6])
    assert found.probe_sockets == range(7, 8)
    assert found.tree.options["files"] == (3, 4, 5, 6, 7)


@pytest.mark.parametrize("inheritance", [None, Inheritance(1, 1, {}, 0.0, [])])
def test_who_listens_after_it(process: Any, inheritance: Inheritance | None) -> None:
    """Another process of the same parent, which has what waits then."""
    assert process(inheritance=inheritance).serving.web.last is (inheritance is None)


def test_signals_that_a_parent_deals_with(process: Any) -> None:
    """They come in place of what is done otherwise; the others stay."""
    told: list[str] = []
    found = process(actions={signal.SIGHUP: told.append})
    found.tree.actions[signal.SIGHUP]("SIGHUP")
    assert told == ["SIGHUP"]
    found.tree.actions[signal.SIGTERM]("SIGTERM")
    assert found.lifecycle.state is State.DRAINING


def test_probes_on_the_web_port_answer_from_the_start(process: Any) -> None:
    """What keeps them from it fails the start."""
    found = process(probe_port="8000")
    root: Any = object()
    found.on_web_port(root)
    [(probes, early)] = found.serving.probes
    assert probes is root
    found.lifecycle.on_failure = lambda message: None
    early("--port: no")
    assert found.lifecycle.failure == "--port: no"


def test_what_comes_during_a_start_waits_where_a_parent_has_the_port(process: Any) -> None:
    """--autoreload: nobody gets less than the application, or the error that it does not start for."""
    inheritance = Inheritance(0, 0, {}, 0.0, [])
    found = process(inheritance=inheritance, probe_port="8000")
    found.on_web_port(object())
    [(_, early)] = found.serving.probes
    assert early is None
