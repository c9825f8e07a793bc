"""Which options checks judge by."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.django_settings import unconfigured
from twistserve.checks.in_force import in_force, inside_kubernetes, judged_by, read_settings
from twistserve.errors import StartError
from twistserve.options import Configuration


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("os.environ", {})
    with unconfigured():
        yield


def configure(**settings: object) -> None:
    from django.conf import settings as django_settings

    django_settings.configure(**settings)


def test_environment_and_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a start without a command line has them; those that nobody gives are not known."""
    configure(TWISTSERVE={"THREADS": 3, "PORT": 80})
    monkeypatch.setattr("os.environ", {"TWISTSERVE_PORT": "90"})
    options = in_force()
    assert (options.configuration.threads, options.configuration.port, options.by_server) == (3, 90, False)
    assert options.is_known("threads")
    assert options.is_known("host", "threads")
    assert not options.is_known("host")


def test_names_of_django_hurricane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables, and its settings where they count, are in force for checks too."""
    configure(TWISTSERVE={"HURRICANE_SETTINGS": True}, PORT=90)
    monkeypatch.setattr("os.environ", {"HURRICANE_WORKERS": "3"})
    assert (in_force().configuration.threads, in_force().configuration.port) == (3, 90)


def test_settings_by_name() -> None:
    """Those that there are, and none before they are loaded."""
    assert read_settings(["PORT", "DEBUG"]) == {}
    configure(PORT=90)
    assert read_settings(["PORT", "DEBUG", "PROBE_PORT"]) == {"PORT": 90, "DEBUG": False}


def test_no_setting() -> None:
    """The defaults."""
    configure()
    assert in_force().configuration.threads == 8


def test_the_server() -> None:
    """Its options count for as long as it says so, whatever environment and setting are; all are known."""
    configure(TWISTSERVE=["no dictionary"])
    with judged_by(Configuration(threads=2)):
        options = in_force()
    assert (options.configuration.threads, options.by_server, options.is_known("host")) == (2, True, True)
    with pytest.raises(StartError):
        in_force()


def test_other_threads_do_not_see_the_server() -> None:
    """What a view or a probe checks meanwhile is its own."""
    configure(TWISTSERVE={"THREADS": 3})
    seen: list[int] = []
    with judged_by(Configuration(threads=2)):
        thread = threading.Thread(target=lambda: seen.append(in_force().configuration.threads))
        thread.start()
        thread.join()
    assert seen == [3]


def test_unknown_keys_do_not_hide_the_others() -> None:
    """A check of its own tells of them."""
    configure(TWISTSERVE={"TREADS": 1, "THREADS": 3})
    assert in_force().configuration.threads == 3


def test_what_is_not_valid() -> None:
    """The error is the start's."""
    configure(TWISTSERVE={"THREADS": 0})
    with pytest.raises(StartError, match="--threads: 0 from the setting TWISTSERVE"):
        in_force()


def test_inside_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by the variable that each pod has."""
    assert not inside_kubernetes()
    monkeypatch.setattr("os.environ", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert inside_kubernetes()
