"""/metrics of several workers: sums that never decrease when workers are replaced, in files that do not stay."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.functional.draining import Client
from tests.support.functional.harness import PATIENCE, Serve, Server, lines_with, release, wait_for
from tests.support.functional.workers import (
    PRELOADED_TOO,
    Held,
    Launch,
    Load,
    ended,
    launching,
    resume,
    suspend,
    wait_until_none_is_left,
    wait_until_ready,
    wait_until_replaced,
    workers,
)
from tests.support.functional.workers_project import VIEWS

SHOP = (
    VIEWS
    + """
import site_settings as settings
from prometheus_client import Counter, Gauge, Histogram
orders = Counter("shop_orders", "Orders.", ["kind"])
waits = Histogram("shop_waits_seconds", "Seconds that customers waited.", buckets=(1, 2))
open_tills = Gauge("shop_open_tills", "Tills that are open.", multiprocess_mode="livesum")
longest = Gauge("shop_longest_queue", "The longest queue so far.", multiprocess_mode="max")
shelf = Gauge("shop_shelf", "Books on a worker's shelf.")
open_tills.set(3)
shelf.set(7)

def order(request):
    orders.labels(request.GET["kind"]).inc()
    settings.logins.inc()
    waits.observe(1.5)
    longest.set(int(request.GET.get("queue", 1)))
    return HttpResponse(f"{os.getpid()} ordered")

urlpatterns += [path("order/", order)]
"""
)
SETTINGS = """
from prometheus_client import Counter
logins = Counter("shop_logins", "Logins, declared where the parent imports it too.")
INSTALLED_APPS += ["django_prometheus"]
MIDDLEWARE = [
    "twistserve.middleware.RouteMetricsMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
"""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def launch(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Launch]:
    with launching(serve, tmp_path, getattr(request, "param", False)) as launcher:
        yield launcher


@pytest.fixture
def shop(launch: Launch) -> Callable[..., Server]:
    """Start servers of a project with metrics of its own and django-prometheus's."""

    def launcher(*args: str, **kwargs: object) -> Server:
        return launch("--no-access-log", *args, views=SHOP, settings=SETTINGS, **kwargs)

    return launcher


def scrape(server: Server, accept: str = "") -> tuple[Samples, Samples]:
    """Everything that can only grow, and everything else; no sample is there twice."""
    reply = server.probe("/metrics", headers={"Accept": accept})
    assert reply.status == 200, reply.text
    growing: Samples = {}
    others: Samples = {}
    for family in parse_openmetrics(reply.text) if accept else parse_text(reply.text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in growing, f"{key} is there twice"
            assert key not in others, f"{key} is there twice"
            found = growing if family.type in ("counter", "histogram") else others
            found[key] = sample.value
    return growing, others


def value(samples: Samples, name: str, **labels: str) -> float:
    """A sample, 0 while it is not there."""
    return samples.get((name, frozenset(labels.items())), 0.0)


def order(server: Server, number: int) -> None:
    """Order so many books, over connections that both workers get some of."""

    def buy(some: range) -> None:
        for each in some:
            assert server.get(f"/order/?kind=book&number={each}").status == 200

    threads = [threading.Thread(target=buy, args=(range(offset, number, 8),)) for offset in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


@PRELOADED_TOO
@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_the_sum_of_all_workers(shop: Callable[..., Server], accept: str) -> None:
    """Of counters, histograms and gauges: the server's, the project's and django-prometheus's."""
    server = shop("--threads", "3")
    idle = [Client(server) for _ in range(10)]
    order(server, 199)
    assert server.get("/order/?kind=book&queue=12").status == 200
    growing, others = scrape(server, accept)
    ours = {"method": "GET", "status": "200"}
    expected = {
        "twistserve_http_requests_total": value(growing, "twistserve_http_requests_total", **ours, handler="django"),
        "duration": value(growing, "twistserve_http_request_duration_seconds_count", method="GET", handler="django"),
        "queue": value(growing, "twistserve_http_request_queue_seconds_count"),
        "route": value(growing, "twistserve_view_requests_total", **ours, route="order/"),
        "orders": value(growing, "shop_orders_total", kind="book"),
        "logins": value(growing, "shop_logins_total"),
        "waits": value(growing, "shop_waits_seconds_count"),
        "seconds waited": value(growing, "shop_waits_seconds_sum") / 1.5,
        "django-prometheus": value(growing, "django_http_requests_before_middlewares_total"),
        "its methods": value(growing, "django_http_requests_total_by_method_total", method="GET"),
    }
    assert expected == dict.fromkeys(expected, 200)
    wait_for(lambda: value(scrape(server, accept)[0], "twistserve_reactor_lag_seconds_count"), "the lag to be measured")
    # The server may not have noticed yet that the last of those that ordered has left.
    wait_for(lambda: value(scrape(server, accept)[1], "twistserve_http_connections") == 10, "ten connections")
    gauges = {
        "threads": value(others, "twistserve_threads"),
        "tills": value(others, "shop_open_tills"),
        "queue": value(others, "shop_longest_queue"),
        "startup": value(others, "twistserve_startup_seconds") > 0,
    }
    assert gauges == {"threads": 6, "tills": 6, "queue": 12, "startup": True}
    shelves = {labels: number for (name, labels), number in others.items() if name == "shop_shelf"}
    assert {frozenset({("pid", "1")}): 7, frozenset({("pid", "2")}): 7} == shelves
    states = {labels: number for (name, labels), number in others.items() if name == "twistserve_lifecycle_state"}
    assert states.pop(frozenset({("state", "ready")})) == 1
    assert {*states.values()} == {0}
    builds = [number for (name, _), number in others.items() if name == "twistserve_build_info"]
    assert builds == [1]
    restarted = {labels: number for (name, labels), number in growing.items() if "worker_restarts_total" in name}
    assert restarted
    assert {*restarted.values()} == {0}
    for client in idle:
        client.closes()


@PRELOADED_TOO
def test_nothing_goes_back_when_workers_are_replaced(shop: Callable[..., Server]) -> None:
    """Neither under SIGHUP, which loses no count at all, nor under SIGKILL; gauges forget workers that are gone."""
    server = shop("--threads", "3")
    directories = [*Path(server.env["TMPDIR"]).iterdir()]
    assert len(directories) == 1
    seen: Samples = {}
    scrapes = 0

    def look() -> None:
        nonlocal seen, scrapes
        growing, _ = scrape(server)
        back = {key: (before, growing.get(key)) for key, before in seen.items() if growing.get(key, -1.0) < before}
        assert back == {}, f"after {scrapes} scrapes these went back"
        seen = growing
        scrapes += 1

    def replace(end: Callable[[], None], old: set[int]) -> None:
        end()

        def replaced() -> bool:
            look()
            return old.isdisjoint(workers(server))

        wait_for(replaced, f"{old} to be replaced\n{server.output}")
        wait_until_ready(server)
        look()

    with Load(server, clients=4, path="/order/?kind=book") as load:
        load.wait_for(100)
        replace(lambda: server.signal(signal.SIGHUP), {*workers(server)})
        replaced_one = min(workers(server))
        replace(lambda: os.kill(replaced_one, signal.SIGTERM), {replaced_one})
    look()
    assert load.losses == []
    counted = {
        "ours": value(seen, "twistserve_http_requests_total", method="GET", status="200", handler="django"),
        "route": value(seen, "twistserve_view_requests_total", method="GET", status="200", route="order/"),
        "orders": value(seen, "shop_orders_total", kind="book"),
        "django-prometheus": value(seen, "django_http_requests_before_middlewares_total"),
    }
    assert counted == dict.fromkeys(counted, load.sent), "a worker that drains hands over what it has counted"

    files = {path.name for path in directories[0].iterdir()}
    with Load(server, clients=4, path="/order/?kind=book") as load:
        for _ in range(2):
            load.wait_for(50)
            look()
            killed = max(workers(server))
            replace(partial(os.kill, killed, signal.SIGKILL), {killed})
    sys.stdout.write(f"{scrapes} scrapes, {len(files)} files\n")
    assert {path.name for path in directories[0].iterdir()} <= files, "files are named by numbers that are used again"
    wait_for(lambda: value(scrape(server)[1], "twistserve_http_connections") == 0, "closed connections to be noticed")
    _, others = scrape(server)
    assert (value(others, "twistserve_threads"), value(others, "shop_open_tills")) == (6, 6)
    assert value(seen, "twistserve_worker_restarts_total", reason="died") == 2
    assert value(seen, "twistserve_worker_restarts_total", reason="reload") == 2
    assert value(seen, "twistserve_worker_restarts_total", reason="signal") == 1


@PRELOADED_TOO
def test_a_worker_that_is_killed_has_handed_over(shop: Callable[..., Server]) -> None:
    """What it had answered a heartbeat ago is counted, though there was no scrape."""
    server = shop()
    old = {*workers(server)}
    order(server, 50)
    [directory] = Path(server.env["TMPDIR"]).iterdir()

    def counted() -> float:
        metrics: Iterable[Metric] = MultiProcessCollector.merge(map(str, directory.glob("counter_*")))
        samples = [sample for metric in metrics for sample in metric.samples]
        return sum(sample.value for sample in samples if sample.name == "twistserve_http_requests_total")

    wait_for(lambda: counted() == 50, f"the counts to be handed over\n{server.output}")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until_replaced(server, old)
    growing, _ = scrape(server)
    assert value(growing, "twistserve_http_requests_total", method="GET", status="200", handler="django") == 50


def test_workers_that_drain_are_told_of(shop: Callable[..., Server]) -> None:
    """Their requests are in progress until they are answered, for metrics and the status page, and counted then."""
    server = shop("--threads", "3")
    held = [Held(server, f"request-{number}") for number in range(3)]
    server.signal(signal.SIGTERM)
    wait_for(lambda: lines_with(server.stdout, "requests in flight"), f"a worker to drain\n{server.output}")

    def told() -> tuple[float, ...]:
        growing, others = scrape(server)
        described = server.probe("/status.json").json()["workers"]
        return (
            value(others, "twistserve_http_requests_in_progress"),
            value(others, "twistserve_threads_busy"),
            value(growing, "twistserve_http_requests_total", method="GET", status="200", handler="django"),
            sum(len(worker["requests"]) for worker in described),
        )

    wait_for(lambda: told() == (3, 3, 0, 3), f"what is in flight to be told\n{server.output}")
    release(server)
    assert [each.outcome() for each in held] == [f"200 held request-{number}" for number in range(3)]
    assert ended(server)


def test_a_worker_that_does_not_answer_holds_no_scrape_up(shop: Callable[..., Server]) -> None:
    """What it had counted the last time is still there."""
    server = shop()
    order(server, 50)
    before, _ = scrape(server)
    standing = min(workers(server))
    suspend(standing)
    began = time.monotonic()
    after, _ = scrape(server)
    took = time.monotonic() - began
    resume(standing)
    assert took < 8, f"{took:.1f} s"
    orders = "shop_orders_total"
    assert value(before, orders, kind="book") == value(after, orders, kind="book") == 50


@PRELOADED_TOO
def test_the_directory_is_the_servers_own(shop: Callable[..., Server], tmp_path: Path) -> None:
    """One that the environment names has nothing of the workers; the server's own is gone after the end."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "counter_99.db").write_bytes(b"")
    server = shop(env={"PROMETHEUS_MULTIPROC_DIR": str(elsewhere)})
    order(server, 20)
    assert value(scrape(server)[0], "shop_orders_total", kind="book") == 20
    assert [path.name for path in elsewhere.iterdir()] == ["counter_99.db"]
    old = {*workers(server)}
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until_replaced(server, old)
    assert len([*Path(server.env["TMPDIR"]).iterdir()]) == 1


def test_the_directory_of_a_parent_that_was_killed(launch: Launch) -> None:
    """The next server that starts removes it, but not the directory of one that runs."""
    killed, running = launch(name="killed"), launch(name="running")
    temporary = Path(killed.env["TMPDIR"])
    directories = {*temporary.iterdir()}
    assert len(directories) == 2
    killed.kill()
    wait_until_none_is_left(killed)
    launch(name="next")
    assert len({*temporary.iterdir()} & directories) == 1
    assert len([*temporary.iterdir()]) == 2
    assert running.get("/who/").status == 200
    old = {*workers(running)}
    running.signal(signal.SIGHUP)
    wait_until_replaced(running, old)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("runner", ["twistd", "twist", "manage"])
def test_a_directory_that_another_server_needed(launch: Launch, number: int, runner: str) -> None:
    """The variable is left over: nothing is where it points to, which is no matter, with one process neither."""
    name = "prometheus_multiproc_dir" if runner == "twist" else "PROMETHEUS_MULTIPROC_DIR"
    server = launch(number=number, runner=runner, until=None, env={name: "/nonexistent/metrics"})
    server.wait_until("/ready")
    assert server.get("/who/").status == 200
    wait_for(
        lambda: value(
            scrape(server)[0], "twistserve_http_requests_total", method="GET", status="200", handler="django"
        ),
        f"the request to be counted\n{server.output}",
    )
    assert server.terminate() == 0
    assert "Traceback" not in server.output


@PRELOADED_TOO
def test_without_metrics(launch: Launch) -> None:
    """Workers serve as ever, and are replaced."""
    server = launch("--no-metrics")
    assert server.probe("/metrics").status == 404
    old = {*workers(server)}
    server.signal(signal.SIGHUP)
    wait_until_replaced(server, old)
    assert server.get("/who/").status == 200
