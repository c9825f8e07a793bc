"""The pod's named ports, from the options alone. Ports that cannot be reached from outside the pod are refused."""

from __future__ import annotations

from typing import NamedTuple

from twistserve.errors import StartError
from twistserve.net.addresses import endpoint_port
from twistserve.options import Configuration

PROBES = "probes"
EVERYWHERE = (None, "", "0.0.0.0", "::")
PRIVILEGED = 1024
SERVICE_PORTS = {"http": 80, "https": 443}


class Port(NamedTuple):
    """A port of the container."""

    name: str
    number: int
    service: int | None
    """The Service's port for it; None if the Service does not expose it."""


def ports(configuration: Configuration) -> list[Port]:
    """The web ports, which a consumer has not, then the probe port if it is a separate one. Raises `StartError`."""
    if configuration.no_probe:
        raise StartError(
            f"--no-probe from {configuration.source('no_probe')}: Kubernetes would have nothing to ask: leave it out"
        )
    found: list[Port] = []
    if configuration.serves:
        found += _of_endpoints(configuration) if configuration.endpoint else [_of_host(configuration)]
    if not configuration.probes_on_web_port:
        _check_host(configuration, "probe_host" if "probe_host" in configuration.sources else "host")
        _check_number("probe_port", configuration.probe_port)
        found.append(Port(PROBES, configuration.probe_port, None))
    return found


def web_ports(configuration: Configuration) -> list[Port]:
    """The ports that the Service exposes. Raises `StartError`."""
    return [port for port in ports(configuration) if port.service is not None]


def probe_port(configuration: Configuration) -> str:
    """The name of the port that serves probes and metrics. Raises `StartError`."""
    return ports(configuration)[-1].name


def _of_host(configuration: Configuration) -> Port:
    _check_host(configuration, "host")
    _check_number("port", configuration.port)
    return Port("http", configuration.port, SERVICE_PORTS["http"])


def _of_endpoints(configuration: Configuration) -> list[Port]:
    found: list[Port] = []
    for description in configuration.endpoint:
        of = f"--endpoint: {description!r} from {configuration.source('endpoint')}"
        try:
            scheme, interface, number = endpoint_port(description)
        except (ValueError, LookupError) as error:
            raise StartError(
                f"{of} has no port that a Service could send requests to: give one of tcp, ssl or tls, such as tcp:8000"
            ) from error
        if interface not in EVERYWHERE:
            raise StartError(f"{of} is not reached from outside the pod at {interface}: leave the interface out")
        _check_number("endpoint", number)
        same = sum(port.name.startswith(f"{scheme}-") or port.name == scheme for port in found)
        found.append(
            Port(f"{scheme}-{same + 1}", number, number) if same else Port(scheme, number, SERVICE_PORTS[scheme])
        )
    return found


def _check_host(configuration: Configuration, name: str) -> None:
    host = getattr(configuration, name)
    if host not in EVERYWHERE:
        clients = "the kubelet and Prometheus" if name == "probe_host" else "the Service and the kubelet"
        raise StartError(
            f"--{name.replace('_', '-')}: {host} from {configuration.source(name)} is not the pod's address, to"
            f" which {clients} connect: leave it out, or give 0.0.0.0"
        )


def _check_number(name: str, number: int) -> None:
    if number < PRIVILEGED:
        raise StartError(
            f"--{name.replace('_', '-')}: {number} is a port that only a privileged process may open, and the pod's is"
            " not: give one from 1024; the Service has port 80 in front of it"
        )
