"""The objects that the web service and a consumer have alike, and the metadata of all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twistserve.errors import StartError
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.ports import probe_port
from twistserve.kubernetes.yaml import Remark, comment, document
from twistserve.options import Configuration


def labels(chosen: Chosen) -> dict[str, str]:
    """The labels that select the pods."""
    return {"app.kubernetes.io/name": chosen.name, "app.kubernetes.io/component": chosen.component}


def manifest(version: str, kind: str, chosen: Chosen, **fields: Any) -> dict[str, Any]:
    """An object with the metadata that all of them share."""
    where = {} if chosen.namespace is None else {"namespace": chosen.namespace}
    metadata = {"name": chosen.name, **where, "labels": labels(chosen)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def service_account(chosen: Chosen) -> dict[str, Any]:
    """An account without rights, for a cloud to grant some to."""
    return manifest("v1", "ServiceAccount", chosen, automountServiceAccountToken=False)


def disruption_budget(chosen: Chosen) -> dict[str, Any]:
    """One pod at a time is evicted."""
    spec = {
        "maxUnavailable": Remark("As minAvailable it would keep a node from being drained of the last pod.", 1),
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": labels(chosen)},
    }
    return manifest("policy/v1", "PodDisruptionBudget", chosen, spec=spec)


def pod_monitor(configuration: Configuration, chosen: Chosen) -> dict[str, Any]:
    """For the Prometheus operator; the cluster must have its CustomResourceDefinition."""
    spec = {
        "selector": {"matchLabels": labels(chosen)},
        "podMetricsEndpoints": [{"port": probe_port(configuration), "path": configuration.metrics}],
    }
    return manifest("monitoring.coreos.com/v1", "PodMonitor", chosen, spec=spec)


def written(header: str, found: Iterable[dict[str, Any]]) -> str:
    """The objects as YAML. Raises `StartError` for options that cannot be written in it."""
    try:
        documents = [document(each) for each in found]
    except UnicodeEncodeError as error:
        raise StartError(
            f"an option is not valid Unicode, which manifests have to be: {error.object!r}: give it in UTF-8"
        ) from error
    return "".join(f"{line}\n" for line in comment(header)) + "---\n" + "---\n".join(documents)
