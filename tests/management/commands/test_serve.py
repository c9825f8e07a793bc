"""manage.py serve: what of its options reaches the service, and that it runs as long as the reactor does."""

from __future__ import annotations

from typing import Any

import pytest
import twisted.internet
from twisted.application.service import Service

from tests.support.composition import Reactor
from twistserve.management.commands import serve as module


class Tree(Service):
    """In place of the tree of services: notes in `told` what happens to it."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def privilegedStartService(self) -> None:
        self.told.append("privileged start")

    def startService(self) -> None:
        self.told.append("start")

    def stopService(self) -> None:
        self.told.append("stop")


class RunningReactor(Reactor):
    """Ends at once when it runs."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told

    def run(self) -> None:
        self.told.append("run")
        for phase, event, function in self.triggers:
            assert (phase, event) == ("before", "shutdown")
            function()


class Bench:
    """Runs the command with fakes for what would touch this process; `given` and `defaults` are the service's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.given: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}
        monkeypatch.setattr(module, "open_closed_streams", self.note("streams"))
        monkeypatch.setattr(module, "leave_first_process", self.note("first process"))
        monkeypatch.setattr(module, "Ending", self.make_ending)
        monkeypatch.setattr(module, "install_in_place_of_others", self.note("reactor"))
        monkeypatch.setattr(module, "observe_twisted", self.note("log"))
        monkeypatch.setattr(module, "compose", self.compose)
        monkeypatch.setattr(module, "print_options", self.print_options)
        monkeypatch.setattr(twisted.internet, "reactor", RunningReactor(self.told), raising=False)

    def note(self, what: str) -> Any:
        return lambda: self.told.append(what)

    def make_ending(self, first: Any) -> Any:
        return self

    def take_early_signals(self) -> None:
        self.told.append("signals")

    def compose(self, given: Any, ending: Any, *, defaults: Any) -> Tree:
        self.given, self.defaults = given, defaults
        self.told.append("compose")
        return Tree(self.told)

    def print_options(self, given: Any, form: str, defaults: Any) -> None:
        self.given, self.defaults = given, defaults
        self.told.append(form)
        raise SystemExit(0)

    def run(self, *words: str) -> None:
        command = module.Command()
        command.execute(**vars(command.create_parser("manage.py", "serve").parse_args(words)))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_it_runs_until_the_reactor_ends(bench: Bench) -> None:
    """Closed streams are opened before anything else is, and the services stop while the reactor still runs."""
    bench.run()
    assert bench.told == [
        *("streams", "first process", "signals", "reactor", "compose", "log"),
        *("privileged start", "start", "run", "stop"),
    ]


def test_what_is_typed_reaches_the_service(bench: Bench) -> None:
    """As twistd's command line does; --settings and --pythonpath have had their effect."""
    bench.run("--port", "8123", "--static", "--no-access-log", "--command", "migrate", "--command", "seed",
              "--settings", "shop.settings", "--pythonpath", "/srv")  # fmt: skip
    assert bench.given == {"port": "8123", "static": True, "access_log": False, "command": [["migrate"], ["seed"]]}


def test_a_command_takes_the_words_after_it(bench: Bench) -> None:
    """As Django-Hurricane's did; words with a dash are options of serve, unless they are in quotes."""
    bench.run("--command", "loaddata", "books", "authors", "--command", "migrate --noinput", "--static")
    assert bench.given == {"command": [["loaddata", "books", "authors"], ["migrate --noinput"]], "static": True}


def test_system_checks_run_unless_they_are_skipped(bench: Bench) -> None:
    """By the name that Django's own commands have for it."""
    bench.run()
    assert (bench.defaults, bench.given) == ({"system_checks": True}, {})
    bench.run("--skip-checks")
    assert bench.given == {"system_checks": False}


def test_options_are_printed_instead(bench: Bench) -> None:
    """Before anything is begun, with the defaults that this command has."""
    with pytest.raises(SystemExit):
        bench.run("--print-options-json", "--port", "8123", "--settings", "shop.settings")
    assert bench.told == ["streams", "json"]
    assert (bench.given, bench.defaults) == ({"port": "8123"}, {"system_checks": True})
