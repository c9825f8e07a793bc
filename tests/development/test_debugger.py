"""Listening for a debugger: what is tried, what is said, and how it ends."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import lifecycle
from tests.support.composition import configuration
from twistserve.development import debugger as module
from twistserve.development.debugger import EVERY, PATIENCE, DebuggerService, Debugpy, is_free, is_loopback
from twistserve.development.port_holder import Holder
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State

WAIT = 60


class Reactor(lifecycle.Reactor):
    """Has what other threads ask for at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        self.asked.put(lambda: function(*arguments))

    def do_what_is_asked(self) -> None:
        """Wait for one call from another thread, and make it."""
        self.asked.get(timeout=WAIT)()


class Tool:
    """In place of debugpy."""

    def __init__(self) -> None:
        self.listened: list[tuple[str, int]] = []
        self.ended = threading.Event()
        self.error: Exception | None = None

    def listen(self, host: str, port: int) -> None:
        if self.error is not None:
            raise self.error
        self.listened.append((host, port))

    def end(self) -> None:
        self.ended.set()


class Adapter:
    """In place of debugpy's other process; its client leaves when told, or stays."""

    def __init__(self, leaves: bool = True) -> None:
        self.leaves = leaves
        self.done: list[str] = []

    def wait(self, seconds: float) -> bool:
        self.done.append("wait")
        return self.leaves

    def end(self) -> None:
        self.done.append("end")

    def close(self) -> None:
        self.done.append("close")


class Bench:
    """A service with fakes around it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, adapter: Adapter | None = None, **given: Any) -> None:
        self.free = [True]
        """What the tries will find, the last for all that follow."""
        self.tries = 0
        monkeypatch.setattr(module, "is_free", self.look)
        monkeypatch.setattr(threading.main_thread(), "pydev_do_not_trace", False, raising=False)
        self.reactor, self.tool = Reactor(), Tool()
        self.lifecycle = Lifecycle(self.reactor)
        found: Any = adapter
        settings = configuration(debugger=True, debugger_port="5679", **given)
        self.service = DebuggerService(
            settings, self.lifecycle, self.reactor, make_tool=lambda: self.tool, find=lambda port: found
        )
        self.pauses: list[float] = []
        self.service.pause = self.pause
        self.service.startService()

    def look(self, host: str, port: int) -> bool:
        self.tries += 1
        return self.free.pop(0) if len(self.free) > 1 else self.free[0]

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self.lifecycle.state is State.DRAINING

    def open(self) -> None:
        """Run the step of the start-up."""
        [(_, step)] = self.service.steps
        step()

    def drain(self) -> None:
        """Begin the drain, and wait for the end of debugging."""
        self.lifecycle.enter(State.DRAINING, "received SIGTERM")
        self.reactor.do_what_is_asked()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[..., Bench]:
    caplog.set_level(logging.INFO)
    return lambda *arguments, **given: Bench(monkeypatch, *arguments, **given)


def test_it_listens_before_anything_else_runs(bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
    """On this machine's own address, without a warning; the log says where."""
    tested = bench()
    tested.open()
    assert tested.tool.listened == [("127.0.0.1", 5679)]
    [record] = caplog.records
    assert "a debugger can attach to 127.0.0.1:5679" in record.getMessage()
    assert tested.pauses == []


def test_an_address_that_others_reach_is_warned_of(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reaches the port runs code."""
    bench(debugger_host="::").open()
    assert "whoever reaches [::]:5679 can run code" in caplog.records[0].getMessage()


def test_the_deadline_that_does_not_run_is_told(bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
    """Who has given --request-timeout learns that it has no effect."""
    bench(request_timeout="3").open()
    assert "--request-timeout has no effect with --debugger" in caplog.text


def test_another_reactor_goes_on_too(bench: Callable[..., Bench]) -> None:
    """It runs in the main thread, which is spared then: the application is in others."""
    bench().open()
    assert threading.main_thread().pydev_do_not_trace  # type: ignore[attr-defined]


def test_a_port_that_is_taken_does_not_hold_up_the_start(bench: Callable[..., Bench]) -> None:
    """The step is over after the first try; the others come meanwhile."""
    tested = bench()
    tested.free = [False, False, True]
    waiting, goes_on = threading.Event(), threading.Event()

    def pause(seconds: float) -> bool:
        waiting.set()
        return not goes_on.wait(WAIT)

    tested.service.pause = pause
    tested.open()
    assert waiting.wait(WAIT)
    assert tested.tool.listened == []
    goes_on.set()
    for thread in threading.enumerate():
        if thread.name == "debugger":
            thread.join(WAIT)
    assert (tested.tries, tested.tool.listened) == (3, [("127.0.0.1", 5679)])


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        (Holder(7, "nginx", ("nginx",)), ["process 7 (nginx)", "end it or give another port"]),
        (Holder(8, "python3", ("python3", "/lib/debugpy/adapter")), ["another debugpy, process 8", "disconnect"]),
        (None, ["another user's process"]),
    ],
)
def test_a_port_that_stays_taken_is_told_once(
    bench: Callable[..., Bench],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    holder: Holder | None,
    said: list[str],
) -> None:
    """The warning names the port, who has it, and what to do; nothing listens then."""
    monkeypatch.setattr(module, "find_holder", lambda port: holder)
    tested = bench()
    tested.free = [False]
    tested.service.listen()
    [record] = caplog.records
    for words in ["--debugger-port: 127.0.0.1:5679 has been taken for 5 s", "serving without a debugger", *said]:
        assert words in record.getMessage()
    assert sum(tested.pauses) == pytest.approx(PATIENCE)
    assert tested.pauses[0] == EVERY
    assert tested.tool.listened == []


def test_the_drain_ends_the_tries(bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of a port that nobody needs any more."""
    tested = bench()
    tested.free = [False]
    tested.lifecycle.enter(State.DRAINING, "received SIGTERM")
    tested.service.listen()
    assert tested.tool.listened == []
    assert "has been taken" not in caplog.text


def test_an_address_that_is_not_ours_fails_the_start(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting would not help; the option is named."""
    tested = bench(debugger_host="192.0.2.1")

    def look(host: str, port: int) -> bool:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(module, "is_free", look)
    with pytest.raises(StartError, match=r"--debugger-host: cannot listen on 192\.0\.2\.1:5679: Cannot assign"):
        tested.open()


def test_a_debugpy_that_cannot_listen_does_not_stop_serving(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """Its own words are told."""
    tested = bench()
    tested.tool.error = RuntimeError("error spawning debug adapter")
    tested.open()
    assert "serving without a debugger: debugpy cannot listen" in caplog.text
    assert "error spawning debug adapter" in caplog.text


# The end


def test_the_drain_ends_debugging(bench: Callable[..., Bench]) -> None:
    """What stands at a breakpoint goes on; the service stops when the adapter has ended."""
    adapter = Adapter()
    tested = bench(adapter)
    tested.open()
    tested.drain()
    assert tested.tool.ended.wait(WAIT)
    assert adapter.done == ["wait", "close"]
    stopped = tested.service.stopService()
    assert stopped.called


def test_a_client_that_stays_is_cut_off(bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
    """It would have the port for as long as it likes."""
    adapter = Adapter(leaves=False)
    tested = bench(adapter)
    tested.open()
    tested.drain()
    assert adapter.done == ["wait", "end", "wait", "close"]
    assert "the debugger's client has not left" in caplog.text


def test_where_the_adapter_is_not_known_debugging_ends_too(bench: Callable[..., Bench]) -> None:
    """Where /proc does not tell it."""
    tested = bench(None)
    tested.open()
    tested.drain()
    assert tested.tool.ended.is_set()


def test_what_never_listened_has_nothing_to_end(bench: Callable[..., Bench]) -> None:
    """A start that is ended early."""
    tested = bench(None)
    tested.drain()
    assert not tested.tool.ended.is_set()


def test_the_end_does_not_wait_for_ever(bench: Callable[..., Bench]) -> None:
    """Whatever debugpy is at."""
    tested = bench()
    stopped = tested.service.stopService()
    assert not stopped.called
    tested.reactor.advance(module.END)
    assert stopped.called


def test_an_end_that_fails_ends(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and the process goes on to end."""
    adapter = Adapter()
    monkeypatch.setattr(adapter, "wait", lambda seconds: 1 / 0)
    tested = bench(adapter)
    tested.open()
    tested.drain()
    assert "debugging did not end cleanly" in caplog.text


# debugpy, and addresses


def test_debugpy_is_used_by_what_it_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its listen(), and pydevd's stoptrace() at the end, once. Child processes are not debugged."""
    called: list[object] = []
    at_fork: list[Callable[[], object]] = []
    fake = SimpleNamespace(
        __spec__=object(),
        configure=lambda **given: called.append(given),
        listen=called.append,
        trace_this_thread=called.append,
    )
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: at_fork.append(after_in_child))
    monkeypatch.setitem(sys.modules, "debugpy", fake)
    monkeypatch.setitem(sys.modules, "pydevd", SimpleNamespace(stoptrace=lambda: called.append("stopped")))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "")
    monkeypatch.delenv("PYDEVD_DISABLE_FILE_VALIDATION")
    tool = Debugpy()
    tool.listen("127.0.0.1", 5678)
    tool.end()
    assert called == [{"subProcess": False}, ("127.0.0.1", 5678), "stopped"]
    [in_child] = at_fork
    in_child()
    assert called[-1] is False
    assert os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] == "1"


def test_without_debugpy_the_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"pip install 'twistserve\[debug\]'"):
        Debugpy()


def test_a_free_port_is_free() -> None:
    """One at which somebody listens is not; what is wrong with an address is raised."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)
    assert is_free("::1", port)
    with pytest.raises(OSError, match="Cannot assign requested address"):
        is_free("192.0.2.1", port)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("me", False)],
)
def test_addresses_that_only_this_machine_reaches(host: str, loopback: bool) -> None:
    """A name may be anything."""
    assert is_loopback(host) is loopback
