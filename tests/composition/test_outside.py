"""What others can ask, and what they are told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.application.service import Service

from tests.support.composition import Port, Reactor, configuration, named
from twistserve.composition import outside as module
from twistserve.composition import parts
from twistserve.lifecycle import Lifecycle, State
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
        monkeypatch.setattr(module, "ProbeService", self.make_probes)
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
            module.outside_services(
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


def test_what_goes_wrong_later_is_no_failed_start(outside: Any) -> None:
    """It drains, with the reason."""
    found = outside(webhook_url="http://127.0.0.1/events")
    found.lifecycle.enter(State.READY, "start-up is complete")
    found.lifecycle.give_up("the broker is gone")
    assert found.announced[1:] == [("draining", "draining", "the broker is gone")]


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
