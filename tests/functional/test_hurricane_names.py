"""deploy/prometheus/hurricane-names.yaml: what dashboards made for Django-Hurricane ask for is there."""

from __future__ import annotations

import re
from functools import partial

import pytest

from tests.support.contract import CONTRACT
from tests.support.functional.harness import ROOT, Serve
from tests.support.functional.prometheus import Prometheus, Scrape, promtool

RULES = ROOT / "deploy" / "prometheus" / "hurricane-names.yaml"
CASES = RULES.with_name("hurricane-names_test.yaml")
DOCUMENT = ROOT / "docs" / "hurricane-metrics.md"
NAMES = re.findall(r"- record: (\w+)", RULES.read_text())
EXPORTED = {
    "hurricane_info",
    "path_requests_total",
    "request_counter_total",
    "request_queue_length",
    "response_time_average",
    *(f"response_{what}_{part}" for what in ("time_seconds", "size_bytes") for part in ("bucket", "sum", "count")),
}
"""What django-hurricane 1.6.2 exports, but for the `_created` times and what prometheus-client has by itself."""


def test_the_rules_are_valid_and_hold_what_they_should() -> None:
    """`promtool check rules` finds all, `promtool test rules` plays the cases."""
    assert f"{len(NAMES)} rules found" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", CASES)


def test_every_exported_name_is_kept() -> None:
    """Once each, with a case that asks for it."""
    assert sorted(NAMES) == sorted(EXPORTED)
    assert {name for name in NAMES if f"- expr: {name}" not in CASES.read_text()} == set()


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    """A misspelt metric would record nothing."""
    rules = re.sub(r"^ *#.*", "", RULES.read_text(), flags=re.MULTILINE)
    asked = set(re.findall(r"\btwistserve_(\w+?)(?:_bucket|_sum|_count)?\b", rules))
    assert asked
    assert asked <= set(CONTRACT)


def test_the_document_has_every_name() -> None:
    """In its table, of a histogram as a whole."""
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in NAMES}
    told = set(re.findall(r"^\| `(\w+)", DOCUMENT.read_text(), re.MULTILINE))
    assert families <= told


@pytest.mark.parametrize("workers", [1, 2])
def test_prometheus_records_the_names_of_a_live_server(serve: Serve, scrape: Scrape, workers: int) -> None:
    """Zeros before the first request, as there, and what was answered after it."""
    server = serve("--static", "--workers", str(workers))
    prometheus = scrape(server.probe_port, RULES)
    later = {"path_requests_total"}
    for name in set(NAMES) - later:
        prometheus.wait_until(partial(prometheus.query, name), name)
    assert value(prometheus, "request_counter_total") == 0
    assert value(prometheus, "response_time_average") == 0

    assert server.get("/books/1/").status == 200
    assert server.get("/slow/?seconds=0.3").status == 200
    assert server.get("/static/catalogue/style.css").status == 200
    prometheus.wait_until(lambda: value(prometheus, "request_counter_total") == 3, "the requests")
    prometheus.wait_until(lambda: value(prometheus, "response_time_seconds_count") == 2, "Django's responses")
    prometheus.wait_until(lambda: value(prometheus, "response_size_bytes_count") == 3, "their sizes")
    average = prometheus.wait_until(lambda: value(prometheus, "response_time_average"), "their average")
    assert 100 < average < 10_000
    paths = {("/books/<int:pk>/", "GET"): 1, ("/slow/", "GET"): 1}
    prometheus.wait_until(lambda: prometheus.query("path_requests_total", "path", "method") == paths, "the paths")
    info = prometheus.query("hurricane_info", "version")
    assert list(info.values()) == [1]
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(NAMES, "ok")


def value(prometheus: Prometheus, name: str) -> float:
    """The one value of a name that has one series."""
    [found] = prometheus.query(name).values()
    return found
