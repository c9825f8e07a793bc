"""manage.py consume: what of its options reaches the consumer."""

from __future__ import annotations

from typing import Any

import pytest
import twisted.internet

from tests.support.composition import Reactor
from twistserve.management.commands import consume as module
from twistserve.resolution import resolve_consumer


class Bench:
    """Runs the command with fakes for what would touch this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.composed: list[Any] = []
        self.printed: list[Any] = []
        for name in ("open_closed_streams", "leave_first_process", "install_in_place_of_others", "observe_twisted"):
            monkeypatch.setattr(module, name, lambda: None)
        monkeypatch.setattr(module, "Ending", lambda first: self)
        monkeypatch.setattr(module, "compose_consumer", self.compose)
        monkeypatch.setattr(module, "print_options", self.print_options)
        monkeypatch.setattr(module, "IService", lambda tree: tree)
        reactor = Reactor()
        monkeypatch.setattr(reactor, "run", lambda: None, raising=False)
        monkeypatch.setattr(twisted.internet, "reactor", reactor, raising=False)

    def take_early_signals(self) -> None: ...

    def privilegedStartService(self) -> None: ...

    def startService(self) -> None: ...

    def stopService(self) -> None: ...

    def compose(self, given: Any, ending: Any, defaults: Any) -> Any:
        self.composed.append((given, defaults))
        return self

    def print_options(self, *arguments: Any) -> None:
        self.printed.append(arguments)
        raise SystemExit(0)

    def run(self, *words: str) -> dict[str, Any]:
        command = module.Command()
        command.execute(**vars(command.create_parser("manage.py", "consume").parse_args(words)))
        given: dict[str, Any] = self.composed[-1][0]
        return given


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_the_handler_is_an_argument(bench: Bench) -> None:
    """Or an option; not both."""
    given = bench.run("shop.Orders", "--queue", "orders", "--no-reconnect")
    assert given == {"handler": "shop.Orders", "queue": "orders", "reconnect": False}
    assert bench.run("--handler", "shop.Orders") == {"handler": "shop.Orders"}
    assert bench.run() == {}
    with pytest.raises(SystemExit, match="--handler is the argument without a name"):
        bench.run("shop.Orders", "--handler", "shop.Orders")


def test_system_checks_run_unless_they_are_skipped(bench: Bench) -> None:
    """As with serve."""
    assert bench.run("shop.Orders", "--skip-checks")["system_checks"] is False
    assert bench.composed[-1][1] == {"system_checks": True}


def test_an_option_of_serve(bench: Bench) -> None:
    """Is said to be that, and one that is misspelt which was meant."""
    with pytest.raises(SystemExit, match=r"--workers 2 \(which is the server's alone\)"):
        bench.run("shop.Orders", "--workers", "2")
    with pytest.raises(SystemExit, match=r"did you mean --exchange-type\?"):
        bench.run("shop.Orders", "--exchangetype", "x")


def test_printing_the_options(bench: Bench) -> None:
    """Those of a consumer."""
    with pytest.raises(SystemExit):
        bench.run("shop.Orders", "--print-options")
    assert bench.printed == [({"handler": "shop.Orders"}, "text", {"system_checks": True}, resolve_consumer)]


def test_without_pika(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"install twistserve\[amqp\]"):
        bench.run("shop.Orders")
