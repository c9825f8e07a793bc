"""What runs before serving, step by step: on a clock that the test moves, and commands that are objects here."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import BaseCommand, CommandError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs.printed import finish_printing, printed
from twistserve.net.main_thread import Interrupted
from twistserve.project import startup
from twistserve.project.startup import (
    Cancelled,
    CommandFailed,
    CommandLog,
    Progress,
    StartupService,
    call,
    command_steps,
    process_age,
    run_command,
)

IMPORTED = time.monotonic()


class Reactor(Clock):
    """A Clock that runs from the beginning; calls from other threads wait until the test turns it."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = self.left = False

    def callWhenRunning(self, function: Any, *arguments: Any) -> None:
        self.callLater(0, function, *arguments)

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        self.callLater(0, function, *arguments)

    def leave_main_thread(self) -> None:
        self.left = True

    def stop(self) -> None:
        self.stopped = True


class MainThread:
    """Keeps what it is given, for the test to run."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self.steps_done = 0

    def put(self, work: Callable[[], None]) -> None:
        self.work.append(work)

    def step_done(self) -> None:
        self.steps_done += 1


class Bench:
    """A start-up whose steps note that they run; `open` is what opening the ports comes to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.main_thread = MainThread()
        monkeypatch.setattr(startup, "main_thread", self.main_thread)
        monkeypatch.setattr(startup, "Reactor", Reactor)
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.failures: list[str] = []
        self.lifecycle.on_failure = self.failures.append
        self.progress = Progress(self.lifecycle, self.reactor)
        self.ran: list[str] = []
        self.errors: dict[str, BaseException] = {}
        self.open: Deferred[None] = succeed(None)
        self.service = StartupService(
            [(name, lambda name=name: self.step(name)) for name in names],  # type: ignore[misc]
            self.open_ports,
            self.lifecycle,
            self.progress,
            self.reactor,
        )

    def step(self, name: str) -> None:
        self.ran.append(name)
        if name in self.errors:
            raise self.errors[name]

    def open_ports(self) -> Deferred[None]:
        self.ran.append("open ports")
        return self.open

    def start(self) -> Bench:
        self.service.startService()
        self.reactor.advance(0)
        return self

    def run(self) -> Bench:
        """Let the main thread do what it was given, and the reactor what comes of it."""
        while self.main_thread.work:
            self.main_thread.work.pop(0)()
        self.reactor.advance(0)
        self.reactor.advance(0)
        return self


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch, "one", "two")


# The steps


def test_the_steps_run_in_order_then_the_ports_open(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """In the main thread, which the reactor has left; then the service is ready, and the log tells their times."""
    bench.start()
    assert (bench.reactor.left, bench.ran) == (True, [])
    with caplog.at_level("INFO"):
        bench.run()
    assert bench.ran == ["one", "two", "open ports"]
    assert bench.lifecycle.state is State.READY
    assert [name for name, _ in bench.lifecycle.steps] == ["one", "two", "opening the web ports"]
    assert bench.main_thread.steps_done == 2
    [line] = [line for line in caplog.messages if line.startswith("the start took ")]
    assert line.endswith("s before the first step; one 0.000 s, two 0.000 s, opening the web ports 0.000 s")


def test_without_ports_there_is_no_step_that_opens_them(bench: Bench) -> None:
    """Nor a line of it in the log."""
    bench.service._open_ports = None
    bench.start().run()
    assert bench.lifecycle.state is State.READY
    assert [name for name, _ in bench.lifecycle.steps] == ["one", "two"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StartError("--wsgi: no"), "--wsgi: no"),
        (KeyError("lost"), "one: KeyError: 'lost'"),
        (SystemExit(3), "one: SystemExit: 3"),
    ],
)
def test_a_step_that_fails_ends_the_start(bench: Bench, error: BaseException, said: str) -> None:
    """With the reason; nothing runs after it, and no port opens."""
    bench.errors["one"] = error
    bench.start().run()
    assert bench.ran == ["one"]
    assert len(bench.failures) == 1
    assert bench.failures[0].startswith(said)
    assert bench.lifecycle.cause is error
    assert bench.main_thread.steps_done == 1


@pytest.mark.parametrize("error", [Cancelled(), Interrupted()])
def test_a_step_that_is_cancelled_is_no_failure(bench: Bench, error: BaseException) -> None:
    """The process is to end, and nobody waits for the start any more."""
    bench.errors["one"] = error
    bench.start().run()
    assert (bench.ran, bench.failures, bench.lifecycle.state) == (["one"], [], State.STARTING)


def test_a_port_that_cannot_be_opened_ends_the_start(bench: Bench) -> None:
    """With what it has said."""
    bench.open = fail(StartError("--port: in use"))
    bench.start().run()
    assert bench.failures == ["--port: in use"]


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_drain_that_comes_early(bench: Bench, when: str) -> None:
    """Whatever has not begun does not begin, and the service never becomes ready."""
    opened: Deferred[None] = Deferred()
    bench.open = opened
    if when == "before":
        bench.lifecycle.enter(State.DRAINING, "a test")
        bench.start().run()
        assert bench.ran == []
    elif when == "during":
        bench.start()
        bench.service.stopService()
        bench.run()
        assert bench.ran in ([], ["open ports"])
    else:
        bench.start().run()
        bench.lifecycle.enter(State.DRAINING, "a test")
        opened.callback(None)
    assert bench.lifecycle.state is not State.READY


def test_a_drain_that_comes_with_the_last_step(bench: Bench) -> None:
    """No port opens after it."""
    bench.start()
    bench.main_thread.work.pop()()
    bench.lifecycle.enter(State.DRAINING, "a test")
    bench.run()
    assert bench.ran == ["one", "two"]


def test_another_reactor_keeps_the_main_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps run in a daemon thread, and the log says what that means for handlers of signals."""
    threads: list[threading.Thread] = []
    monkeypatch.setattr(startup, "Reactor", type(None))
    monkeypatch.setattr(threading.Thread, "start", lambda thread: threads.append(thread))  # noqa: PLW0108
    bench.start()
    assert [(thread.name, thread.daemon) for thread in threads] == [("start-up", True)]
    assert (bench.main_thread.work, bench.reactor.left) == ([], False)
    threads[0].run()
    bench.run()
    assert bench.lifecycle.state is State.READY


# What a step can say


def test_progress_is_told_in_the_reactor(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """In the log and in the startup probe's response, or there alone."""
    bench.lifecycle.at_step("waiting")
    with caplog.at_level("INFO"):
        bench.progress.say("3 to come")
        assert bench.lifecycle.detail == ""
        bench.reactor.advance(0)
        assert bench.lifecycle.detail == "3 to come"
        bench.progress.show("2 to come")
        bench.reactor.advance(0)
    assert bench.lifecycle.detail == "2 to come"
    assert [line for line in caplog.messages if "to come" in line] == ["start-up: waiting: 3 to come"]


def test_a_pause_ends_with_the_service(bench: Bench) -> None:
    """At once, however long it would be, and so does each one after it."""
    bench.progress.pause(0)
    bench.start().service.stopService()
    for _ in range(2):
        with pytest.raises(Cancelled):
            bench.progress.pause(3600)


def test_the_age_of_a_process() -> None:
    """Counted by the kernel since it was started, which is before this module was imported."""
    before, imported = process_age(), time.monotonic() - IMPORTED
    assert imported < before < float(Path("/proc/uptime").read_text().split()[0]) + 0.02


# Commands


class Command(BaseCommand):
    """A management command that does what the test says."""

    requires_system_checks: Any = ()

    def __init__(self, work: Callable[[Command], object]) -> None:
        super().__init__()
        self.work = work

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("words", nargs="*")

    def handle(self, *arguments: object, **options: Any) -> None:
        self.options = options
        self.work(self)


def test_the_output_of_a_command_is_logged_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    """What it writes to its error stream as warnings; what has no end of line too."""

    def work(command: Command) -> None:
        command.stdout.write("one\ntw", ending="")
        command.stdout.write("o")
        command.stderr.write("three", ending="")

    command = Command(work)
    with caplog.at_level("INFO"):
        call(["seed", "a", "b c"], command)
    assert command.options["words"] == ["a", "b c"]
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [(level, line.replace("\x1b[31;1m", "").replace("\x1b[0m", "")) for level, line in told] == [
        ("INFO", "seed: one"),
        ("INFO", "seed: two"),
        ("WARNING", "seed: three"),
    ]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (SystemExit(3), "exited with status 3"),
        (CommandError("no such table"), "no such table"),
        (KeyError("lost"), "KeyError: 'lost'"),
    ],
)
def test_how_a_command_fails(error: BaseException, problem: str) -> None:
    """What it raised is said in words, and kept for who wants its traceback."""

    def work(command: Command) -> None:
        raise error

    with pytest.raises(CommandFailed) as failed:
        call(["seed"], Command(work))
    assert str(failed.value).startswith(problem)
    assert failed.value.__cause__ is error


@pytest.mark.parametrize("status", [0, None])
def test_a_command_may_exit_by_itself(status: int | None) -> None:
    """It has not failed if its status says so."""

    def work(command: Command) -> None:
        raise SystemExit(status)

    call(["seed"], Command(work))


def test_the_output_of_a_failed_command_is_told_where_info_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its last lines say why it has failed, whatever the level."""

    def work(command: Command) -> None:
        command.stdout.write("\n".join(f"line {number}" for number in range(60)))
        raise CommandError("no")

    with caplog.at_level("ERROR"), pytest.raises(CommandFailed, match=r"^no$"):
        call(["seed"], Command(work))
    assert caplog.messages == [f"seed: line {number}" for number in range(10, 60)]


def test_a_command_that_fails_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error quotes it without its secrets; its database connections are closed whatever happens."""
    closed: list[bool] = []
    monkeypatch.setattr("django.db.connections.close_all", lambda: closed.append(True))
    cause = ValueError("no")

    def fail(words: list[str]) -> None:
        if words == ["seed", "--password", "t0p", "b c"]:
            raise CommandFailed("no") from cause

    monkeypatch.setattr(startup, "call", fail)
    run_command("seed")
    with pytest.raises(StartError) as raised:
        run_command("seed --password t0p 'b c'")
    assert str(raised.value).startswith("""--command "seed --password … 'b c'" failed: no""")
    assert "t0p" not in str(raised.value)
    assert raised.value.__cause__ is cause
    assert closed == [True, True]


def test_the_steps_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """One each, in their order; their names, which probes show, hold no secrets."""
    ran: list[str] = []
    monkeypatch.setattr(startup, "run_command", ran.append)
    steps = command_steps(["seed", "load --token=t0p"])
    assert [name for name, _ in steps] == ["running the command 'seed'", "running the command 'load --token=…'"]
    for _, step in steps:
        step()
    assert ran == ["seed", "load --token=t0p"]


def test_a_stream_of_a_command(caplog: pytest.LogCaptureFixture) -> None:
    """Can be printed to, and says how much was written as any other."""
    stream = printed("seed", logging.INFO, CommandLog(), None)
    with caplog.at_level("INFO"):
        assert stream.write("one\ntwo") == 7
        print(" and more", file=stream)
        finish_printing(stream)
    assert caplog.messages == ["seed: one", "seed: two and more"]
    assert stream.writable()
    assert os.linesep == "\n"
