"""Which threads are kept on a core and which are let go, on a system that is none."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from twistserve.threads.cores import AffinityChanged, Cores, System, core_of

PROCESS, REACTOR, FIRST, SECOND = 1, 2, 3, 4
ALL = {0, 1, 2, 3}


class FakeSystem:
    """The affinity of each thread; `refused` is raised by who sets one."""

    def __init__(self) -> None:
        self.masks = dict.fromkeys((PROCESS, REACTOR, FIRST, SECOND), ALL)
        self.core = 2
        self.caller = REACTOR
        self.refused: OSError | None = None
        self.calls = System(
            self.get, self.give, self.core_of, lambda: self.caller, lambda: PROCESS, lambda: list(self.masks)
        )

    def get(self, thread: int) -> set[int]:
        if thread not in self.masks:
            raise ProcessLookupError
        return self.masks[thread]

    def give(self, thread: int, mask: Iterable[int]) -> None:
        self.get(thread)
        if self.refused is not None:
            raise self.refused
        self.masks[thread] = set(mask)

    def core_of(self, thread: int) -> int:
        if thread not in self.masks:
            raise FileNotFoundError
        return self.core

    @property
    def kept(self) -> set[int]:
        return {thread for thread, mask in self.masks.items() if len(mask) == 1}


class Member:
    """A request thread."""

    def __init__(self, native_id: int) -> None:
        self.native_id = native_id
        self.job: Any = None
        self.since = 0.0

    def begin(self, since: float) -> None:
        self.job, self.since = object(), since


@pytest.fixture
def system() -> FakeSystem:
    return FakeSystem()


@pytest.fixture
def members() -> list[Member]:
    return [Member(FIRST), Member(SECOND)]


@pytest.fixture
def cores(system: FakeSystem, members: list[Member]) -> Cores:
    return Cores(lambda: members, system.calls)


def test_the_reactor_and_the_request_threads_are_kept(cores: Cores, system: FakeSystem) -> None:
    """Not the main thread, and nobody else's."""
    system.masks[9] = ALL
    assert cores.take(FIRST)
    assert cores.core == 2
    assert system.kept == {REACTOR, FIRST, SECOND}
    cores.release()
    assert cores.core is None
    assert set(map(frozenset, system.masks.values())) == {frozenset(ALL)}


def test_the_only_core_is_not_taken(cores: Cores, system: FakeSystem) -> None:
    """Nor one that the process may not use, nor that of a thread that has ended."""
    system.masks[PROCESS] = {2}
    assert not cores.take(FIRST)
    system.masks[PROCESS] = {0, 1}
    assert not cores.take(FIRST)
    assert not cores.take(99)
    assert system.kept == {PROCESS} - {PROCESS}


def test_threads_that_begin_later_are_kept_too(cores: Cores, system: FakeSystem, members: list[Member]) -> None:
    """Those that have no id yet, and those that have ended, are left out."""
    members.append(Member(0))
    members.append(Member(99))
    cores.take(FIRST)
    system.masks[5] = ALL
    members.append(Member(5))
    cores.keep()
    assert system.kept == {REACTOR, FIRST, SECOND, 5}


def test_a_thread_that_starts_something_is_free_until_its_job_ends(
    cores: Cores, system: FakeSystem, members: list[Member]
) -> None:
    """Whether it was kept by then or not: nobody keeps it between this and the start."""
    members[0].begin(7.0)
    cores.take(FIRST)
    system.caller = FIRST
    cores.let_go_of_this_thread()
    cores.keep()
    assert system.kept == {REACTOR, SECOND}
    cores.release()
    cores.take(SECOND)
    assert system.kept == {FIRST, SECOND}, "the caller is the reactor"
    members[0].begin(8.0)
    cores.keep()
    assert system.kept == {FIRST, SECOND}


def test_one_that_starts_something_before_a_core_is_taken_is_left_out(
    cores: Cores, system: FakeSystem, members: list[Member]
) -> None:
    """Until it has no job."""
    members[0].begin(7.0)
    system.caller = FIRST
    cores.let_go_of_this_thread()
    system.caller = REACTOR
    cores.take(SECOND)
    assert system.kept == {REACTOR, SECOND}
    members[0].job = None
    cores.keep()
    assert system.kept == {REACTOR, FIRST, SECOND}


def test_the_reactor_is_free_until_the_next_window(cores: Cores, system: FakeSystem) -> None:
    """It starts threads of its own."""
    cores.take(FIRST)
    cores.let_go_of_this_thread()
    assert system.kept == {FIRST, SECOND}
    cores.keep()
    assert system.kept == {REACTOR, FIRST, SECOND}


def test_other_threads_start_what_they_like(cores: Cores, system: FakeSystem) -> None:
    """They have all cores."""
    system.masks[9] = ALL
    cores.take(FIRST)
    system.caller = 9
    cores.let_go_of_this_thread()
    assert system.masks[9] == ALL
    assert system.kept == {REACTOR, FIRST, SECOND}


@pytest.mark.parametrize("let_go", [Cores.check, Cores.release])
def test_threads_that_c_code_has_started_are_let_go(cores: Cores, system: FakeSystem, let_go: Any) -> None:
    """They have inherited the core; those on other cores are none of ours."""
    cores.take(FIRST)
    system.masks[9], system.masks[10] = {2}, {1}
    let_go(cores)
    assert (system.masks[9], system.masks[10]) == (ALL, {1})


def test_one_that_goes_back_to_the_core_is_left_there(cores: Cores, system: FakeSystem) -> None:
    """Somebody wants it there."""
    cores.take(FIRST)
    system.masks[9] = {2}
    assert cores.check()
    system.masks[9] = {2}
    assert cores.check()
    assert system.masks[9] == {2}


def test_a_change_from_outside_is_noticed(cores: Cores, system: FakeSystem) -> None:
    """And what the process has from then on is what threads are given."""
    cores.take(FIRST)
    system.masks[PROCESS] = {2, 3}
    assert not cores.check()
    cores.release()
    assert system.masks[FIRST] == {2, 3}


def test_threads_follow_what_the_process_may_use(cores: Cores, system: FakeSystem) -> None:
    """Linux remembers what they were given, and would give them no more than that."""
    cores.take(FIRST)
    cores.release()
    system.masks[PROCESS] = {0, 1, 2, 3, 4, 5}
    cores.refresh()
    assert system.masks[FIRST] == system.masks[REACTOR] == {0, 1, 2, 3, 4, 5}
    assert cores.take(FIRST)


def test_a_core_that_the_process_may_not_use_any_more_is_given_up(
    cores: Cores, system: FakeSystem, members: list[Member]
) -> None:
    """That is no fault."""
    cores.take(FIRST)
    system.masks[PROCESS] = system.masks[5] = {0, 1}
    system.refused = OSError(22, "Invalid argument")
    members.append(Member(5))
    cores.keep()
    assert cores.core is None


def test_what_the_system_forbids_is_raised(cores: Cores, system: FakeSystem) -> None:
    """And nothing is kept."""
    system.refused = PermissionError(1, "Operation not permitted")
    with pytest.raises(PermissionError):
        cores.take(FIRST)
    assert cores.core is None


def test_an_affinity_that_somebody_else_has_set_stays(cores: Cores, system: FakeSystem) -> None:
    """Before or after the core was taken."""
    system.masks[SECOND] = {0, 1}
    with pytest.raises(AffinityChanged):
        cores.take(FIRST)
    assert (cores.core, system.kept) == (None, set())
    system.masks[SECOND] = ALL
    cores.take(FIRST)
    system.masks[FIRST] = {0, 1}
    with pytest.raises(AffinityChanged):
        cores.check()
    cores.release()
    assert (system.masks[FIRST], system.masks[SECOND]) == ({0, 1}, ALL)


def test_after_the_end_nothing_is_taken(cores: Cores, system: FakeSystem) -> None:
    """Whatever another thread was about to do."""
    cores.take(FIRST)
    cores.end()
    assert system.kept == set()
    assert not cores.take(FIRST)
    assert system.kept == set()


def test_others_are_told_what_they_would_have(cores: Cores, system: FakeSystem) -> None:
    """The thread that asks, and one that is asked about; of other processes nothing is known."""
    cores.take(FIRST)
    system.caller = FIRST
    assert cores.reported(0, {2}) == ALL
    assert cores.reported(SECOND, {2}) == ALL
    assert cores.reported(4711, {2}) == {2}
    assert cores.reported(0, {1, 2}) == {1, 2}
    cores.release()
    assert cores.reported(0, {2}) == {2}


def test_a_thread_that_ended_is_no_matter(cores: Cores, system: FakeSystem) -> None:
    """It may do so at any time."""
    cores.take(FIRST)
    del system.masks[FIRST]
    assert cores.check()
    cores.release()
    assert system.masks[SECOND] == ALL


def test_the_core_of_a_thread_is_one_of_those_that_it_may_use() -> None:
    """As Linux tells."""
    assert core_of(threading.get_native_id()) in os.sched_getaffinity(0)
