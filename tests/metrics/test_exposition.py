"""What a scraper gets, in the format it asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.exposition import HOSTILE, samples
from twistserve.metrics.exposition import OPENMETRICS, TEXT, choose_format, expose, takes_gzip


@pytest.mark.parametrize(("content_type", "parse"), [(TEXT, parse_text), (OPENMETRICS, parse_openmetrics)])
def test_a_parser_reads_the_samples(content_type: str, parse: Callable[[str], Any]) -> None:
    """Whatever the labels say; OpenMetrics has an end."""
    registry = CollectorRegistry()
    counter = Counter("calls_total", "Calls. Don't \\ worry.", ["who"], registry=registry)
    for number, label in enumerate(HOSTILE):
        counter.labels(label).inc(number)
    text = expose(registry, content_type).decode()
    found = samples(parse(text))
    assert found == {("calls_total", frozenset({("who", label)})): number for number, label in enumerate(HOSTILE)}
    assert text.endswith("# EOF\n") is (content_type == OPENMETRICS)


def test_a_collector_that_raises_is_heard() -> None:
    """Half an answer would look like the whole."""

    class Broken:
        def collect(self) -> list[Metric]:
            raise LookupError("gone")

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Broken())
    with pytest.raises(LookupError):
        expose(registry, TEXT)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2",
            OPENMETRICS,
        ),
        ("text/plain;version=0.0.4,application/openmetrics-text;q=0.3", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0.0,*/*", TEXT),
        ("application/openmetrics-text;version=abc", OPENMETRICS),
        ("application/openmetrics-textual", TEXT),
        ("application/openmetrics-text;q=0.1,*/*;q=0.9", TEXT),
        ("application/openmetrics-text;q=0.1,text/*;q=0.9", TEXT),
        ("application/openmetrics-text;q=0.4,*/*;q=0.3", OPENMETRICS),
        ("application/openmetrics-text;q=1.5,text/plain;q=0.1", TEXT),
        (",;q=,;;==,\xff", TEXT),
    ],
)
def test_the_format_is_negotiated(accept: str, chosen: str) -> None:
    """OpenMetrics for who asks for it and does not like text better; any other header gets text."""
    assert choose_format(accept) == chosen


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, identity", False),
        ("identity", False),
        ("notgzip", False),
        ("*", False),
    ],
)
def test_gzip_is_negotiated(header: str, taken: bool) -> None:
    """Only who names gzip and does not refuse it gets it."""
    assert takes_gzip(header) is taken
