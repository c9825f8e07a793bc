"""What starts something is noticed before it does, and nobody is told of the core."""

from __future__ import annotations

import _posixsubprocess
import _thread
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from twistserve.threads.affinity_hooks import STARTS, AffinityHooks


class FakeCores:
    """Counts who is let go; thread 7 is on one core."""

    def __init__(self) -> None:
        self.let_go = 0

    def let_go_of_this_thread(self) -> None:
        self.let_go += 1

    def reported(self, process: int, mask: set[int]) -> set[int]:
        return {0, 1, 2, 3}


@pytest.fixture
def cores() -> FakeCores:
    return FakeCores()


@pytest.fixture
def reasons() -> list[str]:
    """Why nothing is kept any more."""
    return []


@pytest.fixture
def hooks(cores: Any, reasons: list[str]) -> AffinityHooks:
    return AffinityHooks(cores, reasons.append)


@pytest.fixture
def installed(hooks: AffinityHooks, monkeypatch: pytest.MonkeyPatch) -> Iterator[AffinityHooks]:
    """But for what cannot be taken back."""
    monkeypatch.setattr(sys, "addaudithook", lambda hook: None)
    monkeypatch.setattr(os, "register_at_fork", lambda after_in_child: None)
    hooks.install()
    yield hooks
    hooks.uninstall()


@pytest.mark.parametrize("event", sorted(STARTS))
def test_a_thread_that_starts_something_is_let_go(hooks: AffinityHooks, cores: FakeCores, event: str) -> None:
    """Before it does."""
    hooks.hook()(event, ())
    assert cores.let_go == 1


def test_so_is_one_that_loads_an_extension_module(hooks: AffinityHooks, cores: FakeCores) -> None:
    """Not one that imports Python code, nor one that does anything else."""
    hook = hooks.hook()
    hook("import", ("json", None, None, None, None))
    hook("open", ("file", "r", 0))
    assert cores.let_go == 0
    hook("import", ("numpy.core", "/lib/core.so", None, None, None))
    assert cores.let_go == 1


def test_threads_are_noticed_though_python_311_does_not_tell(installed: AffinityHooks, cores: FakeCores) -> None:
    """Those of threading, and bare ones."""
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert cores.let_go == 1
    ended = threading.Event()
    _thread.start_new_thread(ended.set, ())
    assert ended.wait(20)
    assert cores.let_go == 2


def test_processes_of_multiprocessing_are_noticed(installed: AffinityHooks, cores: FakeCores) -> None:
    """It does not go through subprocess."""
    with pytest.raises(TypeError):
        _posixsubprocess.fork_exec()  # type: ignore[call-arg]
    assert cores.let_go == 1


def test_the_application_is_told_all_cores(installed: AffinityHooks) -> None:
    """And may send the function to another process."""
    assert os.sched_getaffinity(0) == {0, 1, 2, 3}
    assert pickle.loads(pickle.dumps(os.sched_getaffinity)) is os.sched_getaffinity


def test_what_the_application_sets_is_respected(installed: AffinityHooks, reasons: list[str]) -> None:
    """Of its own threads; those of other processes are no matter."""
    own = os.sched_getaffinity.__wrapped__ if hasattr(os.sched_getaffinity, "__wrapped__") else None
    assert own is None
    with subprocess.Popen(["sleep", "60"]) as child:
        os.sched_setaffinity(child.pid, {min(installed._get(0))})
        assert reasons == []
        child.kill()
    os.sched_setaffinity(0, installed._get(0))
    [reason] = reasons
    assert "os.sched_setaffinity" in reason


def test_a_forked_child_is_on_its_own(installed: AffinityHooks, cores: FakeCores, reasons: list[str]) -> None:
    """Whatever its parent's threads did at that moment."""
    installed.forget()
    installed.hook()("os.fork", ())
    os.sched_setaffinity(0, installed._get(0))
    assert os.sched_getaffinity(0) == installed._get(0)
    assert (cores.let_go, reasons) == (0, [])


def test_everything_is_put_back(hooks: AffinityHooks, monkeypatch: pytest.MonkeyPatch) -> None:
    """But what somebody else has put there since."""
    monkeypatch.setattr(sys, "addaudithook", lambda hook: None)
    monkeypatch.setattr(os, "register_at_fork", lambda after_in_child: None)
    before, start = os.sched_getaffinity, _thread.start_new_thread
    hooks.install()
    monkeypatch.setattr(os, "sched_setaffinity", print)
    hooks.uninstall()
    assert (os.sched_getaffinity, _thread.start_new_thread) == (before, start)
    assert os.sched_setaffinity is print
