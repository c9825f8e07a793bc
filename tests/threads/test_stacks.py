"""Where threads stand, as the log tells it."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator

import pytest

from twistserve.threads.stacks import all_stacks, log_all_stacks, stack_of, where

REQUEST = "GET /slow/%s%n"


class Standing(threading.Thread):
    """A thread that stands in `outer`, `inner` and an Event's wait()."""

    def __init__(self, depth: int = 0) -> None:
        super().__init__(name="the-standing-one", daemon=True)
        self.depth = depth
        self.stands, self.may_go = threading.Event(), threading.Event()
        self.start()
        assert self.stands.wait(30)

    def run(self) -> None:
        self.outer(self.depth)

    def outer(self, depth: int) -> None:
        if depth:
            self.outer(depth - 1)
        else:
            self.inner()

    def inner(self) -> None:
        self.stands.set()
        self.may_go.wait(30)

    @property
    def number(self) -> int:
        assert self.ident is not None
        return self.ident

    def end(self) -> None:
        self.may_go.set()
        self.join(30)


@pytest.fixture
def standing() -> Iterator[Standing]:
    thread = Standing()
    yield thread
    thread.end()


def test_a_stack_reads_as_in_a_traceback(standing: Standing) -> None:
    """The outermost call first, with file, line, function and source."""
    stack = stack_of(standing.number)
    calls = re.findall(r'^  File ".*test_stacks.py", line \d+, in (\w+)\n    (.*)$', stack, re.MULTILINE)
    assert calls == [
        ("run", "self.outer(self.depth)"),
        ("outer", "self.inner()"),
        ("inner", "self.may_go.wait(30)"),
    ]
    assert stack == stack.rstrip()


def test_one_line_has_the_innermost_call_first(standing: Standing) -> None:
    """As file names without their directories."""
    line = where(standing.number)
    assert "\n" not in line
    assert re.search(
        r" < test_stacks.py:\d+ inner < test_stacks.py:\d+ outer < test_stacks.py:\d+ run < threading.py:\d+ ", line
    )
    assert not line.endswith("...")


def test_one_line_of_a_deep_stack_is_cut() -> None:
    """Its outer end is left out, and that is told."""
    thread = Standing(depth=200)
    line = where(thread.number)
    thread.end()
    assert "inner < " in line
    assert line.endswith(" < ...")
    assert len(line) < 1000


def test_a_thread_that_has_ended_stands_nowhere() -> None:
    """Nothing is raised, and nothing invented."""
    thread = Standing()
    thread.end()
    assert stack_of(thread.number) == ""
    assert "ended" in where(thread.number)


def test_all_stacks_tell_names_and_requests(standing: Standing) -> None:
    """Every thread has one; those that serve a request are named with it."""
    text = all_stacks({standing.number: REQUEST})
    [its_own] = [part for part in re.split(r"^(?=thread )", text, flags=re.MULTILINE) if REQUEST in part]
    assert "the-standing-one" in its_own.splitlines()[0]
    assert "in inner" in its_own
    heads = [line for line in text.splitlines() if line.startswith("thread ")]
    assert len(heads) >= threading.active_count() >= 2
    assert any("MainThread" in line for line in heads)


def test_they_are_logged_as_one_warning(standing: Standing, caplog: pytest.LogCaptureFixture) -> None:
    """With the signal that asked for them."""
    with caplog.at_level(logging.WARNING):
        log_all_stacks("SIGQUIT", {standing.number: REQUEST})
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "SIGQUIT" in record.getMessage()
    assert REQUEST in record.getMessage()
    assert "in inner" in record.getMessage()


def test_one_line_leaves_out_what_lies_between_middlewares() -> None:
    """A chain of ten of them would leave no room for the view's callers."""
    source = "def passing_on(call): call()"
    for path in ("/lib/django/utils/deprecation.py", "/lib/django/core/handlers/exception.py"):
        between: dict[str, Callable[[Callable[[], None]], None]] = {}
        exec(compile(source, path, "exec"), between)
        lines: list[str] = []
        between["passing_on"](lambda lines=lines: lines.append(where(threading.get_ident())))  # type: ignore[misc]
        assert "passing_on" not in lines[0]
        assert "test_one_line_leaves_out" in lines[0]
