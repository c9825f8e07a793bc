"""manage.py probe: what it asks, shows and exits with."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command

from twistserve.errors import StartError
from twistserve.management.commands.probe import Command
from twistserve.probes import client


class Client:
    """In place of what asks an instance: notes what it is to ask, and has the response of the test's choice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passing = True
        self.text = "pass\ndatabase: pass\n"
        self.error: StartError | None = None
        self.asked: list[dict[str, Any]] = []
        monkeypatch.setattr(client, "ask", self.ask)

    def ask(self, arguments: dict[str, Any], *others: Any) -> tuple[bool, str]:
        self.asked.append(arguments)
        if self.error is not None:
            raise self.error
        return self.passing, self.text


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Client:
    return Client(monkeypatch)


def run(*words: str) -> None:
    call_command(Command(), *words)


def test_a_probe_that_passes(instance: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Its text is shown as it is, and the status is 0."""
    run()
    assert capsys.readouterr().out == instance.text
    assert instance.asked[0]["asked"] == "ready"


def test_a_probe_that_fails(instance: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 1, and the reasons are shown all the same: kubelet and Docker keep them."""
    instance.passing, instance.text = False, "fail\ndatabase: fail: gone\n"
    with pytest.raises(SystemExit) as raised:
        run("alive")
    assert raised.value.code == 1
    assert capsys.readouterr().out == instance.text
    assert instance.asked[0]["asked"] == "alive"


def test_an_instance_that_does_not_answer(instance: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, with which Python ends with status 1."""
    instance.error = StartError("nothing listens on 127.0.0.1:8001")
    with pytest.raises(SystemExit) as raised:
        run()
    assert raised.value.code == "twistserve: nothing listens on 127.0.0.1:8001"
    assert capsys.readouterr().out == ""


def test_settings_are_djangos_to_heed(instance: Client) -> None:
    """--settings and --pythonpath have had their effect when the command runs; the other options say where to ask."""
    run("--settings", "shop.settings", "--pythonpath", "/srv", "--probe-port", "9000", "--timeout", "2")
    [asked] = instance.asked
    assert (asked["settings"], asked["pythonpath"]) == (None, None)
    assert (asked["probe_port"], asked["timeout"]) == ("9000", "2")


def test_options_of_the_server_alone_are_refused() -> None:
    """Where to ask does not depend on them."""
    with pytest.raises(SystemExit, match=r"--static \(which is the server's alone\)"):
        Command().create_parser("manage.py", "probe").parse_args(["--static"])
