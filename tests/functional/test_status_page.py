"""The status page over a socket: a live process, what it says of itself, and what it keeps to itself."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.harness import Reply, Serve, Server, fetch, present, serving, wait_for, write_project
from tests.support.functional.status_page import HOSTILE, SHOP, VIEWS, document, held, requests, write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two request threads, and a deadline for their requests."""
    directory = write_shop(tmp_path_factory.mktemp("shop") / "project")
    options = ("--threads", "2", "--request-timeout", "30", "--check-timeout", "2")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


def worker(server: Server) -> dict[str, Any]:
    """The one process that serves."""
    (found,) = document(server)["workers"]
    assert isinstance(found, dict)
    return found


def both(server: Server) -> Iterator[str]:
    """The page and its JSON, as text."""
    for path in ("/", "/status.json"):
        yield server.probe(path).text


def assert_guarded(reply: Reply) -> None:
    """Nothing is cached, guessed, framed, told to others or loaded from elsewhere."""
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(("path", "kind"), [("/", "text/html; charset=utf-8"), ("/status.json", "application/json")])
def test_how_it_is_served(shop: Server, path: str, kind: str) -> None:
    """GET, HEAD and POST answer 200 with every header that guards a page; other methods are refused."""
    for method in ("GET", "HEAD", "POST"):
        reply = shop.probe(path, method=method)
        assert reply.status == 200
        assert reply.headers.get_all("Content-Type") == [kind]
        assert bool(reply.body) is (method != "HEAD")
        assert_guarded(reply)
    assert shop.probe(path, method="PUT").status == 405


def test_the_json_document(shop: Server) -> None:
    """Its shape is what docs/status-page.md says."""
    found = document(shop)
    keys = {"time", "host", "lifecycle", "probes", "serves", "workers", "services", "versions", "options"}
    assert set(found) == keys
    assert found["lifecycle"]["state"] == "ready"
    assert set(found["lifecycle"]) == {"state", "since", "seconds", "reason"}
    assert [(probe["name"], probe["path"]) for probe in found["probes"]] == [
        ("startup", "/startup"),
        ("readiness", "/ready"),
        ("liveness", "/alive"),
    ]
    checks = {check["name"]: check for check in found["probes"][1]["checks"]}
    assert set(checks) == {"lifecycle", "queue", "shop.shelves"}
    assert checks["shop.shelves"]["status"] == "pass"
    assert checks["shop.shelves"]["seconds"] >= 0
    assert found["versions"]["django"]
    serving = found["workers"][0]
    assert serving["pid"] == shop.process.pid
    assert serving["memory"] > 1 << 20
    assert 1 <= serving["threads"].pop("limit") <= 2
    assert (serving["threads"], serving["core"]) == ({"total": 2, "busy": 0, "stuck": 0}, None)
    assert {len(column) for column in serving["history"].values()} == {len(serving["history"]["seconds_ago"])}


def test_requests_in_flight_while_all_threads_are_busy(shop: Server) -> None:
    """The page answers at once and lists them, the oldest first, without their queries, until they are answered."""
    with held(shop, "/first/?token=s3cret", "/second/", "/third/") as answers:
        began = time.monotonic()
        found = worker(shop)
        page = shop.probe("/").text
        assert time.monotonic() - began < 3
        assert [(request["path"], request["stage"]) for request in found["requests"]] == [
            ("/first/", "running"),
            ("/second/", "running"),
            ("/third/", "waiting"),
        ]
        ages = [request["seconds"] for request in found["requests"]]
        assert ages == sorted(ages, reverse=True)
        assert (found["in_flight"], found["queued"], found["threads"]["busy"]) == (3, 1, 2)
        assert found["connections"] == 3
        assert "GET /first/" in page
        assert "waiting for a thread" in page
        assert not any("s3cret" in text for text in both(shop))
    assert len(answers) == 3
    wait_for(lambda: not requests(shop), "the requests to be gone")
    assert "None is in flight." in shop.probe("/").text


def test_a_request_past_its_deadline(serve: Serve, tmp_path: Path) -> None:
    """Its client has its 504 and its thread is still stuck: the page says so on top, and where the thread stands."""
    directory = write_shop(tmp_path / "shop")
    options = ("--threads", "1", "--request-timeout", "0.5")
    server = serve(*options, cwd=directory, settings="site_settings")
    with held(server, "/stuck/") as answers:
        wait_for(lambda: answers, "the client to have its answer")
        assert answers[0].startswith(b"HTTP/1.1 504 ")
        (request,) = requests(server)
        assert (request["path"], request["stage"]) == ("/stuck/", "overdue")
        assert "site_urls.py:" in request["where"]
        assert "hold" in request["where"]
        assert str(directory) not in request["where"]
        found = worker(server)
        assert found["in_flight"] == 0
        assert 1 <= found["threads"].pop("limit") <= 2
        assert found["threads"] == {"total": 2, "busy": 1, "stuck": 1}
        page = server.probe("/").text
        assert "Ready, requests stuck" in page
        assert "Past its deadline: GET /stuck/, for" in page
        assert page.index("Past its deadline") < page.index("Requests in flight")
        # It stands a little further on by now, but in the same view.
        assert "site_urls.py:" in page
    wait_for(lambda: not requests(server), "the thread to return")
    assert "Past its deadline" not in server.probe("/").text


def test_a_hostile_path_is_shown_and_does_nothing(shop: Server) -> None:
    """Markup in a path is text on the page."""
    with held(shop, HOSTILE):
        page = shop.probe("/").text
        shown = requests(shop)[0]["path"]
        assert "<script>alert(1)</script>" in shown
        assert escape(shown) in page
        assert "<script>alert" not in page
        assert "<img" not in page
        assert page.count("<script>") == 1


def test_the_reasons_of_checks(shop: Server) -> None:
    """A failing check and a warning are on the page with what they say, escaped, before everything else."""
    with present(shop, "empty", settle=0), present(shop, "faint", settle=0):
        # Results are shared for a second.
        wait_for(
            lambda: [probe["status"] for probe in document(shop)["probes"]] == ["pass", "fail", "warn"],
            "the probes to notice",
        )
        page = shop.probe("/").text
        assert "<h1>Failing</h1>" in page
        assert "<script>alert(3)" not in page
        order = ["Readiness: shop.shelves", "&lt;script&gt;alert(3)&lt;/script&gt;", "Liveness: shop.pulse", "faint"]
        positions = [page.index(words) for words in (*order, "<h2>Load")]
        assert positions == sorted(positions)
    shop.wait_until("/ready")
    wait_for(lambda: "<h1>Ready</h1>" in shop.probe("/").text, "the page to be calm")
    assert "Nothing." in shop.probe("/").text


def test_a_check_that_hangs_does_not_hold_the_page_up(shop: Server) -> None:
    """The page comes soon and says that there is no answer yet, and later what the probe says."""
    document(shop)
    with present(shop, "hangs", settle=0):
        time.sleep(1.1)
        began = time.monotonic()
        probe = document(shop)["probes"][1]
        assert time.monotonic() - began < 1.9
        assert probe["status"] == "warn"
        assert "no answer yet" in probe["checks"][0]["output"]
        assert "shop.shelves" in {check["name"] for check in probe["checks"]}
        shop.wait_until("/ready", 503)
        began = time.monotonic()
        (reason,) = (check["output"] for check in document(shop)["probes"][1]["checks"] if check["status"] == "fail")
        assert time.monotonic() - began < 1
        assert "no answer within 2 s; running for" in reason
    shop.wait_until("/ready")


def test_history(shop: Server) -> None:
    """Answered requests, errors and latencies appear in the samples of the last minutes, and as charts."""
    before = worker(shop)["answered"]
    for path in ("/quick/", "/fails/") * 10:
        shop.get(path)

    def counted() -> dict[str, list[float | None]] | None:
        history: dict[str, list[float | None]] = worker(shop)["history"]
        return history if sum(filter(None, history["errors_per_second"])) else None

    history = wait_for(counted, "a sample with the errors")
    assert worker(shop)["answered"] - before == 20
    assert sum(filter(None, history["requests_per_second"])) > sum(filter(None, history["errors_per_second"]))
    assert any(history["median_seconds"])
    page = shop.probe("/").text
    assert page.count("<svg") == 6
    assert 'class="bad"' in page


def test_history_without_metrics(serve: Serve, tmp_path: Path) -> None:
    """With --no-metrics the page tells how many requests are answered; errors and latencies are not counted."""
    server = serve("--no-metrics", cwd=write_shop(tmp_path / "shop"), settings="site_settings")
    server.get("/quick/")
    wait_for(lambda: any(worker(server)["history"]["requests_per_second"]), "a sample with the request")
    history = worker(server)["history"]
    assert set(history["errors_per_second"] + history["median_seconds"]) == {None}
    assert "5xx" not in server.probe("/").text


SECRETS = ("hunter2", "/srv", "s3cret", "T0KEN")


def test_options_their_sources_and_no_secrets(serve: Serve, tmp_path: Path) -> None:
    """Each option tells its value and where that came from; secrets are masked, in options and in checks."""
    directory = write_project(
        tmp_path / "shop",
        VIEWS,
        'INSTALLED_APPS += ["shop"]\nDEBUG = False\nTWISTSERVE = {"CHECK_TIMEOUT": 4}\n'
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/nowhere/hunter2.sqlite3"}}\n',
        shop=SHOP,
    )
    (directory / "raises").touch()
    server = serve(
        *("--webhook-url", "http://shop:hunter2@127.0.0.1:9/T0KEN?key=s3cret", "--threads", "3"),
        *("--command", "check --tag hunter2_is_no_tag --list-tags"),
        cwd=directory,
        settings="site_settings",
        env={"TWISTSERVE_WEBHOOK_SECRET": "hunter2", "TWISTSERVE_MAX_QUEUE": "7"},
        until="/startup",
    )
    options = {option["option"]: (option["value"], option["source"]) for option in document(server)["options"]}
    assert options["--threads"] == ("3", "the command line")
    assert options["--max-queue"] == ("7", "the environment variable TWISTSERVE_MAX_QUEUE")
    assert options["--check-timeout"] == ("4", "the setting TWISTSERVE['CHECK_TIMEOUT']")
    assert options["--header-timeout"] == ("15", "default")
    assert options["--webhook-url"] == ("http://127.0.0.1:9/…", "the command line")
    assert options["--webhook-secret"][0] == "set, but not shown"
    assert options["--command"][0] == "check …"
    failing = [check["output"] for check in document(server)["probes"][1]["checks"] if check["status"] == "fail"]
    assert "raised ValueError" in failing
    for text in both(server):
        assert not [secret for secret in (*SECRETS, str(directory)) if secret in text]


def test_while_it_starts_and_drains(serve: Serve, tmp_path: Path) -> None:
    """The page is there before there is anything to serve, and until the last request is answered."""
    directory = write_shop(tmp_path / "shop")
    wsgi = directory / "site_wsgi.py"
    wait = "import time\nfrom pathlib import Path\nwhile not Path('gate').exists():\n    time.sleep(0.01)\n"
    wsgi.write_text(wait + wsgi.read_text())
    server = serve(cwd=directory, settings="site_settings", until=None)
    server.wait_until("/startup", 503)
    wait_for(lambda: "loading the WSGI application" in server.probe("/").text, "the step to be named")
    assert "<h1>Starting</h1>" in server.probe("/").text
    assert document(server)["lifecycle"]["state"] == "starting"
    (directory / "gate").touch()
    server.wait_until("/ready")
    with held(server, "/last/"):
        server.signal(signal.SIGTERM)
        server.wait_until("/ready", 503)
        assert "<h1>Draining</h1>" in server.probe("/").text
        assert "SIGTERM" in document(server)["lifecycle"]["reason"]
        assert [request["path"] for request in requests(server)] == ["/last/"]
    assert server.wait() == 0


def test_several_workers(serve: Serve, tmp_path: Path) -> None:
    """One page tells of all processes, each with its load, and of the requests of all of them."""
    server = serve("--workers", "2", "--threads", "1", cwd=write_shop(tmp_path / "shop"), settings="site_settings")
    wait_for(lambda: len(document(server)["workers"]) == 2, "both workers")
    pids = {each["pid"] for each in document(server)["workers"]}
    assert len(pids - {server.process.pid}) == 2
    assert {each["number"] for each in document(server)["workers"]} == {1, 2}
    with held(server, "/held/"):
        page = server.probe("/").text
        assert "GET /held/" in page
        for number in (1, 2):
            assert f"Worker {number}" in page
    assert server.terminate() == 0


def test_no_status_page(serve: Serve, project: Callable[..., Path]) -> None:
    """With --no-status-page neither path exists, and the probes do."""
    server = serve("--no-status-page", cwd=project(), settings="site_settings")
    for path in ("/", "/status.json"):
        reply = server.probe(path)
        assert reply.status == 404
        assert reply.text == "Not found. There are: /alive, /metrics, /ready, /startup\n"
        assert "Content-Security-Policy" not in reply.headers
    assert server.probe("/ready").status == 200


def test_the_404_tells_that_there_is_a_page(shop: Server) -> None:
    """What exists on the probe port is listed."""
    reply = shop.probe("/nothing")
    assert reply.status == 404
    assert reply.text == "Not found. There are: /, /alive, /metrics, /ready, /startup, /status.json\n"


def test_looking_costs_no_thread_and_no_file(shop: Server) -> None:
    """Hundreds of looks leave nothing behind."""

    def resources() -> tuple[int, int]:
        process = Path(f"/proc/{shop.process.pid}")
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))

    for _ in range(20):
        shop.probe("/")
    threads, files = resources()
    for _ in range(200):
        assert fetch(shop.probe_port, "/").status == 200
    assert resources()[0] <= threads + 1
    assert resources()[1] <= files + 3
    assert json.loads(shop.probe("/status.json").body)
