"""What autoscalers go by is among the server's metrics."""

from __future__ import annotations

import re

from prometheus_client import Gauge

from twistserve.kubernetes import scaling
from twistserve.metrics import catalogue


def test_the_query_is_of_metrics_that_there_are() -> None:
    """Each selected by the pods of the Deployment."""
    gauges = {each for each in vars(catalogue).values() if isinstance(each, Gauge)}
    known = {described.name for gauge in gauges for described in gauge.describe()}
    asked = re.findall(r"(twistserve_\w+)(\{SELECTOR\})?", scaling.QUERY)
    assert asked
    assert [name for name, selector in asked if name not in known or not selector] == []


def test_the_name_of_the_metric_is_not_taken() -> None:
    """It is one that prometheus-adapter makes of others."""
    assert re.fullmatch(r"twistserve_[a-z_]+", scaling.METRIC)
    assert 0 < scaling.TARGET < 1
