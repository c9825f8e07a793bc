"""Which process workers are forked from; the processes are fakes."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from twistserve.errors import StartError
from twistserve.resolution import resolve
from twistserve.workers import preloaded_processes as module
from twistserve.workers.forked_process import Orphans
from twistserve.workers.preloaded_process import ForkedFromParent
from twistserve.workers.preloaded_processes import PreloadedProcesses
from twistserve.workers.worker_state import STEADY


class Process:
    """A process that does what the test has it do."""

    def __init__(self, observer: Any, lines: Any, reactor: Any) -> None:
        self.observer, self.reactor = observer, reactor
        self.loaded, self.loaded_at, self.pid = False, 0.0, 1
        self.ending = False
        self.did: list[Any] = []
        self.taken: Any = None
        Made.processes.append(self)

    def start(self, environ: Any, log_lock: int) -> None:
        if Made.refusals:
            Made.processes.remove(self)
            raise Made.refusals.pop()
        self.environ = environ

    def take(self, forked: Any, orphans: Any) -> None:
        self.taken = forked

    def load(self, configuration: Any, path: Any, directory: str) -> None:
        self.did.append(("load", directory))

    def fork(self, request: Any) -> None:
        self.did.append(request)

    def end(self) -> None:
        self.did.append("end")
        self.ending = True

    def kill(self) -> None:
        self.did.append("kill")

    def become_loaded(self) -> None:
        self.loaded, self.loaded_at = True, self.reactor.seconds()
        self.observer.loaded(self)

    def die(self, reason: str = "killed by SIGKILL") -> None:
        self.loaded = False
        self.observer.gone(self, reason)


class Made:
    """The processes of a test, in the order in which they were started, and errors that are to come."""

    processes: list[Process]
    refusals: list[OSError]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    Made.processes, Made.refusals = [], []
    monkeypatch.setattr(module, "PreloadedProcess", Process)
    monkeypatch.setattr(Orphans, "adopt", lambda orphans: None)
    clock = Clock()
    clock.advance(1)
    return clock


def make(clock: Clock, steps: list[str], first: Any = None) -> PreloadedProcesses:
    configuration = resolve({"workers": "2", "preload": True}, {}, lambda *_: {})
    return PreloadedProcesses(configuration, None, 9, steps.append, clock, first)


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.fixture
def preloaded(clock: Clock, steps: list[str]) -> PreloadedProcesses:
    """With a process that has the application."""
    preloaded = make(clock, steps)
    preloaded.start({"PROMETHEUS_MULTIPROC_DIR": "/metrics"})
    preloaded.load()
    Made.processes[0].become_loaded()
    return preloaded


def test_the_first_waits_until_it_may_load(clock: Clock, steps: list[str]) -> None:
    """What is to run once comes first; a reload before that starts no other process."""
    preloaded = make(clock, steps)
    preloaded.start({"PROMETHEUS_MULTIPROC_DIR": "/metrics"})
    [first] = Made.processes
    preloaded.reload()
    assert Made.processes == [first]
    assert first.did == []
    preloaded.load()
    assert first.did == [("load", "/metrics")]
    first.observer.at_step(first, "setting Django up")
    assert steps == [preloaded.step] == ["setting Django up"]
    first.become_loaded()
    assert preloaded.step == ""


def test_the_first_may_have_been_forked(clock: Clock, steps: list[str]) -> None:
    """Others are started."""
    forked: Any = ForkedFromParent(4711, None, {})  # type: ignore[arg-type]
    preloaded = make(clock, steps, forked)
    preloaded.start({})
    preloaded.load()
    preloaded.reload()
    assert [process.taken for process in Made.processes] == [forked, None]


def test_new_code(preloaded: PreloadedProcesses) -> None:
    """Workers are forked from the new process; the old one ends when that has the application."""
    old = Made.processes[0]
    preloaded.reload()
    _, new = Made.processes
    request: Any = object()
    preloaded.fork(request)
    assert new.did == [("load", "/metrics"), request]
    assert "end" not in old.did
    new.become_loaded()
    assert old.did[-1] == "end"


def test_new_code_that_cannot_be_imported(preloaded: PreloadedProcesses, caplog: pytest.LogCaptureFixture) -> None:
    """The old process goes on, and the log says so."""
    preloaded.reload()
    old, new = Made.processes
    new.die("the shelf is gone")
    request: Any = object()
    preloaded.fork(request)
    assert old.did[-1] is request
    assert "the shelf is gone; workers are forked from the old code" in caplog.text
    assert len(Made.processes) == 2


def test_new_code_whose_process_dies_at_once(preloaded: PreloadedProcesses, caplog: pytest.LogCaptureFixture) -> None:
    """No worker is forked from the old one, which was asked to end."""
    preloaded.reload()
    old, new = Made.processes
    new.become_loaded()
    assert old.loaded
    new.die()
    assert "old code" not in caplog.text
    request: Any = object()
    preloaded.fork(request)
    assert request not in old.did
    assert Made.processes[2].did == [("load", "/metrics"), request]


def test_newer_code_while_new_code_is_imported(preloaded: PreloadedProcesses, steps: list[str]) -> None:
    """A process that still imports outdated code is ended, and its messages are ignored."""
    preloaded.reload()
    preloaded.reload()
    _, overtaken, newest = Made.processes
    assert overtaken.did[-1] == "end"
    overtaken.observer.at_step(overtaken, "loading the WSGI application")
    overtaken.become_loaded()
    overtaken.die()
    assert steps == []
    newest.become_loaded()
    assert Made.processes[0].did[-1] == "end"


@pytest.mark.parametrize(("seconds", "number"), [(STEADY - 1, 1), (STEADY, 2)])
def test_a_process_that_dies(
    preloaded: PreloadedProcesses, clock: Clock, seconds: float, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Another is started at once, or, if it had the application for a short time only, when a worker is wanted."""
    clock.advance(seconds)
    Made.processes[0].die()
    assert len(Made.processes) == number
    assert "another one is started" in caplog.text
    request: Any = object()
    preloaded.fork(request)
    assert len(Made.processes) == 2
    assert Made.processes[1].did == [("load", "/metrics"), request]


def test_a_replacement_of_one_that_died_cannot_load(
    preloaded: PreloadedProcesses, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why, since no request is there to fail with the reason."""
    clock.advance(STEADY)
    Made.processes[0].die()
    Made.processes[1].die("the shelf is gone")
    assert "the shelf is gone; another one is started when a worker is needed" in caplog.text
    assert len(Made.processes) == 2


def test_a_process_that_cannot_be_started(
    preloaded: PreloadedProcesses, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, and it is tried again when a worker is wanted, whose start fails with the error."""
    Made.refusals = [OSError(11, "Resource temporarily unavailable"), OSError(11, "Resource temporarily unavailable")]
    clock.advance(STEADY)
    Made.processes[0].die()
    assert "Resource temporarily unavailable" in caplog.text
    request: Any = object()
    with pytest.raises(OSError, match="temporarily unavailable"):
        preloaded.fork(request)


def test_a_kernel_that_gives_no_orphans(clock: Clock, steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails, with the option's name."""

    def refuse(orphans: Any) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Orphans, "adopt", refuse)
    with pytest.raises(StartError, match=r"--preload: .*Invalid argument"):
        make(clock, steps).start({})


def test_the_end(preloaded: PreloadedProcesses) -> None:
    """`stop` fires when the last process has ended, and none is started after it."""
    preloaded.reload()
    preloaded.kill()
    ended: list[Any] = []
    preloaded.stop().addCallback(ended.append)
    old, new = Made.processes
    assert old.did[-2:] == new.did[-2:] == ["kill", "end"]
    new.die()
    old.die()
    assert ended == [None]
    assert len(Made.processes) == 2
    preloaded.stop().addCallback(ended.append)
    assert len(ended) == 2
