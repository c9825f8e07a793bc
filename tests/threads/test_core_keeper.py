"""That the policy's decisions are carried out, and what ends that for good."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from twistserve.threads.affinity_hooks import AffinityHooks
from twistserve.threads.concurrency import EXPLORING, WINDOW, Concurrency, Use
from twistserve.threads.core_keeper import LOOK_EVERY, REFRESH_EVERY, CoreKeeper, core_keeper
from twistserve.threads.cores import AffinityChanged
from twistserve.threads.dispatcher import Dispatcher
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue

BUSY = Use(1.0)


class FakeCores:
    """Does nothing, or raises `trouble`."""

    def __init__(self) -> None:
        self.core: int | None = None
        self.trouble: Exception | None = None
        self.took: list[int] = []
        self.calls: list[str] = []
        self.there = True
        self.as_it_was = True

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.trouble is not None:
            raise self.trouble

    def take(self, thread: int) -> bool:
        self._called("take")
        self.took.append(thread)
        self.core = 3 if self.there else None
        return self.there

    def keep(self) -> None:
        self._called("keep")

    def check(self) -> bool:
        self._called("check")
        return self.as_it_was

    def refresh(self) -> None:
        self._called("refresh")

    def release(self) -> None:
        self.core = None

    end = release


class FakePolicy:
    """Wants what it is told to."""

    wants = True
    let_go_of = 0

    used = 0.0

    def decide(self, now: float, use: Use, exploring: bool) -> bool:
        self.used = use.used
        return self.wants

    def let_go(self) -> None:
        self.let_go_of += 1


class FakeWorker:
    """A request thread."""

    def __init__(self, native_id: int, ran: float) -> None:
        self.native_id, self.ran = native_id, ran

    def run_delay(self) -> float:
        return 0.3 * WINDOW


class FakePool:
    """Two of them."""

    queued = 0

    def __init__(self) -> None:
        self.workers = [FakeWorker(11, 0.002), FakeWorker(12, 0.007)]


class FakeHooks:
    """Whether they are installed."""

    on = False

    def install(self) -> None:
        self.on = True

    def uninstall(self) -> None:
        self.on = False


class Keeping:
    """A keeper and what it works with."""

    def __init__(self) -> None:
        self.pool = FakePool()
        self.cores = FakeCores()
        self.clock = Clock()
        self.policy = FakePolicy()
        self.changes = 0
        fakes: tuple[Any, Any] = (self.pool, self.cores)
        self.keeper = CoreKeeper(*fakes, self.clock, self._changed, self.policy)
        self.keeper.hooks = self.hooks = FakeHooks()
        self.keeper.startService()

    def _changed(self) -> None:
        self.changes += 1

    def window(self, wants: bool = True) -> None:
        self.policy.wants = wants
        self.keeper.on_window(self.clock.seconds(), BUSY, False)


@pytest.fixture
def keeping() -> Keeping:
    return Keeping()


def test_the_core_of_the_busiest_thread_is_taken(keeping: Keeping) -> None:
    """The kernel has spread the processes already."""
    keeping.window()
    assert keeping.cores.took == [12]
    assert (keeping.keeper.held, keeping.keeper.core, keeping.changes) == (True, 3, 1)
    keeping.window()
    assert keeping.cores.calls == ["take", "keep"]


def test_what_other_threads_use_is_no_reason(keeping: Keeping) -> None:
    """The start-up of the application, for instance: request threads are idle."""
    keeping.window(wants=False)
    assert keeping.policy.used == 1.0
    keeping.pool.workers = [FakeWorker(11, 0.0), FakeWorker(12, 0.0002)]
    keeping.window(wants=False)
    assert keeping.policy.used == 0.0


def test_it_is_let_go(keeping: Keeping) -> None:
    """When the policy says so; it takes the kernel some windows to make use of that."""
    keeping.window()
    keeping.window(wants=False)
    assert (keeping.keeper.held, keeping.keeper.core, keeping.changes) == (False, None, 2)
    kept = []
    for _ in range(EXPLORING + 1):
        kept.append(keeping.keeper.kept)
        keeping.window(wants=False)
    assert kept == [True] * EXPLORING + [False]
    assert keeping.clock.getDelayedCalls() == []


def test_a_core_that_cannot_be_had_is_not_taken(keeping: Keeping) -> None:
    """The policy is told."""
    keeping.cores.there = False
    keeping.window()
    assert (keeping.keeper.held, keeping.changes, keeping.policy.let_go_of) == (False, 0, 1)
    keeping.pool.workers = []
    keeping.window()
    assert keeping.policy.let_go_of == 2


def test_threads_are_looked_at_while_they_are_on_a_core(keeping: Keeping) -> None:
    """And let go if the process may use others by then."""
    keeping.window()
    keeping.clock.advance(LOOK_EVERY)
    keeping.clock.advance(LOOK_EVERY)
    assert keeping.cores.calls == ["take", "check", "check"]
    keeping.cores.as_it_was = False
    keeping.clock.advance(LOOK_EVERY)
    assert (keeping.keeper.held, keeping.changes) == (False, 2)
    assert keeping.clock.getDelayedCalls() == []


def test_what_the_process_may_use_is_looked_at_seldom_while_it_is_free(keeping: Keeping) -> None:
    """Once a second."""
    keeping.clock.advance(REFRESH_EVERY)
    for _ in range(50):
        keeping.window(wants=False)
        keeping.clock.advance(REFRESH_EVERY / 20)
    assert keeping.cores.calls == ["refresh"] * 3


@pytest.mark.parametrize("when", ["take", "keep", "check"])
@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (PermissionError(1, "Operation not permitted"), "Operation not permitted"),
        (AffinityChanged(), "something else has set the affinity"),
    ],
    ids=["forbidden", "changed"],
)
def test_trouble_ends_it_for_good(
    keeping: Keeping, trouble: Exception, said: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says so."""
    if when != "take":
        keeping.window()
    keeping.cores.trouble = trouble
    if when == "check":
        keeping.clock.advance(LOOK_EVERY)
    else:
        keeping.window()
    keeping.cores.trouble = None
    keeping.window()
    keeping.window()
    assert (keeping.keeper.held, keeping.keeper.core) == (False, None)
    assert keeping.cores.calls.count("take") == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said in line
    assert "--cpu-affinity auto" in line


def test_another_thread_may_end_it(keeping: Keeping) -> None:
    """The application sets an affinity: threads are free at once, and that is told with the next look."""
    keeping.window()
    keeping.keeper.give_up("the application sets one")
    assert keeping.keeper.core is None
    keeping.window()
    keeping.clock.advance(LOOK_EVERY)
    assert (keeping.keeper.held, keeping.changes) == (False, 2)


def test_nothing_is_kept_once_the_service_has_stopped(keeping: Keeping) -> None:
    """Nor noticed."""
    assert keeping.hooks.on
    keeping.window()
    keeping.keeper.stopService()
    keeping.window()
    assert (keeping.keeper.core, keeping.hooks.on) == (None, False)
    assert keeping.clock.getDelayedCalls() == []


def test_the_dispatcher_tells_of_each_window() -> None:
    """What was used, what all request threads waited for, those that sleep included, and whether it explores."""
    pool: Any = FakePool()
    times, told = iter((0.0, 2 * WINDOW)), iter((5.0, 5.0 + WINDOW))
    windows: list[tuple[float, Use, bool]] = []
    returns = ReactorQueue(lambda function: None)
    dispatcher = Dispatcher(pool, returns, Concurrency(2, cores=2), lambda: next(times), lambda: next(told))
    dispatcher.cores = SimpleNamespace(
        held=True, kept=True, on_window=lambda now, use, exploring: windows.append((now, use, exploring))
    )
    dispatcher.dispatch()
    [(now, use, exploring)] = windows
    assert (now, exploring) == (2 * WINDOW, False)
    assert [use.used, use.delayed] == pytest.approx([0.5, 0.3])


def test_it_is_made_of_its_parts() -> None:
    """The hooks are not installed before the service starts."""
    keeper = core_keeper(RequestThreadPool(2), Clock(), lambda: None)
    assert isinstance(keeper.hooks, AffinityHooks)
    keeper.on_window(1.0, Use(0.1), False)
    assert keeper.core is None
