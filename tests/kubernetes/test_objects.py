"""The objects that the web service and a consumer have alike."""

from __future__ import annotations

import pytest

from tests.support.options import resolved
from twistserve.errors import StartError
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.objects import disruption_budget, pod_monitor, service_account, written

TILL = Chosen(name="till", component="consumer", namespace="shops")
LABELS = {"app.kubernetes.io/name": "till", "app.kubernetes.io/component": "consumer"}


def test_they_go_by_the_component() -> None:
    """The pods of a web service and of a consumer of the same name are not mixed up."""
    made = [service_account(TILL), disruption_budget(TILL), pod_monitor(resolved("--metrics", "/m"), TILL)]
    assert all(each["metadata"] == {"name": "till", "namespace": "shops", "labels": LABELS} for each in made)
    assert all(each["spec"]["selector"] == {"matchLabels": LABELS} for each in made[1:])
    assert made[2]["spec"]["podMetricsEndpoints"] == [{"port": "probes", "path": "/m"}]


def test_what_is_written() -> None:
    """Documents with a comment before them; what is not Unicode is refused in one sentence."""
    assert written("Made anew.", [{"a": 1}, {"b": 2}]) == "# Made anew.\n---\na: 1\n---\nb: 2\n"
    with pytest.raises(StartError, match="not valid Unicode"):
        written("", [{"a": "\udcff"}])
