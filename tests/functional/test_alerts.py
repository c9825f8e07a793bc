"""deploy/prometheus: the alerts are rules that Prometheus takes, fire when they should, and only then."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.contract import CONTRACT
from tests.support.functional.harness import ROOT, Serve
from tests.support.functional.prometheus import Scrape, promtool
from twistserve.metrics import amqp

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
CASES = ALERTS.with_name("alerts_test.yaml")
NAMES = re.findall(r"- alert: (\w+)", ALERTS.read_text())


def test_the_rules_are_valid() -> None:
    """`promtool check rules` finds every alert."""
    assert f"{len(NAMES)} rules found" in promtool("check", "rules", ALERTS)


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    """`promtool test rules` plays courses of events, those that call for an alert and those that do not."""
    assert "SUCCESS" in promtool("test", "rules", CASES)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_a_case_that_fires_and_one_that_does_not(name: str) -> None:
    """An alert that is never seen firing, or never seen silent, is not tested."""
    cases = CASES.read_text().split("  - name: ")
    own = [case for case in cases if f"alertname: {name}" in case]
    assert [case for case in own if "exp_alerts" in case]
    assert [case for case in own if "exp_alerts" not in case]


def test_the_alerts_ask_for_metrics_that_there_are() -> None:
    """A misspelt metric would never fire."""
    asked = set(
        re.findall(
            r"\btwistserve_(\w+)(?=[{\[ )])",
            "".join(re.findall(r"expr:(.*?)\n +(?:for|labels):", ALERTS.read_text(), re.S)),
        )
    )
    assert asked
    of_consumers = re.findall(r'"twistserve_(\w+)"', Path(amqp.__file__).read_text())
    assert asked <= {*CONTRACT, *of_consumers}


def test_prometheus_evaluates_the_alerts_of_a_live_server(serve: Serve, scrape: Scrape) -> None:
    """A server at rest raises no alert; one that refuses requests raises the alert that says so."""
    server = serve("--threads", "1", "--max-queue", "1")
    prometheus = scrape(server.probe_port, ALERTS)

    def firing() -> list[str]:
        return [alert["labels"]["alertname"] for alert in prometheus.api("alerts")["alerts"]]

    def evaluated() -> bool:
        rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
        return [rule["name"] for rule in rules if rule["health"] == "ok"] == NAMES

    prometheus.wait_until(evaluated, "the rules to be evaluated")
    prometheus.wait_until_up_is(1)
    refused = 'twistserve_http_rejected_requests_total{reason="queue_full"}'
    prometheus.wait_until(lambda: prometheus.query(refused), "the zero before the first refusal")
    assert firing() == []
    with ThreadPoolExecutor(4) as clients:
        statuses = [answer.status for answer in clients.map(lambda _: server.get("/slow/?seconds=2"), range(4))]
    assert sorted(set(statuses)) == [200, 503]
    prometheus.wait_until(lambda: "TwistserveRefusing" in firing(), "the alert")
