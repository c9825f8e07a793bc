"""The project's settings, set-up and WSGI application: modules that the test writes, and settings of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import LazySettings

from tests.support.django_settings import unconfigured
from twistserve.errors import SettingsError, StartError
from twistserve.project import application
from twistserve.project.application import DjangoApplication, load_settings, load_urlconf, missing_module

Write = Callable[..., None]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LazySettings]:
    """Django's settings, not loaded yet; the current directory is an empty one."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    # Set first, so that what a test leaves is removed.
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "")
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    with unconfigured() as settings:
        yield settings


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Write]:
    """Write modules that can be imported, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)

    def write(**modules: str) -> None:
        for name, text in modules.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    yield write
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# Settings


def test_settings_that_are_named(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their module is imported from the current directory or the one that is given, and TWISTSERVE comes out of it."""
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path)])
    (tmp_path / "more").mkdir()
    write(shop_settings="import shop_other\nTIME_ZONE = 'UTC'\nTWISTSERVE = {'PORT': 1}")
    (tmp_path / "more" / "shop_other.py").write_text("")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "another")
    assert load_settings("shop_settings", "the command line", "more") == {"PORT": 1}
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "shop_settings"
    assert {str(tmp_path), str(tmp_path / "more")} <= set(sys.path)


def test_settings_of_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """They will do where none are named; without the setting TWISTSERVE there is nothing in it."""
    write(shop_settings="TIME_ZONE = 'UTC'")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop_settings")
    assert load_settings(None, None, None) == {}


def test_no_settings_at_all(write: Write) -> None:
    """The error says how to name them, and which manage.py would have taken."""
    with pytest.raises(StartError) as raised:
        load_settings(None, None, None)
    assert str(raised.value) == "no settings: give --settings MODULE or set DJANGO_SETTINGS_MODULE"
    write(manage="os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')")
    with pytest.raises(StartError, match=r"\(manage.py here uses shop.settings\)$"):
        load_settings(None, None, None)


@pytest.mark.parametrize("origin", ["the command line", None])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("TIME_ZONE = 'UTC'\n1 / 0", "ZeroDivisionError: division by zero ("),
        ("raise SystemExit('no')", "SystemExit: no ("),
        ("import missing_module_of_shop", "ModuleNotFoundError: No module named 'missing_module_of_shop' ("),
        ("x =", "SyntaxError: invalid syntax"),
    ],
)
def test_settings_that_cannot_be_imported(
    write: Write, monkeypatch: pytest.MonkeyPatch, origin: str | None, text: str, said: str
) -> None:
    """The error names the module, who named it, and the line that is wrong."""
    write(shop_settings=text)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop_settings")
    with pytest.raises(SettingsError) as raised:
        load_settings("shop_settings" if origin else None, origin, None)
    source = "--settings from the command line" if origin else "the environment variable DJANGO_SETTINGS_MODULE"
    assert f"the settings module 'shop_settings' of {source} cannot be imported: {said}" in str(raised.value)
    if said.endswith("("):
        assert str(raised.value).endswith(f"shop_settings.py, line {text.count(chr(10)) + 1})")


def test_settings_that_there_are_not() -> None:
    """No line of a file is named, for it is not whoever asks for them that is wrong."""
    with pytest.raises(SettingsError) as raised:
        load_settings("nowhere_settings", "the command line", None)
    assert str(raised.value).endswith("cannot be imported: ModuleNotFoundError: No module named 'nowhere_settings'")


def test_settings_that_come_too_late(settings: LazySettings, write: Write) -> None:
    """Django keeps those that it has, so that others are an error; the same again are not."""
    write(shop_settings="TIME_ZONE = 'UTC'\nTWISTSERVE = {'PORT': 2}")
    load_settings("shop_settings", "the command line", None)
    assert load_settings("shop_settings", "the command line", None) == {"PORT": 2}
    with pytest.raises(StartError, match="'other' comes too late: Django already runs with 'shop_settings'"):
        load_settings("other", "the command line", None)


# Modules


def test_a_missing_module(write: Write) -> None:
    """The first part of its name that there is no module for; what an import raises travels."""
    write(shop__wsgi="")
    assert missing_module("shop.wsgi") is None
    assert missing_module("shop.asgi") == "shop.asgi"
    assert missing_module("shop.wsgi.application") == "shop.wsgi.application"
    assert missing_module("nowhere.at.all") == "nowhere"
    assert missing_module("") is None
    write(failing="1 / 0")
    with pytest.raises(ZeroDivisionError):
        missing_module("failing.module")


# Django's set-up


@pytest.fixture
def django(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What Django does when it is set up, and what it was told of."""
    told = SimpleNamespace(calls=[], ready=False, error=None, force=None)

    def setup() -> None:
        from django.utils import log

        log.configure_logging("config", {"settings": True})
        if told.error is not None:
            raise told.error
        told.calls.append("setup")

    monkeypatch.setattr("django.setup", setup)
    monkeypatch.setattr("django.apps.apps.ready", False)
    monkeypatch.setattr("django.utils.log.configure_logging", lambda *arguments: told.calls.append("logging"))
    monkeypatch.setattr("django.urls.set_script_prefix", lambda prefix: told.calls.append(f"prefix {prefix}"))
    return told


@contextmanager
def noting(calls: list[str]) -> Iterator[None]:
    calls.append("begin")
    yield
    calls.append("end")


def test_logging_is_applied_where_it_is_wanted(django: SimpleNamespace) -> None:
    """The project's LOGGING is applied within our context; afterwards Django's own function is in its place again."""
    from django.utils import log

    before = log.configure_logging
    DjangoApplication(None).set_up(lambda: noting(django.calls))
    assert django.calls == ["begin", "logging", "end", "setup"]
    assert log.configure_logging is before


def test_a_set_up_that_fails(django: SimpleNamespace) -> None:
    """The start fails with what was raised, and logging is given back."""
    from django.utils import log

    before = log.configure_logging
    django.error = SystemExit("no")
    with pytest.raises(StartError, match=r"django.setup\(\) failed: SystemExit: no"):
        DjangoApplication(None).set_up()
    assert log.configure_logging is before


@pytest.mark.parametrize("prefix", ["/shop", None])
def test_a_django_that_is_set_up_is_left_alone(
    django: SimpleNamespace, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, prefix: str | None
) -> None:
    """Only this thread does not know FORCE_SCRIPT_NAME yet, where manage.py has set Django up in another."""
    monkeypatch.setattr("django.apps.apps.ready", True)
    settings.configure(FORCE_SCRIPT_NAME=prefix)
    DjangoApplication(None).set_up()
    assert django.calls == ([f"prefix {prefix}"] if prefix else [])


# The WSGI application


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done when the application is loaded."""
    closed: list[str] = []
    monkeypatch.setattr("django.db.connections.close_all", lambda: closed.append("connections"))
    monkeypatch.setattr("twistserve.collector.settle", lambda: closed.append("collector"))
    monkeypatch.setattr("django.utils.log.configure_logging", lambda *arguments: closed.append("LOGGING again"))

    def get_wsgi_application() -> Any:
        from django.utils import log

        log.configure_logging("config", {"settings": True})
        return lambda environ, start: [b"django's"]

    monkeypatch.setattr("django.core.wsgi.get_wsgi_application", get_wsgi_application)
    return closed


@pytest.mark.parametrize(
    ("named", "setting"), [("shop.wsgi.application", "other.wsgi.x"), (None, "shop.wsgi.application")]
)
def test_the_application_that_is_named(
    write: Write, settings: LazySettings, closed: list[str], named: str | None, setting: str
) -> None:
    """--wsgi comes before WSGI_APPLICATION; what the start-up leaves behind is closed, and memory is settled."""
    write(shop__wsgi="def application(environ, start_response):\n    return [environ['x']]")
    settings.configure(WSGI_APPLICATION=setting, ROOT_URLCONF=None)
    application = DjangoApplication(named)
    application.load()
    assert application({"x": b"y"}, print) == [b"y"]
    assert closed == ["connections", "collector"]


@pytest.mark.parametrize("setting", [None, "nowhere.wsgi.application"])
def test_djangos_own_application(
    settings: LazySettings, closed: list[str], caplog: pytest.LogCaptureFixture, setting: str | None
) -> None:
    """It is served where none is named, and, with a warning, where the setting names a module that there is not.

    It sets Django up again, which must not apply LOGGING again.
    """
    settings.configure(WSGI_APPLICATION=setting, ROOT_URLCONF=None)
    application = DjangoApplication(None)
    application.load()
    assert application({}, print) == [b"django's"]
    assert ("there is no module 'nowhere'" in caplog.text) is bool(setting)
    assert closed == ["connections", "collector"]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere.wsgi.application", "of --wsgi cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        ("shop.wsgi.app", 'of --wsgi cannot be loaded: Module "shop.wsgi" does not define a "app" attribute'),
        ("shop.wsgi.number", "of --wsgi is not a WSGI application but a int: name a callable"),
        ("shop.broken.application", "of --wsgi cannot be loaded: ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.usefixtures("closed")
def test_an_application_that_cannot_be_loaded(write: Write, settings: LazySettings, named: str, said: str) -> None:
    """The error names it, who named it, and what is wrong."""
    write(shop__wsgi="number = 1", shop__broken="1 / 0")
    settings.configure(WSGI_APPLICATION=None, ROOT_URLCONF=None)
    with pytest.raises(StartError) as raised:
        DjangoApplication(named).load()
    assert f"the WSGI application {named!r} {said}" in str(raised.value) or str(raised.value).startswith(
        f"{named!r} {said}"
    )


@pytest.mark.parametrize("error", ["1 / 0", "raise SystemExit(3)", "urlpatterns ="])
def test_a_urlconf_that_cannot_be_imported(write: Write, settings: LazySettings, error: str) -> None:
    """The start fails, where the first request would have."""
    write(shop_urls=error)
    settings.configure(ROOT_URLCONF="shop_urls")
    with pytest.raises(StartError, match="the URLconf 'shop_urls' of the setting ROOT_URLCONF cannot be imported: "):
        load_urlconf()
    settings.ROOT_URLCONF = None
    load_urlconf()


def test_the_version_of_django() -> None:
    """As the status page and the metrics tell it."""
    assert application.django_version().split(".")[0].isdigit()


def test_silenced_checks(settings: LazySettings) -> None:
    """As the setting names them."""
    settings.configure(SILENCED_SYSTEM_CHECKS=["shop.W001"])
    assert application.is_silenced("shop.W001")
    assert not application.is_silenced("shop.W002")
