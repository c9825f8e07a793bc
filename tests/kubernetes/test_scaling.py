"""The rule for an autoscaler: the same for prometheus-adapter, for KEDA and in manifests."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from prometheus_client import Gauge

from tests.support.functional.harness import ROOT
from twistserve.kubernetes import scaling
from twistserve.metrics import catalogue

[RULE] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "adapter.yaml").read_text())["rules"]


def without_spaces(text: str) -> str:
    return "".join(text.split())


def test_the_adapter_has_the_same_rule() -> None:
    """The file is for people to apply; its query and its name are those of the module."""
    query = RULE["metricsQuery"].replace("<<.LabelMatchers>>", scaling.SELECTOR).replace("<<.GroupBy>>", "pod")
    assert without_spaces(query) == without_spaces(scaling.POD_QUERY)
    assert RULE["name"]["as"] == scaling.METRIC
    assert set(RULE["resources"]["overrides"]) == {"namespace", "pod"}


def test_the_metric_of_the_autoscaler() -> None:
    """A value for each pod, whose average is to be half a request for each thread."""
    found: dict[str, Any] = scaling.metric(8)
    assert found["pods"]["metric"]["name"] == "twistserve_thread_load"
    assert found["pods"]["target"] == {"type": "AverageValue", "averageValue": f"{scaling.TARGET * 1000:g}m"}


@pytest.mark.parametrize(
    ("threads", "target"), [(1, 0.4), (4, 0.4), (6, 0.5), (8, 0.5), (11, 0.5), (12, 0.4), (32, 0.25), (500, 0.25)]
)
def test_the_target_depends_on_the_number_of_threads(threads: int, target: float) -> None:
    """The closest number that was simulated counts, in proportion."""
    assert scaling.target(threads) == target


def test_the_query_is_of_metrics_that_there_are() -> None:
    """Each selected by the pods of the Deployment."""
    gauges = {each for each in vars(catalogue).values() if isinstance(each, Gauge)}
    known = {described.name for gauge in gauges for described in gauge.describe()}
    asked = re.findall(r"(twistserve_\w+)(\{SELECTOR\})?", scaling.QUERY)
    assert asked
    assert [name for name, selector in asked if name not in known or not selector] == []


def test_the_document_has_the_same_rule_for_keda() -> None:
    """What people copy from docs/kubernetes.md asks the same, and scales at the same pace."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    [block] = re.findall(r"```yaml\n(apiVersion: keda\.sh.*?)```", text, re.DOTALL)
    spec = yaml.safe_load(block)["spec"]
    [trigger] = spec["triggers"]
    selector = 'namespace="default",pod=~"mysite-[0-9a-f]+-[0-9a-z]+"'
    assert without_spaces(trigger["metadata"]["query"]) == without_spaces(
        scaling.QUERY.replace(scaling.SELECTOR, selector)
    )
    assert float(trigger["metadata"]["threshold"]) == scaling.TARGET
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == scaling.BEHAVIOR
