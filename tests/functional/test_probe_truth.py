"""Probes tell the truth of now: no old results, no request's connection, nonsense by its name, and no secrets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.harness import Reply, Serve, Server, present, serving, wait_for, write_project

CHECK_TIMEOUT = 1.0
FRESH = 1.0
"""Seconds for which a result answers whoever asks."""
SLACK = 0.5
"""Seconds that an answer may come after the deadline of its checks."""
NOISE = 1.0
"""Seconds that a busy machine may keep a test waiting."""

APP = """
import time
from pathlib import Path

from django.core.checks import Error, Warning, register

HERE = Path(__file__).resolve().parent


def there(name):
    return (HERE / name).exists()


def count(name):
    with (HERE / f"{name}.runs").open("a") as runs:
        runs.write("ran\\n")


class Shy(Exception):
    def __str__(self):
        raise RuntimeError("I have no name")


def endless():
    yield Error("The shelves are empty.", id="shop.E001")
    raise ValueError("broke off")


NONSENSE = {
    "nothing": lambda: None,
    "a_number": lambda: 5,
    "text": lambda: "The shelves are empty.",
    "bytes": lambda: b"",
    "numbers": lambda: [1, 2],
    "a_class": lambda: [Error],
    "too_much": lambda: [Error("The shelves are empty." * 10_000)] * 10,
    "a_mixture": lambda: [Warning("The shelves creak.", id="shop.W001"), "and more"],
    "a_generator_that_breaks": endless,
}


def raising(error):
    def function():
        raise error

    return function


NONSENSE |= {
    "raises": raising(ValueError("postgresql://shop:t0p@db/shop in /srv/secret")),
    "raises_shyly": raising(Shy()),
    "exits": raising(SystemExit(1)),
    "interrupts": raising(KeyboardInterrupt()),
    "generator_exit": raising(GeneratorExit()),
    "recursion": lambda: recursion(),
}


def recursion():
    return recursion()


@register("readiness")
def shelves(**kwargs):
    count("shelves")
    for name, function in NONSENSE.items():
        if there(name):
            return function()
    while there("hangs"):
        time.sleep(0.01)
    if there("slow"):
        time.sleep(0.3)
    if there("leaks"):
        return [
            Error("amqp://shop:t0p@broker is down", hint="Look into /srv/secret/broker.conf.", id="shop.E002"),
            Error("connection failed: host=db password=t0p", id="shop.E003"),
        ]
    if there("creaks"):
        return [Warning("The shelves\\ncreak.", id="shop.W001")]
    return [Error("The shelves are empty.", id="shop.E001")] if there("empty") else []


@register("readiness")
def cellar(**kwargs):
    return []


@register("liveness")
def pulse(**kwargs):
    return []
"""

VIEWS = """
import time

from django.db import connection
from django.http import HttpResponse
from django.urls import path

import shop


def book(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("booked")


def wait(request):
    while not shop.there(request.GET["gate"]):
        time.sleep(0.01)
    return HttpResponse("waited")


urlpatterns = [path("book/", book), path("wait/", wait)]
"""

SETTINGS = """
INSTALLED_APPS += ["shop"]
"""

RECORDING = '''
import itertools
import threading
from pathlib import Path

from django.db.backends.sqlite3 import base

HERE = Path(__file__).resolve().parents[1]
numbers = itertools.count(1)


class DatabaseWrapper(base.DatabaseWrapper):
    """Writes down who opens and closes which connection, and who uses it."""

    def get_new_connection(self, params):
        pooled = params.pop("pool", None)
        connection = super().get_new_connection(params)
        self.number = next(numbers)
        self.note("pool" if pooled else "open")
        return connection

    def _close(self):
        if self.connection is not None:
            self.note("close")
        return super()._close()

    def create_cursor(self, name=None):
        self.note("use")
        return super().create_cursor(name)

    def note(self, what):
        thread = threading.current_thread().name.partition("-")[0].partition(" ")[0]
        with (HERE / "connections").open("a") as connections:
            connections.write(f"{thread} {what} {self.number}\\n")
'''


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shop of this module, without a database, with little patience for checks."""
    directory = write_project(tmp_path_factory.mktemp("truth") / "project", VIEWS, SETTINGS, shop=APP)
    options = ("--threads", "2", "--check-timeout", f"{CHECK_TIMEOUT:g}")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


def runs(server: Server, name: str = "shelves") -> int:
    """How often a check has been run."""
    return len((server.cwd / f"{name}.runs").read_text().splitlines())


def entry(reply: Reply, word: str) -> dict[str, Any]:
    """What an answer says of the one check with this word in its name."""
    ((found,),) = (entries for name, entries in reply.json()["checks"].items() if word in name)
    return dict(found)


# How old a result may be


def test_probes_at_once_share_a_run(shop: Server) -> None:
    """Twenty probes that come together are answered by one run of each check."""
    with present(shop, "slow"):
        before = runs(shop)
        with ThreadPoolExecutor(20) as clients:
            replies = list(clients.map(lambda _: shop.probe("/ready"), range(20)))
        assert {reply.status for reply in replies} == {200}
        assert runs(shop) == before + 1


def test_results_are_less_than_a_second_old(shop: Server) -> None:
    """However often it is asked, a probe is wrong for no longer than that, and a check runs no more often."""
    before, began = runs(shop), time.monotonic()
    (shop.cwd / "empty").touch()
    wait_for(lambda: shop.probe("/ready").status == 503, "the probe to fail")
    failed = time.monotonic()
    (shop.cwd / "empty").unlink()
    wait_for(lambda: shop.probe("/ready").status == 200, "the probe to pass")
    passed = time.monotonic()
    assert failed - began < FRESH + NOISE
    assert passed - failed < FRESH + NOISE
    assert runs(shop) - before <= (passed - began) / FRESH + 2


def test_draining_is_told_at_once(serve: Serve, project: Callable[..., Path]) -> None:
    """The state of the service is never an old one: the first probe after the drain has begun fails."""
    server = serve(cwd=project(VIEWS, SETTINGS, shop=APP), settings="site_settings")
    with waiting_requests(server, 1):
        assert server.probe("/ready").status == 200
        server.signal(15)
        wait_for(lambda: "ready -> draining" in server.output, "the drain")
        reply = server.probe("/ready")
        assert reply.status == 503
        assert entry(reply, "lifecycle")["observedValue"] == "draining"
        (server.cwd / "gate").touch()
    assert server.wait() == 0


# Databases


def read_connections(server: Server) -> list[list[str]]:
    """Who did what with which connection: thread, deed, number."""
    path = server.cwd / "connections"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("options", ["{}", '{"pool": True}'])
def test_databases_are_pinged_on_connections_of_their_own(
    serve: Serve, project: Callable[..., Path], options: str
) -> None:
    """Each ping opens a connection, asks a query and closes it; requests keep theirs, whatever the settings say."""
    settings = f"""
INSTALLED_APPS += ["shop"]
DATABASES = {{
    "default": {{
        "ENGINE": "recording",
        "NAME": BASE_DIR / "db.sqlite3",
        "CONN_MAX_AGE": None,
        "OPTIONS": {options},
    }}
}}
"""
    directory = project(VIEWS, settings, shop=APP)
    (directory / "recording").mkdir()
    (directory / "recording" / "__init__.py").touch()
    (directory / "recording" / "base.py").write_text(RECORDING)
    server = serve("--threads", "1", cwd=directory, settings="site_settings", until="/startup")
    assert server.get("/book/").status == 200
    for _ in range(3):
        assert server.probe("/ready").status == 200
        assert server.get("/book/").status == 200
        time.sleep(FRESH)
    noted = read_connections(server)
    requests = [(deed, number) for thread, deed, number in noted if thread == "request"]
    pings = [(deed, number) for thread, deed, number in noted if thread == "check"]
    ((opened, number),) = requests[:1]
    assert opened == ("pool" if "pool" in options else "open")
    assert requests[1:] == [("use", number)] * 4, "requests keep their connection"
    numbers = [each for deed, each in pings if deed == "open"]
    assert len(numbers) == len(set(numbers)) == 3
    assert number not in numbers
    for each in numbers:
        assert [deed for deed, other in pings if other == each] == ["open", "use", "close"]


def test_checks_leave_no_connections_open(serve: Serve, project: Callable[..., Path]) -> None:
    """What a check of Django's opens is closed behind it, though its thread stays."""
    settings = """
INSTALLED_APPS += ["shop"]
DATABASES = {"default": {"ENGINE": "recording", "NAME": BASE_DIR / "db.sqlite3", "CONN_MAX_AGE": None}}
"""
    asking = """
from django.core.checks import register
from django.db import connections

@register("readiness")
def tables(databases, **kwargs):
    for alias in databases:
        connections[alias].introspection.table_names()
    return []
"""
    directory = project(VIEWS, settings, shop=asking)
    (directory / "recording").mkdir()
    (directory / "recording" / "__init__.py").touch()
    (directory / "recording" / "base.py").write_text(RECORDING)
    server = serve(cwd=directory, settings="site_settings")
    for _ in range(2):
        time.sleep(FRESH)
        assert server.probe("/ready").status == 200
    noted = [(deed, number) for _, deed, number in read_connections(server)]
    opened = {number for deed, number in noted if deed == "open"}
    assert len(opened) == 6
    assert {number for deed, number in noted if deed == "close"} == opened


# Nonsense

NONSENSE = {
    "nothing": "returned NoneType",
    "a_number": "returned int",
    "text": "returned str",
    "bytes": "returned bytes",
    "numbers": "returned int among",
    "a_class": "returned type among",
    "a_mixture": "returned str among",
    "a_generator_that_breaks": "raised ValueError",
    "raises": "raised ValueError",
    "raises_shyly": "raised Shy",
    "exits": "raised SystemExit",
    "interrupts": "raised KeyboardInterrupt",
    "generator_exit": "raised GeneratorExit",
    "recursion": "raised RecursionError",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_fails_by_its_name(shop: Server, name: str) -> None:
    """Whatever a check returns or raises, its probe says which one it was, and everything else goes on."""
    with present(shop, name):
        reply = shop.probe("/ready")
        assert reply.status == 503
        assert NONSENSE[name] in entry(reply, "shelves")["output"]
        assert entry(reply, "cellar")["status"] == "pass"
        assert "t0p" not in reply.text
        assert "/srv" not in reply.text
        assert shop.probe("/alive").status == 200
    assert shop.probe("/ready").status == 200


def test_too_much_is_cut(shop: Server) -> None:
    """A check that says a lot is not repeated at length."""
    with present(shop, "too_much"):
        reply = shop.probe("/ready")
        assert reply.status == 503
        assert len(reply.body) < 10_000


def test_warnings_pass(shop: Server) -> None:
    """A warning is told with 200."""
    with present(shop, "creaks"):
        reply = shop.probe("/ready")
        assert (reply.status, reply.json()["status"]) == (200, "warn")
        assert entry(reply, "shelves")["status"] == "warn"


def test_a_hanging_check_disturbs_nobody(shop: Server) -> None:
    """While a check hangs its probe fails in time; other probes and requests do not notice."""
    with present(shop, "hangs"):
        before = runs(shop)
        for _ in range(3):
            began = time.monotonic()
            reply = shop.probe("/ready")
            assert time.monotonic() - began < CHECK_TIMEOUT + SLACK
            assert "no answer within 1 s" in entry(reply, "shelves")["output"]
            assert entry(reply, "cellar")["status"] == "pass"
            for path in ("/alive", "/startup"):
                began = time.monotonic()
                assert shop.probe(path).status == 200
                assert time.monotonic() - began < CHECK_TIMEOUT
        assert runs(shop) - before == 1
    shop.wait_until("/ready")


# Secrets


def test_no_secrets(shop: Server) -> None:
    """Credentials in a message are for nobody, and hints for developers only."""
    with present(shop, "leaks"):
        for headers in ({}, {"Accept": "text/plain"}):
            reply = shop.probe("/ready?verbose", headers=headers)
            assert reply.status == 503
            assert "shop.E002" in reply.text
            assert "shop.E003" in reply.text
            assert "t0p" not in reply.text
            assert "/srv" not in reply.text
        assert "t0p" not in shop.probe("/status.json").text


def test_no_secrets_of_databases(serve: Serve, project: Callable[..., Path]) -> None:
    """A database that cannot be reached is told by its alias; where it is, and how one gets in, is not."""
    settings = """
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "file:/srv/secret/db.sqlite3?password=t0p",
        "USER": "shopkeeper",
        "PASSWORD": "t0p",
        "OPTIONS": {"uri": True},
    }
}
"""
    server = serve(cwd=project(settings=settings), settings="site_settings", until="/startup")
    for path in ("/ready?verbose", "/startup", "/alive", "/status.json", "/"):
        for headers in ({}, {"Accept": "text/plain"}):
            text = server.probe(path, headers=headers).text
            for secret in ("t0p", "/srv", "shopkeeper"):
                assert secret not in text, path
    assert entry(server.probe("/ready"), "database:default")["output"] == "raised OperationalError"


def test_no_secrets_of_commands(serve: Serve, project: Callable[..., Path]) -> None:
    """While a command runs probes, status page and log name it, without what it was given as a password."""
    directory = project(VIEWS, 'INSTALLED_APPS += ["shop", "helpers"]\n', shop=APP)
    commands = directory / "helpers" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "hold.py").write_text(
        "import time\n"
        "from django.core.management.base import BaseCommand\n"
        "from shop import there\n"
        "class Command(BaseCommand):\n"
        "    def add_arguments(self, parser):\n"
        "        parser.add_argument('url')\n"
        "        parser.add_argument('--password')\n"
        "    def handle(self, **options):\n"
        "        while not there('gate'):\n"
        "            time.sleep(0.01)\n"
    )
    command = "hold amqp://shop:t0p@broker/ --password 't0p t0p'"
    server = serve("--command", command, cwd=directory, settings="site_settings", until=None)
    server.wait_until("/startup", 503)
    wait_for(lambda: "hold" in server.probe("/startup").text, "the command")
    for path in ("/startup", "/ready", "/", "/status.json"):
        text = server.probe(path).text
        assert "running the command" in text
        assert "t0p" not in text
    assert "t0p" not in server.output
    (directory / "gate").touch()
    server.wait_until("/ready")


# The form


def test_plain_text(shop: Server) -> None:
    """Who prefers text gets a line for each check; a probe that fails says so with its status."""
    reply = shop.probe("/ready", headers={"Accept": "text/plain"})
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.text.splitlines() == [
        "pass",
        "pass lifecycle ready",
        "pass queue 0",
        "pass shop.cellar",
        "pass shop.shelves",
    ]
    with present(shop, "creaks"):
        reply = shop.probe("/ready", headers={"Accept": "text/plain"})
        assert (reply.status, reply.text.splitlines()[0]) == (200, "warn")
        assert "warn shop.shelves: (shop.W001) The shelves creak." in reply.text.splitlines()
    with present(shop, "empty"):
        reply = shop.probe("/ready", headers={"Accept": "text/plain"})
        assert (reply.status, reply.text.splitlines()[0]) == (503, "fail")


def test_verbose(shop: Server) -> None:
    """?verbose tells how long each check took."""
    with present(shop, "slow"):
        reply = shop.probe("/ready?verbose")
        assert 0.3 <= entry(reply, "shelves")["seconds"] < CHECK_TIMEOUT
        assert "seconds" in entry(reply, "cellar")
        assert "seconds" not in entry(reply, "lifecycle")
        assert "seconds" not in shop.probe("/ready").text
        text = shop.probe("/ready?verbose", headers={"Accept": "text/plain"}).text
        assert re.search(r"^pass shop\.shelves \(0\.[3-9]\d+ s\)$", text, re.MULTILINE)


# Liveness


@contextmanager
def waiting_requests(server: Server, count: int) -> Iterator[list[Future[Reply]]]:
    """As many requests as said, which stay in their view until there is a file called gate."""
    with ThreadPoolExecutor(count) as clients:
        try:
            yield [clients.submit(server.get, "/wait/?gate=gate") for _ in range(count)]
        finally:
            (server.cwd / "gate").touch()


def test_liveness_fails_while_all_threads_are_stuck(serve: Serve, project: Callable[..., Path]) -> None:
    """When every thread is past its deadline, replacements too, only a restart helps; unless one returns."""
    directory = project(VIEWS, SETTINGS, shop=APP)
    options = ("--threads", "1", "--request-timeout", "0.2")
    server = serve(*options, cwd=directory, settings="site_settings")
    with waiting_requests(server, 1):
        wait_for(lambda: "1 stuck" in server.probe("/alive").text, "the thread to be stuck")
        assert server.probe("/alive").status == 200, "its replacement can serve"
        with waiting_requests(server, 1):
            server.wait_until("/alive", 503)
            reply = server.probe("/alive")
            assert entry(reply, "threads")["output"] == "all 2 threads are stuck past their deadline"
            assert entry(reply, "reactor")["status"] == "pass"
    server.wait_until("/alive")
