"""What the supervisor does with its workers, whose processes are fakes, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.crew import DRAINING, GONE, GRACE, READY, STARTING, Crew, FakeWorker
from twistserve.load import Load
from twistserve.workers.protocol import FlushMetrics, Heartbeat
from twistserve.workers.supervisor import MARGIN, Supervisor
from twistserve.workers.worker_state import FIRST_SILENCE, Worker, WorkerState

BOUND = 10.0
"""Seconds of silence after which a worker is killed."""
PAUSES = 30.0
"""The longest pause before a worker is started in the place of one that died."""


# The start


def test_as_many_are_started_as_are_wanted() -> None:
    """They are numbered from one, and each is told of when it is ready."""
    crew = Crew(3)
    assert crew.workers == []
    crew.supervisor.start()
    assert (crew.numbers(), crew.numbers(STARTING)) == ([1, 2, 3], [1, 2, 3])
    assert (crew.supervisor.ready, crew.told_ready) == ([], [])
    first, second, third = crew.workers
    for worker in (second, first):
        crew.supervisor.became_ready(worker)
    assert crew.told_ready == [second, first]
    assert crew.numbers(READY) == [1, 2]
    assert third.state is STARTING
    assert crew.restarts == {}


def test_nothing_is_started_before_the_start() -> None:
    """A wish for one more or less that comes during the start-up's work is remembered for later."""
    crew = Crew(2)
    crew.supervisor.resize(2)
    crew.supervisor.resize(-1)
    crew.supervisor.replace_all()
    crew.run_for(5)
    assert crew.spawned == []
    crew.start()
    assert crew.numbers(READY) == [1, 2, 3]


def test_none_ever_ready_is_a_failure() -> None:
    """It is told once, with the last one's error; nothing is started in the place of those that ended."""
    crew = Crew(2)
    crew.supervisor.start()
    first, second = crew.workers
    first.failure = "the shelf is gone"
    crew.end(first, "status 1")
    crew.run_for(100)
    assert (crew.failures, len(crew.spawned)) == ([], 2)
    second.failure = "the shelf is still gone"
    crew.end(second, "status 1")
    assert crew.failures == ["the shelf is still gone"]
    crew.run_for(100)
    assert (len(crew.failures), len(crew.spawned)) == (1, 2)
    assert crew.supervisor.stop().called
    assert crew.clock.getDelayedCalls() == []


def test_a_failure_without_words_is_told_in_words() -> None:
    """A worker that ends without a message is named, and how it ended: a status alone says too little."""
    crew = Crew(1)
    crew.supervisor.start()
    crew.end(crew.workers[0], "status 3")
    [failure] = crew.failures
    assert "worker" in failure
    assert "status 3" in failure


def test_one_of_the_first_may_fail_while_another_becomes_ready() -> None:
    """What one can do the other may do at a second try."""
    crew = Crew(2)
    crew.supervisor.start()
    first, second = crew.workers
    crew.end(first, "status 1")
    crew.supervisor.became_ready(second)
    crew.run_for(1)
    assert crew.failures == []
    assert (crew.numbers(STARTING), crew.numbers(READY)) == ([1], [2])


# Deaths


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    """By one of the same number, which the others do not notice."""
    crew = Crew(2).start()
    crew.run_for(60)
    first, second = crew.workers
    crew.end(first, "killed by SIGKILL")
    assert crew.told_gone == [first]
    assert (crew.numbers(STARTING), crew.numbers(READY)) == ([1], [2])
    assert crew.workers[-1] is not first
    crew.get_ready()
    assert crew.numbers(READY) == [1, 2]
    assert second.process.drains == []
    assert crew.restarts == {"died": 1}


def test_all_dying_at_once_are_all_replaced_at_once() -> None:
    """Even if none serves meanwhile: workers that were ready once are no failed start."""
    crew = Crew(3).start()
    crew.run_for(60)
    for worker in list(crew.workers):
        crew.end(worker, "killed by SIGKILL")
    assert crew.numbers(STARTING) == [1, 2, 3]
    assert crew.failures == []


@pytest.mark.parametrize("becomes_ready", [False, True], ids=["before it is ready", "as soon as it is ready"])
def test_pauses_grow_while_workers_keep_dying(becomes_ready: bool) -> None:
    """There is none after the first death, and growing ones after the next, up to half a minute."""
    crew = Crew(2).start()
    crew.run_for(60)
    began = crew.clock.seconds()
    dying = crew.workers[0]
    while len(crew.spawned) < 15:
        crew.end(dying, "status 1")
        while not crew.of(STARTING):
            crew.run_for(0.5)
        [dying] = crew.of(STARTING)
        if becomes_ready:
            crew.supervisor.became_ready(dying)
    times = crew.spawned_at[2:]
    assert times[0] == began
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSES
    growing = [pause for pause in pauses if 0 < pause < PAUSES]
    assert len(growing) >= 3
    assert sorted(set(growing)) == growing
    assert crew.numbers(READY)[-1:] == [2], "the other one serves"
    assert crew.failures == []


def test_a_long_life_ends_the_pauses() -> None:
    """A worker that dies after having served for a minute is replaced at once, whatever was before."""
    crew = Crew(1).start()
    for _ in range(6):
        crew.end(crew.workers[0], "status 1")
        while not crew.workers:
            crew.run_for(0.5)
    crew.get_ready()
    crew.run_for(60)
    crew.end(crew.workers[0], "status 1")
    assert crew.numbers(STARTING) == [1]


def test_what_waits_for_its_pause_is_not_started_twice() -> None:
    """A death during the pause of another one adds one to start, no more."""
    crew = Crew(2).start()
    for _ in range(8):
        for worker in list(crew.workers):
            crew.end(worker, "status 1")
        crew.run_for(0.5)
        assert len(crew.workers) <= 2
    crew.run_for(PAUSES)
    crew.get_ready()
    crew.run_for(PAUSES)
    assert crew.numbers(READY) == [1, 2]


def test_a_system_that_gives_no_process_is_asked_again() -> None:
    """A start that the system refuses leaves the others alone, and is tried again soon."""
    crew = Crew(2).start()
    crew.run_for(60)
    crew.refusals = [OSError(11, "Resource temporarily unavailable"), OSError(12, "Cannot allocate memory")]
    crew.end(crew.workers[0], "killed by SIGKILL")
    assert crew.numbers(READY) == [2]
    crew.run_for(PAUSES)
    crew.get_ready()
    assert crew.numbers(READY) == [1, 2]


def test_a_start_that_is_tried_again_is_one_that_is_still_wanted() -> None:
    """After the system has refused it, one worker less is wanted: none is started when the pause is over."""
    crew = Crew(2)
    crew.start()
    crew.get_ready()
    crew.refusals = [OSError("no processes")]
    crew.supervisor.resize(1)
    crew.supervisor.resize(-1)
    crew.run_for(60)
    assert len(crew.workers) == 2


def test_a_replacement_that_the_system_refuses_leaves_the_old_one() -> None:
    """It goes on to serve, and is replaced when it asks again."""
    crew = Crew(2).start()
    old = crew.workers[0]
    crew.refusals = [OSError(11, "Resource temporarily unavailable")]
    crew.wants(old)
    crew.run_for(PAUSES)
    assert (old.state, old.process.drains) == (READY, [])
    crew.wants(old)
    crew.roll()
    assert old.state is GONE
    assert len(crew.of(READY)) == 2


@pytest.mark.parametrize("size", [1, 2])
def test_a_system_that_gives_no_first_process_is_a_failure(size: int) -> None:
    """With its reason, like any other start that cannot succeed."""
    crew = Crew(size)
    crew.refusals = [OSError(12, "Cannot allocate memory")] * size
    crew.supervisor.start()
    assert len(crew.failures) == 1
    assert "Cannot allocate memory" in crew.failures[0]
    crew.run_for(PAUSES)
    assert crew.workers == []


# Heartbeats


def test_a_worker_that_answers_lives() -> None:
    """Each is asked about once a second, and no more often."""
    crew = Crew(2).start()
    crew.run_for(60)
    for worker in crew.workers:
        assert worker.process.signals == []
        assert 50 < worker.process.asked.count(Heartbeat) <= 61
        assert crew.supervisor.heard_lately(worker)


def test_a_worker_that_prepares_is_not_killed_for_its_silence() -> None:
    """A migration may be at C code that holds Python's lock; when it has run, silence counts."""
    crew = Crew()
    crew.supervisor.start()
    worker = crew.workers[0]
    worker.prepares = worker.process.silent = True
    crew.run_for(5 * BOUND)
    assert not worker.process.killed
    worker.prepares = False
    crew.run_for(60 + BOUND)
    assert worker.process.killed


@pytest.mark.parametrize("state", [STARTING, READY])
def test_a_worker_that_stops_answering_is_killed_and_replaced(state: WorkerState) -> None:
    """After ten seconds, a starting one that has answered before too."""
    crew = Crew(2)
    crew.supervisor.start()
    hanging, well = crew.workers
    crew.supervisor.became_ready(well)
    if state is READY:
        crew.supervisor.became_ready(hanging)
    crew.run_for(5)
    hanging.process.silent = True
    crew.run_for(BOUND - 2)
    assert crew.supervisor.heard_lately(hanging)
    assert not hanging.process.killed
    crew.run_for(4)
    assert hanging.process.killed
    assert not crew.supervisor.heard_lately(hanging)
    assert crew.numbers(STARTING, READY) == [1, 2], "it is there until its process has ended"
    crew.end(hanging, "killed by SIGKILL")
    crew.get_ready()
    assert crew.numbers(READY) == [1, 2]
    assert not well.process.killed
    assert crew.restarts == {"unresponsive": 1}


def test_a_worker_that_answers_late_but_in_time_lives() -> None:
    """Time and again."""
    crew = Crew(1).start()
    [worker] = crew.workers
    for _ in range(5):
        worker.process.silent = True
        crew.run_for(BOUND - 2)
        assert len(worker.process.unanswered) == 1, "a question that waits for its answer is not asked again"
        worker.process.answer()
        crew.run_for(2)
    assert not worker.process.killed


@pytest.mark.parametrize("pause", [14.0, 300.0])
def test_a_parent_that_stood_still_kills_no_worker(pause: float) -> None:
    """While it was stopped, or busy, silence does not count against workers; one that stays silent is killed."""
    crew = Crew(3).start()
    crew.run_for(5)
    _, late, silent = crew.workers
    # Their answers to the last question arrive in the pause, and are read after it.
    late.process.silent = silent.process.silent = True
    crew.run_for(1)
    crew.clock.advance(pause)
    assert [worker.process.killed for worker in crew.workers] == [False] * 3
    assert all(map(crew.supervisor.heard_lately, crew.workers))
    late.process.answer()
    crew.run_for(BOUND - 3)
    assert not silent.process.killed
    crew.run_for(4)
    assert [worker.process.killed for worker in crew.workers] == [False, False, True]


def test_a_silent_worker_is_killed_by_a_parent_that_is_late() -> None:
    """A parent whose every beat is late counts one second for each, and comes to an end with it."""
    crew = Crew(2).start()
    crew.run_for(5)
    silent, well = crew.workers
    silent.process.silent = True
    for _ in range(round(BOUND) + 2):
        crew.clock.advance(4)
    assert [worker.process.killed for worker in (silent, well)] == [True, False]


def test_a_worker_at_its_end_has_its_time() -> None:
    """A worker that drains and answers no more, since its reactor has ended, is killed when its time is up."""
    crew = Crew(2).start()
    crew.run_for(5)
    worker = crew.workers[0]
    worker.process.silent = True
    crew.supervisor.stop()
    worker.process.at_end = True
    crew.run_for(GRACE)
    assert not worker.process.killed
    crew.run_for(MARGIN + 1)
    assert worker.process.killed


def test_a_heartbeat_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs later is killed all the same, and one that dies is replaced."""
    crew = Crew(2).start()
    hanging, dying = crew.workers
    with monkeypatch.context() as failing:
        failing.setattr(hanging.process, "ask", lambda command: 1 // 0)
        crew.run_for(3)
    hanging.process.silent = True
    crew.run_for(BOUND + 2)
    assert hanging.process.killed
    crew.end(dying, "killed by SIGKILL")
    assert crew.numbers(STARTING) == [dying.number]


def test_python_has_time_to_load() -> None:
    """A worker that has never answered has a minute."""
    crew = Crew(2).start()
    crew.run_for(30)
    crew.end(crew.workers[0], "killed by SIGKILL")
    [loading] = crew.of(STARTING)
    loading.process.silent = True
    crew.run_for(55)
    assert not loading.process.killed
    crew.run_for(10)
    assert loading.process.killed


# Replacements on request


def test_the_replacement_comes_first() -> None:
    """The old one serves until the new one is ready, drains then, and is counted when it has ended."""
    crew = Crew(2).start()
    old, other = crew.workers
    crew.wants(old)
    assert (crew.numbers(STARTING), crew.numbers(READY)) == ([3], [1, 2])
    crew.run_for(5)
    assert (old.state, old.process.drains) == (READY, [])
    crew.get_ready()
    assert (old.state, old.process.drains) == (DRAINING, [False])
    assert crew.numbers(READY) == [2, 3]
    crew.run_for(5)
    assert crew.restarts == {}
    crew.end(old)
    assert crew.numbers() == [2, 3]
    assert crew.restarts == {"lifetime": 1}
    assert old.process.signals == []
    assert other.process.drains == []
    assert crew.told_gone == [old]
    crew.run_for(60)
    assert len(crew.spawned) == 3


def test_numbers_are_used_again() -> None:
    """However often workers are replaced, no more numbers are in use than there have been workers side by side."""
    crew = Crew(2).start()
    for _ in range(10):
        crew.supervisor.replace_all()
        crew.roll()
    assert len(crew.spawned) == 22
    assert {worker.number for worker in crew.spawned} == {1, 2, 3}


def test_a_worker_that_does_not_end_is_killed() -> None:
    """Once its requests have had their time, and not before."""
    crew = Crew(2).start()
    old = crew.workers[0]
    crew.wants(old)
    crew.get_ready()
    crew.run_for(GRACE)
    assert not old.process.killed
    crew.run_for(10)
    assert old.process.killed
    crew.end(old, "killed by SIGKILL")
    assert crew.numbers(READY) == [2, 3]
    assert crew.restarts == {"lifetime": 1}


def test_one_at_a_time() -> None:
    """However many want it, the next replacement begins when the one before is complete."""
    crew = Crew(3).start()
    wishing = list(crew.workers)
    for worker in wishing:
        crew.wants(worker)
        crew.wants(worker)
    for position, old in enumerate(wishing):
        assert [worker.state for worker in wishing[position:]] == [READY] * (3 - position)
        assert len(crew.of(STARTING)) == 1
        assert len(crew.of(READY)) == 3
        crew.get_ready()
        assert crew.of(DRAINING) == [old]
        assert crew.of(STARTING) == []
        crew.wants(old)
        crew.end(old)
    assert len(crew.spawned) == 6
    assert len(crew.of(READY)) == 3
    assert crew.restarts == {"lifetime": 3}


def test_a_replacement_that_dies_leaves_the_old_one(caplog: pytest.LogCaptureFixture) -> None:
    """The old one stays and the log says why; it asks again and again, and a try is made after a pause."""
    crew = Crew(2).start()
    crew.run_for(60)
    old = crew.workers[0]
    tries = 0
    for _ in range(240):
        crew.wants(old)
        for new in crew.of(STARTING):
            tries += 1
            new.failure = "the shelf is gone"
            crew.end(new, "status 1")
        crew.run_for(0.5)
    assert (old.state, old.process.drains) == (READY, [])
    assert crew.numbers(READY) == [1, 2]
    assert "the shelf is gone" in caplog.text
    assert 4 <= tries <= 20, f"{tries} tries in two minutes"
    crew.run_for(PAUSES)
    crew.wants(old)
    crew.roll()
    assert (old.state, crew.numbers(READY)) == (GONE, [2, 3])


def test_a_signal_waits_for_no_pause() -> None:
    """SIGTERM to a worker right after a failed replacement is not sent again, so that it must not be dropped."""
    crew = Crew(2).start()
    crew.run_for(60)
    old = crew.workers[0]
    for cause in ("lifetime", "signal", "lifetime"):
        crew.wants(old, cause)
        for new in crew.of(STARTING):
            crew.end(new, "status 1")
    assert len(crew.spawned) == 2 + 2, "the last wish, which comes again, has to wait"
    crew.wants(old, "signal")
    crew.roll()
    assert (old.state, crew.numbers(READY)) == (GONE, [2, 3])


def test_a_worker_that_dies_before_its_replacement_is_ready_is_not_replaced_twice() -> None:
    """The new one takes its place."""
    crew = Crew(2).start()
    crew.run_for(60)
    old = crew.workers[0]
    crew.wants(old)
    crew.end(old, "killed by SIGKILL")
    crew.get_ready()
    crew.run_for(60)
    crew.roll()
    assert len(crew.of(READY)) == 2
    assert len(crew.spawned) == 3
    assert crew.restarts == {"died": 1}


def test_a_worker_that_dies_while_it_waits_for_its_turn_is_not_replaced_twice() -> None:
    """A dead one is replaced at once, before those whose turn it is."""
    crew = Crew(3).start()
    crew.run_for(60)
    for worker in list(crew.workers):
        crew.wants(worker)
    second = crew.workers[1]
    crew.end(second, "killed by SIGKILL")
    crew.roll()
    assert len(crew.of(READY)) == 3
    assert len(crew.spawned) == 6
    assert crew.restarts == {"died": 1, "lifetime": 2}


def test_a_worker_that_dies_while_it_drains_was_replaced_already() -> None:
    """Nothing more is started."""
    crew = Crew(2).start()
    old = crew.workers[0]
    crew.wants(old)
    crew.get_ready()
    crew.end(old, "killed by SIGSEGV")
    crew.run_for(60)
    assert crew.numbers(READY) == [2, 3]
    assert len(crew.spawned) == 3


def test_the_load_of_all_that_serve() -> None:
    """Their sum, without workers that are starting or draining."""
    crew = Crew(3).start()
    for worker in crew.workers:
        worker.process.load = Load(threads=4, busy=3, queued=2, stuck=1, requests=6, connections=40)
    crew.run_for(2)
    assert crew.supervisor.snapshot() == Load(12, 9, 6, 3, 18, 120)
    crew.wants(crew.workers[0])
    crew.get_ready()
    crew.end(crew.workers[1], "killed by SIGKILL")
    assert len(crew.of(READY)) == 2
    assert crew.supervisor.snapshot().threads == 4, "the new one has not answered a heartbeat yet"


@pytest.mark.parametrize(("stuck", "replaced"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_worker_whose_threads_are_all_stuck_is_replaced(stuck: int, replaced: bool) -> None:
    """It is, when no thread is left that could take work; one that is left is enough to go on."""
    crew = Crew(2).start()
    old = crew.workers[0]
    old.process.load = Load(threads=2, stuck=stuck)
    crew.run_for(3)
    assert len(crew.of(STARTING)) == replaced
    crew.roll()
    assert (old.state is GONE) is replaced
    assert crew.restarts == ({"stuck": 1} if replaced else {})


def test_a_worker_that_serves_nothing_yet_is_not_stuck() -> None:
    """No threads at all are no stuck threads."""
    crew = Crew(1).start()
    crew.workers[0].process.load = Load()
    crew.run_for(3)
    assert len(crew.spawned) == 1


def test_a_wish_during_the_start_replaces_too() -> None:
    """SIGTERM to a worker that is starting, and may do so for ever, has it replaced as at any other time."""
    crew = Crew(2).start()
    crew.run_for(60)
    crew.end(crew.workers[0], "killed by SIGKILL")
    [starting] = crew.of(STARTING)
    crew.wants(starting, "signal")
    crew.run_for(GRACE + 10)
    if starting in crew.workers:
        assert starting.process.drains or starting.process.signals, "it is to end"
        crew.end(starting)
    crew.run_for(PAUSES)
    crew.get_ready()
    assert crew.numbers(READY) == [1, 2]
    assert starting.state is GONE


# New code


def test_a_reload_replaces_all_one_by_one() -> None:
    """The number that serves stays the same at any time, and none is replaced twice."""
    crew = Crew(3).start()
    old = list(crew.workers)
    crew.supervisor.replace_all()
    steps = 0
    while changing := crew.of(STARTING, DRAINING):
        steps += 1
        assert len(changing) == 1
        assert len(crew.of(READY)) == 3
        if changing[0].state is STARTING:
            crew.supervisor.became_ready(changing[0])
        else:
            crew.end(changing[0])
    assert steps == 6
    assert [worker.state for worker in old] == [GONE] * 3
    assert len(crew.of(READY)) == 3
    assert crew.restarts == {"reload": 3}


def test_new_code_that_does_not_start_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """One try is made, the log says why it failed, and the next reload is a try again."""
    crew = Crew(3).start()
    crew.run_for(60)
    old = list(crew.workers)
    crew.supervisor.replace_all()
    [new] = crew.of(STARTING)
    new.failure = "the shelf is gone"
    crew.end(new, "status 1")
    crew.run_for(120)
    assert crew.workers == old
    assert [worker.process.drains for worker in old] == [[]] * 3
    assert len(crew.spawned) == 4
    [line] = [record.getMessage() for record in caplog.records if "the shelf is gone" in record.getMessage()]
    assert "old" in line
    assert crew.supervisor.outdated
    crew.supervisor.replace_all()
    crew.roll()
    assert [worker.state for worker in old] == [GONE] * 3
    assert len(crew.of(READY)) == 3
    assert crew.restarts == {"replacement_failed": 1, "reload": 3}
    assert not crew.supervisor.outdated


def test_new_code_that_blocks_its_reactor_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A new worker that does not answer is killed, and the old ones stay as if it had failed."""
    crew = Crew(2).start()
    crew.run_for(60)
    old = list(crew.workers)
    crew.supervisor.replace_all()
    [new] = crew.of(STARTING)
    crew.run_for(3)
    new.process.silent = True
    crew.run_for(BOUND + 3)
    assert new.process.killed
    crew.end(new, "killed by SIGKILL")
    crew.run_for(120)
    assert crew.workers == old
    assert [worker.state for worker in old] == [READY, READY]
    assert len(crew.spawned) == 3
    assert crew.restarts == {"replacement_failed": 1}
    assert any("old" in record.getMessage() for record in caplog.records)


def test_a_second_reload_replaces_what_the_first_has_started() -> None:
    """It brings newer code to every worker, also to one that was starting just then."""
    crew = Crew(2).start()
    crew.supervisor.replace_all()
    [starting] = crew.of(STARTING)
    crew.supervisor.replace_all()
    before = {*crew.spawned}
    crew.roll()
    assert starting.state is GONE
    assert before.isdisjoint(crew.of(READY))
    assert len(crew.of(READY)) == 2


def test_new_code_that_never_gets_ready_is_given_up_for_newer() -> None:
    """The next reload kills what hangs in its start, and goes on with the worker that this was to replace."""
    crew = Crew(2).start()
    crew.run_for(60)
    old = list(crew.workers)
    crew.supervisor.replace_all()
    [hanging] = crew.of(STARTING)
    crew.run_for(600)
    assert not hanging.process.killed, "a start may take long"
    crew.wants(old[1], "memory")
    crew.supervisor.replace_all()
    assert hanging.process.killed
    crew.supervisor.became_ready(hanging)
    assert [worker.process.drains for worker in old] == [[], []], "what it says now is not heard"
    crew.end(hanging, "killed by SIGKILL")
    [newer] = crew.of(STARTING)
    assert newer.predecessor is old[0]
    crew.roll()
    assert [worker.state for worker in old] == [GONE, GONE]
    assert len(crew.of(READY)) == 2
    assert len(crew.spawned) == 5


def test_a_reload_survives_the_failure_of_the_one_before() -> None:
    """What the older code says of itself while it ends takes nothing back."""
    crew = Crew(2).start()
    crew.run_for(60)
    old = list(crew.workers)
    crew.supervisor.replace_all()
    [broken] = crew.of(STARTING)
    broken.failure = "the shelf is gone"
    crew.supervisor.replace_all()
    crew.end(broken, "status 1")
    crew.roll()
    assert [worker.state for worker in old] == [GONE, GONE]
    assert len(crew.of(READY)) == 2


def test_a_reload_during_the_first_start() -> None:
    """Those that are starting begin anew, and it is no failure that they ended; what had failed is tried again too."""
    crew = Crew(3)
    crew.supervisor.start()
    old = list(crew.workers)
    crew.end(old[0], "status 1")
    crew.supervisor.replace_all()
    crew.bury()
    assert crew.failures == []
    assert {worker.state for worker in old} == {GONE}
    crew.get_ready()
    crew.run_for(60)
    assert len(crew.of(READY)) == 3
    assert len(crew.spawned) == 6


def test_a_reload_waits_for_no_pause() -> None:
    """What kept workers from starting may be mended: they are started at once."""
    crew = Crew(2).start()
    crew.run_for(60)
    dying = crew.workers[0]
    for _ in range(6):
        crew.end(dying, "status 1")
        while not crew.of(STARTING):
            crew.run_for(0.5)
        [dying] = crew.of(STARTING)
    crew.end(dying, "status 1")
    assert crew.of(STARTING) == []
    crew.supervisor.replace_all()
    assert [worker.predecessor is None for worker in crew.of(STARTING)] == [True, False]
    crew.roll()
    crew.run_for(PAUSES)
    assert len(crew.of(READY)) == len(crew.workers) == 2


def test_the_log_tells_of_a_start_that_takes_long(caplog: pytest.LogCaptureFixture) -> None:
    """Once a minute, at which step it is, and that the old workers stay."""
    crew = Crew(2).start()
    crew.run_for(60)
    crew.supervisor.replace_all()
    [new] = crew.of(STARTING)
    new.step = "loading the WSGI application"
    crew.run_for(150)
    lines = [message for message in caplog.messages if "still starting" in message]
    assert len(lines) == 2
    assert all(f"{new}" in line and new.step in line and "old workers stay" in line for line in lines)


def test_a_reload_replaces_what_is_starting() -> None:
    """A worker that has begun to import the old code when the signal comes is replaced as well."""
    crew = Crew(2).start()
    crew.run_for(60)
    crew.end(crew.workers[0], "killed by SIGKILL")
    old = list(crew.workers)
    assert [worker.state for worker in old] == [READY, STARTING]
    crew.supervisor.replace_all()
    crew.roll()
    assert [worker.state for worker in old] == [GONE, GONE]
    assert len(crew.of(READY)) == 2


def test_a_reload_leaves_a_worker_that_drains_alone() -> None:
    """It ends anyway."""
    crew = Crew(2).start()
    crew.wants(crew.workers[0])
    crew.get_ready()
    [draining] = crew.of(DRAINING)
    crew.supervisor.replace_all()
    crew.roll()
    assert draining.process.drains == [False]
    assert len(crew.of(READY)) == 2


# More and fewer


def test_one_more_and_one_less() -> None:
    """One more is started beside the others; one less drains, and nothing takes its place."""
    crew = Crew(2).start()
    crew.supervisor.resize(1)
    assert (crew.numbers(STARTING), crew.numbers(READY)) == ([3], [1, 2])
    crew.get_ready()
    crew.supervisor.resize(-1)
    [leaving] = crew.of(DRAINING)
    assert leaving.process.drains == [False]
    crew.end(leaving)
    crew.run_for(60)
    assert len(crew.of(READY)) == len(crew.workers) == 2


def test_never_none() -> None:
    """The last worker stays, however often one less is asked for; one more is one more then."""
    crew = Crew(2).start()
    for _ in range(5):
        crew.supervisor.resize(-1)
    crew.roll()
    crew.run_for(60)
    assert len(crew.of(READY)) == len(crew.workers) == 1
    crew.supervisor.resize(1)
    crew.get_ready()
    assert len(crew.of(READY)) == 2


def test_one_less_leaves_the_only_one_that_serves() -> None:
    """Where another one is still starting, it is that one which is not needed."""
    crew = Crew(2).start()
    crew.run_for(60)
    serving, dying = crew.workers
    crew.end(dying, "killed by SIGKILL")
    crew.supervisor.resize(-1)
    assert serving.state is READY
    assert serving.process.drains == []
    crew.run_for(5)
    crew.roll()
    crew.run_for(60)
    assert len(crew.of(READY)) == len(crew.workers) == 1


def test_one_less_while_a_replacement_starts() -> None:
    """Whichever worker leaves, the one being replaced or another, as many are left as are wanted."""
    for position in (0, 1):
        crew = Crew(2).start()
        crew.wants(crew.workers[position])
        crew.supervisor.resize(-1)
        crew.get_ready()
        crew.roll()
        crew.run_for(60)
        assert len(crew.of(READY)) == len(crew.workers) == 1


def test_one_less_during_a_reload() -> None:
    """At the end there are as many as are wanted, all of them new."""
    crew = Crew(3).start()
    old = list(crew.workers)
    crew.supervisor.replace_all()
    crew.supervisor.resize(-1)
    crew.roll()
    assert len(crew.of(READY)) == len(crew.workers) == 2
    assert [worker.state for worker in old] == [GONE] * 3


# The end


def test_the_end() -> None:
    """All are told to drain, as the last ones; it is over when all have ended, and nothing is started any more."""
    crew = Crew(3)
    crew.supervisor.start()
    starting = crew.workers[2]
    for worker in crew.workers[:2]:
        crew.supervisor.became_ready(worker)
    stopped = crew.supervisor.stop()
    workers = list(crew.workers)
    assert [worker.process.drains for worker in workers] == [[True]] * 3
    crew.supervisor.became_ready(starting)
    crew.wants(workers[0])
    crew.supervisor.replace_all()
    crew.supervisor.resize(1)
    for worker in workers:
        crew.run_for(2)
        assert not stopped.called
        crew.end(worker)
    assert stopped.called
    assert len(crew.spawned) == 3
    assert crew.clock.getDelayedCalls() == []
    assert crew.restarts == {}


def test_the_end_of_what_is_being_replaced() -> None:
    """A worker that drains already learns that no other accepts any more, and its replacement is not needed."""
    crew = Crew(2).start()
    old, other = crew.workers
    crew.wants(old)
    crew.get_ready()
    crew.wants(other)
    stopped = crew.supervisor.stop()
    assert old.process.drains == [False, True]
    assert {tuple(worker.process.drains) for worker in crew.workers if worker is not old} == {(True,)}
    for worker in list(crew.workers):
        crew.end(worker)
    assert stopped.called
    assert len(crew.spawned) == 3
    assert crew.clock.getDelayedCalls() == []


def test_no_worker_is_replaced_before_the_end() -> None:
    """Neither on request nor if it was waiting for it; one that dies is, for there are requests until the end."""
    crew = Crew(3).start()
    crew.run_for(60)
    first, second, third = crew.workers
    crew.wants(first)
    crew.wants(second)
    crew.supervisor.leave()
    crew.wants(third, "signal")
    crew.supervisor.replace_all()
    crew.roll()
    assert [worker.state for worker in (first, second, third)] == [GONE, READY, READY]
    crew.end(second, "killed by SIGKILL")
    crew.roll()
    assert len(crew.of(READY)) == 3
    assert len(crew.spawned) == 5


def test_the_end_during_a_pause() -> None:
    """What was to be started later is not."""
    crew = Crew(1).start()
    for _ in range(4):
        crew.end(crew.workers[0], "status 1")
        while not crew.workers:
            crew.run_for(0.5)
    crew.end(crew.workers[0], "status 1")
    assert crew.workers == []
    assert crew.supervisor.stop().called
    spawned = len(crew.spawned)
    crew.run_for(PAUSES)
    assert len(crew.spawned) == spawned
    assert crew.clock.getDelayedCalls() == []


def test_a_worker_that_does_not_end_is_killed_at_the_end_too() -> None:
    """When the requests have had their time."""
    crew = Crew(2).start()
    stopped = crew.supervisor.stop()
    ending, hanging = crew.workers
    crew.run_for(GRACE - 1)
    crew.end(ending)
    assert not hanging.process.killed
    crew.run_for(10)
    assert hanging.process.killed
    crew.end(hanging, "killed by SIGKILL")
    assert stopped.called


def test_a_worker_that_stops_answering_while_it_drains_is_killed_early() -> None:
    """Its requests will not be answered any more."""
    crew = Crew(2).start()
    crew.run_for(5)
    crew.supervisor.stop()
    hanging, well = crew.workers
    hanging.process.silent = True
    crew.run_for(BOUND + 4)
    assert hanging.process.killed
    assert not well.process.killed


def test_killing_all(caplog: pytest.LogCaptureFixture) -> None:
    """At once, whatever they are at; the log has how many requests that ends."""
    crew = Crew(2).start()
    crew.wants(crew.workers[0])
    crew.workers[1].load = Load(requests=3)
    crew.supervisor.stop()
    crew.supervisor.kill_all()
    assert [worker.process.killed for worker in crew.workers] == [True] * 3
    [line] = [record.getMessage() for record in caplog.records if "in flight" in record.getMessage()]
    assert line.startswith("worker 2 ")
    assert "3 requests were in flight" in line


# Asking all


def test_asking_all_that_have_requests() -> None:
    """Those that answer in time are heard, also one that drains; one that is silent, gone or starting delays none."""
    crew = Crew(5)
    crew.supervisor.start()
    well, silent, dying, draining, starting = crew.workers
    for worker in (well, silent, dying, draining):
        crew.supervisor.became_ready(worker)
    crew.supervisor.resize(-1)
    crew.supervisor.resize(-1)
    assert starting.state is draining.state is DRAINING
    crew.end(starting)
    crew.supervisor.resize(1)
    [starting] = crew.of(STARTING)
    silent.process.silent = True
    dying.process.gone = True
    answers: list[Any] = []
    crew.supervisor.ask_all(FlushMetrics, 2.0).addCallback(answers.append)
    crew.run_for(3)
    assert [[worker for worker, _ in found] for found in answers] == [[well, draining]]
    assert FlushMetrics not in starting.process.asked
    assert FlushMetrics in silent.process.asked


def test_asking_where_none_serves() -> None:
    """Where none serves, the answer is empty and comes at once."""
    answers: list[Any] = []
    Crew(1).supervisor.ask_all(FlushMetrics, 2.0).addCallback(answers.append)
    assert answers == [[]]


# Anything, in any order


class Whatever(RuleBasedStateMachine):
    """Whatever happens in whichever order, it comes out right when things calm down."""

    @initialize(size=st.integers(1, 4))
    def begin(self, size: int) -> None:
        self.size = size
        self.crew = Crew(size).start()
        self.drained_alone: list[FakeWorker] = []

    def some(self, data: st.DataObject, *states: WorkerState) -> FakeWorker:
        return data.draw(st.sampled_from(self.crew.of(*states)))

    def there_are(*states: WorkerState) -> Callable[[Any], bool]:
        return lambda self: bool(self.crew.of(*states))

    @precondition(there_are(STARTING))
    @rule(data=st.data())
    def becomes_ready(self, data: st.DataObject) -> None:
        self.crew.supervisor.became_ready(self.some(data, STARTING))

    @precondition(there_are(STARTING, READY, DRAINING))
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        self.crew.end(self.some(data, STARTING, READY, DRAINING), "killed by SIGKILL")

    @precondition(there_are(DRAINING))
    @rule(data=st.data())
    def has_drained(self, data: st.DataObject) -> None:
        self.crew.end(self.some(data, DRAINING))

    @precondition(there_are(STARTING, READY))
    @rule(data=st.data(), cause=st.sampled_from(["lifetime", "memory", "signal"]))
    def wants_replacement(self, data: st.DataObject, cause: str) -> None:
        self.crew.wants(self.some(data, STARTING, READY), cause)

    @precondition(there_are(READY))
    @rule(data=st.data())
    def gets_stuck(self, data: st.DataObject) -> None:
        self.some(data, READY).process.load = Load(threads=2, stuck=2)

    @precondition(there_are(STARTING, READY, DRAINING))
    @rule(data=st.data())
    def goes_silent(self, data: st.DataObject) -> None:
        self.some(data, STARTING, READY, DRAINING).process.silent = True

    @rule()
    def reload(self) -> None:
        self.crew.supervisor.replace_all()

    @rule(by=st.sampled_from([1, -1]))
    def resize(self, by: int) -> None:
        if self.size + by >= 1:
            self.size += by
        self.crew.supervisor.resize(by)

    @rule(number=st.integers(1, 3))
    def refuses_processes(self, number: int) -> None:
        self.crew.refusals = [OSError(11, "Resource temporarily unavailable") for _ in range(number)]

    @rule(seconds=st.sampled_from([0.5, 2.0, 15.0]))
    def time_passes(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.crew.run_for(0.5)
            self.crew.bury()

    @invariant()
    def numbers_are_unique(self) -> None:
        numbers = self.crew.numbers()
        assert len(numbers) == len(set(numbers))

    @invariant()
    def the_last_that_serves_is_not_ended(self) -> None:
        """Only deaths leave none serving: while a worker drains another one serves."""
        for worker in self.crew.of(DRAINING):
            if worker not in self.drained_alone and not self.crew.of(READY):
                others_died = [each for each in self.crew.told_gone if each.ready_since is not None]
                assert others_died, f"{worker} drains and none serves"
            self.drained_alone.append(worker)

    def teardown(self) -> None:
        if not hasattr(self, "crew"):
            return
        crew = self.crew
        crew.refusals = []
        for worker in crew.workers:
            worker.process.load = Load(threads=2, stuck=0)
            worker.process.answer()
        for _ in range(100):
            crew.bury()
            crew.roll()
            crew.run_for(1)
        assert [worker.state for worker in crew.workers] == [READY] * self.size
        assert crew.failures == []
        assert [worker.process.killed for worker in crew.workers] == [False] * self.size
        stopped = crew.supervisor.stop()
        for worker in list(crew.workers):
            crew.end(worker)
        assert stopped.called
        assert crew.clock.getDelayedCalls() == []


Whatever.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestWhateverHappens = Whatever.TestCase


# A process by another name, which is alone


def test_the_old_one_makes_way_for_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    """For new code and when it asks for it: the new one goes on when the old one has ended."""
    caplog.set_level("INFO")
    crew = Crew(1, name="service feed").start()
    for begin in (crew.supervisor.replace_all, lambda: crew.wants(crew.workers[0], "signal")):
        [old] = crew.workers
        begin()
        [new] = crew.of(STARTING)
        assert old.process.drains == []
        alone: list[Any] = []
        crew.supervisor.make_way(new).addCallback(alone.append)
        assert (old.process.drains, alone) == ([False], [])
        crew.end(old)
        assert len(alone) == 1
        crew.get_ready()
        assert crew.workers == [new]
    assert crew.restarts == {"reload": 1, "signal": 1}
    assert f"service feed (pid {new.process.pid}) is ready after 0.0 s" in caplog.messages


def test_a_new_one_that_fails_before_leaves_the_old_one() -> None:
    """It has not been asked to make way."""
    crew = Crew(1, name="service feed").start()
    [old] = crew.workers
    crew.supervisor.replace_all()
    crew.end(crew.of(STARTING)[0], "status 1")
    assert crew.workers == crew.of(READY) == [old]
    assert crew.supervisor.outdated


def test_a_new_one_that_fails_after_does_not_keep_the_old_one(caplog: pytest.LogCaptureFixture) -> None:
    """Which ends already: the log does not say that it stays, and it counts as replaced."""
    crew = Crew(1, name="service feed").start()
    [old] = crew.workers
    crew.supervisor.replace_all()
    [second] = crew.of(STARTING)
    crew.supervisor.make_way(second)
    crew.end(second, "killed by SIGKILL")
    assert len(crew.of(STARTING)) == 1
    crew.end(old)
    assert "the old workers stay" not in caplog.text
    assert crew.restarts == {"died": 1, "reload": 1}


def test_all_that_still_end_are_waited_for() -> None:
    """Code that changes again while the old one ends."""
    crew = Crew(1, name="service feed").start()
    [old] = crew.workers
    crew.supervisor.replace_all()
    [second] = crew.of(STARTING)
    crew.supervisor.make_way(second)
    crew.supervisor.replace_all()
    crew.bury()
    [third] = crew.of(STARTING)
    alone: list[Any] = []
    crew.supervisor.make_way(third).addCallback(alone.append)
    assert (crew.of(DRAINING), alone) == ([old], [])
    crew.end(old)
    assert len(alone) == 1


def test_one_that_is_the_first_need_not_wait() -> None:
    """Nor one that is started in the place of one that died."""
    crew = Crew(1, name="service feed")
    crew.supervisor.start()
    for _ in range(2):
        [worker] = crew.of(STARTING)
        alone: list[Any] = []
        crew.supervisor.make_way(worker).addCallback(alone.append)
        assert len(alone) == 1
        crew.get_ready()
        crew.end(worker, "killed by SIGKILL")
    failing = Crew(1, name="service feed")
    failing.supervisor.start()
    failing.end(failing.workers[0], "status 1")
    assert failing.failures == ["service feed (pid 1001) has ended before it was ready: status 1"]


# With --preload


def test_one_that_waits_for_its_process_is_not_asked() -> None:
    """It has none that could answer, for as long as it takes; it counts as one that lives."""
    crew = Crew()
    crew.supervisor.start()
    waiting, other = crew.workers
    waiting.waits = True
    crew.run_for(2 * FIRST_SILENCE)
    assert waiting.process.asked == []
    assert not waiting.process.killed
    assert crew.supervisor.heard_lately(waiting)
    assert Heartbeat in other.process.asked


def test_the_one_that_prepared_is_replaced_when_it_has_ended() -> None:
    """By one with its number, not before; it has neither died nor been restarted."""
    crew = Crew()
    crew.supervisor.start()
    first, second = crew.workers
    crew.supervisor.replace_after_end(first)
    crew.supervisor.became_ready(second)
    assert len(crew.spawned) == 2
    crew.end(first)
    assert len(crew.spawned) == 3
    assert crew.numbers() == [1, 2]
    assert crew.failures == []
    assert crew.restarts == {}


@pytest.mark.parametrize(
    ("end", "numbers"),
    [(Supervisor.replace_after_end, [1, 2]), (Supervisor.start_anew, [2, 3])],
    ids=["ends", "killed"],
)
def test_a_worker_that_died_while_another_prepared_is_started_again(
    end: Callable[[Supervisor, Worker], None], numbers: list[int]
) -> None:
    """It was still waiting: that it died is not counted against the next start."""
    crew = Crew()
    crew.supervisor.start()
    first, second = crew.workers
    crew.end(second)
    end(crew.supervisor, first)
    crew.end(first)
    assert crew.numbers() == numbers
    assert crew.failures == []


def test_the_one_that_prepared_is_killed_if_it_does_not_end() -> None:
    """As one that drains."""
    crew = Crew()
    crew.supervisor.start()
    first = crew.workers[0]
    crew.supervisor.replace_after_end(first)
    crew.run_for(GRACE + MARGIN + 1)
    assert first.process.killed
