"""The pods: what the kubelet does is what the options say."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.options import resolved
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.pod import template
from twistserve.kubernetes.words import words
from twistserve.kubernetes.yaml import document


def pod(*line: str) -> dict[str, Any]:
    found = resolved(*line, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    chosen = Chosen(name="shop", component="till", image="shop:1")
    remarks = {"grace": "grace", "readiness": "readiness"}
    text = document(template(found, chosen, words(found), command=["serve"], temporary="5Mi", **remarks))
    assert "# grace" in text
    made = yaml.safe_load(text)
    assert made["metadata"]["labels"] == {"app.kubernetes.io/name": "shop", "app.kubernetes.io/component": "till"}
    spec: dict[str, Any] = made["spec"]
    return spec


def container(*line: str) -> dict[str, Any]:
    [found] = pod(*line)["containers"]
    assert isinstance(found, dict)
    return found


def test_what_differs_between_components() -> None:
    """The container's name, what it runs, and the space for temporary files."""
    found = pod()
    assert (found["containers"][0]["name"], found["containers"][0]["command"]) == ("till", ["serve"])
    assert found["volumes"] == [{"name": "temporary", "emptyDir": {"sizeLimit": "5Mi"}}]


def test_the_probes_ask_where_the_server_answers() -> None:
    """At the paths and the port of the options."""
    found = container("--readiness-probe", "r", "--liveness-probe", "l", "--startup-probe", "s", "--probe-port", "9001")
    assert {"name": "probes", "containerPort": 9001} in found["ports"]
    for name, path in (("startupProbe", "/s"), ("readinessProbe", "/r"), ("livenessProbe", "/l")):
        assert found[name]["httpGet"] == {"path": path, "port": "probes"}
    assert found["startupProbe"]["failureThreshold"] == 60


def test_one_path_and_one_port() -> None:
    """--probe is readiness and liveness; on the web port there is no other one."""
    found = container("--probe", "/health", "--probe-port", "8000")
    assert found["ports"] == [{"name": "http", "containerPort": 8000}]
    assert (
        found["readinessProbe"]["httpGet"] == found["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    )
    assert found["startupProbe"]["httpGet"] == {"path": "/startup", "port": "http"}


def test_pod_security() -> None:
    """What the standard "restricted" asks for, a root that cannot be written, and no token of the API."""
    found = pod()
    assert found["securityContext"]["runAsNonRoot"]
    assert found["securityContext"]["runAsUser"] > 0
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (found["automountServiceAccountToken"], found["enableServiceLinks"]) == (False, False)


def test_pods_are_spread() -> None:
    """Over zones and nodes, as far as there are any, and those of a roll-out by themselves."""
    constraints = pod()["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {each["whenUnsatisfiable"] for each in constraints} == {"ScheduleAnyway"}


@pytest.mark.parametrize("line", [("--webhook-secret", "hunter2"), ("--webhook-url", "https://example.com/hunter2")])
def test_secrets(line: tuple[str, ...]) -> None:
    """By reference."""
    found = pod(*line)
    name = "TWISTSERVE_" + line[0].removeprefix("--").replace("-", "_").upper()
    reference = {"name": name, "valueFrom": {"secretKeyRef": {"name": "shop-secrets", "key": name}}}
    assert reference in found["containers"][0]["env"]
    assert "hunter2" not in str(found)
