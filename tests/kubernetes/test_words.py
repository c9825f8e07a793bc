"""What the container is started with says what is in force, as it was given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.options import resolved
from twistserve.kubernetes.words import relative, words

GIVEN = {
    "wsgi": "shop.wsgi.application",
    "host": "0.0.0.0",
    "probe_host": "::",
    "forwarded_allow_ips": "private,10.0.0.0/8",
    "max_body_size": "3000000",
    "header_timeout": "1000000000",
    "keep_alive_timeout": "0.00001",
    "check": "disk=/tmp:1M",
    "mount": "/live=shop.live.resource",
    "command": "seed --text 'a b' =x",
    "webhook_format": "hurricane",
    "app_version": "$(X) v1 =\u00fc",
    "log_level": "debug",
    "cpu_affinity": "auto",
    "service": "restock=stock.restock",
    "log_format": "json",
    "probe": "health",
    "endpoint": r"tcp6:8000:interface=\:\:",
}
"""Values that are text; all other options of a number get 7."""
NOT_TOGETHER = (
    "settings",
    "pythonpath",
    "webhook_url",
    "webhook_secret",
    "autoreload_watch",
    "static_watch",
    "preload",
)


def typed(option: object) -> list[str]:
    from twistserve.options import Option

    assert isinstance(option, Option)
    return [f"--{option.word}"] if option.flag else [f"--{option.word}={GIVEN.get(option.name, '7')}"]


def options() -> list[object]:
    from twistserve.options import TABLE

    return [option for option in TABLE if option.name not in NOT_TOGETHER]


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_each_option_of_the_command_line_comes_back(option: object) -> None:
    """The server that is started by these words has the same value in force, and the settings none of it."""
    before = resolved(*typed(option))
    found = words(before)
    assert (found.environment, found.secrets) == ({}, [])
    assert resolved(*found.arguments).values() == before.values()


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_each_option_of_the_environment_comes_back(option: object) -> None:
    """So do variables, which stay variables."""
    from twistserve.options import Option

    assert isinstance(option, Option)
    value = "true" if option.flag else GIVEN.get(option.name, "7")
    before = resolved(environ={f"TWISTSERVE_{option.key}": value})
    found = words(before)
    assert (found.arguments, list(found.environment)) == ([], [f"TWISTSERVE_{option.key}"])
    assert resolved(environ=found.environment).values() == before.values()


def test_what_the_settings_say_is_in_the_image() -> None:
    """Neither that nor defaults are written."""
    found = words(resolved(environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, setting={"PORT": 9000, "STATIC": True}))
    assert found == ([], {}, [])


def test_the_settings_module() -> None:
    """twistd has no manage.py to name it."""
    assert words(resolved(environ={"DJANGO_SETTINGS_MODULE": "shop.settings"})).environment == {
        "DJANGO_SETTINGS_MODULE": "shop.settings"
    }


def test_a_flag_that_is_off() -> None:
    """As an argument where there is one for it, else as a variable: the settings may turn it on."""
    environ = {"TWISTSERVE_STATIC": "no"}
    found = words(resolved("--no-access-log", environ=environ, setting={"STATIC": True}))
    assert found == (["--no-access-log"], {"TWISTSERVE_STATIC": "false"}, [])


def test_several_values() -> None:
    """An argument each, or a line each."""
    found = words(resolved("--command", "one", "--command", "two", environ={"TWISTSERVE_CHECK": "caches\nstorage"}))
    assert found == (["--command=one", "--command=two"], {"TWISTSERVE_CHECK": "caches\nstorage"}, [])


@pytest.mark.parametrize(
    ("line", "variable"),
    [
        (["--webhook-secret", "hunter2"], "TWISTSERVE_WEBHOOK_SECRET"),
        (["--webhook-url", "https://hooks.example.com/hunter2"], "TWISTSERVE_WEBHOOK_URL"),
        (["--check", "caches", "--check", "broker=amqp://me:hunter2@queue"], "TWISTSERVE_CHECK"),
        (["--command", "createadmin --password hunter2"], "TWISTSERVE_COMMAND"),
    ],
)
def test_secrets(line: list[str], variable: str) -> None:
    """Whatever has a password, wherever it was given; a broker without one is none."""
    assert words(resolved(*line)) == ([], {}, [variable])
    assert words(resolved(environ={variable: "\n".join(line[1::2])})) == ([], {}, [variable])
    assert words(resolved("--check=broker=amqp://queue")).secrets == []
    assert words(resolved("--app-version=1", setting={"WEBHOOK_SECRET": "hunter2"})).secrets == []


def test_a_directory_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the working directory it is one of the image's working directory too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    assert relative("src") == relative(str(tmp_path / "src")) == "src"
    assert relative("/srv/lib") == "/srv/lib"
    assert words(resolved("--pythonpath", os.path.abspath("src"))).arguments == ["--pythonpath=src"]
