"""The chart and `manage.py kubernetes --consumer` make the same objects of the same options, or both refuse them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from tests.manifests.chart_values import one_value
from tests.manifests.helm import NAMESPACE, RELEASE, notes, refusal, rendered
from tests.manifests.programs import custom_faults
from tests.manifests.same import by_kind, without_helm
from tests.support.functional.manifests import CUSTOM, faults, violations
from twistserve.consumer_options import CONSUMER_TABLE
from twistserve.errors import StartError
from twistserve.kubernetes import consumer
from twistserve.kubernetes.chosen import chosen
from twistserve.kubernetes.words import is_secret, words
from twistserve.management.commands.kubernetes import INSIDE
from twistserve.options import Option
from twistserve.resolution import resolve_consumer

NAME = "orders"
_URL, _PLAIN_URL = "amqp://shop:hunter2@rabbit/", "amqp://rabbit:5672/shop"
_SETS = {"replicas": "replicas", "min-replicas": "minReplicas", "max-replicas": "maxReplicas"}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Case(NamedTuple):
    """Options of `consume` as they are typed, the setting TWISTSERVE, and the values of --set."""

    given: Mapping[str, Any]
    setting: Mapping[str, Any] = _NOTHING
    sets: Mapping[str, str] = _NOTHING
    length: int | None = None
    monitored: bool = False


CASES = {
    "a URL in the Secret": Case({"queue": "orders", "amqp_url": _URL}, monitored=True, length=20),
    "a URL without a password": Case({"queue": 'a "b": $(X)', "amqp_url": _PLAIN_URL, "threads": "4"}),
    "no URL": Case({"queue": "orders", "amqp_host": "rabbit", "amqp_user": "shop", "amqp_password": "hunter2"}),
    "a URL of the image": Case({}, {"QUEUE": "orders", "AMQP_URL": _PLAIN_URL}, {"min-replicas": "1"}),
    "a URL of the image with a password": Case({}, {"QUEUE": "orders", "AMQP_URL": _URL}),
    "a URL and credentials": Case(
        {"queue": "orders", "amqp_url": _PLAIN_URL, "amqp_user": "shop", "amqp_password": "hunter2"}
    ),
    "a URL and half of the credentials": Case({"queue": "q", "amqp_url": _PLAIN_URL, "amqp_password": "hunter2"}),
    "a URL and credentials of the image": Case(
        {"queue": "orders", "amqp_url": _PLAIN_URL}, {"AMQP_USER": "shop", "AMQP_PASSWORD": "hunter2"}
    ),
    "a fixed number": Case({"amqp_url": _URL}, sets={"replicas": "3", "cpu": "0.25", "memory": "1Gi"}),
    "bounds": Case({"queue": "orders", "amqp_url": _URL}, sets={"min-replicas": "20"}),
    "at most one": Case({"queue": "orders", "amqp_url": _URL}, sets={"max-replicas": "1"}),
    "probes and times": Case(
        {
            "queue": "orders",
            "probe_port": "9000",
            "readiness_probe": "/r",
            "metrics": "/numbers",
            "graceful_timeout": "60.5",
            "check_timeout": "2",
            "max_memory": "300",
            "reconnect": False,
            "check_migrations": True,
            "no_declare": True,
            "retries": "0",
        },
        {"LIVENESS_PROBE": "/l", "THREADS": 16},
        monitored=True,
    ),
    "one path": Case({"queue": "orders", "probe": "/health", "probe_port": "8000", "graceful_timeout": "300"}),
}
REFUSED = {
    "amqp-host": Case({"amqp_url": _PLAIN_URL, "amqp_host": "rabbit"}),
    "options.queue: KEDA has to know the queue": Case({"amqp_url": _URL}),
    "options.probe-port: 80 is a port": Case({"probe_port": "80"}),
    "options.probe-host: 127.0.0.1 is not the pod's address": Case({"probe_host": "127.0.0.1"}),
    "options.no-probe: Kubernetes would have nothing": Case({"no_probe": True}),
    "podMonitor: there are no metrics with consumers.orders.options.no-metrics": Case(
        {"no_metrics": True}, monitored=True
    ),
    "imageOptions.debugger is for development": Case({}, {"DEBUGGER": True}),
    'options.metrics: "/ready" is the path of readiness-probe too': Case({"metrics": "/ready"}),
    "maxReplicas: 2 is less than minReplicas, 3": Case({}, sets={"min-replicas": "3", "max-replicas": "2"}),
    "replicas is a fixed number, and minReplicas": Case({}, sets={"replicas": "3", "min-replicas": "2"}),
    "options.max-memory: 300 MB": Case({"max_memory": "300"}, sets={"memory": "256Mi"}),
    'options.amqp-url: "rabbit" is not valid: give': Case({"amqp_url": "rabbit"}),
}
"""What the chart says of cases that both refuse."""
REFUSED_BY_CHART: list[tuple[Mapping[str, Any], str]] = [
    ({}, "missing property 'handler'"),
    ({"handler": "Orders"}, 'consumers.orders.handler: "Orders" is not valid: give'),
    ({"handler": "a.B", "options": {"workers": 2}}, "additional properties 'workers' not allowed"),
    ({"handler": "a.B", "options": {"amqp-url": _URL}}, "put the word amqp-url into consumers.orders.secretOptions"),
    ({"handler": "a.B", "options": {"amqp-user": "me"}}, "consumers.orders.options.amqp-user has a secret"),
    (
        {"handler": "a.B", "secretOptions": ["amqp-url"], "options": {"amqp-port": 5672}},
        "amqp-url says where the broker is",
    ),
    (
        {"handler": "a.B", "secretOptions": ["check"], "options": {"check": ["caches"]}},
        "consumers.orders.options.check is in",
    ),
    ({"handler": "a.B", "resources": {"cpu": "lots"}}, 'consumers.orders.resources.cpu: "lots" is not valid'),
    ({"handler": "a.B", "resources": {"memory": 1}}, "consumers.orders.resources.memory: 1 is less than 32Mi"),
    ({"handler": "a.B", "options": {"prefetch": 65536}}, "/prefetch': maximum"),
]


def check() -> None:
    """The cases; what only the chart refuses; the notes; and that there is nothing without consumers."""
    for name, case in CASES.items():
        wanted, found = _printed(case), _made(case)
        assert found == wanted, f"{name}\n{found}\n{wanted}"
        assert "hunter2" not in str(found)
        assert list(faults(found)) == [], name
        assert list(violations(found["Deployment"]["spec"]["template"]["spec"])) == [], name
        assert custom_faults(each for kind, each in found.items() if kind in CUSTOM) == [], name
        sys.stdout.write(f"a consumer with {name}: the chart makes the same\n")
    for said, case in REFUSED.items():
        try:
            _printed(case)
        except StartError:
            assert said in refusal(_values(case)), (case, refusal(_values(case)))
        else:
            raise AssertionError(f"manage.py kubernetes prints {case}")
    for values, said in REFUSED_BY_CHART:
        assert said in refusal({"consumers": {NAME: values}}), (values, refusal({"consumers": {NAME: values}}))
    for name in ("Orders", "migrations", 60 * "o"):
        assert f"{name}" in refusal({"consumers": {name: {"handler": "a.B"}}}), name
    assert _of_consumers({"consumers": {NAME: None}}) == []
    _check_the_rest()
    sys.stdout.write(f"{len(REFUSED) + len(REFUSED_BY_CHART)} wrong values of consumers: a sentence for each\n")


def _check_the_rest() -> None:
    values = {
        "consumers": {
            NAME: {"handler": "a.B", "secretOptions": ["amqp-url"], "options": {"queue": "q"}, "secretName": "mq"},
            "mails": {"handler": "a.C", "replicas": 1},
        },
        "networkPolicy": {"enabled": True},
        "settings": "shop.settings",
        "migrations": {"enabled": True},
    }
    made = _of_consumers(values)
    assert {each["metadata"]["name"] for each in made} == {f"{RELEASE}-{NAME}", f"{RELEASE}-mails"}
    policies = [each for each in made if each["kind"] == "NetworkPolicy"]
    assert [port["port"] for each in policies for rule in each["spec"]["ingress"] for port in rule["ports"]] == [
        8001,
        8001,
    ]
    assert list(faults({str(number): each for number, each in enumerate(made) if each["kind"] not in CUSTOM})) == []
    for each in made:
        if each["kind"] == "Deployment":
            [container] = each["spec"]["template"]["spec"]["containers"]
            assert "--check-migrations" in container["args"]
            assert {"name": "DJANGO_SETTINGS_MODULE", "value": "shop.settings"} in container["env"]
    said = notes(values)
    assert "create secret generic mq --from-literal=TWISTSERVE_AMQP_URL=..." in said
    assert "consumers.mails: dead-letter-exchange is not in the options" in said
    assert "rollout status deployment/shop-mails" in said
    said = notes({"consumers": {NAME: {"handler": "a.B", "options": {"amqp-host": "rabbit"}}}})
    assert "consumers.orders: KEDA asks the broker by its URL" in said


def _printed(case: Case) -> dict[str, dict[str, Any]]:
    """What the command prints. Raises `StartError`."""
    given = {"handler": "shop.consumers.Orders", **case.given}
    configuration = resolve_consumer(given, INSIDE, lambda *_: case.setting)
    selected = chosen("shop:1", [f"{key}={value}" for key, value in case.sets.items()], None)
    selected = dataclasses.replace(
        selected, name=f"{RELEASE}-{NAME}", namespace=NAMESPACE, component=consumer.COMPONENT
    )
    length = None if case.length is None else str(case.length)
    return by_kind(
        yaml.safe_load_all(consumer.text(configuration, selected, words(configuration), length, case.monitored))
    )


def _made(case: Case) -> dict[str, dict[str, Any]]:
    return by_kind(map(without_helm, _of_consumers(_values(case))))


def _of_consumers(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = rendered(values)
    return [each for each in found if each["metadata"]["labels"]["app.kubernetes.io/component"] == consumer.COMPONENT]


def _values(case: Case) -> dict[str, Any]:
    """The values of the chart, valid or not."""
    table = {option.name: option for option in CONSUMER_TABLE}
    options: dict[str, Any] = {}
    own: dict[str, Any] = {"handler": "shop.consumers.Orders", "options": options, "secretOptions": []}
    for name, raw in case.given.items():
        option = table[name]
        if not option.flag and is_secret(option, raw):
            own["secretOptions"].append(option.word)
        else:
            options[option.word] = raw if option.flag else _value(option, raw)
    own["imageOptions"] = {key.lower().replace("_", "-"): value for key, value in case.setting.items()}
    for key, text in case.sets.items():
        if key in _SETS:
            own[_SETS[key]] = int(text)
        else:
            own.setdefault("resources", {})[key] = float(text) if key == "cpu" else text
    if case.length is not None:
        own["queueLength"] = case.length
    return {"consumers": {NAME: own}, "podMonitor": {"enabled": case.monitored}}


def _value(option: Option, raw: str) -> Any:
    try:
        return one_value(option, raw)
    except ValueError:
        return raw
