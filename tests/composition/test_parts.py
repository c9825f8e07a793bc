"""What one process and the parent of several have in common: what others can ask, what they are told, and signals."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from tests.support.composition import Port, Reactor, Serving, configuration, named
from twistserve.composition import parts
from twistserve.lifecycle import Lifecycle, State
from twistserve.net.main_thread import main_thread
from twistserve.process.ending import Ending
from twistserve.webhooks.formats import HurricaneFormat, TwistserveFormat


class Webhooks(Service):
    """In place of the webhooks: notes what is announced."""

    name = "webhooks"

    def __init__(self, *arguments: Any) -> None:
        self.form = arguments[2]
        self.announced: list[tuple[str, str, str]] = []
        self.noted: list[tuple[str, bool, str]] = []

    def note_probe(self, probe: str, passing: bool, reason: str) -> None:
        self.noted.append((probe, passing, reason))

    def announce(self, event: str, status: str, reason: str) -> None:
        self.announced.append((event, status, reason))


class Outside:
    """What others can ask and are told, for some options."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
        self.ports: list[Port] = []
        self.root: Any = None
        monkeypatch.setattr(parts, "Port", self.make_port)
        monkeypatch.setattr(parts, "ProbeService", self.make_probes)
        monkeypatch.setattr("twistserve.webhooks.outbox.WebhookService", Webhooks)
        self.lifecycle = Lifecycle(Reactor())
        self.lifecycle.on_failure = lambda message: None
        self.readiness = lambda: None
        self.on_web_port: list[Any] = []
        results: Any = SimpleNamespace(startup=None, readiness=self.readiness, liveness=None)
        report: Any = SimpleNamespace(gather=None)
        metrics: Any = named("metrics")
        log: Any = None
        descriptors = given.pop("descriptors", ())
        self.services = list(
            parts.outside_services(
                *(configuration(**given), results, metrics, report, self.lifecycle, log, None, descriptors),
                self.on_web_port.append,
            )
        )

    def make_port(self, *arguments: Any, **keywords: Any) -> Port:
        self.ports.append(Port(*arguments, **keywords))
        return self.ports[-1]

    def make_probes(self, port: Any, root: Any, *arguments: Any) -> Service:
        self.root = root
        self.probes = named("probes")
        return self.probes

    def find(self, path: bytes) -> Any:
        return self.root._probes.get(path)

    def has(self, path: bytes) -> bool:
        return self.find(path) is not None

    @property
    def webhooks(self) -> Webhooks:
        [webhooks] = [service for service in self.services if isinstance(service, Webhooks)]
        return webhooks

    @property
    def announced(self) -> list[tuple[str, str, str]]:
        return self.webhooks.announced


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **given: Outside(monkeypatch, **given)


# What others can ask


def test_nothing_listens_where_no_probes_are_wanted(outside: Any) -> None:
    """--no-probe reserves no port and leaves webhooks as they are."""
    assert (outside(no_probe=True).services, outside(no_probe=True).ports) == ([], [])
    both = outside(no_probe=True, webhook_url="http://127.0.0.1/events")
    assert [service.name for service in both.services] == ["webhooks"]


@pytest.mark.parametrize(
    ("given", "where", "host_option"),
    [
        ({}, (None, 8001), "--host"),
        ({"host": "127.0.0.1", "port": "80"}, ("127.0.0.1", 81), "--host"),
        ({"host": "127.0.0.1", "probe_host": "::1", "probe_port": "9000"}, ("::1", 9000), "--probe-host"),
    ],
)
def test_the_probe_port_is_reserved(outside: Any, given: Any, where: Any, host_option: str) -> None:
    """Before anything is started; an error names the option that was given."""
    [port] = outside(**given).ports
    assert port.bound
    assert (port.where, port.options) == (where, ("--probe-port", host_option))


def test_a_probe_port_that_a_parent_has(outside: Any) -> None:
    """It is taken in place of being reserved, and this process is not the last that listens."""
    found = outside(descriptors=(7, 8))
    [port] = found.ports
    assert (port.bound, port.descriptors) == (False, [7, 8])
    assert [each.probes.last for each in (found, outside())] == [False, True]


def test_probes_on_the_web_port_have_no_port_of_their_own(outside: Any) -> None:
    """They are given away, without the status page; webhooks tell of them as ever."""
    found = outside(port="80", probe_port="80", webhook_url="http://127.0.0.1/events")
    assert found.ports == []
    assert [service.name for service in found.services] == ["webhooks"]
    [found.root] = found.on_web_port
    assert all(found.has(path) for path in (b"/startup", b"/ready", b"/alive", b"/metrics"))
    assert not any(found.has(path) for path in (b"/", b"/status.json"))
    found.find(b"/ready")._told("readiness", True, "no check fails")
    assert found.webhooks.noted == [("readiness", True, "no check fails")]
    assert outside().on_web_port == []


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ({}, set()),
        ({"no_metrics": True}, {b"/metrics"}),
        ({"no_status_page": True}, {b"/", b"/status.json"}),
        ({"startup_probe": "/up", "metrics": "/numbers"}, {b"/startup", b"/metrics"}),
        ({"probe": "/health"}, {b"/ready", b"/alive"}),
        ({"probe": "/alive"}, {b"/ready"}),
    ],
)
def test_what_the_probe_port_has(outside: Any, given: Any, gone: set[bytes]) -> None:
    """A path for each probe, the metrics, and the status page twice, except what the options take away or rename."""
    found = outside(**given)
    paths = {b"/", b"/status.json", b"/startup", b"/ready", b"/alive", b"/metrics"}
    assert {path for path in paths if not found.has(path)} == gone
    assert all(found.has(str(given[name]).encode()) for name in ("startup_probe", "metrics", "probe") if name in given)


def test_only_the_page_for_people_may_have_styles_and_pictures(outside: Any) -> None:
    """A browser is to load nothing with its JSON."""
    found = outside()
    policies = [dict(found.find(path)._fields)[b"Content-Security-Policy"] for path in (b"/", b"/status.json")]
    assert b"style-src" in policies[0]
    assert b"style-src" not in policies[1]


# What others are told


def test_webhooks_tell_of_the_start_and_the_end(outside: Any) -> None:
    """With the reason of each."""
    found = outside(webhook_url="http://127.0.0.1/events")
    assert found.announced == []
    found.lifecycle.enter(State.READY, "start-up is complete")
    found.lifecycle.shut_down("SIGTERM")
    assert found.announced == [
        ("startup", "succeeded", "start-up is complete"),
        ("draining", "draining", "received SIGTERM"),
    ]


def test_webhooks_tell_why_a_start_has_failed(outside: Any) -> None:
    """Once, and not that it drains."""
    found = outside(webhook_url="http://127.0.0.1/events")
    found.lifecycle.fail("the settings cannot be imported")
    assert found.announced == [("startup", "failed", "the settings cannot be imported")]


def test_webhooks_are_told_of_probes(outside: Any) -> None:
    """Of readiness and of liveness; the startup probe's change is the start's."""
    found = outside(webhook_url="http://127.0.0.1/events")
    found.find(b"/ready")._told("readiness", True, "no check fails")
    found.find(b"/alive")._told("liveness", False, "till: stuck")
    assert found.webhooks.noted == [("readiness", True, "no check fails"), ("liveness", False, "till: stuck")]
    assert found.find(b"/startup")._told is None


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({}, TwistserveFormat),
        ({"webhook_format": "twistserve"}, TwistserveFormat),
        ({"webhook_format": "Hurricane"}, HurricaneFormat),
    ],
)
def test_webhooks_have_a_format(outside: Any, given: Any, form: type) -> None:
    """Ours, unless --webhook-format says otherwise."""
    assert type(outside(webhook_url="http://127.0.0.1/events", **given).webhooks.form) is form


def test_the_one_probe_is_readiness(outside: Any) -> None:
    """It asks what readiness asks, and its changes are told as those of readiness alone."""
    found = outside(probe="/alive", webhook_url="http://127.0.0.1/events")
    assert found.find(b"/alive")._results is found.readiness
    assert found.find(b"/alive")._name == "readiness"
    found.find(b"/alive")._told("readiness", True, "no check fails")
    assert found.webhooks.noted == [("readiness", True, "no check fails")]


def test_the_metrics_tell_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one it is in has 1, the others 0."""
    lifecycle = Lifecycle(Reactor())
    parts.tell_states(lifecycle)
    for state in (State.STARTING, State.READY, State.DRAINING):
        lifecycle.enter(state, "a test")
        values = {
            each: REGISTRY.get_sample_value("twistserve_lifecycle_state", {"state": each.value}) for each in State
        }
        assert values == {each: float(each is state) for each in State}


# Recycling


@pytest.mark.parametrize(
    ("given", "answered", "cause"),
    [
        ({"max_memory": "1"}, 0, "memory"),
        ({"max_memory": "10000"}, 10**9, None),
        ({"max_lifetime": "1000"}, 1101, "lifetime"),
        ({"max_lifetime": "1000"}, 999, None),
        ({"max_age": "0.5"}, 0, "age"),
        ({"max_age": "3600"}, 10**9, None),
    ],
)
def test_recycling(given: Any, answered: int, cause: str | None) -> None:
    """--max-memory counts megabytes (a process has more than one), --max-lifetime requests, --max-age seconds."""
    reactor = Reactor()
    lifecycle = Lifecycle(reactor)
    lifecycle.enter(State.READY, "a test")
    serving: Any = Serving(configuration(), (), lifecycle, None, reactor)
    serving.site.responses = answered
    causes: list[str] = []
    [service] = parts.recycling_service(
        configuration(**given), serving, lifecycle, lambda cause, reason: causes.append(cause), reactor
    )
    service.startService()
    reactor.advance(1)
    service.stopService()
    # Asked for anew at each look, until it ends.
    assert set(causes) == ({cause} if cause is not None else set())


def test_without_its_options_nothing_is_recycled() -> None:
    """All default to never."""
    anything: Any = None
    assert list(parts.recycling_service(configuration(), anything, anything, anything, anything)) == []


# The tree


class Tree:
    """A tree of one service that takes its time to stop, with an action for SIGHUP."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        monkeypatch.setattr(main_thread, "after_step", main_thread.after_step)
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.ending = Ending()
        self.stopped: Deferred[None] = Deferred()
        self.received: list[str] = []
        self.handled: list[int] = []
        service: Any = named("slow")
        service.stopService = lambda: self.stopped
        service.running = True
        self.ending.replaced = {signal.SIGTERM: lambda number, frame: self.handled.append(number)}
        actions: dict[int, Any] = {signal.SIGHUP: self.received.append}
        self.tree = parts.service_tree([service], self.lifecycle, self.ending, list, self.reactor, actions, **options)


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **options: Tree(monkeypatch, **options)


def test_the_end_knows_what_it_waits_for(tree: Any) -> None:
    """The line about an end that was cut off names the service that is being stopped."""
    made = tree()
    assert made.ending.stopping() == ""
    made.tree.stopService()
    assert made.ending.stopping() == "slow"
    made.stopped.callback(None)
    assert made.ending.stopping() == ""


def test_a_signal_is_acted_on_from_the_start_of_the_services_on(tree: Any) -> None:
    """By its name, and by the reactor."""
    made = tree()
    made.ending.on_signal(signal.SIGHUP)
    made.tree.startService()
    before = len(made.reactor.from_threads)
    made.ending.on_signal(signal.SIGHUP)
    assert made.received == []
    for call in made.reactor.from_threads[before:]:
        call()
    assert made.received == ["SIGHUP"]


@pytest.mark.parametrize(("at_drain", "handled"), [((signal.SIGTERM,), [signal.SIGTERM]), ((), [])])
def test_the_applications_handler_is_called_when_the_drain_begins(tree: Any, at_drain: Any, handled: Any) -> None:
    """In a worker, whose parent has the signal; elsewhere it is called when the signal comes."""
    made = tree(at_drain=at_drain)
    made.tree.startService()
    made.lifecycle.enter(State.READY, "a test")
    assert made.handled == []
    made.lifecycle.enter(State.DRAINING, "a test")
    assert made.handled == handled


# Sockets that processes share


def test_the_sockets_that_are_shared(outside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of --port, or those of --endpoint in its place."""
    found = outside(no_probe=True)
    sockets = parts.shared_sockets(configuration(host="127.0.0.1", port="8123"), None)
    [port] = found.ports
    assert (port.where, port.bound) == (("127.0.0.1", 8123), True)
    assert sockets == port.sockets
    monkeypatch.setattr(parts, "bind_endpoints", lambda reactor, descriptions: list(descriptions))
    assert list(map(str, parts.shared_sockets(configuration(endpoint=["tcp:1", "tcp:2"]), None))) == ["tcp:1", "tcp:2"]


def test_where_they_are_listened_on(outside: Any) -> None:
    """Nothing is bound for it."""
    found = outside(no_probe=True)
    assert parts.shared_listeners(configuration(port="8123"), [5, 6], None) == found.ports
    [port] = found.ports
    assert (port.bound, port.descriptors) == (False, [5, 6])
    listeners = parts.shared_listeners(configuration(endpoint=["tcp:1", "tcp:2"]), [5, 6], None)
    assert [str(each) for each in listeners] == ["tcp:1", "tcp:2"]
