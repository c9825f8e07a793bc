"""The Deployment: its roll-out and its end are what the options say."""

from __future__ import annotations

from typing import Any

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


def test_temporary_files() -> None:
    """TMPDIR is the one place that can be written."""
    found = pod("--max-body-size", "10M", "--threads", "2")
    assert {"name": "TMPDIR", "value": "/tmp"} in found["containers"][0]["env"]
    [mount], [volume] = found["containers"][0]["volumeMounts"], found["volumes"]
    assert (mount["mountPath"], mount["name"]) == ("/tmp", volume["name"])
    assert volume["emptyDir"] == {"sizeLimit": "56Mi"}


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
