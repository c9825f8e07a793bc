"""The workers as a service of the parent: when each may begin, and what the end leaves; their processes are fakes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State
from twistserve.load import Load
from twistserve.resolution import resolve
from twistserve.workers import worker_service as module
from twistserve.workers.protocol import Begin, Deliver, LogStacks
from twistserve.workers.worker_service import WorkerService, check_room_for
from twistserve.workers.worker_state import WorkerState


class Reactor(Clock):
    """A Clock that runs from the beginning."""

    def callWhenRunning(self, function: Any, *arguments: Any) -> None:
        self.callLater(0, function, *arguments)

    def stop(self) -> None:
        pass


class Process:
    """A worker's process, which sends what the test has it send."""

    def __init__(self, commands: Any, exited: Any, lines: Any) -> None:
        self.commands, self.exited = commands, exited
        self.asked: list[Any] = []
        self.begun: list[dict[str, Any]] = []
        self.signals: list[int] = []
        self.pid, self.at_end = 1, False

    def start(self, reactor: Any, name: str, environ: Any, descriptors: Any, log_lock: int) -> None:
        self.name, self.environ, self.descriptors = name, environ, descriptors

    def start_forked(self, reactor: Any, orphans: Any) -> Any:
        self.given_up = False
        return SimpleNamespace(give_up=lambda: setattr(self, "given_up", True), pass_on=lambda: None)

    def ask(self, command: Any, **arguments: Any) -> Deferred[Any]:
        self.asked.append(command)
        if command is Begin:
            self.begun.append(arguments)
        return succeed({"load": Load()})

    def signal(self, number: int) -> None:
        self.signals.append(number)


class PreloadedProcesses:
    """In place of the preloaded processes: notes what is asked of them."""

    def __init__(self, *arguments: Any) -> None:
        self.at_step = arguments[3]
        self.step, self.orphans = "loading Python's modules", None
        self.did: list[str] = []
        self.requests: list[Any] = []
        self.refusal: OSError | None = None

    def start(self, environ: Any) -> None:
        self.did.append("start")

    def load(self) -> None:
        self.did.append("load")

    def reload(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.did.append("reload")

    def kill(self) -> None:
        self.did.append("kill")

    def stop(self) -> Deferred[None]:
        self.did.append("stop")
        return succeed(None)

    def fork(self, request: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.requests.append(request)


class Bench:
    """A service of two workers, and their processes in the order in which they were started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, **given: Any) -> None:
        self.processes: list[Process] = []
        self.failures: list[str] = []
        monkeypatch.setattr(module, "WorkerProcess", self.make)
        monkeypatch.setattr(module, "PreloadedProcesses", self.make_preloaded)
        monkeypatch.setattr(module, "setproctitle", lambda title: None)
        monkeypatch.setattr(module, "check_room_for", lambda workers: None)
        monkeypatch.setattr(module, "remove_abandoned", lambda: None)
        monkeypatch.setattr(module, "make_directory", lambda: str(directory))
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.lifecycle.on_failure = self.failures.append
        self.sockets = [socket.socket()]
        configuration = resolve({"workers": "2", **given}, {}, lambda *_: {})
        self.service = WorkerService(configuration, self.sockets, self.lifecycle, self.reactor)

    def make(self, *arguments: Any) -> Process:
        self.processes.append(Process(*arguments))
        return self.processes[-1]

    def make_preloaded(self, *arguments: Any) -> PreloadedProcesses:
        self.preloaded = PreloadedProcesses(*arguments)
        return self.preloaded

    def start(self) -> Bench:
        self.service.startService()
        self.reactor.advance(0)
        return self

    @property
    def begun(self) -> list[bool]:
        """Of each process whether it was told to begin."""
        return [bool(process.begun) for process in self.processes]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Made with the options that the test is parametrized with."""
    bench = Bench(monkeypatch, tmp_path / "metrics", **getattr(request, "param", {}))
    yield bench
    for each in bench.sockets:
        each.close()


PREPARING = pytest.mark.parametrize("bench", [{"command": ["seed"]}], indirect=True)


def test_all_begin_where_nothing_is_to_run_once(bench: Bench) -> None:
    """With the configuration and the sockets; the first that is ready makes the service ready."""
    bench.start()
    assert bench.begun == [True, True]
    assert bench.lifecycle.step == "starting the workers"
    first = bench.processes[0]
    assert first.begun[0]["configuration"]["workers"] == 2
    assert first.begun[0]["prepares"] is False
    assert first.descriptors == [bench.sockets[0].fileno()]
    first.commands.at_step("importing the application", "")
    assert bench.lifecycle.step == "starting the workers: importing the application"
    bench.processes[1].commands.ready()
    assert bench.lifecycle.state is State.READY


@PREPARING
def test_one_runs_what_is_to_run_once(bench: Bench) -> None:
    """The others wait until it has; the probe tells of its steps meanwhile."""
    bench.start()
    assert bench.begun == [True, False]
    assert bench.processes[0].begun[0]["prepares"] is True
    bench.processes[0].commands.at_step("running the command 'seed'", "half of it")
    assert (bench.lifecycle.step, bench.lifecycle.detail) == ("running the command 'seed'", "half of it")
    bench.processes[0].commands.prepared()
    assert bench.begun == [True, True]
    assert bench.processes[1].begun[0]["prepares"] is False


@PREPARING
@pytest.mark.parametrize(
    ("message", "said"), [("the shelf is gone", "the shelf is gone"), ("", "has ended before the start-up was done")]
)
def test_what_is_to_run_once_fails(bench: Bench, message: str, said: str) -> None:
    """The start fails when the process has ended, with what it has said, or else with how it has ended."""
    bench.start()
    if message:
        bench.processes[0].commands.failed(message)
    assert bench.failures == []
    bench.processes[0].exited("status 1")
    assert said in bench.failures[0]


@PREPARING
def test_a_reload_before_workers_serve(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The worker that prepares has imported the old code, and is started anew when it is done."""
    bench.start()
    with caplog.at_level("INFO"):
        bench.service.reload()
    assert "they will import what is there when they start" in caplog.text
    preparing = bench.processes[0]
    preparing.commands.prepared()
    assert preparing.signals == [signal.SIGKILL]
    preparing.exited("killed by SIGKILL")
    assert bench.begun == [True, True, True]
    assert bench.processes[2].begun[0]["prepares"] is False
    assert bench.failures == []


def test_a_reload_while_draining(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is replaced any more, and the log says so."""
    bench.start()
    bench.lifecycle.enter(State.DRAINING, "a test")
    with caplog.at_level("INFO"):
        bench.service.reload()
    assert "workers are not replaced any more" in caplog.text
    assert len(bench.processes) == 2


def test_a_drain_that_comes_before_the_reactor_runs(bench: Bench) -> None:
    """No worker is started."""
    bench.service.startService()
    bench.lifecycle.enter(State.DRAINING, "a test")
    bench.reactor.advance(0)
    assert bench.processes == []


def test_stacks_and_signals_go_to_all(bench: Bench) -> None:
    """Whatever they are at."""
    bench.start()
    bench.service.log_stacks()
    bench.service.kill()
    for process in bench.processes:
        assert process.asked[-1] is LogStacks
        assert process.signals == [signal.SIGKILL]


def test_the_end(bench: Bench, tmp_path: Path) -> None:
    """The sockets are closed, those of Unix have no name any more; the directory of the metrics is gone."""
    (tmp_path / "metrics").mkdir()
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "socket"))
    bench.service._sockets.append(unix)
    bench.start()
    stopped: list[Any] = []
    bench.service.stopService().addCallback(stopped.append)
    assert unix.fileno() == bench.sockets[0].fileno() == -1
    assert not os.path.exists(tmp_path / "socket")
    assert stopped == []
    for process in bench.processes:
        process.exited("status 0")
    assert stopped == [None]
    assert not (tmp_path / "metrics").exists()


def test_workers_that_do_not_end_are_killed(bench: Bench) -> None:
    """When their time is up; the parent ends even if the kernel keeps them."""
    bench.start()
    stopped: list[Any] = []
    bench.service.stopService().addCallback(stopped.append)
    bench.reactor.pump([0.5] * 80)
    assert all(signal.SIGKILL in process.signals for process in bench.processes)
    assert stopped == [None]


def test_workers_are_killed_at_once_by_a_second_signal(bench: Bench) -> None:
    """The parent ends without waiting for requests, and no worker outlives it."""
    bench.start()
    for process in bench.processes:
        process.commands.ready()
    stopped: list[Any] = []
    bench.service.stopService().addCallback(stopped.append)
    assert [process.signals for process in bench.processes] == [[], []]
    bench.lifecycle.shut_down("SIGTERM")
    bench.lifecycle.shut_down("SIGTERM")
    assert [process.signals for process in bench.processes] == [[signal.SIGKILL]] * 2
    bench.reactor.advance(1)
    assert stopped == [None]


def test_no_room_for_metrics(bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The workers serve all the same, and the log says what to do."""

    def refuse() -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "make_directory", refuse)
    bench.start()
    assert bench.begun == [True, True]
    assert "set TMPDIR to a directory that can be written" in caplog.text


@pytest.mark.parametrize(("usable", "enough"), [(1000, True), (20, False)])
def test_open_files_of_many_workers(monkeypatch: pytest.MonkeyPatch, usable: int, enough: bool) -> None:
    """The parent has several for each; where the limit is too low the start says how to raise it."""
    monkeypatch.setattr(module, "raise_limit", lambda: usable)
    if enough:
        check_room_for(4)
        return
    with pytest.raises(StartError, match=r"--workers: 4 workers need \d+ open files in the parent.* leaves 20: raise"):
        check_room_for(4)


# With --preload

PRELOADED = pytest.mark.parametrize("bench", [{"preload": True}], indirect=True)


@PRELOADED
def test_workers_are_forked(bench: Bench) -> None:
    """All of them are asked for at once, and told what to do; they wait for the application, and say for what of it."""
    bench.start()
    preloaded = bench.preloaded
    assert preloaded.did == ["start", "load"]
    assert [request.name for request in preloaded.requests] == ["worker-1", "worker-2"]
    assert preloaded.requests[0].sockets == [bench.sockets[0].fileno()]
    assert bench.begun == [True, True]
    first, second = bench.service.supervisor.workers
    preloaded.at_step("setting Django up")
    assert first.step == "waiting for the preloaded process: setting Django up"
    assert bench.lifecycle.step == "starting the workers: setting Django up"
    preloaded.requests[0].forked(4711)
    assert (bench.processes[0].pid, str(first), str(second)) == (4711, "worker 1 (pid 4711)", "worker 2")
    bench.processes[0].commands.ready()
    assert bench.lifecycle.state is State.READY


@PRELOADED
def test_a_worker_that_is_not_forked(bench: Bench) -> None:
    """The start has failed, with the reason, when none is left that could be."""
    bench.start()
    for request, process in zip(bench.preloaded.requests, bench.processes, strict=True):
        request.failed("the shelf is gone")
        assert process.given_up
        process.exited("status 1")
    assert bench.failures == ["the shelf is gone"]


@PRELOADED
def test_no_process_for_the_application(bench: Bench) -> None:
    """As where there is none for a worker."""
    bench.preloaded.refusal = OSError(11, "Resource temporarily unavailable")
    bench.start()
    assert "Resource temporarily unavailable" in bench.failures[0]


@pytest.mark.parametrize("bench", [{"preload": True, "command": ["seed"]}], indirect=True)
def test_one_that_runs_what_is_to_run_once_ends_before_the_application_is_loaded(bench: Bench) -> None:
    """It is started as it is without, and ends; only then is the application loaded, and another one forked."""
    bench.start()
    assert bench.preloaded.did == ["start"]
    assert [request.name for request in bench.preloaded.requests] == ["worker-2"]
    preparing, waiting = bench.service.supervisor.workers
    assert (preparing.prepares, waiting.waits) == (True, True)
    assert waiting.step == "waiting for what runs once"
    bench.service.reload()
    bench.processes[0].commands.prepared()
    assert bench.preloaded.did == ["start", "load"]
    assert bench.processes[0].signals == []
    bench.processes[0].exited("status 0")
    assert [request.name for request in bench.preloaded.requests] == ["worker-2", "worker-1"]
    assert bench.failures == []


@PRELOADED
def test_new_code_is_imported_once(bench: Bench) -> None:
    """By another process, before any worker is replaced."""
    bench.start()
    bench.lifecycle.enter(State.READY, "a test")
    bench.service.reload()
    assert bench.preloaded.did == ["start", "load", "reload"]


@PRELOADED
def test_no_process_for_new_code(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The old workers stay, and the log says why."""
    bench.start()
    bench.lifecycle.enter(State.READY, "a test")
    bench.preloaded.refusal = OSError(11, "Resource temporarily unavailable")
    bench.service.reload()
    assert "Resource temporarily unavailable; the old workers stay" in caplog.text
    assert len(bench.processes) == 2


@PRELOADED
def test_the_end_is_that_of_all_processes(bench: Bench) -> None:
    """Those that are not there yet need not be killed."""
    bench.start()
    bench.preloaded.requests[0].forked(4711)
    bench.service.kill()
    assert bench.preloaded.did[-1] == "kill"
    assert [process.signals for process in bench.processes] == [[signal.SIGKILL], []]
    bench.service.stopService()
    assert bench.preloaded.did[-1] == "stop"
    bench.reactor.pump([0.5] * 80)
    assert bench.preloaded.did[-2:] == ["kill", "stop"]


def test_texts_for_websockets(bench: Bench) -> None:
    """Of one worker go to the others that serve, and not back to it."""
    bench.start()
    sender, other = bench.service.supervisor.workers
    sender.state = WorkerState.READY
    publish = bench.processes[0].commands.publish
    publish(["news", "early"])
    other.state = WorkerState.DRAINING
    publish(["news", "hello"])
    assert [process.asked.count(Deliver) for process in bench.processes] == [0, 1]
