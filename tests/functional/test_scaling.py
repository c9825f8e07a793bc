"""deploy/prometheus/adapter.yaml: what an autoscaler would be told of a live server, as Prometheus computes it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import yaml

from tests.support.functional.harness import ROOT, Serve, Server
from tests.support.functional.prometheus import Scrape
from twistserve.kubernetes import scaling

[RULE] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "adapter.yaml").read_text())["rules"]
LABELS = {"namespace": "shops", "pod": "shop-1"}
THREADS = 8


def expanded() -> str:
    """The query as prometheus-adapter asks it for two pods of a namespace, of which one is there."""
    query: str = RULE["metricsQuery"]
    query = query.replace("<<.LabelMatchers>>", 'pod=~"shop-1|shop-2",namespace="shops"').replace("<<.GroupBy>>", "pod")
    return query.replace("<<.Series>>", "twistserve_threads")


def total(namespace: str) -> str:
    """The query as KEDA asks it."""
    return scaling.QUERY.replace(scaling.SELECTOR, f'namespace="{namespace}",pod=~"shop-.*"')


@contextmanager
def held(server: Server, requests: int) -> Iterator[None]:
    """Have so many requests run or wait until the block has ended; they are cut off with the server."""
    with ThreadPoolExecutor(requests) as clients:
        for _ in range(requests):
            clients.submit(server.get, "/slow/?seconds=30")
        yield
        server.kill()


@pytest.mark.parametrize(("requests", "load"), [(4, 0.5), (THREADS, 1), (THREADS + 4, 1)])
def test_the_load_of_a_pod(serve: Serve, scrape: Scrape, requests: int, load: float) -> None:
    """Requests for each thread, at most 1: for prometheus-adapter by pod, for KEDA as a sum."""
    server = serve("--threads", str(THREADS))
    prometheus = scrape(server.probe_port, labels=LABELS)
    prometheus.wait_until_up_is(1)
    with held(server, requests):
        now = shortened(expanded())
        prometheus.wait_until(lambda: prometheus.query(now, "pod") == {("shop-1",): load}, "the load")
        together = shortened(total("shops"))
        prometheus.wait_until(lambda: prometheus.value(together) == load, "the sum")
        unbounded = shortened(expanded()).replace(f"{scaling.MOST})", "1000)")
        prometheus.wait_until(lambda: prometheus.query(unbounded, "pod") == {("shop-1",): requests / THREADS}, "queue")


def shortened(query: str) -> str:
    """The query over a time that a test can wait for."""
    assert query.count(f"[{scaling.WINDOW}]") == 3
    return query.replace(f"[{scaling.WINDOW}]", "[3s]")


def test_a_pod_that_does_nothing(serve: Serve, scrape: Scrape) -> None:
    """It has the load 0, over the whole window; one that is not there has none."""
    server = serve()
    prometheus = scrape(server.probe_port, labels=LABELS)
    prometheus.wait_until(lambda: prometheus.query(expanded(), "pod") == {("shop-1",): 0}, "the load")
    assert prometheus.value(total("shops")) == 0
    assert prometheus.query(total("elsewhere")) == {}


def test_workers_are_one_pod(serve: Serve, scrape: Scrape) -> None:
    """Their threads and requests are added up."""
    server = serve("--workers", "2", "--threads", "2")
    prometheus = scrape(server.probe_port, labels=LABELS)
    prometheus.wait_until(lambda: prometheus.value("twistserve_threads") == 4, "the threads of both")
    with held(server, 2):
        prometheus.wait_until(lambda: prometheus.query(shortened(expanded()), "pod") == {("shop-1",): 0.5}, "the load")


def test_the_adapter_finds_the_series(serve: Serve, scrape: Scrape) -> None:
    """By the query that it asks for series, whose labels are those of the rule."""
    server = serve()
    prometheus = scrape(server.probe_port, labels=LABELS)
    prometheus.wait_until_up_is(1)
    [series] = prometheus.wait_until(lambda: prometheus.api("series", **{"match[]": RULE["seriesQuery"]}), "the series")
    assert series["__name__"] == "twistserve_threads"
    assert set(RULE["resources"]["overrides"]) <= set(series)
