"""The probe port: every probe in each of its states, and the metrics."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.functional.harness import (
    PATIENCE,
    SETTLE,
    Reply,
    Serve,
    Server,
    assert_failed,
    present,
    refuses,
    serving,
    wait_for,
    write_project,
)

PROBES = ("/startup", "/ready", "/alive")
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CHECK_TIMEOUT = 1.0
BUILD_INFO = "twistserve_build_info"
REQUESTS = "twistserve_http_requests_total"

APP = """
import time
from pathlib import Path

from django.core.checks import Critical, Error, Info, Warning, register
from prometheus_client import Counter

HERE = Path(__file__).resolve().parent
ORDERS = Counter("shop_orders", "Orders taken.", ["kind"])


def there(name):
    return (HERE / name).exists()


def hold(name):
    with (HERE / f"{name}.starts").open("a") as starts:
        starts.write("started\\n")
    while there(name):
        time.sleep(0.01)


@register("readiness")
def shelves(**kwargs):
    found = [Info("Shelves are made of wood.", id="shop.I001")]
    if there("warned"):
        found.append(Warning("The shelves creak.", id="shop.W001"))
    if there("silenced"):
        found.append(Error("The shelves are ugly.", id="shop.E009"))
    if there("errors"):
        found.append(Error("The shelves are empty.", id="shop.E001"))
    if there("critical"):
        found.append(Critical("The shelves are on fire.", id="shop.C001"))
    return found


@register("readiness")
def cellar(**kwargs):
    if there("raises"):
        raise ValueError((HERE / "raises").read_text())
    if there("flooded"):
        return [Error("The cellar is under water.", id="shop.E005")]
    if there("exits"):
        raise SystemExit("the cellar is gone")
    return []


@register("readiness")
def queue_at_the_door(**kwargs):
    if there("hangs"):
        hold("hangs")
    return []


@register("hurricane")
def weather(**kwargs):
    return [Error("A storm is coming.", id="shop.E002")] if there("storm") else []


@register("liveness")
def pulse(**kwargs):
    if there("pulse_hangs"):
        hold("pulse_hangs")
    return [Error("No pulse.", id="shop.E003")] if there("dead") else []


@register("shop")
def unasked(**kwargs):
    return [Error("Nobody asked for this check.", id="shop.E004")]
"""

VIEWS = """
import time

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

import shop


def order(request, kind):
    shop.ORDERS.labels(kind).inc()
    return HttpResponse("ordered")


def wait(request):
    while not shop.there(request.GET["gate"]):
        time.sleep(0.01)
    return HttpResponse("waited")


def breaks(request):
    def pieces():
        yield "first"
        raise RuntimeError("broke off")

    return StreamingHttpResponse(pieces())


urlpatterns = [path("order/<str:kind>/", order), path("wait/", wait), path("breaks/", breaks)]
"""

SETTINGS = """
INSTALLED_APPS += ["shop"]
SILENCED_SYSTEM_CHECKS = ["shop.E009"]
ALLOWED_HOSTS = ["shop.example", "127.0.0.1"]
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [".*"]
"""

HOLD_COMMAND = """
import time

from django.core.management.base import BaseCommand

from shop import there


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("gate")

    def handle(self, gate, **options):
        while not there(gate):
            time.sleep(0.01)
"""

HANGING_DATABASE = """
import time
from pathlib import Path

from django.db.backends.sqlite3 import base

HERE = Path(__file__).resolve().parents[1]


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, params):
        with (HERE / "database.starts").open("a") as starts:
            starts.write("started\\n")
        while (HERE / "database_hangs").exists():
            time.sleep(0.01)
        return super().get_new_connection(params)
"""


@pytest.fixture(scope="module")
def example_server(prepared_example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The example project with static and media files, as in production."""
    directory = Path(shutil.copytree(prepared_example, tmp_path_factory.mktemp("probes") / "example"))
    (directory / "media").mkdir()
    (directory / "media" / "note.txt").write_text("note")
    env = {"BOOKSHOP_DEBUG": "0"}
    with serving("--static", "--media", cwd=directory, logs=directory, env=env) as server:
        yield server


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shop of this module, without a database, with two request threads and little patience for checks."""
    directory = write_project(tmp_path_factory.mktemp("shop") / "project", VIEWS, SETTINGS, shop=APP)
    options = ("--threads", "2", "--check-timeout", f"{CHECK_TIMEOUT:g}")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


@contextmanager
def waiting_requests(server: Server, count: int) -> Iterator[list[Future[Reply]]]:
    """As many requests as said, which stay in their view until the block ends, and then all succeed."""
    gate = server.cwd / "gate"
    gate.unlink(missing_ok=True)
    with ThreadPoolExecutor(count) as clients:
        requests = [clients.submit(server.get, "/wait/?gate=gate") for _ in range(count)]
        try:
            yield requests
        finally:
            gate.touch()
    assert [request.result().status for request in requests] == [200] * count


def health(reply: Reply, status: str) -> dict[str, list[dict[str, Any]]]:
    """The checks in a probe's answer, after a look at its form: the draft of the IETF's, never cached, no redirect."""
    assert reply.status == (503 if status == "fail" else 200), reply.text
    assert reply.headers.get_all("Content-Type") == ["application/health+json"]
    assert reply.headers.get_all("Cache-Control") == ["no-store"]
    assert reply.headers["Location"] is None
    body = reply.json()
    assert body["status"] == status
    checks: dict[str, list[dict[str, Any]]] = body["checks"]
    assert checks
    statuses = [entry["status"] for entries in checks.values() for entry in entries]
    assert set(statuses) <= {"pass", "warn", "fail"}
    assert status == ("fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass")
    return checks


def entries_with(checks: dict[str, list[dict[str, Any]]], status: str) -> dict[str, str]:
    """The output of each check that has this status, by its name."""
    return {
        name: str(entry.get("output", ""))
        for name, entries in checks.items()
        for entry in entries
        if entry["status"] == status
    }


def failing(server: Server, path: str = "/ready") -> dict[str, str]:
    """The output of each check for which the probe fails now, by its name."""
    return entries_with(health(server.probe(path), "fail"), "fail")


def only(found: dict[str, str], word: str) -> str:
    """The output of the one check found, whose name has this word in it."""
    assert len(found) == 1, found
    ((name, output),) = found.items()
    assert word in name
    return output


def timed(call: Callable[[], Reply]) -> tuple[Reply, float]:
    """A reply and the seconds it took."""
    began = time.monotonic()
    return call(), time.monotonic() - began


# The form of the answers


@pytest.mark.smoke
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", [*PROBES, *(f"{path}/" for path in PROBES), "/ready?verbose=1"])
def test_passing_probes(example_server: Server, path: str, method: str) -> None:
    """Every passing probe answers 200 to GET, HEAD and POST, with a trailing slash or without."""
    reply = example_server.probe(path, method=method, body=b"anything" if method == "POST" else None)
    if method == "HEAD":
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["Content-Type"] == "application/health+json"
        assert reply.headers["Cache-Control"] == "no-store"
    else:
        health(reply, "pass")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_failing_probe_answers_every_method(example_server: Server, method: str) -> None:
    """A failing probe answers 503 to every method it takes."""
    with present(example_server, "closed", "holiday"):
        reply = example_server.probe("/ready", method=method)
        assert reply.status == 503
        assert reply.headers["Cache-Control"] == "no-store"
        assert (b"holiday" in reply.body) is (method != "HEAD")


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/ready/more", "/ready//", "/readily", "/READY", "//ready", "/metrics/x"]
)
def test_unknown_paths(example_server: Server, path: str) -> None:
    """A path that is no probe passes for none, and is answered without a redirect."""
    reply = example_server.probe(path)
    if path != "/":
        assert reply.status == 404
    assert reply.headers["Location"] is None
    assert reply.headers["Content-Type"] != "application/health+json"


@pytest.mark.parametrize("path", ["/metrics", "/", "/status.json"])
def test_documents_are_read_by_post_too(example_server: Server, path: str) -> None:
    """All of the probe port answers GET, HEAD and POST alike."""
    replies = [example_server.probe(path, method=method) for method in ("GET", "HEAD", "POST")]
    assert [reply.status for reply in replies] == [200] * 3
    assert len({reply.headers["Content-Type"] for reply in replies}) == 1
    assert [bool(reply.body) for reply in replies] == [True, False, True]


@pytest.mark.parametrize("path", ["/ready", "/metrics", "/", "/nothing"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(example_server: Server, method: str, path: str) -> None:
    """The probe port takes no other methods, and says which it takes."""
    reply = example_server.probe(path, method=method)
    assert (reply.status, reply.headers["Allow"], reply.headers["Cache-Control"]) == (
        405,
        "GET, HEAD, POST",
        "no-store",
    )


def test_probes_do_not_go_through_django(shop: Server) -> None:
    """Neither ALLOWED_HOSTS nor the kubelet's headers matter to a probe."""
    for host in ("10.1.2.3:8001", "evil.example", "shop.example"):
        for path in PROBES:
            health(shop.probe(path, headers={"Host": host, "X-Forwarded-Proto": "http", "User-Agent": "x"}), "pass")


def test_probes_are_not_on_the_web_port(example_server: Server) -> None:
    """Visitors of the web port see neither probes nor metrics."""
    for path in (*PROBES, "/metrics"):
        assert example_server.get(path).status == 404


def test_configured_paths(serve: Serve, project: Callable[..., Path]) -> None:
    """Paths are as configured, with a missing leading slash added and a trailing one tolerated."""
    server = serve(
        *("--readiness-probe", "health/ready"),
        *("--startup-probe", "/health/startup"),
        *("--liveness-probe", "/healthz/"),
        *("--metrics", "internal/numbers"),
        cwd=project(),
        settings="site_settings",
        until="/health/ready",
    )
    for path in ("/health/ready", "/health/startup", "/healthz"):
        health(server.probe(path), "pass")
        health(server.probe(f"{path}/"), "pass")
    assert "twistserve_build_info" in server.probe("/internal/numbers").text
    for path in (*PROBES, "/metrics", "/health"):
        assert server.probe(path).status == 404


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_probe(serve: Serve, project: Callable[..., Path], workers: str) -> None:
    """--probe responds as readiness does, in the place of both probes, and the log says what that means."""
    directory = project(settings='INSTALLED_APPS += ["shop"]\n', shop=APP)
    words = ("--probe", "/health", "--workers", workers)
    server = serve(*words, cwd=directory, settings="site_settings", until="/health")
    server.wait_until("/startup")
    assert {"lifecycle", "queue"} <= health(server.probe("/health"), "pass").keys()
    with present(server, "errors"):
        assert "shop.shelves" in failing(server, "/health")
        health(server.probe("/startup"), "pass")
    for path in ("/ready", "/alive"):
        reply = server.probe(path)
        assert reply.status == 404
        assert reply.text == "Not found. There are: /, /health, /metrics, /startup, /status.json\n"
    assert [probe["path"] for probe in server.probe("/status.json").json()["probes"]] == ["/startup", "/health"]
    assert server.stdout.count("--probe: /health is readiness and liveness in one") == 1


def test_one_probe_and_another(serve: Serve, project: Callable[..., Path]) -> None:
    """Both cannot be meant: the error says where each came from."""
    directory = project(settings="TWISTSERVE = {'LIVENESS_PROBE': '/alive'}\n")
    env = {"TWISTSERVE_PROBE": "/health"}
    server = serve(cwd=directory, settings="site_settings", env=env, until=None)
    assert_failed(server, "environment variable TWISTSERVE_PROBE", "setting TWISTSERVE['LIVENESS_PROBE']")


def test_no_probe(serve: Serve, project: Callable[..., Path]) -> None:
    """--no-probe opens no probe port, and serves all the same."""
    server = serve("--no-probe", cwd=project(), settings="site_settings", until=None)
    wait_for(lambda: not refuses(server.port), f"the web port\n{server.output}")
    assert server.get("/").status == 404
    assert refuses(server.probe_port)


def test_no_metrics(serve: Serve, project: Callable[..., Path]) -> None:
    """--no-metrics leaves the probes and takes the metrics away."""
    server = serve("--no-metrics", cwd=project(), settings="site_settings")
    assert server.probe("/metrics").status == 404
    for path in PROBES:
        health(server.probe(path), "pass")


# Readiness: checks


@pytest.mark.smoke
def test_ready_example(example_server: Server) -> None:
    """A healthy example is ready, and the answer lists its database and its check."""
    checks = health(example_server.probe("/ready"), "pass")
    assert any("default" in name for name in checks)
    assert any("catalogue_is_open" in name for name in checks)


def test_error_fails_readiness(example_server: Server) -> None:
    """An Error fails readiness with its id and message, and the shop opens again without a restart."""
    with present(example_server, "closed", "inventory until noon"):
        output = only(failing(example_server), "catalogue_is_open")
        assert "catalogue.E002" in output
        assert "The shop is closed: inventory until noon" in output
        health(example_server.probe("/alive"), "pass")
        health(example_server.probe("/startup"), "pass")
    health(example_server.probe("/ready"), "pass")


def test_warning_warns(example_server: Server) -> None:
    """A Warning is reported and leaves the example ready."""
    with present(example_server, "dusty"):
        output = only(entries_with(health(example_server.probe("/ready"), "warn"), "warn"), "catalogue_is_open")
        assert "catalogue.W001" in output
        assert "The shelves are dusty." in output
    health(example_server.probe("/ready"), "pass")


def test_levels_of_messages(shop: Server) -> None:
    """An Info passes, a Critical fails, a silenced Error counts for nothing, and the worst of several counts."""
    with present(shop, "silenced"):
        health(shop.probe("/ready"), "pass")
    with present(shop, "critical"):
        assert "The shelves are on fire." in only(failing(shop), "shelves")
    with present(shop, "warned"), present(shop, "errors"):
        output = "\n".join(failing(shop).values())
        assert "shop.E001" in output
        assert "The shelves are empty." in output
    health(shop.probe("/ready"), "pass")


def test_hurricane_checks_count(shop: Server) -> None:
    """A check tagged `hurricane` is a readiness check; one with another tag is asked by no probe."""
    with present(shop, "storm"):
        assert "A storm is coming." in only(failing(shop), "weather")
        health(shop.probe("/alive"), "pass")
    for path in PROBES:
        assert "unasked" not in shop.probe(path).text


def test_check_that_raises(shop: Server) -> None:
    """A check that raises fails readiness by its name; what it said is in the log and not in the body."""
    with present(shop, "raises", "the cellar key is 1234"):
        only(failing(shop), "cellar")
        assert "1234" not in shop.probe("/ready").text
        wait_for(lambda: "ValueError: the cellar key is 1234" in shop.output, "the traceback in the log")
        assert "Traceback" in shop.output
    health(shop.probe("/ready"), "pass")


def test_check_that_raises_after_it_failed(shop: Server) -> None:
    """What a check raises is in the log also where the check failed before for another reason."""
    with present(shop, "flooded"):
        assert "The cellar is under water." in only(failing(shop), "cellar")
        for reason in ("the pump is broken", "the pump is stolen"):
            with present(shop, "raises", reason):
                only(failing(shop), "cellar")
                wait_for(lambda reason=reason: f"ValueError: {reason}" in shop.output, "it in the log", patience=5)  # type: ignore[misc]
    health(shop.probe("/ready"), "pass")


def test_check_that_exits(shop: Server) -> None:
    """A check that calls sys.exit() fails readiness like any other that raises."""
    with present(shop, "exits"):
        only(failing(shop), "cellar")
        only(failing(shop), "cellar")
    health(shop.probe("/ready"), "pass")


def test_check_that_raises_under_debug(serve: Serve, project: Callable[..., Path]) -> None:
    """Under DEBUG the answer says what a failing check raised."""
    directory = project(VIEWS, f"{SETTINGS}\nDEBUG = True\n", shop=APP)
    server = serve(cwd=directory, settings="site_settings")
    with present(server, "raises", "the cellar key is 1234"):
        output = only(failing(server), "cellar")
        assert "ValueError" in output
        assert "the cellar key is 1234" in output


def starts(server: Server, name: str) -> int:
    """How often the check that hangs by this name has been started."""
    path = server.cwd / f"{name}.starts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_check_that_hangs(shop: Server) -> None:
    """A hanging check fails readiness in time, is not started again while it hangs, and recovers when it returns."""
    with present(shop, "hangs"):
        for _ in range(3):
            reply, seconds = timed(lambda: shop.probe("/ready"))
            assert seconds < CHECK_TIMEOUT + 0.5
            only(entries_with(health(reply, "fail"), "fail"), "queue_at_the_door")
            reply, seconds = timed(lambda: shop.probe("/alive"))
            assert seconds < CHECK_TIMEOUT
            health(reply, "pass")
        with present(shop, "errors"):
            assert len(failing(shop)) == 2, "other checks are still asked"
        assert starts(shop, "hangs") == 1
    shop.wait_until("/ready")
    with present(shop, "hangs"):
        only(failing(shop), "queue_at_the_door")
        assert starts(shop, "hangs") == 2
    shop.wait_until("/ready")


def test_probes_at_once_on_a_check_that_hangs(shop: Server) -> None:
    """Probes that arrive together share a hanging check, and each is answered in time."""
    before = starts(shop, "hangs")
    with present(shop, "hangs"), ThreadPoolExecutor(20) as clients:
        for reply, seconds in clients.map(lambda _: timed(lambda: shop.probe("/ready")), range(20)):
            assert seconds < CHECK_TIMEOUT + 0.5
            only(entries_with(health(reply, "fail"), "fail"), "queue_at_the_door")
        assert starts(shop, "hangs") == before + 1
    shop.wait_until("/ready")


# Readiness: databases


def test_project_without_databases(shop: Server) -> None:
    """A project that names no database is ready without one."""
    checks = health(shop.probe("/ready"), "pass")
    assert not [name for name in checks if "database" in name]


def test_empty_databases(serve: Serve, project: Callable[..., Path]) -> None:
    """A project with an empty DATABASES is ready."""
    server = serve(cwd=project(settings="DATABASES = {}\n"), settings="site_settings")
    health(server.probe("/ready"), "pass")


def test_broken_database(serve: Serve) -> None:
    """A database that breaks fails readiness by its alias and leaves liveness alone, until it is mended."""
    server = serve(env={"BOOKSHOP_DEBUG": "0"})
    good, database = server.cwd / "db.good", server.cwd / "db.sqlite3"
    database.rename(good)
    database.write_bytes(b"this is no database" * 1000)
    server.wait_until("/ready", 503)
    failed = failing(server)
    assert any(re.search(r"database.*default", name) for name in failed), failed
    assert "file is not a database" not in server.probe("/ready").text
    wait_for(lambda: "file is not a database" in server.output, "the reason in the log")
    health(server.probe("/alive"), "pass")
    good.replace(database)
    health(server.wait_until("/ready").probe("/ready"), "pass")


def test_one_database_of_two(serve: Serve, project: Callable[..., Path]) -> None:
    """Of several databases, the answer names the one that cannot be reached."""
    settings = """
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"},
    "reports": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "missing" / "reports.sqlite3"},
}
"""
    server = serve(cwd=project(settings=settings), settings="site_settings", until="/startup")
    only(failing(server), "reports")
    assert any("default" in name for name in entries_with(health(server.probe("/ready"), "fail"), "pass"))
    health(server.probe("/alive"), "pass")
    (server.cwd / "missing").mkdir()
    server.wait_until("/ready")


def test_database_that_hangs(serve: Serve, project: Callable[..., Path]) -> None:
    """A database that does not answer fails readiness in time, by its alias, and is not asked again meanwhile."""
    settings = 'DATABASES = {"default": {"ENGINE": "hanging", "NAME": BASE_DIR / "db.sqlite3"}}\n'
    directory = project(VIEWS, SETTINGS + settings, shop=APP)
    (directory / "hanging").mkdir()
    (directory / "hanging" / "__init__.py").touch()
    (directory / "hanging" / "base.py").write_text(HANGING_DATABASE)
    server = serve("--check-timeout", f"{CHECK_TIMEOUT:g}", cwd=directory, settings="site_settings")
    before = starts(server, "database")
    with present(server, "database_hangs"):
        for _ in range(2):
            reply, seconds = timed(lambda: server.probe("/ready"))
            assert seconds < CHECK_TIMEOUT + 0.5
            only(entries_with(health(reply, "fail"), "fail"), "default")
            health(server.probe("/alive"), "pass")
        assert starts(server, "database") == before + 1
    server.wait_until("/ready")


# Readiness: the queue; busy threads


def test_queue_fails_readiness(serve: Serve, project: Callable[..., Path]) -> None:
    """Readiness fails by the queue's name while --req-queue-len requests wait; liveness passes throughout."""
    directory = project(VIEWS, SETTINGS, shop=APP)
    server = serve("--threads", "1", "--req-queue-len", "3", cwd=directory, settings="site_settings")
    with waiting_requests(server, 3):
        wait_for(lambda: sample(server, "twistserve_http_request_queue_length") == 2, "two requests to wait")
        health(server.probe("/ready"), "pass")
    with waiting_requests(server, 4):
        server.wait_until("/ready", 503)
        only(failing(server), "queue")
        health(server.probe("/alive"), "pass")
        assert sample(server, "twistserve_http_request_queue_length") == 3
    server.wait_until("/ready")


def test_busy_threads_hold_no_probe_up(shop: Server) -> None:
    """While every request thread is busy the probes answer at once, and the metrics show why."""
    with waiting_requests(shop, 2):
        wait_for(lambda: sample(shop, "twistserve_threads_busy") == 2, "both threads to be busy")
        assert sample(shop, "twistserve_threads") == 2
        assert sample(shop, "twistserve_http_requests_in_progress") == 2
        assert sample(shop, "twistserve_http_connections") == 2
        for path in PROBES:
            reply, seconds = timed(partial(shop.probe, path))
            health(reply, "pass")
            assert seconds < CHECK_TIMEOUT
    for name in ("twistserve_threads_busy", "twistserve_http_requests_in_progress", "twistserve_http_connections"):
        wait_for(partial(is_zero, shop, name), f"{name} to be 0 again")


# Liveness


def test_wedged_example(example_server: Server) -> None:
    """A liveness check that fails answers 503 with its reason, leaves readiness alone, and recovers."""
    with present(example_server, "wedged"):
        output = only(failing(example_server, "/alive"), "shop_is_alive")
        assert "catalogue.E003" in output
        assert "The shop is wedged." in output
        health(example_server.probe("/ready"), "pass")
    health(example_server.probe("/alive"), "pass")


def test_liveness_check_that_hangs(shop: Server) -> None:
    """A hanging liveness check fails /alive in time, leaves /ready alone, and recovers."""
    with present(shop, "pulse_hangs"):
        for _ in range(2):
            reply, seconds = timed(lambda: shop.probe("/alive"))
            assert seconds < CHECK_TIMEOUT + 0.5
            only(entries_with(health(reply, "fail"), "fail"), "pulse")
            health(shop.probe("/ready"), "pass")
        assert starts(shop, "pulse_hangs") == 1
    shop.wait_until("/alive")


# Startup


def age(server: Server) -> float:
    """Seconds that the running step is old, as the startup probe tells."""
    output = only(failing(server, "/startup"), "")
    found = re.search(r"(\d+(?:\.\d+)?) ?s", output)
    assert found, output
    return float(found[1])


def assert_starting(server: Server, step: str) -> None:
    """The startup probe names this step and its growing age; readiness fails; liveness passes; no web port is open."""
    server.wait_until("/startup", 503)
    wait_for(lambda: re.search(step, only(failing(server, "/startup"), "")), f"{step} to be named")
    first = age(server)
    wait_for(lambda: age(server) > first, "the step to grow older")
    assert failing(server, "/ready")
    health(server.probe("/alive"), "pass")
    assert refuses(server.port)
    assert lifecycle_states(server) == {"starting"}


def assert_started(server: Server) -> None:
    """Every probe passes and the web port answers."""
    server.wait_until("/startup")
    for path in PROBES:
        health(server.probe(path), "pass")
    assert server.get("/order/book/").status == 200
    assert lifecycle_states(server) == {"ready"}


def test_startup_while_a_command_runs(serve: Serve, project: Callable[..., Path]) -> None:
    """Until the commands are done the startup probe names the one that runs; then every probe passes."""
    directory = project(VIEWS, SETTINGS.replace('"shop"', '"shop", "helpers"'), shop=APP)
    commands = directory / "helpers" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "hold.py").write_text(HOLD_COMMAND)
    options = ("--command", "hold first_gate", "--command", "hold second_gate")
    server = serve(*options, cwd=directory, settings="site_settings", until=None)
    assert_starting(server, "hold first_gate")
    (directory / "first_gate").touch()
    assert_starting(server, "hold second_gate")
    (directory / "second_gate").touch()
    assert_started(server)


@pytest.mark.parametrize(
    ("slow", "step"), [("shop", "Django"), ("site_urls", "(?i)url|application"), ("site_wsgi", "(?i)wsgi|application")]
)
def test_startup_while_the_project_is_imported(
    serve: Serve, project: Callable[..., Path], slow: str, step: str
) -> None:
    """While a slow app, URLconf or WSGI module is imported, the probes tell that and how long it takes."""
    gate = "import time\nfrom pathlib import Path\nwhile not Path('gate').exists():\n    time.sleep(0.01)\n"
    directory = project(VIEWS, SETTINGS, shop=APP)
    module = directory / f"{slow}.py"
    module.write_text(gate + module.read_text())
    server = serve(cwd=directory, settings="site_settings", until=None)
    assert_starting(server, step)
    (directory / "gate").touch()
    assert_started(server)


# Draining


def test_probes_while_draining(serve: Serve, project: Callable[..., Path]) -> None:
    """From SIGTERM until the last request is answered readiness fails, and the other probes pass."""
    server = serve(cwd=project(VIEWS, SETTINGS, shop=APP), settings="site_settings")
    with waiting_requests(server, 1):
        wait_for(lambda: sample(server, "twistserve_threads_busy") == 1, "the request to run")
        server.signal(signal.SIGTERM)
        server.wait_until("/ready", 503)
        assert "draining" in "".join(f"{name} {output}" for name, output in failing(server).items())
        for path in ("/alive", "/startup"):
            health(server.probe(path), "pass")
        assert lifecycle_states(server) == {"draining"}
    assert server.wait() == 0


def test_probing_for_long_costs_nothing(example_server: Server) -> None:
    """Hundreds of probes leave no thread and no open file behind."""

    def held() -> tuple[int, int]:
        process = Path(f"/proc/{example_server.process.pid}")
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))

    def ask(times: int) -> None:
        for _ in range(times):
            for path in (*PROBES, "/metrics"):
                assert example_server.probe(path).status == 200

    ask(20)
    threads, files = held()
    ask(80)
    assert held()[0] <= threads + 2
    assert held()[1] <= files + 5


# Metrics


def samples(server: Server, accept: str | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample the server exports, by name and labels, as a scraper with this Accept header parses it."""
    reply = server.probe("/metrics", headers={} if accept is None else {"Accept": accept})
    assert reply.status == 200
    parse = parse_openmetrics if "openmetrics" in reply.headers["Content-Type"] else parse_text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(reply.text)
        for sample in family.samples
    }


def sample(server: Server, name: str, **labels: str) -> float:
    """The value of one sample, 0 while it is not there."""
    return samples(server).get((name, frozenset(labels.items())), 0.0)


def is_zero(server: Server, name: str) -> bool:
    """Whether this sample is 0."""
    return sample(server, name) == 0


def lifecycle_states(server: Server) -> set[str]:
    """The states whose sample is 1, of all the states there are."""
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in samples(server).items()
        if name == "twistserve_lifecycle_state"
    }
    assert {"starting", "ready", "draining", "stopped"} == {state.lower() for state in states}
    assert sum(states.values()) == 1
    return {state.lower() for state, value in states.items() if value == 1}


def test_metrics_are_prometheus_text(example_server: Server) -> None:
    """Without a wish the scraper gets Prometheus text of the version that every Prometheus reads."""
    for path, method in (("/metrics", "GET"), ("/metrics/", "GET"), ("/metrics", "HEAD")):
        reply = example_server.probe(path, method=method)
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert reply.headers["Cache-Control"] == "no-store"
        assert bool(reply.body) is (method == "GET")
    assert "# EOF" not in example_server.probe("/metrics").text


@pytest.mark.parametrize("accept", [OPENMETRICS, f"{OPENMETRICS};q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"])
def test_openmetrics(example_server: Server, accept: str) -> None:
    """A scraper that prefers OpenMetrics gets it, with the same values."""
    reply = example_server.probe("/metrics", headers={"Accept": accept})
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")
    name = ("twistserve_lifecycle_state", frozenset({("state", "ready")}))
    assert samples(example_server, accept)[name] == samples(example_server)[name] == 1


def counted(server: Server) -> dict[frozenset[tuple[str, str]], float]:
    """How many requests of each kind have been counted."""
    return {labels: value for (name, labels), value in samples(server).items() if name == REQUESTS}


def newly_counted(server: Server, method: str, path: str) -> list[dict[str, str]]:
    """The labels of the requests counted because of this one."""
    before = counted(server)
    server.get(path, method=method)
    wait_for(lambda: counted(server) != before, "the request to be counted")
    return [
        dict(labels) for labels, value in counted(server).items() for _ in range(int(value - before.get(labels, 0)))
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "handler"),
    [
        ("GET", "/", "200", "django"),
        ("HEAD", "/", "200", "django"),
        ("GET", "/nothing/", "404", "django"),
        ("GET", "/boom/", "500", "django"),
        ("POST", "/echo/", "200", "django"),
        ("GET", "/stream/", "200", "django"),
        ("GET", "/static/catalogue/style.css", "200", "static"),
        ("GET", "/static/missing.css", "404", "static"),
        ("HEAD", "/media/note.txt", "200", "media"),
        ("POST", "/media/note.txt", "405", "media"),
    ],
)
def test_requests_are_counted(example_server: Server, method: str, path: str, status: str, handler: str) -> None:
    """Each request counts once, by its method, status and handler."""
    found = newly_counted(example_server, method, path)
    assert found == [{"method": method, "status": status, "handler": handler}]


@pytest.mark.parametrize("method", ["PROPFIND", "M-SEARCH"])
def test_unknown_methods_are_other(example_server: Server, method: str) -> None:
    """A method that the label does not know is counted as OTHER, and never becomes a label."""
    (labels,) = newly_counted(example_server, method, "/count/")
    assert (labels["method"], labels["handler"]) == ("OTHER", "django")
    assert f'"{method}"' not in example_server.probe("/metrics").text


def test_labels_are_bounded(example_server: Server) -> None:
    """No path and no query of a visitor ever becomes a label."""
    for path in ("/unheard-of/", "/static/unheard-of.css", "/media/unheard-of.txt", "/?unheard-of=1"):
        example_server.get(path)
    assert "unheard-of" not in example_server.probe("/metrics").text


def test_sizes_and_durations(example_server: Server) -> None:
    """Requests and answers are measured: how long, how large, how long they waited."""
    labels = frozenset({("method", "POST"), ("handler", "django")})
    names = {
        "twistserve_http_request_size_bytes_sum": 5000,
        "twistserve_http_request_size_bytes_count": 1,
        "twistserve_http_response_size_bytes_count": 1,
        "twistserve_http_request_queue_seconds_count": 1,
    }
    before = samples(example_server)
    answer = example_server.get("/echo/", method="POST", body=b"x" * 5000)
    duration = ("twistserve_http_request_duration_seconds_count", labels)
    wait_for(lambda: samples(example_server).get(duration, 0) == before.get(duration, 0) + 1, "the request to count")
    after = samples(example_server)
    for name, increase in names.items():
        assert after[name, frozenset()] - before[name, frozenset()] == increase, name
    size = ("twistserve_http_response_size_bytes_sum", frozenset[tuple[str, str]]())
    assert after[size] - before[size] == len(answer.body)


def test_clients_that_go_away_are_counted(shop: Server) -> None:
    """A client that resets its connection before its answer is counted as a disconnect."""
    before = sample(shop, "twistserve_http_client_disconnects_total")
    (shop.cwd / "gate").unlink(missing_ok=True)
    with socket.create_connection(("127.0.0.1", shop.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /wait/?gate=gate HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        wait_for(lambda: sample(shop, "twistserve_http_requests_in_progress") == 1, "the request to be in progress")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: sample(shop, "twistserve_http_client_disconnects_total") == before + 1, "the disconnect to count")
    wait_for(lambda: sample(shop, "twistserve_http_requests_in_progress") == 0, "no request to be in progress")
    (shop.cwd / "gate").touch()
    wait_for(lambda: sample(shop, "twistserve_threads_busy") == 0, "the thread to be free")


def test_answers_that_break_off_are_no_disconnects(shop: Server) -> None:
    """A stream that the application breaks off is counted as a request, and not blamed on the client."""
    disconnects, requests = sample(shop, "twistserve_http_client_disconnects_total"), sum(counted(shop).values())
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        shop.get("/breaks/")
    wait_for(lambda: sample(shop, "twistserve_threads_busy") == 0, "the thread to be free")
    wait_for(lambda: sample(shop, "twistserve_http_connections") == 0, "the connection to be closed")
    assert sample(shop, "twistserve_http_client_disconnects_total") == disconnects
    assert sum(counted(shop).values()) == requests + 1


def test_build_and_startup(example_server: Server) -> None:
    """The versions that run, how long the start took and the state are exported."""
    exported = samples(example_server)
    ((labels, value),) = ((labels, value) for (name, labels), value in exported.items() if name == BUILD_INFO)
    assert value == 1
    assert {label for label, _ in labels} == {"version", "python", "django", "twisted"}
    assert all(text for _, text in labels)
    assert 0 < sample(example_server, "twistserve_startup_seconds") < PATIENCE
    assert lifecycle_states(example_server) == {"ready"}


def test_metrics_of_the_project(shop: Server) -> None:
    """A counter of the project's own appears beside the server's."""
    before = sample(shop, "shop_orders_total", kind="book")
    assert shop.get("/order/book/").status == 200
    assert sample(shop, "shop_orders_total", kind="book") == before + 1


def test_probe_status(example_server: Server) -> None:
    """The last answer of each probe is a metric, 1 for passing and 0 for failing."""

    def statuses() -> dict[str, float]:
        for path in PROBES:
            example_server.probe(path)
        return {
            dict(labels)["probe"]: value
            for (name, labels), value in samples(example_server).items()
            if name == "twistserve_probe_status"
        }

    assert statuses() == {"startup": 1, "readiness": 1, "liveness": 1}
    with present(example_server, "closed"):
        assert statuses() == {"startup": 1, "readiness": 0, "liveness": 1}
    with present(example_server, "wedged"), present(example_server, "dusty"):
        assert statuses() == {"startup": 1, "readiness": 1, "liveness": 0}
    assert statuses() == {"startup": 1, "readiness": 1, "liveness": 1}


def test_checks_are_timed(example_server: Server) -> None:
    """Each check has a histogram of how long it takes."""

    def count() -> float:
        return sum(
            value
            for (name, labels), value in samples(example_server).items()
            if name == "twistserve_check_duration_seconds_count" and "catalogue_is_open" in dict(labels)["check"]
        )

    before = count()
    time.sleep(SETTLE)
    example_server.probe("/ready")
    wait_for(lambda: count() == before + 1, "the check to be timed")
