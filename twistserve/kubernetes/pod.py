"""The pods of a Deployment, of the web service or of a consumer: what runs in them, and how safely."""

from __future__ import annotations

from typing import Any

from twistserve.kubernetes import times
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.objects import labels
from twistserve.kubernetes.ports import Port, ports, probe_port
from twistserve.kubernetes.resources import resources
from twistserve.kubernetes.words import Words
from twistserve.kubernetes.yaml import Remark
from twistserve.options import Configuration

USER = 1000
TEMPORARY = "/tmp"


def template(
    configuration: Configuration,
    chosen: Chosen,
    words: Words,
    *,
    command: list[str],
    temporary: Remark | str,
    grace: str,
    readiness: str,
) -> dict[str, Any]:
    """The template of the pods. `temporary` is the size of TMPDIR; `grace` and `readiness` are remarks on those."""
    spec = {
        "serviceAccountName": chosen.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": Remark(grace, times.grace(configuration)),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            _spread("topology.kubernetes.io/zone", chosen),
            _spread("kubernetes.io/hostname", chosen),
        ],
        "containers": [_container(configuration, chosen, words, command, readiness)],
        "volumes": [{"name": "temporary", "emptyDir": {"sizeLimit": temporary}}],
    }
    return {"metadata": {"labels": labels(chosen)}, "spec": spec}


def _spread(key: str, chosen: Chosen) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(chosen)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _container(
    configuration: Configuration, chosen: Chosen, words: Words, command: list[str], readiness: str
) -> dict[str, Any]:
    arguments = {"args": [_literal(each) for each in words.arguments]} if words.arguments else {}
    return {
        "name": chosen.component,
        "image": chosen.image,
        "command": command,
        **arguments,
        "env": [
            *({"name": name, "value": _literal(value)} for name, value in words.environment.items()),
            *(
                {"name": name, "valueFrom": {"secretKeyRef": {"name": chosen.secret, "key": name}}}
                for name in words.secrets
            ),
            {"name": "TMPDIR", "value": TEMPORARY},
        ],
        "ports": [_container_port(port) for port in ports(configuration)],
        "startupProbe": Remark(
            f"A start may take {times.start(configuration)} seconds.",
            _probe(configuration, configuration.startup_probe, times.startup(configuration)),
        ),
        "readinessProbe": Remark(
            readiness, _probe(configuration, configuration.readiness_probe, times.readiness(configuration))
        ),
        "livenessProbe": _probe(configuration, configuration.liveness_probe, times.liveness(configuration)),
        "resources": resources(configuration, chosen),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "temporary", "mountPath": TEMPORARY}],
    }


def _container_port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "containerPort": port.number}


def _probe(configuration: Configuration, path: str, asked: times.Asked) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": probe_port(configuration)}, **asked.fields()}


def _literal(text: str) -> str:
    """A text in which Kubernetes does not expand $(NAME)."""
    return text.replace("$", "$$")
