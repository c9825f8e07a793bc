"""What a scraper gets: the same samples as prometheus-client's own, in the format it asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.exposition import HOSTILE, samples
from twistserve.metrics import exposition
from twistserve.metrics.exposition import OPENMETRICS, TEXT, choose_format, expose, takes_gzip


def filled(module: Any) -> CollectorRegistry:
    """A registry with metrics of the classes of a module, and what happened to them."""
    registry = CollectorRegistry()
    counter = module.Counter("calls_total", "Calls. Don't \\ worry.", ["who", "how"], registry=registry)
    histogram = module.Histogram("took_seconds", "Time.", ["who"], buckets=(0.001, 0.5, 60), registry=registry)
    prometheus_client.Gauge("idle", "Idle.", registry=registry).set(7)
    for number, label in enumerate(HOSTILE):
        counter.labels(label, "x").inc(number)
        histogram.labels(label).observe(number / 4)
        histogram.labels(label).observe(1e18)
    return registry


@pytest.mark.parametrize(("content_type", "parse"), [(TEXT, parse_text), (OPENMETRICS, parse_openmetrics)])
def test_the_samples_are_those_of_prometheus_client(content_type: str, parse: Callable[[str], Any]) -> None:
    """Whatever the labels say, a parser reads the names, labels and values that the library's own classes export."""
    text = expose(filled(exposition), content_type).decode()
    theirs = expose(filled(prometheus_client), content_type).decode()
    assert samples(parse(text)) == samples(parse(theirs))
    assert text.endswith("# EOF\n") is (content_type == OPENMETRICS)
    assert text.count("# EOF") == (content_type == OPENMETRICS)
    headings = [line for line in theirs.splitlines() if line.startswith("#") and "_created" not in line]
    assert [line for line in text.splitlines() if line.startswith("#")] == headings


def test_others_read_the_registry_as_they_are_used_to() -> None:
    """What exports or asks the registry by itself finds ordinary samples."""
    registry = filled(exposition)
    assert registry.get_sample_value("calls_total", {"who": HOSTILE[3], "how": "x"}) == 3
    theirs, ours = generate_latest(registry), expose(registry, TEXT)
    assert samples(parse_text(theirs.decode())) == samples(parse_text(ours.decode()))
    restricted = registry.restricted_registry(["took_seconds_count"])
    assert {sample.name for family in restricted.collect() for sample in family.samples} == {"took_seconds_count"}


def test_what_changes_between_scrapes_is_seen() -> None:
    """Series that are known and series that are new have the numbers of the time of the scrape."""
    registry = CollectorRegistry()
    counter = exposition.Counter("calls_total", "Calls.", ["who"], registry=registry)
    assert b"calls_total{" not in expose(registry, TEXT)
    counter.labels("a").inc()
    assert b'calls_total{who="a"} 1.0\n' in expose(registry, TEXT)
    counter.labels("a").inc()
    counter.labels("b").inc()
    assert expose(registry, TEXT).endswith(b'calls_total{who="a"} 2.0\ncalls_total{who="b"} 1.0\n')


def test_a_collector_that_raises_is_heard() -> None:
    """Half an answer would look like the whole."""

    class Broken:
        def collect(self) -> list[Metric]:
            raise LookupError("gone")

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Broken())
    with pytest.raises(LookupError):
        expose(registry, TEXT)


def test_of_many_series_one_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """prometheus-client's samples are made of the first series alone, and not again: they cost ten times the lines."""
    registry = CollectorRegistry()
    labels = ["route", "method", "status"]
    requests = exposition.Counter("requests_total", "Requests.", labels, registry=registry)
    seconds = exposition.Histogram("seconds", "Time.", labels, buckets=[n / 10 for n in range(15)], registry=registry)
    made = []
    for module in (prometheus_client.Counter, prometheus_client.Histogram):

        def note(self: Any, samples: Callable[[Any], Any] = module._child_samples) -> Any:
            made.append(self)
            return samples(self)

        monkeypatch.setattr(module, "_child_samples", note)
    for number in range(200):
        for method, status in (("GET", "200"), ("GET", "404"), ("POST", "302")):
            requests.labels(f"app{number}/<int:pk>/", method, status).inc()
            seconds.labels(f"app{number}/<int:pk>/", method, status).observe(0.2)
        text = expose(registry, TEXT)
    assert text.count(b"\n") == 600 * (1 + 16 + 2) + 4
    assert len(made) == 2


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
