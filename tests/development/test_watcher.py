"""What is watched and when it is told; the thread's function is called by the test, and nothing sleeps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.utils import autoreload
from django.utils.autoreload import BaseReloader, StatReloader, autoreload_started, file_changed

from twistserve.development import watcher as module
from twistserve.development.watcher import INTERVAL, Watcher

NOW = 1_000_000_000.0
"""The time of day."""
STARTED = NOW - 10
LONG_AGO = NOW - 1000

Step = Callable[[], object]


class Bench:
    """A directory of files with times of their own, and a watcher whose looks are followed by a step each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.directory = directory
        self.told: list[tuple[str, bool]] = []
        self.steps: list[Step] = []
        self.looks = 0
        self.reloaders: list[Any] = []
        self.now = NOW
        self.modules: list[Path] = []
        self.watcher: Watcher = None  # type: ignore[assignment]
        monkeypatch.setattr(autoreload, "get_reloader", self.make_reloader)
        monkeypatch.setattr(autoreload, "iter_all_python_module_files", lambda: list(self.modules))
        monkeypatch.setattr(autoreload, "time", SimpleNamespace(sleep=self.sleep))
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: self.now))

    def make_reloader(self) -> Any:
        self.reloaders.append(StatReloader())
        return self.reloaders[-1]

    def sleep(self, seconds: float) -> None:
        """Between two looks: let happen what is next, and stop when that was all."""
        assert seconds == INTERVAL
        self.looks += 1
        self.now += seconds
        if self.steps:
            self.steps.pop(0)()
        else:
            self.watcher.stop()

    def write(self, name: str, at: float = LONG_AGO) -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        os.utime(path, (at, at))
        return path

    def watch(self, *steps: Step, **options: Any) -> list[tuple[str, bool]]:
        """What is told when these steps are taken, one after each look."""
        self.steps = list(steps)
        self.watcher = Watcher(lambda path, early: self.told.append((path, early)), STARTED, **options)
        self.watcher._run()
        return self.told


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    monkeypatch.setattr(apps, "ready", True)
    receivers = [*file_changed.receivers], [*autoreload_started.receivers]
    autoreload_started.receivers.clear()
    file_changed.receivers.clear()
    autoreload_started.sender_receivers_cache.clear()
    file_changed.sender_receivers_cache.clear()
    yield Bench(monkeypatch, tmp_path)
    file_changed.receivers[:], autoreload_started.receivers[:] = receivers
    autoreload_started.sender_receivers_cache.clear()
    file_changed.sender_receivers_cache.clear()


# Modules


def test_a_module_that_changes(bench: Bench) -> None:
    """It is told once, and nothing is watched any more."""
    bench.modules = [bench.write("views.py"), bench.write("urls.py")]
    told = bench.watch(lambda: None, lambda: bench.write("urls.py", NOW + 1), lambda: bench.write("views.py", NOW + 2))
    assert told == [(str(bench.directory / "urls.py"), False)]
    assert bench.looks == 2


def test_nothing_changes(bench: Bench) -> None:
    """Nothing is told."""
    bench.modules = [bench.write("views.py")]
    assert bench.watch(lambda: None) == []
    assert bench.looks == 2


def test_a_change_before_the_first_look(bench: Bench) -> None:
    """The process may have read the file before it, so that it counts; it was early."""
    bench.modules = [bench.write("views.py", STARTED + 1)]
    assert bench.watch(lambda: None) == [(str(bench.directory / "views.py"), True)]


def test_a_change_during_the_first_look(bench: Bench) -> None:
    """It is the developer's, or it would have been earlier."""
    bench.modules = [bench.write("views.py")]
    told = bench.watch(lambda: bench.write("views.py", NOW + 0.1))
    assert told == [(str(bench.directory / "views.py"), False)]


@pytest.mark.parametrize(("at", "told"), [(NOW + 0.6, True), (NOW - 1, False)])
def test_a_module_that_is_imported_later(bench: Bench, at: float, told: bool) -> None:
    """What was saved since the last look may have been so after it was read; what was saved before was not."""
    path = bench.directory / "urls.py"

    def imported() -> None:
        bench.modules = [bench.write("urls.py", at)]

    assert bench.watch(lambda: None, imported, lambda: None) == [(str(path), True)] * told


def test_an_imported_module_that_each_start_writes(bench: Bench) -> None:
    """It does not start another for ever."""
    path = bench.directory / "made.py"

    def imported() -> None:
        bench.modules = [bench.write("made.py", NOW + 0.6)]

    assert bench.watch(lambda: None, imported, lambda: None, unreliable=[str(path)]) == []


def test_a_file_that_each_start_writes(bench: Bench) -> None:
    """Its early change does not count any more; a later one does."""
    path = bench.write("made.py", STARTED + 1)
    bench.modules = [path]
    told = bench.watch(lambda: None, lambda: bench.write("made.py", NOW + 1), unreliable=[str(path)])
    assert told == [(str(path), False)]
    assert bench.looks == 2


def test_a_file_of_the_future(bench: Bench) -> None:
    """It has not changed since the start, which it would otherwise be newer than for ever."""
    bench.modules = [bench.write("views.py", NOW + 86400)]
    assert bench.watch(lambda: None, lambda: None) == []
    assert bench.looks == 3


def test_a_module_that_is_removed(bench: Bench) -> None:
    """It is missed by nobody until it comes again."""
    path = bench.write("views.py")
    bench.modules = [path]
    assert bench.watch(path.unlink, lambda: None, lambda: bench.write("views.py", NOW + 2)) == [(str(path), False)]


def test_what_a_receiver_has_dealt_with(bench: Bench) -> None:
    """Django's loaders read a template anew by themselves: no process need be started for it."""

    def dealt_with(sender: object, file_path: Path, **others: object) -> bool:
        return file_path.suffix == ".html"

    file_changed.connect(dealt_with)
    page, views = bench.write("page.html"), bench.write("views.py")
    bench.modules = [page, views]
    steps = [lambda: None, lambda: bench.write("page.html", NOW + 1), lambda: bench.write("views.py", NOW + 1.5)]
    told = bench.watch(*steps)
    assert told == [(str(views), False)]


# Further paths


def test_receivers_say_what_else_is_watched(bench: Bench) -> None:
    """As they say it to runserver; one that raises takes nothing from the others."""

    def raises(sender: object, **others: object) -> None:
        raise LookupError

    def adds(sender: BaseReloader, **others: object) -> None:
        sender.watch_dir(bench.directory, "*.mo")

    autoreload_started.connect(raises)
    autoreload_started.connect(adds)
    path = bench.write("django.mo")
    assert bench.watch(lambda: None, lambda: bench.write("django.mo", NOW + 1)) == [(str(path), False)]


def test_files_and_directories_that_are_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to where the process was then, and directories with all that is below, new files excepted."""
    bench.write(".env")
    path = bench.write("conf/shop.toml")
    monkeypatch.chdir(bench.directory)
    steps = [lambda: None, lambda: bench.write("conf/new.toml", NOW), lambda: bench.write("conf/shop.toml", NOW + 2)]
    told = bench.watch(*steps, paths=[".env", "conf"])
    assert told == [(str(path), False)]


def test_a_path_is_where_it_was_when_it_was_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """twistd changes into another directory when it starts the services, if it is told to."""
    path = bench.write(".env")
    monkeypatch.chdir(bench.directory)
    watcher = Watcher(lambda path, early: bench.told.append((path, early)), STARTED, [".env"])
    monkeypatch.chdir("/")
    bench.watcher, bench.steps = watcher, [lambda: None, lambda: bench.write(".env", NOW + 1)]
    watcher._run()
    assert bench.told == [(str(path), False)]


@pytest.mark.parametrize(
    ("name", "told"), [("new.py", True), ("app/__init__.py", True), ("notes.txt", False), ("app/models.py", False)]
)
def test_newcomers(bench: Bench, name: str, told: bool) -> None:
    """A module that is missing may appear, next to the others or as a package; other files do not matter."""
    path = bench.directory / name
    found = bench.watch(lambda: None, lambda: bench.write(name, NOW + 1), newcomers=[bench.directory])
    assert found == [(str(path), False)] * told


def test_a_directory_is_no_file(bench: Bench) -> None:
    """It is newer whenever something is made in it, by Python's caches too."""
    (bench.directory / "dir.py").mkdir()
    os.utime(bench.directory / "dir.py", (STARTED + 1, STARTED + 1))
    assert bench.watch(lambda: None, newcomers=[bench.directory]) == []


# Beginning and ending


def test_nothing_is_watched_before_the_apps_are_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are imported earlier would raise; where a process has failed there is nothing to wait for."""
    monkeypatch.setattr(apps, "ready", False)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 3:
            monkeypatch.setattr(apps, "ready", True)
        return False

    bench.modules = [bench.write("views.py", STARTED + 1)]
    watcher = Watcher(lambda path, early: bench.told.append((path, early)), STARTED)
    monkeypatch.setattr(watcher._stopped, "wait", wait)
    bench.watcher, bench.steps = watcher, [lambda: None]
    watcher._run()
    assert (len(waits), len(bench.told)) == (3, 1)
    monkeypatch.setattr(apps, "ready", False)
    assert len(bench.watch(lambda: None, newcomers=[])) == 2


@pytest.mark.parametrize("ready", [True, False])
def test_what_is_stopped_tells_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch, ready: bool) -> None:
    """Also if it had not begun."""
    monkeypatch.setattr(apps, "ready", ready)
    bench.modules = [bench.write("views.py", STARTED + 1)]
    watcher = Watcher(lambda path, early: bench.told.append((path, early)), STARTED)
    watcher.stop()
    watcher._run()
    assert bench.told == []


def test_a_change_that_is_found_when_it_is_stopped(bench: Bench) -> None:
    """It is too late."""
    bench.modules = [bench.write("views.py")]

    def stopped() -> None:
        bench.watcher.stop()
        bench.write("views.py", NOW + 1)

    assert bench.watch(lambda: None, stopped) == []


def test_a_look_that_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watching begins anew after a while, with what has changed meanwhile."""
    path = bench.write("views.py")
    bench.modules = [path]
    waits: list[float] = []

    def raises() -> None:
        bench.write("views.py", NOW + 0.4)
        raise RuntimeError("dictionary changed size during iteration")

    watcher = Watcher(lambda path, early: bench.told.append((path, early)), STARTED)
    monkeypatch.setattr(watcher._stopped, "wait", waits.append)
    bench.watcher, bench.steps = watcher, [lambda: None, raises, lambda: None]
    watcher._run()
    assert (waits, bench.told) == ([INTERVAL], [(str(path), True)])
    assert all(reloader.should_stop for reloader in bench.reloaders)


def test_nothing_of_it_is_left(bench: Bench) -> None:
    """No receiver of Django's signal, and no reloader that goes on."""
    bench.watch(lambda: None)
    assert file_changed.receivers == []
    assert [reloader.should_stop for reloader in bench.reloaders] == [True]


def test_it_has_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which does not hold the end of the process up."""
    ran: list[tuple[str, bool]] = []
    done = threading.Event()

    def run(watcher: Watcher) -> None:
        thread = threading.current_thread()
        ran.append((thread.name, thread.daemon))
        done.set()

    monkeypatch.setattr(Watcher, "_run", run)
    Watcher(lambda path, early: None, time.time()).start()
    assert done.wait(60)
    assert ran == [("watcher", True)]
