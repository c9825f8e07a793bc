"""The checks of --check, each while it passes, fails and hangs; and django-health-check's."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional.harness import Reply, Serve, Server, free_port, present, serving, wait_for, write_project

CHECK_TIMEOUT = 1.0
SLACK = 0.5
"""Seconds that an answer may come after the deadline of its checks."""
PASSWORD = "t0p"
SECRET_PATH = "/srv/secret"

SHOP = """
import time
from pathlib import Path

from django.core.cache.backends.locmem import LocMemCache
from django.core.files.storage import FileSystemStorage

HERE = Path(__file__).resolve().parent


def there(name):
    return (HERE / name).exists()


def obey(name):
    while there(f"{name}_hangs"):
        time.sleep(0.01)
    if there(f"{name}_raises"):
        raise ConnectionError("redis://shop:t0p@cache:6379 refused, see /srv/secret")


class Cache(LocMemCache):
    def get(self, *args, **kwargs):
        obey("cache")
        return None if there("cache_lies") else super().get(*args, **kwargs)


class Storage(FileSystemStorage):
    def _save(self, name, content):
        obey("storage")
        return super()._save(name, content)

    def _open(self, name, mode="rb"):
        if there("storage_lies"):
            return (HERE / "manage.py").open("rb")
        return super()._open(name, mode)
"""

SETTINGS = """
INSTALLED_APPS += ["shop"]
CACHES = {
    "default": {"BACKEND": "shop.Cache", "LOCATION": "redis://shop:t0p@cache:6379"},
    "sessions": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": BASE_DIR / "kept"},
    "off": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
}
STORAGES = {
    "default": {"BACKEND": "shop.Storage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
MEDIA_ROOT = BASE_DIR / "media"
"""

DATABASE = """
DATABASES = {"default": {"ENGINE": "obeying", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

OBEYING = """
from django.db.backends.sqlite3 import base

from shop import obey


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, params):
        obey("database")
        return super().get_new_connection(params)
"""

MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [migrations.CreateModel("{model}", [("id", models.BigAutoField(primary_key=True))])]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shop of this module with its caches and its storage checked."""
    directory = write_project(tmp_path_factory.mktemp("ready_made") / "project", settings=SETTINGS, shop=SHOP)
    options = ("--check", "caches", "--check", "storage", "--check-timeout", f"{CHECK_TIMEOUT:g}")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


def entry(reply: Reply, name: str) -> dict[str, Any]:
    """What an answer says of the check of this name."""
    (found,) = reply.json()["checks"][name]
    return dict(found)


def failing(reply: Reply) -> dict[str, str]:
    """The reasons of the checks that fail, by name."""
    assert reply.status == 503, reply.text
    return {
        name: one["output"]
        for name, entries in reply.json()["checks"].items()
        for one in entries
        if one["status"] == "fail"
    }


def assert_hangs(server: Server, name: str) -> None:
    """The check fails in time however often it is asked, and disturbs no other probe."""
    for _ in range(2):
        began = time.monotonic()
        found = failing(server.probe("/ready"))
        assert time.monotonic() - began < CHECK_TIMEOUT + SLACK
        assert "no answer within 1 s" in found[name]
        began = time.monotonic()
        assert server.probe("/alive").status == 200
        assert time.monotonic() - began < CHECK_TIMEOUT


def assert_no_secrets(server: Server, *more: str) -> None:
    """Neither an answer of the probe port nor the log has a password, and no answer a path."""
    for path in ("/ready?verbose", "/startup", "/alive", "/metrics", "/status.json", "/"):
        for headers in ({}, {"Accept": "text/plain"}):
            text = server.probe(path, headers=headers).text
            for secret in (PASSWORD, SECRET_PATH, *more):
                assert secret not in text, path


# Caches and storage


def test_caches_and_storage_pass(shop: Server) -> None:
    """Every cache and the storage is written to and read back, and nothing is left behind."""
    reply = shop.probe("/ready")
    assert reply.status == 200
    assert set(reply.json()["checks"]) >= {"cache:default", "cache:sessions", "cache:off", "storage"}
    assert entry(reply, "cache:off")["observedValue"] == "keeps nothing, as configured"
    assert list((shop.cwd / "media").iterdir()) == []
    assert list((shop.cwd / "kept").iterdir()) == []


@pytest.mark.parametrize(("what", "name"), [("cache", "cache:default"), ("storage", "storage")])
def test_what_cannot_be_read_back(shop: Server, what: str, name: str) -> None:
    """A cache or a storage that gives back something else fails."""
    with present(shop, f"{what}_lies"):
        assert failing(shop.probe("/ready")) == {name: "what was written could not be read back"}
    assert shop.probe("/ready").status == 200
    assert list((shop.cwd / "media").iterdir()) == []


@pytest.mark.parametrize(("what", "name"), [("cache", "cache:default"), ("storage", "storage")])
def test_what_raises(shop: Server, what: str, name: str) -> None:
    """What a backend raises is told by its type, and no more."""
    with present(shop, f"{what}_raises"):
        assert failing(shop.probe("/ready")) == {name: "raised ConnectionError"}
        assert_no_secrets(shop)
    assert shop.probe("/ready").status == 200


@pytest.mark.parametrize(("what", "name"), [("cache", "cache:default"), ("storage", "storage")])
def test_what_hangs(shop: Server, what: str, name: str) -> None:
    """A backend that hangs fails readiness in time, and passes when it has come back."""
    with present(shop, f"{what}_hangs"):
        assert_hangs(shop, name)
    shop.wait_until("/ready")


# Migrations


def write_migrations(directory: Path, *names: str) -> None:
    """Give the project an app `stock` with these migrations, one after another."""
    migrations = directory / "stock" / "migrations"
    migrations.mkdir(parents=True, exist_ok=True)
    (directory / "stock" / "__init__.py").touch()
    (migrations / "__init__.py").touch()
    before: list[tuple[str, str]] = []
    for number, name in enumerate(names):
        text = MIGRATION.format(dependencies=before, model=f"Model{number}")
        (migrations / f"{name}.py").write_text(text)
        before = [("stock", name)]


def migrate(directory: Path, *words: str) -> None:
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0", *words], cwd=directory, check=True)


def test_migrations(serve: Serve, project: Callable[..., Path]) -> None:
    """Readiness fails while migrations are unapplied, names the first, and follows what is applied and taken back."""
    settings = SETTINGS + DATABASE + 'INSTALLED_APPS += ["stock"]\n'
    directory = project(settings=settings, shop=SHOP)
    (directory / "obeying").mkdir()
    (directory / "obeying" / "__init__.py").touch()
    (directory / "obeying" / "base.py").write_text(OBEYING)
    write_migrations(directory, "0001_shelves", "0002_books", "0003_prices", "0004_orders", "0005_letters")
    options = ("--check", "migrations", "--check-timeout", f"{CHECK_TIMEOUT:g}")
    server = serve(*options, cwd=directory, settings="site_settings", until="/startup")
    name = "migrations:default"
    assert failing(server.probe("/ready")) == {
        name: "5 unapplied: stock.0001_shelves, stock.0002_books, stock.0003_prices, …"
    }
    assert entry(server.probe("/ready"), name)["observedValue"] == 5
    migrate(directory, "stock", "0004_orders")
    wait_for(lambda: failing(server.probe("/ready"))[name] == "1 unapplied: stock.0005_letters", "one migration")
    migrate(directory)
    server.wait_until("/ready")
    with present(server, "database_hangs"):
        assert_hangs(server, name)
        assert_hangs(server, "database:default")
    server.wait_until("/ready")
    with present(server, "database_raises"):
        assert failing(server.probe("/ready"))[name] == "raised ConnectionError"
        assert_no_secrets(server)
    assert server.probe("/ready").status == 200


# Disk space


def test_disks(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> None:
    """Each directory is a check of its own; what it says names no path."""
    directory = project()
    volume = tmp_path / "volume"
    volume.mkdir()
    options = ("--check", f"disk={volume}:1K", "--check", "disk=/:9999999G", "--check", f"disk={volume}/x:1K")
    server = serve(*options, cwd=directory, settings="site_settings", until="/startup")
    reply = server.probe("/ready")
    assert entry(reply, "disk")["status"] == "pass"
    assert entry(reply, "disk")["observedValue"] > 1024
    assert failing(reply).keys() == {"disk-2", "disk-3"}
    assert "less than the 9999999G asked for" in failing(reply)["disk-2"]
    assert failing(reply)["disk-3"] == "there is no such directory"
    assert_no_secrets(server, str(volume))
    assert f"{volume}/x: there is no such directory" in server.output


def test_little_space_warns(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> None:
    """A disk that is filling up warns before it fails."""
    least = int(shutil.disk_usage(tmp_path).free * 0.7)
    server = serve("--check", f"disk={tmp_path}:{least}", cwd=project(), settings="site_settings")
    reply = server.probe("/ready")
    assert (reply.status, reply.json()["status"]) == (200, "warn")
    assert "free, less than twice the" in entry(reply, "disk")["output"]


# Brokers


def test_brokers(serve: Serve, project: Callable[..., Path]) -> None:
    """A broker passes while its port accepts connections; the password of its URL is nowhere to be seen."""
    port = free_port()
    options = ("--log-level", "DEBUG", "--check", f"broker=amqp://shop:{PASSWORD}@127.0.0.1:{port}/vhost")
    server = serve(*options, cwd=project(), settings="site_settings", until="/startup")
    name = "broker:amqp"
    assert failing(server.probe("/ready")) == {name: "no connection: Connection refused"}
    with socket.create_server(("127.0.0.1", port)):
        server.wait_until("/ready")
        assert entry(server.probe("/ready"), name)["status"] == "pass"
    server.wait_until("/ready", 503)
    assert_no_secrets(server, f":{port}/vhost", "vhost")
    assert PASSWORD not in server.output


def test_a_broker_that_hangs(serve: Serve, project: Callable[..., Path]) -> None:
    """A broker whose port takes no more connections fails readiness in time."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listening.getsockname()[1]
        options = ("--check-timeout", f"{CHECK_TIMEOUT:g}", "--check", f"broker=redis://127.0.0.1:{port}")
        server = serve(*options, cwd=project(), settings="site_settings")
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(("127.0.0.1", port))
        server.wait_until("/ready", 503)
        for _ in range(3):
            began = time.monotonic()
            reply = server.probe("/ready")
            assert time.monotonic() - began < CHECK_TIMEOUT + SLACK
            assert failing(reply).keys() == {"broker:redis"}
            assert server.probe("/alive").status == 200


def test_a_wrong_broker_ends_the_start(serve: Serve, project: Callable[..., Path]) -> None:
    """The line that says what is wrong with a URL keeps its password."""
    directory = project(settings=f'TWISTSERVE = {{"CHECK": ["broker=amqp://shop:{PASSWORD}"]}}\n')
    server = serve(cwd=directory, settings="site_settings", until=None)
    assert server.wait() == 1
    assert "--check" in server.stderr
    assert "TWISTSERVE['CHECK']" in server.stderr
    assert "such as broker=amqp://host:5672" in server.stderr
    assert PASSWORD not in server.output


# Where the option comes from


def test_checks_of_the_setting(serve: Serve, project: Callable[..., Path]) -> None:
    """The setting takes a list; without any, nothing of the kind is asked."""
    directory = project(settings=SETTINGS + 'TWISTSERVE = {"CHECK": ["caches", "disk=/:1K"]}\n', shop=SHOP)
    server = serve(cwd=directory, settings="site_settings")
    names = {"cache:default", "cache:sessions", "cache:off", "disk"}
    assert set(server.probe("/ready").json()["checks"]) == {"lifecycle", "queue", *names}
    server = serve(cwd=directory, settings="site_settings", env={"TWISTSERVE_CHECK": "storage\ndisk=/:1K\n"})
    assert set(server.probe("/ready").json()["checks"]) == {"lifecycle", "queue", "storage", "disk"}


def test_checks_of_workers(serve: Serve, project: Callable[..., Path]) -> None:
    """With several processes the checks run in one of them, and are told all the same."""
    options = ("--workers", "2", "--check", "caches", "--check", "storage")
    server = serve(*options, cwd=project(settings=SETTINGS, shop=SHOP), settings="site_settings")
    assert set(server.probe("/ready").json()["checks"]) >= {"cache:default", "cache:off", "storage"}
    with present(server, "cache_lies"):
        assert failing(server.probe("/ready")) == {"cache:default": "what was written could not be read back"}


# django-health-check

HEALTH = """
import asyncio
import dataclasses
import time

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning
from health_check.views import HealthCheckView

from shop import obey, there


@dataclasses.dataclass
class Shelves(HealthCheck):
    alias: str = "front"

    def run(self):
        obey("shelves")
        if there("shelves_empty"):
            raise ServiceUnavailable("nothing in /srv/secret, password=t0p")
        if there("shelves_creak"):
            raise ServiceWarning("they creak in /srv/secret")


@dataclasses.dataclass
class Letters(HealthCheck):
    async def run(self):
        await asyncio.sleep(0)
        while there("letters_hang"):
            await asyncio.sleep(0.01)
        if there("letters_burn"):
            raise OSError("/srv/secret burns")


class Stubborn(HealthCheck):
    pass  # without run()


class View(HealthCheckView):
    checks = ["health.Letters", ("health.Shelves", {"alias": "back"})]


def number():
    return 5

def shelves():
    return Shelves(alias="made")
"""

HEALTH_URLS = """
from django.urls import include, path

from health import Letters, Shelves, View
from health_check.views import HealthCheckView

inner = [path("health/", HealthCheckView.as_view(checks=[Shelves, ("health.Shelves", {"alias": "cellar"})]))]
urlpatterns = [path("", include(inner)), path("live/", View.as_view()), path("again/", View.as_view())]
"""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shop with django-health-check's views in its URLconf."""
    directory = tmp_path_factory.mktemp("healthy") / "project"
    write_project(directory, HEALTH_URLS, SETTINGS, shop=SHOP, health=HEALTH)
    options = ("--check", "health-check", "--check-timeout", f"{CHECK_TIMEOUT:g}")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


NAMES = {f"health-check:{name}" for name in ("Shelves:front", "Shelves:cellar", "Shelves:back", "Letters")}


def test_health_checks_of_the_views(healthy: Server) -> None:
    """The checks of every view in the URLconf are asked, each once."""
    reply = healthy.probe("/ready")
    assert reply.status == 200
    assert set(reply.json()["checks"]) == {"lifecycle", "queue", *NAMES}


def test_health_checks_that_fail(healthy: Server) -> None:
    """What a check finds unavailable fails by the kind of its error; what it says is in the log."""
    with present(healthy, "shelves_empty"):
        found = failing(healthy.probe("/ready"))
        assert found == dict.fromkeys(NAMES - {"health-check:Letters"}, "Unavailable")
        assert_no_secrets(healthy)
        wait_for(lambda: "check health-check:Shelves:front: fail Unavailable: nothing in" in healthy.output, "the log")
    assert healthy.probe("/ready").status == 200


def test_health_checks_that_warn(healthy: Server) -> None:
    """A ServiceWarning warns."""
    with present(healthy, "shelves_creak"):
        reply = healthy.probe("/ready")
        assert (reply.status, reply.json()["status"]) == (200, "warn")
        assert entry(reply, "health-check:Shelves:back") == {"status": "warn", "output": "Warning"}
        assert_no_secrets(healthy)


def test_health_checks_that_raise(healthy: Server) -> None:
    """A check that breaks fails by the type of what it raised."""
    with present(healthy, "letters_burn"):
        assert failing(healthy.probe("/ready")) == {"health-check:Letters": "raised OSError"}
        assert_no_secrets(healthy)


@pytest.mark.parametrize(
    ("file", "name"), [("letters_hang", "health-check:Letters"), ("shelves_hangs", "health-check:Shelves:front")]
)
def test_health_checks_that_hang(healthy: Server, file: str, name: str) -> None:
    """A check that hangs fails in time, whether it is a coroutine or not."""
    with present(healthy, file):
        for _ in range(2):
            began = time.monotonic()
            found = failing(healthy.probe("/ready"))
            assert time.monotonic() - began < CHECK_TIMEOUT + SLACK
            assert name in found
            assert healthy.probe("/alive").status == 200
    healthy.wait_until("/ready")


@pytest.mark.parametrize(
    ("dotted", "names"),
    [
        ("health.Letters", {"Letters"}),
        ("health.View", {"Letters", "Shelves:back"}),
        ("health.shelves", {"Shelves:made"}),
    ],
)
def test_health_checks_by_name(serve: Serve, project: Callable[..., Path], dotted: str, names: set[str]) -> None:
    """A class, a view or a function of the project's says which checks there are."""
    directory = project(settings=SETTINGS, shop=SHOP, health=HEALTH)
    server = serve("--check", f"health-check={dotted}", cwd=directory, settings="site_settings")
    checks = set(server.probe("/ready").json()["checks"])
    assert checks == {"lifecycle", "queue", *(f"health-check:{name}" for name in names)}


def test_health_checks_by_default(serve: Serve, project: Callable[..., Path]) -> None:
    """Without a view in the URLconf there are the checks that a view has by default."""
    directory = project(settings=SETTINGS, shop=SHOP)
    server = serve("--check", "health-check", cwd=directory, settings="site_settings", until="/startup")
    names = [name for name in server.probe("/ready").json()["checks"] if name.startswith("health-check:")]
    assert {name.split(":")[1] for name in names} == {"Cache", "Database", "DNS", "Mail", "Storage"}


@pytest.mark.parametrize(
    ("dotted", "said"), [("health.Missing", "Missing"), ("health.Stubborn", "TypeError"), ("health.number", "5")]
)
def test_health_checks_that_cannot_be_made(serve: Serve, project: Callable[..., Path], dotted: str, said: str) -> None:
    """A name that leads nowhere ends the start with a line that says which."""
    directory = project(settings=SETTINGS, shop=SHOP, health=HEALTH)
    server = serve("--check", f"health-check={dotted}", cwd=directory, settings="site_settings", until=None)
    assert server.wait() == 1
    assert "--check: " in server.stderr
    assert f"'health-check={dotted}'" in server.stderr
    assert said in server.stderr
