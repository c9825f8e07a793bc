"""The Deployment: the pods, what runs in them, and how they are replaced."""

from __future__ import annotations

from typing import Any

from twistserve.kubernetes import times
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.ports import Port, ports, probe_port
from twistserve.kubernetes.resources import resources, temporary_files
from twistserve.kubernetes.words import COMMAND, Words
from twistserve.kubernetes.yaml import Remark
from twistserve.options import Configuration

CONTAINER = "web"
USER = 1000
TEMPORARY = "/tmp"


def labels(chosen: Chosen) -> dict[str, str]:
    """The labels that select the pods."""
    return {"app.kubernetes.io/name": chosen.name, "app.kubernetes.io/component": CONTAINER}


def manifest(version: str, kind: str, chosen: Chosen, **fields: Any) -> dict[str, Any]:
    """An object with the metadata that all of them share."""
    where = {} if chosen.namespace is None else {"namespace": chosen.namespace}
    metadata = {"name": chosen.name, **where, "labels": labels(chosen)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def deployment(configuration: Configuration, chosen: Chosen, words: Words) -> dict[str, Any]:
    """The Deployment. It has `replicas` only if they are fixed: applying it would reset the autoscaler's number."""
    fixed = {} if chosen.replicas is None else {"replicas": chosen.replicas}
    spec = {
        **fixed,
        "progressDeadlineSeconds": times.progress_deadline(configuration),
        "selector": {"matchLabels": labels(chosen)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": "25%",
                "maxUnavailable": Remark("A pod leaves when the one in its place is ready.", 0),
            },
        },
        "template": {"metadata": {"labels": labels(chosen)}, "spec": _pod(configuration, chosen, words)},
    }
    return manifest("apps/v1", "Deployment", chosen, spec=spec)


def _pod(configuration: Configuration, chosen: Chosen, words: Words) -> dict[str, Any]:
    delay, graceful = configuration.drain_delay, configuration.graceful_timeout
    return {
        "serviceAccountName": chosen.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": Remark(
            f"--drain-delay ({delay:g}), --graceful-timeout ({graceful:g}), and 10 for the end. No preStop is needed.",
            times.grace(configuration),
        ),
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
        "containers": [_container(configuration, chosen, words)],
        "volumes": [
            {
                "name": "temporary",
                "emptyDir": {
                    "sizeLimit": Remark(
                        f"Two bodies of --max-body-size for each of {configuration.threads * configuration.workers}"
                        " request threads. What exceeds it evicts the pod.",
                        f"{temporary_files(configuration)}Mi",
                    )
                },
            }
        ],
    }


def _spread(key: str, chosen: Chosen) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(chosen)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _container(configuration: Configuration, chosen: Chosen, words: Words) -> dict[str, Any]:
    arguments = {"args": [_literal(each) for each in words.arguments]} if words.arguments else {}
    return {
        "name": CONTAINER,
        "image": chosen.image,
        "command": COMMAND,
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
            f"timeoutSeconds is one more than --check-timeout ({configuration.check_timeout:g}).",
            _probe(configuration, configuration.readiness_probe, times.readiness(configuration)),
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
