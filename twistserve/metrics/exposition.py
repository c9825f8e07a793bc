"""What a scraper gets: metrics as Prometheus text or as OpenMetrics, which it may want compressed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from prometheus_client import Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from twistserve.http.negotiation import weight, weights

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = CONTENT_TYPE_OPENMETRICS


class Source(Protocol):
    """A registry, or what collects like one."""

    def collect(self) -> Iterable[Metric]:
        """The metrics now."""


def expose(source: Source, content_type: str) -> bytes:
    """The source's metrics in the format of `TEXT` or `OPENMETRICS`. Raises what a collector raises."""
    encode: Callable[[Any], bytes] = generate_openmetrics if content_type == OPENMETRICS else generate_latest
    return encode(source)


def choose_format(accept: str) -> str:
    """`OPENMETRICS` for a scraper that accepts it and likes text no better, else `TEXT` (RFC 9110 section 12.5.1)."""
    wanted = weights(accept)
    liked = weight(wanted, "application/openmetrics-text")
    return OPENMETRICS if liked and liked >= weight(wanted, "text/plain", "text/*", "*/*") else TEXT


def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted (RFC 9110 section 12.5.3)."""
    return weight(weights(accept_encoding), "gzip") > 0
