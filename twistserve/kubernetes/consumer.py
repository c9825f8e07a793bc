"""The objects of a consumer: a Deployment that gets no requests, scaled by the length of its queue."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from twistserve import broker_url, command_line, values
from twistserve.consumer_options import CONSUMER_TABLE, ConsumerConfiguration
from twistserve.errors import StartError
from twistserve.kubernetes import pod, times
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.objects import (
    disruption_budget,
    labels,
    manifest,
    pod_monitor,
    service_account,
    written,
)
from twistserve.kubernetes.sense import notices_of_a_pod, refuse_in_a_pod
from twistserve.kubernetes.words import Words, is_secret
from twistserve.kubernetes.yaml import Remark
from twistserve.options import TABLE

COMPONENT = "consumer"
COMMAND = ["python", "manage.py", "consume"]
LENGTH = 100
"""Messages in the queue for each pod, beyond which there is to be another."""
TEMPORARY_SIZE = "64Mi"
URL, USER, PASSWORD = (f"TWISTSERVE_AMQP_{name}" for name in ("URL", "USER", "PASSWORD"))
_URL_OPTION = next(option for option in CONSUMER_TABLE if option.name == "amqp_url")
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
        help=f"with --consumer, messages in the queue for each pod, beyond which KEDA adds another (default: {LENGTH})",
    )
    names = [option.name for option in CONSUMER_TABLE if option.name in _SHARED]
    command_line.add_arguments(parser, but=(*names, "handler"), table=CONSUMER_TABLE)


def given(arguments: Mapping[str, Any]) -> dict[str, object]:
    """The raw values of the consumer's options that were typed. Raises `StartError` for one of serve."""
    found = command_line.given(arguments, CONSUMER_TABLE)
    if arguments.get("scale_by") is not None:
        raise StartError(
            "--scale-by is for the web service: a consumer is scaled by the length of its queue (--queue-length): leave"
            " it out"
        )
    for name in sorted(command_line.given(arguments).keys() - found.keys()):
        raise StartError(f"--{name.replace('_', '-')} is an option of serve, and --consumer consumes: leave one out")
    return {**found, "handler": arguments["consumer"]}


def refuse_without(arguments: Mapping[str, Any]) -> None:
    """Raise `StartError` for an option of a consumer where none is asked for."""
    if arguments.get("queue_length") is not None:
        raise StartError("--queue-length scales a consumer: give --consumer with it")
    for option in CONSUMER_TABLE:
        if option.name not in _SHARED and arguments.get(option.name) is not None:
            raise StartError(f"--{option.word} is an option of consume: give --consumer with it")


def text(
    configuration: ConsumerConfiguration,
    chosen: Chosen,
    words: Words,
    length: str | None = None,
    monitored: bool = False,
) -> str:
    """The manifests as YAML, with `monitored` a PodMonitor among them. Raises `StartError`.

    `length` is the value of --queue-length, None if it was not typed.
    """
    try:
        number = LENGTH if length is None else values.positive_integer(length)
    except ValueError as error:
        raise StartError(f"--queue-length: {length!r} is not valid: {error}") from error
    if chosen.host is not None:
        raise StartError("--set host: an Ingress is for web pods, and --consumer has none: leave it out")
    refuse_in_a_pod(configuration, monitored)
    found = [*objects(configuration, chosen, words, number)]
    if monitored:
        found.append(pod_monitor(configuration, chosen))
    return written("Made by manage.py kubernetes --consumer: print it anew when the options change.", found)


def named(chosen: Chosen, words: list[str]) -> Chosen:
    """As a consumer's: beside the web service's objects, unless --set gives another name."""
    name = chosen.name if any(word.startswith("name=") for word in words) else f"{chosen.name}-{COMPONENT}"
    return dataclasses.replace(chosen, name=name, component=COMPONENT)


def objects(
    configuration: ConsumerConfiguration, chosen: Chosen, words: Words, length: int
) -> Iterator[dict[str, Any]]:
    """The objects, in the order to apply them. Raises `StartError`."""
    broker = _broker(configuration, words)
    scaled = chosen.replicas is None and broker is not None
    yield service_account(chosen)
    yield _deployment(configuration, chosen, words, None if scaled else chosen.replicas or chosen.min_replicas)
    yield disruption_budget(chosen)
    if scaled and broker is not None:
        yield _scaled_object(configuration, chosen, length, broker)


def notices(configuration: ConsumerConfiguration, chosen: Chosen, words: Words) -> Iterator[str]:
    """Warnings about manifests that can be applied, but may not do what was intended."""
    yield from notices_of_a_pod(chosen, words)
    if chosen.replicas is None and _broker(configuration, words) is None:
        yield (
            "KEDA asks the broker by its URL, with the user and the password, which it cannot read from the image: give"
            f" --amqp-url, or the environment variable {URL}, for pods by the queue's length; there are"
            f" {chosen.min_replicas} now"
        )
    if configuration.dead_letter_exchange is None:
        yield (
            "--dead-letter-exchange is not set: messages that fail again and again are discarded, unless a policy of"
            " the broker gives the queue one"
        )


def _deployment(
    configuration: ConsumerConfiguration, chosen: Chosen, words: Words, replicas: int | None
) -> dict[str, Any]:
    template = pod.template(
        configuration,
        chosen,
        words,
        command=COMMAND,
        temporary=TEMPORARY_SIZE,
        grace=f"--graceful-timeout ({configuration.graceful_timeout:g}), and 10 for the end.",
        readiness="Fails while there is no connection to the broker, which holds up a roll-out and restarts nothing.",
    )
    spec = {
        **({} if replicas is None else {"replicas": replicas}),
        "progressDeadlineSeconds": times.progress_deadline(configuration),
        "selector": {"matchLabels": labels(chosen)},
        "template": template,
    }
    return manifest("apps/v1", "Deployment", chosen, spec=spec)


def _broker(configuration: ConsumerConfiguration, words: Words) -> dict[str, str] | None:
    """Where KEDA finds the broker's URL: in a variable of the pods, or in the ScaledObject if it has no password.

    The user and the password that complete it are in variables. None without a URL, and where only the image has what
    is secret.
    """
    url = configuration.amqp_url
    if url is None:
        return None
    found = {"hostFromEnv": URL} if URL in words.secrets else {"host": url}
    if "host" in found and is_secret(_URL_OPTION, url):
        return None
    if broker_url.parsed(url).user is None and (configuration.amqp_user or configuration.amqp_password):
        if not {USER, PASSWORD} <= set(words.secrets):
            return None
        found |= {"usernameFromEnv": USER, "passwordFromEnv": PASSWORD}
    return found


def _scaled_object(
    configuration: ConsumerConfiguration, chosen: Chosen, length: int, broker: dict[str, str]
) -> dict[str, Any]:
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
            **broker,
        },
    }
    spec = {
        "scaleTargetRef": {"name": chosen.name},
        "minReplicaCount": chosen.min_replicas,
        "maxReplicaCount": chosen.max_replicas,
        "triggers": [trigger],
    }
    return manifest("keda.sh/v1alpha1", "ScaledObject", chosen, spec=spec)
