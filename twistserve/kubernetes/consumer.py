"""The objects of a consumer: a Deployment that nobody sends requests to, scaled by the length of its queue."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from twistserve import command_line, values
from twistserve.consumer_options import CONSUMER_TABLE, ConsumerConfiguration
from twistserve.errors import StartError
from twistserve.kubernetes import times
from twistserve.kubernetes.chosen import Chosen, image_notice
from twistserve.kubernetes.resources import resources
from twistserve.kubernetes.words import Words
from twistserve.kubernetes.yaml import Remark, comment, document
from twistserve.options import TABLE

CONTAINER = "consumer"
COMMAND = ["python", "manage.py", "consume"]
LENGTH = 100
"""Messages in the queue for each pod, beyond which there is to be another."""
_USER = 1000
_PROBES = "probes"
_TEMPORARY = "/tmp"
_TEMPORARY_SIZE = "64Mi"
_URL = "TWISTSERVE_AMQP_URL"
_SHARED = {option.name for option in TABLE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give an argparse parser what is asked of a consumer, and its own options."""
    group = parser.add_argument_group("Consumer")
    group.add_argument(
        "--consumer",
        metavar="DOTTED",
        help="print the manifests of manage.py consume with this handler, and with its options in place of serve's",
    )
    group.add_argument(
        "--queue-length",
        metavar="N",
        default=str(LENGTH),
        help="with --consumer, messages in the queue for each pod, beyond which KEDA adds another"
        " (default: %(default)s)",
    )
    names = [option.name for option in CONSUMER_TABLE if option.name in _SHARED]
    command_line.add_arguments(parser, but=(*names, "handler"), table=CONSUMER_TABLE)


def given(arguments: Mapping[str, Any]) -> dict[str, object]:
    """The raw values of the consumer's options that were typed. Raises `StartError` for one of serve."""
    found = command_line.given(arguments, CONSUMER_TABLE)
    for name in command_line.given(arguments).keys() - found.keys():
        raise StartError(f"--{name.replace('_', '-')} is an option of serve, and --consumer consumes: leave one out")
    return {**found, "handler": arguments["consumer"]}


def refuse_without(arguments: Mapping[str, Any]) -> None:
    """Raise `StartError` for an option of a consumer where none is asked for."""
    for option in CONSUMER_TABLE:
        if option.name not in _SHARED and arguments.get(option.name) is not None:
            raise StartError(f"--{option.word} is an option of consume: give --consumer with it")


def text(
    configuration: ConsumerConfiguration, chosen: Chosen, words: Words, length: str, pod_monitor: bool = False
) -> str:
    """The manifests as YAML. Raises `StartError`."""
    try:
        number = values.positive_integer(length)
    except ValueError as error:
        raise StartError(f"--queue-length: {length!r} is not valid: {error}") from error
    if configuration.no_probe:
        raise StartError(
            f"--no-probe from {configuration.source('no_probe')}: Kubernetes would have nothing to ask: leave it out"
        )
    if pod_monitor and configuration.no_metrics:
        raise StartError(
            f"--pod-monitor: there are no metrics with --no-metrics from {configuration.source('no_metrics')}"
        )
    header = "Made by manage.py kubernetes --consumer: print it anew when the options change."
    found = [*objects(configuration, chosen, words, number)]
    if pod_monitor:
        endpoint = {"port": _PROBES, "path": configuration.metrics}
        spec = {"selector": {"matchLabels": _labels(chosen)}, "podMetricsEndpoints": [endpoint]}
        found.append(_manifest("monitoring.coreos.com/v1", "PodMonitor", chosen, spec=spec))
    documents = [document(each) for each in found]
    return "".join(f"{line}\n" for line in comment(header)) + "---\n" + "---\n".join(documents)


def named(chosen: Chosen, words: list[str]) -> Chosen:
    """Beside the web service's objects, unless --set gives another name."""
    if any(word.startswith("name=") for word in words):
        return chosen
    return dataclasses.replace(chosen, name=f"{chosen.name}-{CONTAINER}")


def objects(
    configuration: ConsumerConfiguration, chosen: Chosen, words: Words, length: int
) -> Iterator[dict[str, Any]]:
    """The objects, in the order to apply them. Raises `StartError`."""
    yield _manifest("v1", "ServiceAccount", chosen, automountServiceAccountToken=False)
    scaled = chosen.replicas is None and configuration.amqp_url is not None
    replicas = {} if scaled else {"replicas": chosen.replicas or chosen.min_replicas}
    spec = {
        **replicas,
        "progressDeadlineSeconds": times.progress_deadline(configuration),
        "selector": {"matchLabels": _labels(chosen)},
        "template": {"metadata": {"labels": _labels(chosen)}, "spec": _pod(configuration, chosen, words)},
    }
    yield _manifest("apps/v1", "Deployment", chosen, spec=spec)
    budget = {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    budget["selector"] = {"matchLabels": _labels(chosen)}
    yield _manifest("policy/v1", "PodDisruptionBudget", chosen, spec=budget)
    if scaled:
        yield _scaled_object(configuration, chosen, length)


def notices(configuration: ConsumerConfiguration, chosen: Chosen, words: Words) -> Iterator[str]:
    """Warnings about manifests that can be applied, but may not do what was intended."""
    if said := image_notice(chosen.image):
        yield said
    if words.secrets:
        literals = " ".join(f"--from-literal={name}=..." for name in words.secrets)
        yield (
            f"{', '.join(words.secrets)} come from a Secret, which pods wait for: kubectl create secret generic"
            f" {chosen.secret} {literals}"
        )
    if chosen.replicas is None and configuration.amqp_url is None:
        yield (
            "KEDA finds the queue by a URL of the broker: give --amqp-url for pods by its length; there are"
            f" {chosen.min_replicas} now"
        )
    if configuration.dead_letter_exchange is None:
        yield (
            "--dead-letter-exchange is not set: messages that fail again and again are discarded, unless a policy of"
            " the broker gives the queue one"
        )


def _labels(chosen: Chosen) -> dict[str, str]:
    return {"app.kubernetes.io/name": chosen.name, "app.kubernetes.io/component": CONTAINER}


def _manifest(version: str, kind: str, chosen: Chosen, **fields: Any) -> dict[str, Any]:
    where = {} if chosen.namespace is None else {"namespace": chosen.namespace}
    metadata = {"name": chosen.name, **where, "labels": _labels(chosen)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _pod(configuration: ConsumerConfiguration, chosen: Chosen, words: Words) -> dict[str, Any]:
    return {
        "serviceAccountName": chosen.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": Remark(
            f"--graceful-timeout ({configuration.graceful_timeout:g}), and 10 for the end.", times.grace(configuration)
        ),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(configuration, chosen, words)],
        "volumes": [{"name": "temporary", "emptyDir": {"sizeLimit": _TEMPORARY_SIZE}}],
    }


def _container(configuration: ConsumerConfiguration, chosen: Chosen, words: Words) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": chosen.image,
        "command": COMMAND,
        "args": [_literal(each) for each in words.arguments],
        "env": [
            *({"name": name, "value": _literal(value)} for name, value in words.environment.items()),
            *(
                {"name": name, "valueFrom": {"secretKeyRef": {"name": chosen.secret, "key": name}}}
                for name in words.secrets
            ),
            {"name": "TMPDIR", "value": _TEMPORARY},
        ],
        "ports": [{"name": _PROBES, "containerPort": configuration.probe_port}],
        "startupProbe": _probe(configuration.startup_probe, times.startup(configuration)),
        "readinessProbe": Remark(
            "Fails while there is no connection to the broker, which holds up a roll-out and restarts nothing.",
            _probe(configuration.readiness_probe, times.readiness(configuration)),
        ),
        "livenessProbe": _probe(configuration.liveness_probe, times.liveness(configuration)),
        "resources": resources(configuration, chosen),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "temporary", "mountPath": _TEMPORARY}],
    }


def _probe(path: str, asked: times.Asked) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": _PROBES}, **asked.fields()}


def _literal(text: str) -> str:
    """A text in which Kubernetes does not expand $(NAME)."""
    return text.replace("$", "$$")


def _scaled_object(configuration: ConsumerConfiguration, chosen: Chosen, length: int) -> dict[str, Any]:
    """For KEDA, which the cluster must have."""
    if configuration.queue is None:
        raise StartError(
            "--consumer: KEDA has to know the queue: give --queue, or --set replicas=N for a fixed number of pods"
        )
    trigger = {
        "type": "rabbitmq",
        "metadata": {
            "protocol": "amqp",
            "queueName": configuration.queue,
            "mode": "QueueLength",
            "value": Remark("Messages for each pod.", str(length)),
            "hostFromEnv": _URL,
        },
    }
    spec = {
        "scaleTargetRef": {"name": chosen.name},
        "minReplicaCount": chosen.min_replicas,
        "maxReplicaCount": chosen.max_replicas,
        "triggers": [trigger],
    }
    return _manifest("keda.sh/v1alpha1", "ScaledObject", chosen, spec=spec)
