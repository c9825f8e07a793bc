"""The Deployment: what the kubelet does is what the options say."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.options import resolved
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.deployment import deployment
from twistserve.kubernetes.words import words
from twistserve.kubernetes.yaml import document


def rendered(*line: str, chosen: Chosen | None = None, **environ: str) -> dict[str, Any]:
    found = resolved(*line, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1", **environ})
    text = document(deployment(found, chosen or Chosen(name="shop", image="shop:1"), words(found)))
    made: dict[str, Any] = yaml.safe_load(text)
    return made


def pod(*line: str, **environ: str) -> dict[str, Any]:
    found: dict[str, Any] = rendered(*line, chosen=None, **environ)["spec"]["template"]["spec"]
    return found


def container(*line: str, **environ: str) -> dict[str, Any]:
    [found] = pod(*line, **environ)["containers"]
    assert isinstance(found, dict)
    return found


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


def test_the_end() -> None:
    """The grace is that of the options, and nothing runs before SIGTERM."""
    found = pod("--drain-delay", "8", "--graceful-timeout", "60")
    assert found["terminationGracePeriodSeconds"] == 78
    assert "lifecycle" not in found["containers"][0]


def test_a_roll_out() -> None:
    """No pod leaves before its successor is ready."""
    spec = rendered()["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert spec["progressDeadlineSeconds"] == 720
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert "replicas" not in spec
    assert rendered(chosen=Chosen(replicas=3))["spec"]["replicas"] == 3


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


def test_temporary_files() -> None:
    """TMPDIR is the one place that can be written."""
    found = pod("--max-body-size", "10M", "--threads", "2")
    assert {"name": "TMPDIR", "value": "/tmp"} in found["containers"][0]["env"]
    [mount], [volume] = found["containers"][0]["volumeMounts"], found["volumes"]
    assert (mount["mountPath"], mount["name"]) == ("/tmp", volume["name"])
    assert volume["emptyDir"] == {"sizeLimit": "56Mi"}


def test_pods_are_spread() -> None:
    """Over zones and nodes, as far as there are any, and those of a roll-out by themselves."""
    constraints = pod()["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {each["whenUnsatisfiable"] for each in constraints} == {"ScheduleAnyway"}


def test_what_the_container_is_started_with() -> None:
    """Kubernetes replaces $(NAME) in arguments and values, and $$ is a dollar."""
    found = container(
        "--app-version", "$(HOME)$", TWISTSERVE_COMMAND="seed $(X)", DJANGO_SETTINGS_MODULE="shop.settings"
    )
    assert found["command"] == ["twistd", "-n", "--pidfile=", "djangoserve"]
    assert found["args"] == ["--app-version=$$(HOME)$$"]
    assert {"name": "TWISTSERVE_COMMAND", "value": "seed $$(X)"} in found["env"]
    assert {"name": "DJANGO_SETTINGS_MODULE", "value": "shop.settings"} in found["env"]
    assert "args" not in container()


@pytest.mark.parametrize("line", [("--webhook-secret", "hunter2"), ("--webhook-url", "https://example.com/hunter2")])
def test_secrets(line: tuple[str, ...]) -> None:
    """By reference."""
    found = rendered(*line)
    name = "TWISTSERVE_" + line[0].removeprefix("--").replace("-", "_").upper()
    reference = {"name": name, "valueFrom": {"secretKeyRef": {"name": "shop-secrets", "key": name}}}
    assert reference in found["spec"]["template"]["spec"]["containers"][0]["env"]
    assert "hunter2" not in str(found)
