"""Options that make no sense in a cluster: an error, or a notice where the manifests can still be applied."""

from __future__ import annotations

from collections.abc import Iterator

from twistserve.errors import StartError
from twistserve.kubernetes import scaling
from twistserve.kubernetes.chosen import Chosen, image_notice
from twistserve.kubernetes.words import Words
from twistserve.options import TABLE, Configuration

FOR_DEVELOPMENT = {
    "autoreload": "the files of an image do not change",
    "static_watch": "the files of an image do not change",
    "debugger": "a breakpoint would hold up a pod that visitors wait for",
}
DEFAULT_PROXIES = next(option.default for option in TABLE if option.name == "forwarded_allow_ips")
LEAST_DELAY = 2.0
"""Seconds that proxies need at best to learn that a pod is leaving."""


def refuse(
    configuration: Configuration, pod_monitor: bool, scale_by: str = scaling.CPU, replicas: int | None = None
) -> None:
    """Raise `StartError` for options that cannot work in a pod; `ports` does so for addresses and ports.

    `replicas` is the fixed number of pods, or None with an autoscaler.
    """
    refuse_in_a_pod(configuration, pod_monitor)
    if not configuration.req_queue_len:
        raise StartError(
            f"--req-queue-len: 0 from {configuration.source('req_queue_len')} makes the readiness probe fail always, so"
            " that no pod would ever get requests: give 1 or more"
        )
    if scale_by == scaling.THREADS and configuration.no_metrics:
        raise StartError(
            f"--scale-by: threads needs the metrics that --no-metrics from {configuration.source('no_metrics')} leaves"
            " out: leave one of them out"
        )
    if scale_by == scaling.THREADS and replicas is not None:
        raise StartError(
            f"--scale-by: threads is for an autoscaler, and --set replicas={replicas} is a fixed number: leave one of"
            " them out"
        )


def refuse_in_a_pod(configuration: Configuration, pod_monitor: bool) -> None:
    """The same for what neither the web service nor a consumer can have."""
    for name, why in FOR_DEVELOPMENT.items():
        if getattr(configuration, name):
            word, source = name.replace("_", "-"), configuration.source(name)
            raise StartError(f"--{word} from {source} is for development: {why}; leave it out")
    if pod_monitor and configuration.no_metrics:
        raise StartError(
            f"--pod-monitor: there are no metrics with --no-metrics from {configuration.source('no_metrics')}: leave"
            " one of them out"
        )


def notices_of_a_pod(chosen: Chosen, words: Words) -> Iterator[str]:
    """Warnings about what both kinds of pod have: the image and the Secret."""
    if said := image_notice(chosen.image):
        yield said
    if words.secrets:
        literals = " ".join(f"--from-literal={name}=..." for name in words.secrets)
        yield (
            f"{', '.join(words.secrets)} come from a Secret, which pods wait for: kubectl create secret generic"
            f" {chosen.secret} {literals}"
        )


def notices(configuration: Configuration, chosen: Chosen, words: Words) -> Iterator[str]:
    """Warnings about manifests that can be applied, but may not do what was intended."""
    yield from notices_of_a_pod(chosen, words)
    if configuration.drain_delay < LEAST_DELAY:
        yield (
            f"--drain-delay: {configuration.drain_delay:g} from {configuration.source('drain_delay')} closes the port"
            " before proxies have heard of it, so that requests fail in every roll-out: leave it out for 5 seconds"
        )
    if configuration.host == "::" and not configuration.endpoint:
        yield (
            f"--host: :: from {configuration.source('host')} serves IPv6 alone, so that pods with an IPv4 address"
            " never get ready: leave it out for both"
        )
    if configuration.probe is not None:
        yield (
            f"--probe: {configuration.probe} is the livenessProbe too, so that an outage of the database restarts pods:"
            " give --readiness-probe and --liveness-probe instead"
        )
    if configuration.probes_on_web_port:
        yield (
            f"--probe-port: {configuration.probe_port} is the web port, so that every visitor of the site can read"
            " probes and metrics: leave it out for a separate port"
        )
    yield from _of_commands(configuration)
    if configuration.media:
        yield (
            "--media serves MEDIA_ROOT, and the pods share none: mount a volume that all can write there, or store"
            " uploads elsewhere (the setting STORAGES)"
        )
    if chosen.host is not None and configuration.forwarded_allow_ips == DEFAULT_PROXIES:
        yield (
            "--forwarded-allow-ips is not set, so that the application sees the ingress's address in place of its"
            " clients' and http in place of https: give the ingress's network, or private"
        )
    for description in configuration.endpoint:
        if description.startswith("haproxy:"):
            yield f"--endpoint: {description!r} takes connections only from a proxy that speaks the PROXY protocol"
        if "ssl:" in description or "tls:" in description:
            yield f"--endpoint: {description!r} needs its certificates in the pod: mount the Secret that has them"
    yield from configuration.notices


def _of_commands(configuration: Configuration) -> Iterator[str]:
    for command in configuration.command:
        name = command.split()[0]
        if name == "migrate":
            yield (
                "--command: migrate runs in all pods of a roll-out at the same time: give --check-migrations-apply,"
                " which has one of them migrate while the others wait"
            )
        elif name == "collectstatic":
            yield (
                "--command: collectstatic has nowhere to write, as the file system of the pod is read-only: run it when"
                " the image is built"
            )
