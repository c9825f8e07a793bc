"""The ready-made checks that need no Django, and what --check says of those that there are not."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from twistserve import values
from twistserve.errors import StartError
from twistserve.options import TABLE, resolve
from twistserve.probes import health_check
from twistserve.probes.builtin_checks import ready_made
from twistserve.probes.checks import Status
from twistserve.redaction import redacted, without_directories
from twistserve.values import Broker, Disk, parsed_check

DEADLINE = 5.0


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# What --check takes


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("caches", ("caches", "")),
        (" storage ", ("storage", "")),
        ("migrations", ("migrations", "")),
        ("health-check", ("health-check", "")),
        ("health-check=shop.health.Shelves", ("health-check", "shop.health.Shelves")),
        ("disk=/var/lib:500M", ("disk", Disk("/var/lib", 500 << 20))),
        ("disk=/mnt/a:b:2G", ("disk", Disk("/mnt/a:b", 2 << 30))),
        ("disk=.:1", ("disk", Disk(".", 1))),
        ("broker=amqp://host", ("broker", Broker("amqp", "host", 5672))),
        ("broker=amqps://host", ("broker", Broker("amqps", "host", 5671))),
        ("broker=redis://host/0", ("broker", Broker("redis", "host", 6379))),
        ("broker=rediss://host", ("broker", Broker("rediss", "host", 6379))),
        ("broker=kafka://host", ("broker", Broker("kafka", "host", 9092))),
        ("broker=nats://host", ("broker", Broker("nats", "host", 4222))),
        ("broker=mqtt://host", ("broker", Broker("mqtt", "host", 1883))),
        ("broker=amqp://shop:p%40ss@[::1]:99/vhost?heartbeat=5", ("broker", Broker("amqp", "::1", 99))),
        ("broker=stomp://host:61613", ("broker", Broker("stomp", "host", 61613))),
    ],
)
def test_what_check_takes(text: str, parsed: object) -> None:
    """Each kind with its argument; of a broker's URL only the host and the port are kept."""
    assert parsed_check(text) == parsed
    assert values.check(text) == text.strip()


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "give caches, storage, migrations, disk=PATH:SIZE, broker=URL, health-check"),
        ("cache", "give caches, storage"),
        ("caches=default", "give caches, storage"),
        ("migrations=", "give caches, storage"),
        ("health-check=", "give caches, storage"),
        ("health-check=a b", "dotted Python name"),
        ("disk", "such as disk=/var/lib:500M"),
        ("disk=/var/lib", "such as disk=/var/lib:500M"),
        ("disk=:500M", "such as disk=/var/lib:500M"),
        ("disk=/var/lib:lots", "such as disk=/var/lib:500M"),
        ("broker", "such as broker=amqp://host:5672"),
        ("broker=host:5672", "such as broker=amqp://host:5672"),
        ("broker=stomp://host", "without a port only for amqp, amqps"),
        ("broker=amqp://host:99999", "such as broker=amqp://host:5672"),
        ("broker=amqp://", "such as broker=amqp://host:5672"),
    ],
)
def test_what_check_does_not_take(text: str, remedy: str) -> None:
    """The message names what there is."""
    with pytest.raises(ValueError, match=remedy):
        values.check(text)


@pytest.mark.parametrize(
    "url",
    ["amqp://shop:t0p", "amqp://shop:1t0p/x@host", "amqp://shop:1/t0p@host", "amqp://shop:a t0p@host", "x://:t0p@host"],
)
def test_a_wrong_url_keeps_its_password(url: str) -> None:
    """The error that ends a start shows no password, wherever a wrong URL has it."""
    with pytest.raises(StartError) as raised:
        resolve({"check": [f"broker={url}"]}, {}, lambda *_: {})
    assert "--check" in str(raised.value)
    assert "broker=" in str(raised.value)
    assert "t0p" not in str(raised.value)
    assert "%2F" in str(raised.value)


def test_check_shows_no_argument() -> None:
    """Who looks at the options in force sees neither paths nor hosts."""
    (option,) = (option for option in TABLE if option.name == "check")
    chosen = ("caches", "disk=/var/lib:500M", "broker=amqp://shop:t0p@host")
    assert option.show(chosen) == "caches, disk=…, broker=…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the shelves are empty", "the shelves are empty"),
        ("see https://example.com/a:b/ and http://[::1]:80/", "see https://example.com/a:b/ and http://[::1]:80/"),
        ("redis://cache:6379/0 is slow", "redis://cache:6379/0 is slow"),
        ("redis://:t0p@cache:6379/0 is slow", "redis://…@cache:6379/0 is slow"),
        ("amqp://shop:t0p/t0p@t0p@host is slow", "amqp://…@host is slow"),
        ("host=db password=t0p user=x", "host=db password=… user=x"),
        ("PASSWORD = t0p", "PASSWORD = …"),
        ("--token=t0p", "--token=…"),
        ("password='t0p t0p' user=x", "password=… user=x"),
        ("""connect(host='db', password="t0p")""", "connect(host='db', password=…)"),
        ("""{"password": "t0p", "user": "x"}""", """{"password": …, "user": "x"}"""),
        ("DB_PASSWORD=t0p API_KEY: t0p", "DB_PASSWORD=… API_KEY: …"),
        ("load --db-password t0p --all", "load --db-password … --all"),
        ("the password is wrong", "the password is wrong"),
        ("no password supplied", "no password supplied"),
        ("postgres://u:1234567", "postgres://u:…"),
        ("amqp://host:5672 is slow", "amqp://host:5672 is slow"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    """URLs lose their credentials and keywords their values; the rest stays as it is."""
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such file: '/srv/shop/shop.conf'", "no such file: '…/shop.conf'"),
        ("/srv/shop/a /srv/shop/b/", "…/a …/"),
        ("loaddata /fixtures.json --x=/srv/y", "loaddata /fixtures.json --x=…/y"),
        ("https://example.com/a/b and shelves/books/1 and 3/4", "https://example.com/a/b and shelves/books/1 and 3/4"),
        ("file:///srv/shop/a sqlite:////srv/shop/b.sqlite3", "file:…/a sqlite:…/b.sqlite3"),
        ("x:/srv/shop/a, //srv/shop/b", "x:…/a, …/b"),
        ("amqp://…@host/srv/a", "amqp://…@host/srv/a"),
    ],
)
def test_without_directories(text: str, shown: str) -> None:
    """Of absolute paths only the name is left; other slashes are none."""
    assert without_directories(text) == shown


@pytest.mark.parametrize("text", ["x" * 100_000, "//a" * 30_000, "--a" * 30_000, "token" * 20_000, " /" * 50_000])
def test_long_texts_take_no_time(text: str) -> None:
    """The reactor does it: a rule that looks at each place for each other one would take minutes here."""
    assert redacted(text) == text
    assert len(without_directories(text)) <= len(text)


# Names


def test_names(port: int) -> None:
    """An answer names no path and no host: more of the same kind are numbered, and the same twice is one."""
    texts = ["disk=/:1", "broker=amqp://a", "disk=/tmp:1", "broker=amqp://b", "broker=nats://a", "disk=/:1", "disk=/:2"]
    assert list(ready_made(texts, DEADLINE)) == [
        "disk",
        "broker:amqp",
        "disk-2",
        "broker:amqp-2",
        "broker:nats",
        "disk-3",
    ]


# Disk


def test_enough_space(tmp_path: Path) -> None:
    """With twice as much free as asked for the check passes, and tells how much that is."""
    result = ready_made([f"disk={tmp_path}:1K"], DEADLINE)["disk"]()
    assert (result.status, result.output) == (Status.PASS, None)
    assert isinstance(result.observed, int)


def test_little_space(tmp_path: Path) -> None:
    """With less than twice as much it warns."""
    least = int(shutil.disk_usage(tmp_path).free * 0.7)
    result = ready_made([f"disk={tmp_path}:{least}"], DEADLINE)["disk"]()
    assert result.status is Status.WARN
    assert "less than twice the" in str(result.output)


def test_no_space(tmp_path: Path) -> None:
    """With less than asked for it fails; the path is a detail."""
    result = ready_made([f"disk={tmp_path}:9999999G"], DEADLINE)["disk"]()
    assert result.status is Status.FAIL
    assert "less than the 9999999G asked for" in str(result.output)
    assert str(tmp_path) not in str(result.output)
    assert str(tmp_path) in str(result.detail)


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there is a failure: a volume may come later."""
    result = ready_made([f"disk={tmp_path}/missing:1K"], DEADLINE)["disk"]()
    assert (result.status, result.output) == (Status.FAIL, "there is no such directory")


# Brokers


def test_a_broker_that_listens(port: int) -> None:
    """A TCP connection is enough."""
    assert ready_made([f"broker=amqp://127.0.0.1:{port}"], DEADLINE)["broker:amqp"]().status is Status.PASS


def test_a_broker_that_does_not(port: int) -> None:
    """The reason names neither host nor port, the detail does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    result = ready_made([f"broker=redis://:t0p@127.0.0.1:{closed}"], DEADLINE)["broker:redis"]()
    assert (result.status, result.output) == (Status.FAIL, "no connection: Connection refused")
    assert f"127.0.0.1:{closed}" in str(result.detail)
    assert "t0p" not in str(result)


# django-health-check


@pytest.mark.parametrize("version", ["", "3.24.0"])
def test_without_django_health_check(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is missing, or too old, the start ends with what to install."""

    def found(name: str) -> str:
        if not version:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr(health_check, "version", found)
    with pytest.raises(StartError, match="pip install 'django-health-check>=4'") as raised:
        ready_made(["health-check"], DEADLINE)
    assert (version or "is not installed") in str(raised.value)
