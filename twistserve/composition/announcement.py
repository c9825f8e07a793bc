"""What is said of a start that is complete: where to look."""

from __future__ import annotations

from collections.abc import Iterator

from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.net.addresses import endpoint_address, port_address
from twistserve.options import STATUS_PAGE, Configuration

logger = get_logger(__name__)


def announce_addresses(configuration: Configuration, lifecycle: Lifecycle) -> None:
    """Log the addresses of the site, the probes and the status page once the service is READY."""

    def say(state: State, reason: str) -> None:
        if state is State.READY:
            for line in addresses(configuration):
                logger.info("%s", line)

    lifecycle.observe(say)


def addresses(configuration: Configuration) -> Iterator[str]:
    """A line for each. Spaces stand around addresses, so that terminals let them be clicked.

    FORCE_SCRIPT_NAME is in none of them: it is for a proxy to take away, and this is past the proxy.
    """
    if configuration.endpoint:
        for description in configuration.endpoint:
            yield f"the site is at {endpoint_address(description)}"
    else:
        yield f"the site is at {port_address(configuration.host, configuration.port)}"
    if configuration.no_probe:
        return
    port = configuration.probe_host, configuration.probe_port
    # With --probe two of them are one.
    paths = dict.fromkeys((configuration.startup_probe, configuration.readiness_probe, configuration.liveness_probe))
    yield f"the probes are at {' '.join(port_address(*port, path) for path in paths)}"
    if not configuration.no_status_page:
        yield f"the status page is at {port_address(*port, STATUS_PAGE)}"
