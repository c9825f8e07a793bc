"""The options in force as they are shown and printed: where each value came from, and no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from twistserve import redaction, values
from twistserve.in_force import as_json, as_text, is_default, options_in_force
from twistserve.options import TABLE
from twistserve.resolution import resolve

SECRETS = ("hunter2", "/srv", "T0KEN", "private.pem", "s3cret")


def shown(environ: dict[str, str] | None = None, setting: Any = None, **given: Any) -> dict[str, tuple[str, str]]:
    """Value and source of each option, as the status page has them."""
    options = options_in_force(resolve(given, environ or {}, lambda *_: setting or {}))
    return {option["option"]: (option["value"], option["source"]) for option in options}


def test_options_tell_where_they_came_from() -> None:
    """Each option there is, with the value in force and its source."""
    found = shown({"TWISTSERVE_THREADS": "3"}, {"STATIC": True, "CHECK_TIMEOUT": 2.5}, port="9000")
    assert found["--port"] == ("9000", "the command line")
    assert found["--threads"] == ("3", "the environment variable TWISTSERVE_THREADS")
    assert found["--static"] == ("on", "the setting TWISTSERVE['STATIC']")
    assert found["--check-timeout"] == ("2.5", "the setting TWISTSERVE['CHECK_TIMEOUT']")
    assert found["--probe-port"] == ("9001", "default")
    assert found["--host"] == ("all interfaces, IPv4 and IPv6", "default")
    assert found["--max-body-size"] == ("100M", "default")
    assert found["--forwarded-allow-ips"] == ("127.0.0.1, ::1", "default")
    assert found["--command"] == ("none", "default")


def test_defaults_that_are_not_the_tables_tell_why() -> None:
    """Those inside Kubernetes, of manage.py serve and with --probe; what is set is told as everywhere."""
    found = shown({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "TWISTSERVE_PROBE": "/health"})
    assert found["--drain-delay"] == ("5", "default inside Kubernetes")
    assert found["--readiness-probe"] == found["--liveness-probe"] == ("/health", "default with --probe")
    found = shown({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, drain_delay="3")
    assert found["--drain-delay"] == ("3", "the command line")
    served = {"system_checks": True}
    options = options_in_force(resolve({}, {}, lambda *_: {}, served))
    [checks] = [option for option in options if option["option"] == "--system-checks"]
    assert (checks["value"], checks["source"]) == ("on", "default with manage.py serve")
    assert is_default(checks)
    options = options_in_force(resolve({"system_checks": False}, {}, lambda *_: {}, served))
    [checks] = [option for option in options if option["option"] == "--system-checks"]
    assert (checks["value"], checks["source"]) == ("off", "the command line")
    assert not is_default(checks)


def test_the_settings_are_those_that_django_has() -> None:
    """Which the environment tells if the command line does not."""
    environ = {"DJANGO_SETTINGS_MODULE": "shop.settings"}
    assert shown(environ)["--settings"] == ("shop.settings", "the environment variable DJANGO_SETTINGS_MODULE")
    assert shown(environ, settings="shop.live")["--settings"] == ("shop.live", "the command line")


@pytest.mark.parametrize(
    ("option", "values", "value"),
    [
        ("webhook_secret", "hunter2", "set, but not shown"),
        (
            "webhook_url",
            ["https://me:hunter2@hooks.example.com:8443/T0KEN?key=s3cret"],
            "https://hooks.example.com:8443/…",
        ),
        ("webhook_url", ["https://hooks.example.com"], "https://hooks.example.com"),
        ("command", ["createsuperuser --password hunter2", "migrate"], "createsuperuser …, migrate"),
        ("endpoint", ["ssl:443:privateKey=/srv/private.pem", "tcp:80"], "ssl:443:privateKey=…, tcp:80"),
        ("endpoint", ["unix:/srv/web.sock:mode=660"], "unix:…:mode=660"),
        ("app_version", "amqp://me:hun/ter2@mq/s3cret", "amqp://mq/…"),
    ],
)
def test_secrets_are_not_shown(option: str, values: Any, value: str) -> None:
    """Neither keys nor passwords nor paths; what is left tells what is set."""
    found = shown(**{option: values})
    assert found[f"--{option.replace('_', '-')}"][0] == value
    assert not any(secret in json.dumps(found) for secret in SECRETS)


def test_no_option_of_a_secret_kind_is_shown_as_it_is() -> None:
    """Who adds an option that holds a secret, a path or a command line says in the table what may be seen of it."""
    kinds = (values.secret, values.directory, values.endpoint, values.command)
    for option in TABLE:
        if option.kind.parse in kinds:
            assert option.kind.shown is not redaction.without_credentials, option.name


def test_directories_are_not_shown(tmp_path: Any) -> None:
    """Where the project lies is nobody's business."""
    assert str(tmp_path) not in json.dumps(shown(pythonpath=str(tmp_path)))


# Printed


def test_the_table_has_every_option_in_its_group() -> None:
    """In the order of --help, with the columns in line; a value that is too long moves its own line only."""
    long = ",".join(f"10.0.{number}.0/24" for number in range(9))
    text = as_text(resolve({"port": "9000", "settings": "a.b", "forwarded_allow_ips": long}, {}, lambda *_: {}))
    lines = text.splitlines()
    groups = list(dict.fromkeys(option.group for option in TABLE))
    assert [line for line in lines if line and line[0] != " "] == [f"{group}:" for group in groups]
    rows = [line for line in lines if line.startswith("  --")]
    assert [row.split()[0] for row in rows] == [f"--{option.word}" for option in TABLE]
    [port] = [row for row in rows if row.startswith("  --port ")]
    assert port.split(maxsplit=2) == ["--port", "9000", "the command line"]
    moved = [row for row in rows if "10.0.8.0/24" in row]
    assert {row.rindex("default") for row in rows if row.endswith(" default")} == {port.index("the command line")}
    assert len(moved) == 1
    assert text.endswith("\n")


def printed(environ: dict[str, str] | None = None, setting: Any = None, **given: Any) -> dict[str, Any]:
    """The JSON, read."""
    found: dict[str, Any] = json.loads(as_json(resolve(given, environ or {}, lambda *_: setting or {})))
    return found


def test_json_has_values_rather_than_text() -> None:
    """By the keys of the setting TWISTSERVE: numbers, booleans, lists, and null for what is not set."""
    found = printed({"TWISTSERVE_THREADS": "3"}, {"STATIC": True}, command=["migrate"], max_body_size="2M")
    assert list(found) == [option.key for option in TABLE]
    assert found["THREADS"] == {
        "option": "--threads",
        "group": "Web server",
        "value": 3,
        "source": "the environment variable TWISTSERVE_THREADS",
    }
    kinds = {name: found[name]["value"] for name in ("STATIC", "MAX_BODY_SIZE", "COMMAND", "HOST", "CHECK_TIMEOUT")}
    assert kinds == {
        "STATIC": True,
        "MAX_BODY_SIZE": 2 << 20,
        "COMMAND": ["migrate"],
        "HOST": None,
        "CHECK_TIMEOUT": 5.0,
    }


def test_neither_form_has_secrets() -> None:
    """What the status page hides is hidden here too, piece by piece."""
    given = {
        "webhook_secret": "hunter2",
        "webhook_url": ["https://me:hunter2@hooks.example.com/T0KEN?key=s3cret"],
        "command": ["createsuperuser --password hunter2"],
        "endpoint": ["ssl:443:privateKey=/srv/private.pem"],
        "check": ["broker=amqp://me:hunter2@mq"],
    }
    configuration = resolve(given, {}, lambda *_: {})
    for text in (as_text(configuration), as_json(configuration)):
        assert [secret for secret in SECRETS if secret in text] == []
    found = json.loads(as_json(configuration))
    assert found["WEBHOOK_URL"]["value"] == ["https://hooks.example.com/…"]
    assert found["WEBHOOK_SECRET"]["value"] == "set, but not shown"
