"""When collectstatic runs, what is said of it, and how the watching begins and ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.test.utils import override_settings

from tests.support.composition import Reactor
from tests.support.django_settings import unconfigured
from twistserve.development import static_watch as module
from twistserve.development.collecting import CollectingFailed
from twistserve.development.static_watch import MOST_UNSETTLED, PATIENCE, POLL, SETTLE, StaticWatch, static_watch
from twistserve.errors import StartError
from twistserve.lifecycle import Lifecycle, State


class Runs:
    """In place of the collector: counts its runs."""

    cancelled = closed = False

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory / "temporary")
        self.count = 0
        self.failure: str | None = None

    def collect(self) -> int:
        self.count += 1
        if self.failure is not None:
            raise CollectingFailed(self.failure)
        return 1

    def close(self) -> None:
        self.closed = True


class Bench:
    """A watch of one directory, which the test has look."""

    def __init__(self, directory: Path) -> None:
        self.assets = directory / "assets"
        self.assets.mkdir()
        (self.assets / "a.css").write_text("a")
        self.reactor = Reactor()
        self.lifecycle = Lifecycle(self.reactor)
        self.runs = Runs(directory)
        runs: Any = self.runs
        self.watch = StaticWatch([str(self.assets)], runs, self.lifecycle, self.reactor)

    def start(self) -> None:
        self.watch.startService()
        self.watch.step[1]()

    def save(self, text: str, name: str = "a.css") -> None:
        (self.assets / name).write_text(text)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(apps, "is_installed", lambda name: True)
    with unconfigured() as settings:
        settings.configure(STATIC_ROOT=tmp_path / "collected", MEDIA_ROOT="")
        yield Bench(tmp_path)


def test_it_collects_at_the_start(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """What has not changed since is not collected again."""
    caplog.set_level("INFO")
    bench.start()
    assert f"collectstatic: 1 file copied; watching {bench.assets}" in caplog.text
    assert [bench.watch.look() for _ in range(3)] == [POLL] * 3
    assert bench.runs.count == 1


def test_a_change_has_to_settle(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """An editor may save in several steps; the line names what has changed."""
    caplog.set_level("INFO")
    bench.start()
    bench.save("half of it")
    assert (bench.watch.look(), bench.runs.count) == (SETTLE, 1)
    bench.save("all of it, at last")
    bench.save("new", "b.css")
    assert (bench.watch.look(), bench.runs.count) == (SETTLE, 1)
    assert (bench.watch.look(), bench.runs.count) == (POLL, 2)
    assert "collectstatic: 1 file copied for a.css, b.css" in caplog.text
    assert (bench.watch.look(), bench.runs.count) == (POLL, 2)


def test_what_never_settles_is_collected_all_the_same(bench: Bench) -> None:
    """Now and then, and what changes after that once more."""
    bench.start()
    for number in range(2 * (MOST_UNSETTLED + 1)):
        bench.save("x" * (number + 2))
        bench.watch.look()
    assert bench.runs.count == 3
    bench.save("the last")
    for _ in range(2):
        bench.watch.look()
    assert bench.runs.count == 4


def test_a_change_that_is_taken_back(bench: Bench) -> None:
    """A file that has come and gone needs nothing."""
    bench.start()
    bench.save("new", "b.css")
    bench.watch.look()
    (bench.assets / "b.css").unlink()
    assert (bench.watch.look(), bench.runs.count) == (POLL, 1)


def test_an_error_is_tried_again_with_the_next_change(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """And not before."""
    bench.start()
    bench.runs.failure = "it is full"
    for name in "bcde":
        bench.save("new", f"{name}.css")
    for _ in range(4):
        bench.watch.look()
    assert bench.runs.count == 2
    assert (
        "collectstatic failed for b.css, c.css, d.css and 1 more, and the static files from before are served on:"
        " it is full; the next change below --static-watch runs it again"
    ) in caplog.text
    bench.save("other")
    for _ in range(2):
        bench.watch.look()
    assert bench.runs.count == 3


def test_an_error_at_the_start(bench: Bench) -> None:
    """Is one of the start."""
    bench.runs.failure = "it is full"
    with pytest.raises(StartError, match=r"^--static-watch: collectstatic failed: it is full$"):
        bench.start()


def test_what_collectstatic_needs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to do."""
    with override_settings(STATIC_ROOT=str(bench.assets)), pytest.raises(StartError, match="is in STATIC_ROOT"):
        bench.start()
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    with pytest.raises(StartError, match="add that to the setting INSTALLED_APPS"):
        bench.start()


def test_it_watches_from_ready_on_and_ends_with_its_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits for a run, but not for long, and nothing that is served changes any more."""
    looked = threading.Event()
    monkeypatch.setattr(module, "POLL", 0.0)

    def look() -> float:
        looked.set()
        return 0.0

    monkeypatch.setattr(bench.watch, "look", look)
    bench.start()
    assert not looked.is_set()
    bench.lifecycle.enter(State.READY, "a test")
    assert looked.wait(30)
    ended = bench.watch.stopService()
    assert ended is not None
    assert bench.runs.cancelled
    thread = bench.watch._thread
    assert thread is not None
    thread.join(30)
    [tell] = bench.reactor.from_threads
    assert (bench.runs.closed, ended.called) == (True, False)
    tell()
    bench.reactor.advance(0)
    assert ended.called


def test_a_run_that_hangs_does_not_hold_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is a daemon."""
    hangs, go = threading.Event(), threading.Event()
    monkeypatch.setattr(module, "POLL", 0.0)

    def look() -> float:
        hangs.set()
        go.wait(30)
        return 0.0

    monkeypatch.setattr(bench.watch, "look", look)
    bench.start()
    bench.lifecycle.enter(State.READY, "a test")
    assert hangs.wait(30)
    ended = bench.watch.stopService()
    assert ended is not None
    bench.reactor.advance(PATIENCE)
    assert ended.called
    thread = bench.watch._thread
    assert thread is not None
    assert thread.daemon
    go.set()
    thread.join(30)
    for tell in bench.reactor.from_threads:
        tell()


def test_a_start_that_fails_before_it(bench: Bench) -> None:
    """There is nothing to wait for."""
    bench.watch.startService()
    assert bench.watch.stopService() is None
    assert bench.runs.closed


def made(paths: list[str]) -> list[StaticWatch]:
    reactor = Reactor()
    return static_watch(paths, lambda replace, storage: None, Lifecycle(reactor), reactor)


def test_when_there_is_nothing_to_watch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the option, and, with a warning, where each request looks for its file."""
    assert made([]) == []
    assert len(made([str(bench.assets)])) == 1
    monkeypatch.setattr(module, "has_finders", lambda: True)
    with override_settings(DEBUG=True):
        assert made([str(bench.assets)]) == []
    assert "--static-watch is not needed" in caplog.text


def test_finders_that_look_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would be collected, and nothing seen."""
    monkeypatch.setattr(module, "has_finders", lambda: True)
    with pytest.raises(StartError, match="WHITENOISE_USE_FINDERS"):
        made([str(bench.assets)])
