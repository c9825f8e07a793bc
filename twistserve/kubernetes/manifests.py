"""All objects of a project, as YAML for ``kubectl apply -f -`` or kustomize."""

from __future__ import annotations

from typing import Any

from twistserve import __version__
from twistserve.errors import StartError
from twistserve.kubernetes import resources, scaling
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.deployment import deployment
from twistserve.kubernetes.objects import disruption_budget, labels, manifest, pod_monitor, service_account, written
from twistserve.kubernetes.ports import web_ports
from twistserve.kubernetes.words import Words
from twistserve.kubernetes.yaml import Remark
from twistserve.options import Configuration

_HEADER = (
    f"Made by manage.py kubernetes of twistserve {__version__}, from the options in force: print it anew when they"
    " change, and keep changes of your own in patches of kustomize."
)


def text(
    configuration: Configuration, chosen: Chosen, words: Words, monitored: bool, scale_by: str = scaling.CPU
) -> str:
    """The manifests as YAML. Raises `StartError` for options that cannot be written as a manifest.

    With `monitored` they include a PodMonitor; `scale_by` is one of `scaling.WAYS`.
    """
    return written(_HEADER, objects(configuration, chosen, words, monitored, scale_by))


def objects(
    configuration: Configuration, chosen: Chosen, words: Words, monitored: bool, scale_by: str = scaling.CPU
) -> list[dict[str, Any]]:
    """The objects, in the order to apply them. Raises `StartError`."""
    return [
        service_account(chosen),
        _service(configuration, chosen),
        deployment(configuration, chosen, words),
        disruption_budget(chosen),
        *([_autoscaler(configuration, chosen, scale_by)] if chosen.replicas is None else []),
        *([_ingress(configuration, chosen)] if chosen.host is not None else []),
        *([pod_monitor(configuration, chosen)] if monitored else []),
    ]


def _service(configuration: Configuration, chosen: Chosen) -> dict[str, Any]:
    """The Service, without the probe port."""
    ports = [{"name": port.name, "port": port.service, "targetPort": port.name} for port in web_ports(configuration)]
    return manifest("v1", "Service", chosen, spec={"selector": labels(chosen), "ports": ports})


def _autoscaler(configuration: Configuration, chosen: Chosen, scale_by: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": chosen.name},
        "minReplicas": chosen.min_replicas,
        "maxReplicas": Remark(_connections(configuration, chosen), chosen.max_replicas),
    }
    if scale_by == scaling.THREADS:
        spec["metrics"] = [scaling.metric(configuration.threads)]
        spec["behavior"] = scaling.BEHAVIOR
    else:
        target = {"type": "Utilization", "averageUtilization": resources.busy(configuration, chosen)}
        cpu = {"name": "cpu", "container": chosen.component, "target": target}
        spec["metrics"] = [{"type": "ContainerResource", "containerResource": cpu}]
    return manifest("autoscaling/v2", "HorizontalPodAutoscaler", chosen, spec=spec)


def _connections(configuration: Configuration, chosen: Chosen) -> str:
    most = chosen.max_replicas * configuration.workers * configuration.threads
    return (
        f"At most {chosen.max_replicas} pods x {configuration.workers} worker(s) x {configuration.threads} threads ="
        f" {most} connections to each database, and a few for probes and roll-outs."
    )


def _ingress(configuration: Configuration, chosen: Chosen) -> dict[str, Any]:
    name = next((port.name for port in web_ports(configuration) if port.name == "http"), None)
    if name is None:
        raise StartError(
            "--set host: an Ingress speaks HTTP to pods, and --endpoint has TLS alone: leave one of them out"
        )
    backend = {"service": {"name": chosen.name, "port": {"name": name}}}
    rule = {"host": chosen.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return manifest("networking.k8s.io/v1", "Ingress", chosen, spec={"rules": [rule]})
