"""What options mean together: defaults that follow from others, and combinations that cannot work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import TypeVar

from twistserve.consumer_options import MOST_PREFETCHED, ConsumerConfiguration
from twistserve.errors import StartError
from twistserve.options import STATUS_JSON, Configuration
from twistserve.values import parsed_mount, parsed_service

AnyConfiguration = TypeVar("AnyConfiguration", bound=Configuration)


def complete(config: AnyConfiguration) -> AnyConfiguration:
    """Fill in the defaults that follow from other options and refuse combinations that cannot work."""
    config = config if config.no_probe else _complete_probes(config)
    if config.autoreload and config.workers > 1:
        raise StartError(
            f"--autoreload: one process is reloaded, and --workers is {config.workers}: give --workers 1 with it"
        )
    if config.preload and config.workers == 1:
        raise StartError(
            "--preload: it is workers that are forked from the process with the application, and --workers is 1: give"
            " --workers 2 or more, or leave it out"
        )
    _check_names_of_services(config)
    if config.static_watch:
        _check_static_watch(config)
    if config.debugger:
        _check_debugger(config)
    if config.mount:
        _check_mounts(config)
    return config


def complete_consumer(config: ConsumerConfiguration) -> ConsumerConfiguration:
    """The same for a consumer."""
    config = complete(config)
    if not config.prefetch:
        derived = {**config.defaults, "prefetch": "default, twice --threads"}
        config = dataclasses.replace(config, prefetch=min(2 * config.threads, MOST_PREFETCHED), defaults=derived)
    if config.amqp_url is None:
        return config
    for name in ("amqp_host", "amqp_port", "amqp_vhost"):
        # Those of Django-Hurricane are there for both during a move.
        if (source := config.sources.get(name, "")) and not source.endswith(f" {name.upper()}"):
            raise StartError(
                f"--amqp-url from {config.sources['amqp_url']} says where the broker is, but there is"
                f" --{name.replace('_', '-')} from {source}: leave one of them out"
            )
    return config


def _check_names_of_services(config: Configuration) -> None:
    by_name: dict[str, str] = {}
    for name, dotted in map(parsed_service, config.service):
        if name in by_name:
            raise StartError(
                f"--service: {by_name[name]} and {dotted} are both named {name!r}: give one another name, such as"
                f" --service {name}-2={dotted}"
            )
        by_name[name] = dotted


def _check_mounts(config: Configuration) -> None:
    seen: dict[str, str] = {}
    names = ("startup_probe", "readiness_probe", "liveness_probe", "metrics") if config.probes_on_web_port else ()
    probes = {getattr(config, name): name.replace("_", "-") for name in names}
    for text in config.mount:
        path, dotted = astuple(parsed_mount(text))
        if path in seen:
            raise StartError(f"--mount: {path!r} is given to {seen[path]} and to {dotted}: give each a path of its own")
        if path in probes:
            raise StartError(
                f"--mount: {path!r} is the path of --{probes[path]} too, which is on the web port: give the resource"
                " another, or the probes a port of their own"
            )
        seen[path] = dotted


def _check_static_watch(config: Configuration) -> None:
    if not config.static:
        raise StartError("--static-watch renews what --static serves: give --static as well")
    if config.workers > 1:
        raise StartError(
            f"--static-watch is for development with one process, and --workers is {config.workers}: leave one of them"
            " out"
        )


def _check_debugger(config: Configuration) -> None:
    if config.workers > 1:
        raise StartError(
            f"--debugger: with --workers {config.workers} there are several processes, of which one could listen:"
            " give --workers 1, or leave it out"
        )
    ports = {} if config.no_probe else {config.probe_port: "probe"}
    ports |= {config.port: "web"} if config.serves and not config.endpoint else {}
    if config.debugger_port in ports:
        name = ports[config.debugger_port]
        raise StartError(f"--debugger-port: {config.debugger_port} is the {name} port too: give the debugger another")


def _complete_probes(config: AnyConfiguration) -> AnyConfiguration:
    if "probe_port" not in config.sources:
        if config.port == 65535:
            raise StartError("--port: 65535 leaves no port after it for the probes: give --probe-port as well")
        config = dataclasses.replace(config, probe_port=config.port + 1)
    if "probe_host" not in config.sources:
        config = dataclasses.replace(config, probe_host=config.host)
    probes = ["readiness_probe", "liveness_probe"]
    if config.probe is not None:
        _refuse_two_paths(config.sources, probes)
        derived = {**config.defaults, **dict.fromkeys(probes, "default with --probe")}
        config = dataclasses.replace(
            config, readiness_probe=config.probe, liveness_probe=config.probe, defaults=derived
        )
        probes = ["probe"]
    if config.probes_on_web_port:
        config = _share_port(config)
    names = ["startup_probe", *probes] + ["metrics"] * (not config.no_metrics)
    seen: dict[str, str] = {} if config.no_status_page else {STATUS_JSON: "the status page's JSON"}
    for name in names:
        path, word = getattr(config, name), name.replace("_", "-")
        if path in seen:
            raise StartError(f"--{word}: {path!r} is the path of {seen[path]} too: give each a path of its own")
        seen[path] = f"--{word}"
    return config


def _share_port(config: AnyConfiguration) -> AnyConfiguration:
    """Have the probes on the web port, where the status page would hide the site. Raises `StartError`."""
    shared = f"--probe-port: {config.probe_port} is the port of --port too"
    remedy = "give the probes a port of their own"
    if config.workers > 1:
        raise StartError(
            f"{shared}, where with --workers {config.workers} each worker could tell of itself alone: {remedy}"
        )
    if any(description.startswith(("tls:", "ssl:")) for description in config.endpoint):
        raise StartError(f"{shared}, and probes are not served with TLS, which --endpoint asks for: {remedy}")
    if config.endpoint:
        raise StartError(f"{shared}, which --endpoint takes the place of: {remedy}")
    if config.probe_host != config.host:
        raise StartError(
            f"--probe-host: the probes are on the web port, {config.probe_port}, which is at the address of --host:"
            f" leave it out, or {remedy}"
        )
    without = "default with --probe-port on the web port"
    return dataclasses.replace(
        config,
        no_status_page=True,
        sources={name: source for name, source in config.sources.items() if name != "no_status_page"},
        defaults={**config.defaults, "no_status_page": without},
    )


def _refuse_two_paths(sources: Mapping[str, str], names: Sequence[str]) -> None:
    """Refuse --probe beside what gives readiness or liveness a path of its own."""
    for name in names:
        if name in sources:
            word = name.replace("_", "-")
            raise StartError(
                f"--probe from {sources['probe']} is the one path of readiness and liveness, but there is"
                f" --{word} from {sources[name]}: leave one of them out"
            )
