"""All objects: which there are, and that they belong together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.options import resolved
from twistserve.errors import StartError
from twistserve.kubernetes import manifests, scaling
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.words import words

SHOP = Chosen(name="shop", image="shop:1")
KINDS = ["ServiceAccount", "Service", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"]


def rendered(
    *line: str, chosen: Chosen = SHOP, pod_monitor: bool = False, scale_by: str = "cpu"
) -> dict[str, dict[str, Any]]:
    """The objects by their kinds, in their order."""
    found = resolved(*line)
    text = manifests.text(found, chosen, words(found), pod_monitor, scale_by)
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def test_the_objects() -> None:
    """An autoscaler only for a number that is not fixed, an Ingress for a host, a PodMonitor where asked for."""
    assert list(rendered()) == KINDS
    assert list(rendered(chosen=Chosen(replicas=2))) == KINDS[:-1]
    more = rendered(chosen=Chosen(host="shop.example.com", namespace="shops"), pod_monitor=True)
    assert list(more) == [*KINDS, "Ingress", "PodMonitor"]
    assert {each["metadata"]["namespace"] for each in more.values()} == {"shops"}
    assert {each["metadata"].get("namespace") for each in rendered().values()} == {None}


def test_they_belong_together() -> None:
    """By labels that a further Deployment of the project would not have, and by names."""
    found = rendered(chosen=Chosen(name="shop", image="shop:1", host="shop.example.com"), pod_monitor=True)
    deployment = found["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/name": "shop", "app.kubernetes.io/component": "web"}
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["PodMonitor"]["spec"]["selector"]["matchLabels"] == labels
    assert deployment["template"]["spec"]["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    autoscaler = found["HorizontalPodAutoscaler"]["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    [container] = deployment["template"]["spec"]["containers"]
    assert autoscaler["metrics"][0]["containerResource"]["container"] == container["name"]
    [path] = found["Ingress"]["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": "shop", "port": {"name": "http"}}


def test_the_service_has_no_port_of_the_probes() -> None:
    """Whoever reaches the site does not reach the metrics."""
    assert rendered()["Service"]["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    both = rendered("--endpoint", "tcp:8080", "--endpoint", "tls:/certs:port=8443")["Service"]["spec"]["ports"]
    assert both[1] == {"name": "https", "port": 443, "targetPort": "https"}


@pytest.mark.parametrize(("line", "port"), [((), "probes"), (("--probe-port", "8000"), "http")])
def test_the_monitor(line: tuple[str, ...], port: str) -> None:
    """It scrapes the path and the port of the options."""
    [endpoint] = rendered("--metrics", "/numbers", *line, pod_monitor=True)["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": port, "path": "/numbers"}


def test_the_autoscaler() -> None:
    """Its bounds; and the connections to databases that they mean are told."""
    found = resolved("--workers", "2", "--threads", "4")
    text = manifests.text(found, Chosen(min_replicas=3, max_replicas=30), words(found), False)
    assert "minReplicas: 3\n" in text
    assert "# At most 30 pods x 2 worker(s) x 4 threads = 240 connections" in text


def test_the_autoscaler_follows_the_threads_where_asked_to() -> None:
    """With the rule of deploy/prometheus/adapter.yaml, for the same Deployment and within the same bounds."""
    by_cpu, by_threads = (rendered(scale_by=way)["HorizontalPodAutoscaler"]["spec"] for way in scaling.WAYS)
    [metric] = by_threads.pop("metrics")
    assert metric == scaling.metric(8)
    assert by_threads.pop("behavior") == scaling.BEHAVIOR
    assert by_threads == {key: value for key, value in by_cpu.items() if key != "metrics"}
    [metric] = rendered("--threads", "32", scale_by="threads")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric == scaling.metric(32)


def test_an_ingress_needs_http() -> None:
    """TLS to the pods is a matter of each ingress controller."""
    with pytest.raises(StartError, match="--set host: an Ingress speaks HTTP to pods"):
        rendered("--endpoint", "tls:/certs:port=8443", chosen=Chosen(host="shop.example.com"))


def test_what_is_not_unicode() -> None:
    """One sentence."""
    with pytest.raises(StartError, match="an option is not valid Unicode"):
        rendered("--command", "seed \udcff")
