"""What `manage.py kubernetes` prints, and what Kubernetes would say of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kubernetes_validate import ValidationError, validate

from tests.support.functional.harness import PATIENCE

VERSIONS = ("1.35", "1.36", "1.37")
MATRIX = {
    "defaults": (),
    "all": (
        *("--static", "--check-migrations-apply", "--command", "seed $(HOME)", "--forwarded-allow-ips", "private"),
        *("--pod-monitor", "--set", "host=shop.example.com", "--set", "namespace=shops", "--set", "max-replicas=50"),
        *("--webhook-url", "https://hooks.example.com/key", "--webhook-secret", "hunter2", "--app-version", "1: yes"),
    ),
    "threads": ("--scale-by", "threads", "--pod-monitor", "--set", "max-replicas=100"),
    "many threads": ("--scale-by", "threads", "--threads", "16"),
    "workers": ("--workers", "3", "--preload", "--max-memory", "300", "--set", "cpu=1.5", "--set", "replicas=3"),
    "web port": ("--probe-port", "8000", "--probe", "/health", "--pod-monitor", "--set", "memory=300M"),
    "endpoints": ("--endpoint", "tcp:8080", "--endpoint", "tls:/certs:port=8443", "--endpoint", "tcp:8090"),
    "times": ("--check-timeout", "0.2", "--drain-delay", "2.5", "--graceful-timeout", "0", "--max-body-size", "1K"),
}
"""Options that change what is printed."""
CUSTOM = ("HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject")
"""Kinds that Kubernetes itself does not know."""
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def print_manifests(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing of ours in the environment but these variables."""
    others = ("TWISTSERVE_", "HURRICANE_", "DJANGO_", "KUBERNETES_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    command = [sys.executable, "manage.py", "kubernetes", *words]
    return subprocess.run(
        command, cwd=cwd, env=environ | variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def objects(text: str) -> dict[str, dict[str, Any]]:
    """The objects by their kinds."""
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def faults(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What the schemas of Kubernetes refuse, unknown fields among it."""
    for each in found.values():
        for version in VERSIONS if each["kind"] not in CUSTOM else ():
            try:
                validate(each, version, strict=True)
            except ValidationError as error:
                yield f"{each['kind']} with {version}: {error}"


def violations(pod: dict[str, Any]) -> Iterator[str]:
    """What the Pod Security Standard "restricted" forbids, of what a pod of ours can have (kubernetes.io)."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes", []):
        yield from (f"the volume {key}" for key in volume.keys() - {"name"} - _VOLUMES)
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        own, of_pod = container.get("securityContext", {}), pod.get("securityContext", {})
        both = {**of_pod, **own}
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield "privileges"
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            yield "root"
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccomp"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield "capabilities"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield "hostPort"
    if pod.get("securityContext", {}).get("sysctls"):
        yield "sysctls"
