"""manage.py kubernetes: what it prints where, and how it ends."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
import yaml
from django.core.management import call_command

from twistserve.management.commands import kubernetes as module
from twistserve.management.commands.kubernetes import Command


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings that are there already, and nothing of this machine's environment."""
    setting: dict[str, Any] = {}
    monkeypatch.setattr(module, "load_settings", lambda *names: setting)
    monkeypatch.setattr(module, "read_settings", lambda names: {})
    for name in os.environ:
        if name.startswith(("TWISTSERVE_", "HURRICANE_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    return setting


def run(*words: str) -> tuple[dict[str, dict[str, Any]], str]:
    """The objects by kind, and standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command(Command(stdout=out, stderr=err, no_color=True), "--image", "shop:1", *words)
    return {each["kind"]: each for each in yaml.safe_load_all(out.getvalue())}, err.getvalue()


def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    [found] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_it_prints_the_manifests() -> None:
    """And nothing else where nothing is to be said."""
    objects, said = run("--static", "--command", "seed all", "--set", "replicas=3", "--pod-monitor")
    assert said == ""
    assert list(objects) == ["ServiceAccount", "Service", "Deployment", "PodDisruptionBudget", "PodMonitor"]
    assert objects["Deployment"]["metadata"]["name"] == "shop"
    assert container(objects)["args"] == ["--static", "--command=seed all"]
    assert container(objects)["image"] == "shop:1"


def test_the_autoscaler_follows_what_is_asked_for() -> None:
    """CPU, unless told otherwise."""
    kinds = [run(*words)[0]["HorizontalPodAutoscaler"]["spec"] for words in ((), ("--scale-by", "threads"))]
    assert [spec["metrics"][0]["type"] for spec in kinds] == ["ContainerResource", "Pods"]
    with pytest.raises(SystemExit, match="twistserve: --scale-by: threads is for an autoscaler"):
        run("--scale-by", "threads", "--set", "replicas=3")


def test_the_options_are_those_inside_a_pod() -> None:
    """The drain has its delay there, wherever the command is run."""
    assert run()[0]["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 40


def test_the_settings_count_and_are_not_written(project: dict[str, Any]) -> None:
    """The image has them."""
    project |= {"PORT": 9000, "GRACEFUL_TIMEOUT": 5}
    objects, _ = run()
    assert container(objects)["ports"][0] == {"name": "http", "containerPort": 9000}
    assert objects["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 20
    assert "args" not in container(objects)


def test_system_checks_can_be_skipped(project: dict[str, Any]) -> None:
    """The word of manage.py serve; the settings may ask for them."""
    project["SYSTEM_CHECKS"] = True
    assert {"name": "TWISTSERVE_SYSTEM_CHECKS", "value": "false"} in container(run("--skip-checks")[0])["env"]


def test_what_may_not_be_meant_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, so that the manifests can be piped."""
    monkeypatch.setenv("TWISTSERVE_PROT", "9000")
    monkeypatch.setattr(module, "read_settings", lambda names: {"DEBUG": True})
    objects, said = run("--media", "--image", "shop")
    assert container(objects)["image"] == "shop"
    told = said.splitlines()
    assert all(line.startswith("twistserve: ") for line in told)
    assert "the settings shop.settings have DEBUG = True" in told[0]
    assert "TWISTSERVE_PROT is not a known option, and has no effect (did you mean TWISTSERVE_PORT?)" in told[1]
    assert "--image" in told[2]
    assert "--media" in told[3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--no-probe",), "twistserve: --no-probe from the command line"),
        (("--set", "namee=x"), r"twistserve: --set: 'namee' is not a known key \(did you mean name\?\)"),
        (("--threads", "0"), "twistserve: --threads: '0' from the command line is not valid"),
    ],
)
def test_what_is_wrong(words: tuple[str, ...], said: str) -> None:
    """One line, status 1, and no manifests."""
    with pytest.raises(SystemExit, match=said):
        run(*words)


def test_what_cannot_be_printed() -> None:
    """Nobody reads, for instance."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(SystemExit, match="twistserve: the manifests cannot be printed: Broken pipe"):
        call_command(Command(stdout=Closed(), stderr=io.StringIO()))


def test_a_consumer() -> None:
    """Its own objects, by the options of consume."""
    words = ("--consumer", "shop.Orders", "--queue", "orders", "--amqp-url", "amqp://u:hush@rabbit", "--skip-checks")
    objects, said = run(*words, "--dead-letter-exchange", "dead")
    assert list(objects) == ["ServiceAccount", "Deployment", "PodDisruptionBudget", "ScaledObject"]
    assert objects["Deployment"]["metadata"]["name"] == "shop-consumer"
    assert "TWISTSERVE_AMQP_URL come from a Secret" in said
    assert "hush" not in said
    with pytest.raises(SystemExit, match="--queue is an option of consume: give --consumer with it"):
        run("--queue", "orders")
    with pytest.raises(SystemExit, match="--static is an option of serve"):
        run(*words, "--static")
    with pytest.raises(SystemExit, match="--scale-by is for the web service"):
        run(*words, "--scale-by", "cpu")
