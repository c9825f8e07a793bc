"""Webhooks, sent by the real command to a receiver on this machine."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import write_certificate
from tests.support.functional.harness import ROOT, Serve, Server, free_port, wait_for
from tests.support.functional.webhooks import Delivery, Receiver

Project = Callable[..., Path]

VIEWS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("served"))]
"""

# A file in the project's directory makes each check fail.
CHECKS = """
from django.core.checks import Error, register

@register("readiness")
def shelves_are_filled(**kwargs):
    return [Error("the shelves are empty", id="shop.E001")] if (BASE_DIR / "unready").exists() else []

@register("liveness")
def till_is_open(**kwargs):
    return [Error("the till is stuck", id="shop.E002")] if (BASE_DIR / "dead").exists() else []
"""

STOP_PATIENCE = 5.0
SLACK = 20.0
"""Seconds that a slow, noisy machine may need beyond what is waited for."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def hung() -> Iterator[str]:
    """The URL of a receiver whose kernel accepts connections and that never reads or answers."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=128)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hung"


@pytest.fixture
def shop(serve: Serve, project: Project) -> Callable[..., Server]:
    """Serve a project with two checks: `shop(urls, ...)`."""

    def start(*urls: str, args: tuple[str, ...] = (), **kwargs: Any) -> Server:
        directory = kwargs.pop("cwd", None) or project(VIEWS, CHECKS)
        words = [word for url in urls for word in ("--webhook-url", url)]
        return serve(*words, *args, cwd=directory, settings="site_settings", **kwargs)

    return start


Shop = Callable[..., Server]


def ends_in_time(server: Server, number: int = signal.SIGTERM) -> int:
    """Send a signal; the exit status, which comes soon after what is granted to the receivers."""
    began = time.monotonic()
    server.signal(number)
    status = server.wait()
    assert time.monotonic() - began < STOP_PATIENCE + SLACK, server.output
    return status


def verifies(secret: str, delivery: Delivery) -> bool:
    expected = "sha256=" + hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, delivery.headers["X-Twistserve-Signature"])


def test_a_life_is_told_in_order(shop: Shop, receiver: Receiver) -> None:
    """Start, changes of readiness and liveness, drain and end arrive in order, with all fields, signed."""
    before = datetime.now(UTC)
    server = shop(
        receiver.url,
        args=("--app-version", "2024.1"),
        env={"POD_NAME": "web-7", "POD_NAMESPACE": "shop", "TWISTSERVE_WEBHOOK_SECRET": "sesame"},
    )
    receiver.wait_for("readiness", "passing")
    server.wait_until("/alive")
    unready, dead = server.cwd / "unready", server.cwd / "dead"
    unready.touch()
    server.wait_until("/ready", 503)
    assert "shop.E001" in receiver.wait_for("readiness", "failing").fields["reason"]
    unready.unlink()
    server.wait_until("/ready")
    dead.touch()
    server.wait_until("/alive", 503)
    assert "the till is stuck" in receiver.wait_for("liveness", "failing").fields["reason"]
    dead.unlink()
    server.wait_until("/alive")
    receiver.wait_for("liveness", "passing")
    assert server.terminate() == 0
    assert receiver.events == [
        ("startup", "succeeded"),
        ("readiness", "passing"),
        ("readiness", "failing"),
        ("readiness", "passing"),
        ("liveness", "failing"),
        ("liveness", "passing"),
        ("draining", "draining"),
        ("stopped", "stopped"),
    ]
    times = []
    for delivery in receiver.deliveries:
        fields = delivery.fields
        assert set(fields) == {"event", "status", "reason", "time", "version", "host", "pod", "namespace"}
        assert (fields["version"], fields["pod"], fields["namespace"]) == ("2024.1", "web-7", "shop")
        assert fields["host"] == socket.gethostname()
        assert fields["reason"]
        assert fields["time"].endswith("Z")
        times.append(datetime.fromisoformat(fields["time"]))
        assert delivery.headers["Content-Type"] == "application/json"
        assert delivery.headers["User-Agent"].startswith("twistserve/")
        assert delivery.path == "/events"
        assert verifies("sesame", delivery)
        assert not verifies("another", delivery)
    assert before <= times[0]
    assert times == sorted(times)
    assert receiver.deliveries[-2].fields["reason"] == "received SIGTERM"
    assert "sesame" not in server.output


def test_without_a_secret_there_is_no_signature(shop: Shop, receiver: Receiver) -> None:
    """And what is not known is left out."""
    shop(receiver.url)
    delivery = receiver.wait_for("startup", "succeeded")
    assert "X-Twistserve-Signature" not in delivery.headers
    assert set(delivery.fields) == {"event", "status", "reason", "time", "host"}


def test_the_documented_verification_works(shop: Shop, receiver: Receiver) -> None:
    """The snippet of the documentation accepts what is sent, and nothing else."""
    text = (ROOT / "docs" / "webhooks.md").read_text()
    snippet = text.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(snippet, names)
    shop(receiver.url, env={"TWISTSERVE_WEBHOOK_SECRET": "sesame"})
    delivery = receiver.wait_for("startup", "succeeded")
    signature = delivery.headers["X-Twistserve-Signature"]
    assert names["is_genuine"](b"sesame", delivery.body, signature)
    assert not names["is_genuine"](b"sesame", delivery.body + b" ", signature)
    assert not names["is_genuine"](b"another", delivery.body, signature)
    assert not names["is_genuine"](b"sesame", delivery.body, None)


def test_a_receiver_that_fails_twice_gets_the_event_once_more(shop: Shop) -> None:
    """The same body comes until it is taken, and the next event after it; user and query are kept from the log."""
    with Receiver(statuses=[500, 500]) as receiver:
        server = shop(f"http://shop:open@127.0.0.1:{receiver.port}/events?key=hidden")
        receiver.wait_for("readiness", "passing")
        assert server.terminate() == 0
    assert receiver.events == [
        *[("startup", "succeeded")] * 3,
        ("readiness", "passing"),
        ("draining", "draining"),
        ("stopped", "stopped"),
    ]
    assert len({delivery.body for delivery in receiver.deliveries[:3]}) == 1
    assert {delivery.path for delivery in receiver.deliveries} == {"/events?key=hidden"}
    assert receiver.deliveries[0].headers["Authorization"] == "Basic c2hvcDpvcGVu"
    warnings = [line for line in server.stdout.splitlines() if "WARNING twistserve.webhooks.outbox" in line]
    assert len(warnings) == 1, server.output
    assert f"webhook http://127.0.0.1:{receiver.port}/events: startup succeeded: answered 500" in warnings[0]
    assert "hidden" not in server.output
    assert "shop:open" not in server.output


def test_a_redirect_is_not_followed(shop: Shop) -> None:
    """Whoever answers with a redirect is asked again, and nobody else."""
    with Receiver(statuses=[302]) as receiver:
        server = shop(receiver.url)
        receiver.wait_for("readiness", "passing")
        assert server.terminate() == 0
    assert {delivery.path for delivery in receiver.deliveries} == {"/events"}
    assert receiver.events[:2] == [("startup", "succeeded")] * 2
    assert "answered 302, a redirect is not followed" in server.stdout


def test_a_receiver_that_is_down_is_a_warning(shop: Shop) -> None:
    """The service starts, serves, says so in the log, and ends in time with status 0."""
    url = f"http://127.0.0.1:{free_port()}/events"
    server = shop(url)
    assert server.get("/").text == "served"
    line = wait_for(lambda: [line for line in server.stdout.splitlines() if "WARNING" in line], "a warning")[0]
    assert f"webhook {url}: startup succeeded: " in line
    assert "refused" in line
    assert ends_in_time(server) == 0
    assert "given up at the end of the process: " in server.stdout
    assert "Traceback" not in server.output


def test_a_hung_receiver_delays_nothing(shop: Shop, hung: str) -> None:
    """Probes and requests are answered, and the end waits no longer than is granted."""
    server = shop(hung)
    for _ in range(5):
        began = time.monotonic()
        assert server.probe("/ready").status == 200
        assert server.probe("/alive").status == 200
        assert server.get("/").text == "served"
        assert time.monotonic() - began < STOP_PATIENCE, "a try takes twice as long"
    assert ends_in_time(server) == 0
    assert "given up at the end of the process: startup succeeded, readiness passing, draining, stopped" in (
        server.stdout
    )


def test_a_second_signal_waits_for_no_receiver(shop: Shop, hung: str) -> None:
    """It ends the process at once."""
    server = shop(hung)
    server.signal(signal.SIGTERM)
    wait_for(lambda: "ready -> draining" in server.stdout, "the drain")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    drained = re.search(r"draining -> stopped after ([\d.]+) s", server.stdout)
    assert drained is not None, server.output
    assert float(drained[1]) < STOP_PATIENCE
    assert "given up at the end of the process" in server.stdout


def test_a_silent_name_server_delays_nothing(shop: Shop, tmp_path: Path, receiver: Receiver) -> None:
    """A look-up that takes minutes holds up neither another URL nor the end of the process."""
    slow = """
import socket, time
look_up = socket.getaddrinfo

def getaddrinfo(host, *args, **kwargs):
    if host == "silent.example":
        time.sleep(300)
    return look_up(host, *args, **kwargs)

socket.getaddrinfo = getaddrinfo
"""
    (tmp_path / "sitecustomize.py").write_text(slow)
    server = shop("http://silent.example/events", receiver.url, env={"PYTHONPATH": str(tmp_path)})
    receiver.wait_for("startup", "succeeded")
    assert server.get("/").text == "served"
    assert ends_in_time(server) == 0
    assert receiver.events[-1] == ("stopped", "stopped")
    assert "webhook http://silent.example/events: given up at the end of the process" in server.stdout


def test_a_failed_start_is_told(shop: Shop, receiver: Receiver) -> None:
    """The event has the reason that stands on standard error, and the status stays 1."""
    server = shop(receiver.url, args=("--command", "no_such_command"), until=None)
    assert server.wait() == 1
    assert receiver.events == [("startup", "failed"), ("stopped", "stopped")]
    reason = receiver.deliveries[0].fields["reason"]
    assert "no_such_command" in reason
    assert server.stderr == f"twistserve: {reason}\n"


def test_a_failed_start_with_a_hung_receiver_still_ends(shop: Shop, hung: str) -> None:
    """With status 1, and in time."""
    began = time.monotonic()
    server = shop(hung, args=("--command", "no_such_command"), until=None)
    assert server.wait() == 1
    assert time.monotonic() - began < STOP_PATIENCE + 2 * SLACK


def test_a_hung_receiver_takes_nothing_from_another(shop: Shop, hung: str, receiver: Receiver) -> None:
    """Each URL has its own order and its own pace."""
    server = shop(hung, receiver.url)
    receiver.wait_for("readiness", "passing")
    assert server.terminate() == 0
    assert receiver.events == [
        ("startup", "succeeded"),
        ("readiness", "passing"),
        ("draining", "draining"),
        ("stopped", "stopped"),
    ]


def test_a_daemon_sends_webhooks(shop: Shop, project: Project, receiver: Receiver) -> None:
    """twistd forks before it starts the service, and the events come from the child."""
    directory = project(VIEWS, CHECKS)
    parent = shop(receiver.url, cwd=directory, runner="daemon", until=None)
    assert parent.wait() == 0, parent.output
    pid_file = directory / "twistd.pid"
    pid = int(wait_for(lambda: pid_file.read_text() if pid_file.exists() else None, "the pid file"))
    try:
        receiver.wait_for("startup", "succeeded")
        os.kill(pid, signal.SIGTERM)
        receiver.wait_for("stopped", "stopped")
        wait_for(lambda: not (directory / "twistd.pid").exists(), "the daemon to end")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


@pytest.mark.parametrize("known", [True, False])
def test_https_is_verified(serve: Serve, project: Project, tmp_path: Path, known: bool) -> None:
    """A certificate of an authority that SSL_CERT_FILE names is believed; another one is a warning."""
    certificate = tmp_path / "certificate.pem"
    write_certificate(certificate, "localhost")
    with Receiver(certificate=certificate) as receiver:
        server = serve(
            *("--webhook-url", f"https://localhost:{receiver.port}/events"),
            cwd=project(VIEWS),
            settings="site_settings",
            env={"SSL_CERT_FILE": str(certificate)} if known else {},
        )
        if known:
            receiver.wait_for("startup", "succeeded")
            assert server.terminate() == 0
            assert receiver.events[-1] == ("stopped", "stopped")
        else:
            wait_for(lambda: "certificate verify failed" in server.stdout, "a warning")
            assert not receiver.deliveries


@pytest.mark.parametrize(
    "url",
    ["ftp://hooks.example/", "hooks.example/events", "http:///events", "http://[::1", "http://a b/", "http://a:x/"],
)
def test_an_invalid_url_is_one_line(serve: Serve, project: Project, url: str) -> None:
    """It names the option and what would be right, and the status is 1."""
    server = serve("--webhook-url", url, cwd=project(VIEWS), settings="site_settings", until=None)
    assert server.wait() == 1
    [line] = server.stderr.splitlines()
    assert "--webhook-url" in line
    assert repr(url) in line
    assert "give an http or https URL with a host, such as https://" in line


def test_without_a_url_treq_is_not_imported() -> None:
    """Who sends no webhooks does not pay for them."""
    program = "import sys, twistserve.service; sys.exit('treq' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


# Hurricane's format

AS_HURRICANE = ("--webhook-format", "hurricane", "--app-version", "2024.1")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_hurricane_is_told_of_the_start_and_of_probes(shop: Shop, receiver: Receiver, workers: str) -> None:
    """The first result of each probe is an event, and each change; neither the drain nor the end is one."""
    before = int(time.time())
    words = (*AS_HURRICANE, "--workers", workers)
    server = shop(receiver.url, args=words, until=None, env={"TWISTSERVE_WEBHOOK_SECRET": "sesame"})
    receiver.wait_for("startup", "succeeded")
    (server.cwd / "unready").touch()
    server.wait_until("/ready", 503)
    (server.cwd / "unready").unlink()
    server.wait_until("/ready")
    server.wait_until("/alive")
    receiver.wait_for("liveness", "succeeded")
    assert server.terminate() == 0
    assert receiver.events == [
        ("startup", "succeeded"),
        ("readiness", "failed"),
        ("readiness", "succeeded"),
        ("liveness", "succeeded"),
    ]
    for delivery in receiver.deliveries:
        fields = delivery.fields
        assert set(fields) == {"info", "type", "status", "timestamp", "podname", "version"}
        assert fields["info"] == f"{fields['type'].capitalize()} webhook"
        assert (fields["podname"], fields["version"]) == (socket.gethostname(), "2024.1")
        assert isinstance(fields["timestamp"], int)
        assert before <= fields["timestamp"] <= time.time()
        assert verifies("sesame", delivery)


def test_hurricane_is_told_of_probes_once_the_start_is_complete(serve: Serve, receiver: Receiver) -> None:
    """What they say while a command runs is none of its events."""
    words = ("--webhook-url", receiver.url, *AS_HURRICANE, "--command", "prepare --seconds 3")
    server = serve(*words, until="/alive")
    server.wait_until("/ready", 503)
    server.wait_until("/ready")
    receiver.wait_for("readiness", "succeeded")
    assert server.terminate() == 0
    assert receiver.events == [("startup", "succeeded"), ("readiness", "succeeded")]


COMMAND = """
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def handle(self, **options):
        raise ValueError("no shelves at postgresql://shop:t0p@db/shop")
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_hurricane_is_told_why_a_start_has_failed(
    shop: Shop, project: Project, receiver: Receiver, workers: int
) -> None:
    """By the traceback of the command; a parent of workers has its message. Passwords are in neither."""
    directory = project(VIEWS, "INSTALLED_APPS = [*INSTALLED_APPS, 'shelves']")
    commands = directory / "shelves" / "management" / "commands"
    commands.mkdir(parents=True)
    for package in (commands, commands.parent, commands.parent.parent):
        (package / "__init__.py").touch()
    (commands / "fill.py").write_text(COMMAND)
    server = shop(
        receiver.url, args=(*AS_HURRICANE, "--command", "fill", "--workers", str(workers)), cwd=directory, until=None
    )
    assert server.wait() == 1
    assert receiver.events == [("startup", "failed")]
    traceback = receiver.deliveries[0].fields["traceback"]
    assert "ValueError: no shelves at postgresql://…@db/shop" in traceback
    assert traceback.startswith("Traceback (most recent call last):\n" if workers == 1 else "--command 'fill' failed: ")
    assert "fill.py" in traceback
    assert "t0p" not in traceback


DATABASE = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_hurricane_is_warned_of_migrations_that_fail(
    shop: Shop, project: Project, receiver: Receiver, workers: int
) -> None:
    """They have a status of their own."""
    directory = project(VIEWS, DATABASE + "INSTALLED_APPS = [*INSTALLED_APPS, 'shelves']")
    migrations = directory / "shelves" / "migrations"
    migrations.mkdir(parents=True)
    for package in (migrations, migrations.parent):
        (package / "__init__.py").touch()
    (migrations / "0001_fill.py").write_text(
        "from django.db import migrations\n"
        "def fill(apps, schema_editor): raise ValueError('no shelves')\n"
        "class Migration(migrations.Migration):\n"
        "    operations = [migrations.RunPython(fill)]\n"
    )
    server = shop(
        receiver.url,
        args=(*AS_HURRICANE, "--check-migrations-apply", "--workers", str(workers)),
        cwd=directory,
        until=None,
    )
    assert server.wait() == 1
    assert receiver.events == [("startup", "warning")]
    assert "ValueError: no shelves" in receiver.deliveries[0].fields["traceback"]
