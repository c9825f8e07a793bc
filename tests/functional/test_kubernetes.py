"""manage.py kubernetes: Kubernetes takes what it prints, and the server that it starts answers the probes it has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.harness import BIN, Serve, command, fetch, free_port
from tests.support.functional.manifests import MATRIX, VERSIONS, faults, objects, print_manifests, violations

Project = Callable[..., Path]


def printed(*words: str, cwd: Path, **variables: str) -> dict[str, dict[str, Any]]:
    """The objects by kind, of a run that has nothing to say."""
    done = print_manifests("--image", "shop:1", *words, cwd=cwd, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return objects(done.stdout)


def pod(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = found["Deployment"]["spec"]["template"]["spec"]
    return spec


def container(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    [only] = pod(found)["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("words", MATRIX.values(), ids=MATRIX)
def test_kubernetes_takes_it(project: Project, words: tuple[str, ...]) -> None:
    """The schemas of three versions have no objection, nor has Pod Security at its strictest."""
    done = print_manifests("--image", "shop:1", *words, cwd=project())
    assert done.returncode == 0, done.stderr
    found = objects(done.stdout)
    assert list(faults(found)) == []
    assert list(violations(pod(found))) == []
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--readiness-probe", "/health/ready", "--check-timeout", "0.5", "--check", "disk=.:1K"),
        ("--probe", "/health", "--workers", "2"),
        ("--metrics", "/numbers", "--app-version", "$(HOME) '1'"),
    ],
)
def test_the_server_answers_its_probes(serve: Serve, project: Project, words: tuple[str, ...], tmp_path: Path) -> None:
    """Started by the words and variables of the container, at the ports and paths of its probes."""
    port = free_port()
    directory = project(settings="TWISTSERVE = {'LIVENESS_PROBE': '/lives'}\n" if "--probe" not in words else "")
    # The delay of a drain is for the cluster.
    words = (*words, "--port", str(port), "--pod-monitor", "--drain-delay", "2")
    done = print_manifests("--image", "shop:1", *words, cwd=directory, TWISTSERVE_STARTUP_PROBE="/begins")
    found = objects(done.stdout)
    made = container(found)
    assert made["command"] == [Path(command("twistd")[0]).name, *command("twistd")[1:]]
    environ = {each["name"]: each["value"].replace("$$", "$") for each in made["env"]}
    assert environ["DJANGO_SETTINGS_MODULE"] == "site_settings"
    arguments = [each.replace("$$", "$") for each in made["args"]]
    inside = {**environ, "TMPDIR": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    ready = made["readinessProbe"]["httpGet"]["path"]
    server = serve(*arguments, cwd=directory, settings=None, env=inside, port=port, until=ready)
    numbers = {each["name"]: each["containerPort"] for each in made["ports"]}
    [scraped] = found["PodMonitor"]["spec"]["podMetricsEndpoints"]
    probes = [made[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    for each in [*probes, scraped]:
        assert fetch(numbers[each["port"]], each["path"]).status == 200
    assert probes[0]["path"] == "/begins"
    assert fetch(numbers[found["Service"]["spec"]["ports"][0]["targetPort"]], "/").status == 404
    assert server.terminate() == 0


def test_the_defaults_are_those_of_a_pod(serve: Serve, project: Project) -> None:
    """What the server itself says is in force there, and its grace is granted."""
    directory = project()
    found = printed(cwd=directory)
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    server = serve("--print-options-json", cwd=directory, settings="site_settings", env=inside, until=None)
    assert server.wait() == 0
    said = {name: each["value"] for name, each in json.loads(server.stdout).items()}
    assert pod(found)["terminationGracePeriodSeconds"] == said["DRAIN_DELAY"] + said["GRACEFUL_TIMEOUT"] + 10
    assert container(found)["readinessProbe"]["timeoutSeconds"] == said["CHECK_TIMEOUT"] + 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--no-probe",), "--no-probe from the command line"),
        (("--host", "127.0.0.1"), "--host: 127.0.0.1 from the command line"),
        (("--endpoint", "unix:/run/web.sock"), "--endpoint: 'unix:/run/web.sock' from the command line"),
        (("--set", "color=red"), "--set: 'color' is not a known key: there are name, namespace"),
        (("--sett",), "--sett"),
        (("--image", "Shop"), "--image: 'Shop' is not valid"),
    ],
)
def test_what_makes_no_manifest(project: Project, words: tuple[str, ...], named: str) -> None:
    """One line, status 1, nothing on standard output."""
    done = print_manifests(*words, cwd=project())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("twistserve: ")
    assert named in done.stderr


def test_what_may_not_be_meant(project: Project) -> None:
    """The manifests, and sentences beside them, with no value of a secret."""
    done = print_manifests(cwd=project(settings="DEBUG = True\n"), TWISTSERVE_WEBHOOK_SECRET="hunter2")
    assert done.returncode == 0
    assert objects(done.stdout)
    for said in ("DEBUG = True", "--image: 'web' has no tag", "kubectl create secret generic web-secrets"):
        assert said in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_a_reader_that_leaves(project: Project) -> None:
    """`manage.py kubernetes | head` ends with a line, and no traceback."""
    script = f"{BIN / 'python'} manage.py kubernetes --image shop:1 | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=project(), capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_the_validation_finds_faults(project: Project) -> None:
    """A misspelt field, a container with more rights: neither passes."""
    found = printed(cwd=project())
    made = container(found)
    made["readinesProbe"] = made.pop("readinessProbe")
    assert [each.partition(":")[0] for each in faults(found)] == [f"Deployment with {version}" for version in VERSIONS]
    made["securityContext"] = {"capabilities": {"add": ["SYS_ADMIN"]}, "runAsUser": 0}
    pod(found)["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    assert list(violations(pod(found))) == ["the volume hostPath", "privileges", "root", "capabilities"]
