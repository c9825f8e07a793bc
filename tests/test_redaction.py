"""What anybody may see of values and texts."""

from __future__ import annotations

import pytest

from twistserve.redaction import redacted, without_directories


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
