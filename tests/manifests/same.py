"""The chart and `manage.py kubernetes` make the same objects of the same options, or both refuse them."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from tests.manifests.chart_values import one_value, parted, values
from tests.manifests.helm import NAMESPACE, RELEASE, refusal, rendered
from tests.support.functional.manifests import MATRIX
from tests.support.options import resolved
from twistserve.errors import StartError
from twistserve.kubernetes import manifests
from twistserve.kubernetes.chosen import chosen
from twistserve.kubernetes.sense import refuse
from twistserve.kubernetes.words import words
from twistserve.management.commands.kubernetes import INSIDE
from twistserve.options import TABLE

_OF_HELM = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
"""Labels that only the chart has."""


class Case(NamedTuple):
    """The words of the command line, and what the setting TWISTSERVE has."""

    words: tuple[str, ...]
    setting: Mapping[str, Any] = MappingProxyType({})


CASES = {
    **{name: Case(line) for name, line in MATRIX.items()},
    "every kind of option": Case(
        (
            *(
                "--no-access-log",
                "--log-level",
                "ERROR",
                "--app-version",
                "$(X) 'v1' \"=ü",
                "--keep-alive-timeout",
                "0.5",
            ),
            *("--header-timeout", "1000000000", "--max-body-size", "3000001", "--max-header-size", "128K"),
            *("--check", "caches", "--check", "disk=/tmp:1M", "--threads", "1000000", "--wsgi", "a.b.c"),
            *(
                "--forwarded-allow-ips",
                "private,10.0.0.0/8",
                "--set",
                "replicas=1000000",
                "--set",
                "cpu=2",
                "--preload",
            ),
            *("--workers", "2", "--set", "memory=1G"),
        )
    ),
    "a password": Case(("--check", "broker=amqp://me:hunter2@queue", "--command", "createadmin --password hunter2")),
    "the image's options": Case(
        ("--threads", "4"),
        {"PORT": 9000, "THREADS": 16, "STATIC": True, "COMMAND": ["seed"], "LIVENESS_PROBE": "/lives", "WORKERS": 2},
    ),
    "the image's endpoint": Case((), {"ENDPOINT": [r"tcp6:8000:interface=\:\:", "ssl:port=8443"], "MAX_MEMORY": 250}),
}
_IN_THE_CHART = {"set": "", "pod-monitor": "podMonitor", "scale-by": "autoscaling.by"}
"""How the chart names what the command calls otherwise; --set has many names."""
_RANDOM = {
    "--threads": ("1", "3", "16"),
    "--workers": ("1", "2", "7"),
    "--preload": (),
    "--port": ("80", "8000", "9000", "65535"),
    "--probe-port": ("81", "8000", "8001", "9100"),
    "--host": ("0.0.0.0", "::", "127.0.0.1"),
    "--probe-host": ("0.0.0.0", "::", "10.0.0.1"),
    "--endpoint": (
        "tcp:8080",
        "tls:/certs:port=8443",
        "tls:/certs:8444",
        "tls:/certs",
        "haproxy:tcp:8090",
        "unix:/run/web.sock",
    ),
    "--drain-delay": ("0", "0.5", "1.9", "2", "2.5", "3", "3.9", "4", "7", "11", "60"),
    "--graceful-timeout": ("0", "0.3", "25", "300"),
    "--check-timeout": ("0.1", "1", "4.5"),
    "--probe": ("/health", "/metrics"),
    "--readiness-probe": ("/health", "/alive"),
    "--metrics": ("/numbers", "/startup", "/status.json"),
    "--no-metrics": (),
    "--no-status-page": (),
    "--no-probe": (),
    "--max-body-size": ("1", "1K", "1M", "3G", "1500000"),
    "--max-memory": ("1", "300", "801"),
    "--check-migrations": (),
    "--command": ("seed", "migrate --noinput"),
    "--req-queue-len": ("0", "7"),
    "--debugger": (),
    "--pod-monitor": (),
    "--set": (
        "cpu=1",
        "cpu=0.25",
        "cpu=1500m",
        "memory=300M",
        "memory=1Gi",
        "memory=33554431",
        "replicas=4",
        "host=a.b",
    ),
}
"""Options that manifests depend on, and values about the edges of the rules."""


def check(random_cases: int = 200) -> None:
    """The cases, and others by chance; which these are is always the same."""
    for name, case in CASES.items():
        assert _agree(case), name
        sys.stdout.write(f"{name}: the chart makes the same\n")
    chance = random.Random(1)
    agreed = sum(_agree(_by_chance(chance)) for _ in range(random_cases))
    sys.stdout.write(f"{random_cases} combinations: the same {agreed} times, otherwise both refuse\n")
    assert random_cases / 4 < agreed < random_cases


def _by_chance(chance: random.Random) -> Case:
    """Some options on the command line, some in the setting."""
    table = {f"--{option.word}": option for option in TABLE}
    line: list[str] = []
    setting: dict[str, Any] = {}
    for word in chance.sample(sorted(_RANDOM), chance.randint(1, 6)):
        values_of = [chance.choice(_RANDOM[word])] if _RANDOM[word] else []
        option = table.get(word)
        if option is None or chance.random() < 0.7:
            line += (word, *values_of)
        else:
            value = one_value(option, values_of[0]) if values_of else True
            setting[option.key] = [value] if option.repeatable else value
    return Case(tuple(line), setting)


def _agree(case: Case) -> bool:
    """Compare; False if both refuse. Raises AssertionError."""
    line = parted(case.words)
    given = values(line, case.setting)
    try:
        configuration = resolved(*line.options, environ=INSIDE, setting=case.setting)
        selected = dataclasses.replace(chosen("shop:1", line.sets, None), name=RELEASE, namespace=NAMESPACE)
        refuse(configuration, line.pod_monitor, line.scale_by, selected.replicas)
        text = manifests.text(configuration, selected, words(configuration), line.pod_monitor, line.scale_by)
    except StartError as error:
        word = str(error).removeprefix("--").partition(" ")[0].rstrip(":")
        said = refusal(given)
        if not said or _IN_THE_CHART.get(word, word) not in said:
            raise
        return False
    wanted, found = by_kind(yaml.safe_load_all(text)), by_kind(map(without_helm, rendered(given)))
    assert found.keys() == wanted.keys(), case
    for kind, each in wanted.items():
        assert found[kind] == each, f"{case}\n{found[kind]}\n{each}"
    return True


def by_kind(objects: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The objects by their kinds."""
    return {each["kind"]: each for each in objects}


def without_helm(value: Any) -> Any:
    """An object without the labels that only the chart has."""
    if isinstance(value, dict):
        return {key: without_helm(inner) for key, inner in value.items() if key not in _OF_HELM}
    return [without_helm(inner) for inner in value] if isinstance(value, list) else value
