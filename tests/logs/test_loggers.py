"""The loggers of what serves: they never raise, and never wait for anything of the project's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from twistserve.logs import get_logger, loggers
from twistserve.logs.loggers import log_event, spare_this_thread
from twistserve.logs.queue import LogQueue

PATIENCE = 10.0


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> LogQueue:
    """A queue of the test's own, with its thread."""
    started = LogQueue()
    started.start()
    monkeypatch.setattr(loggers, "queue", started)
    return started


@pytest.fixture
def name() -> Iterator[str]:
    logger = logging.getLogger("twistserve.unit")
    before = logger.handlers[:], logger.filters[:], logger.level
    logger.setLevel(logging.INFO)
    yield logger.name
    logger.handlers, logger.filters = before[:2]
    logger.setLevel(before[2])


class Waiting(logging.Handler):
    """Takes as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.records: list[logging.LogRecord] = []
        self.threads: set[int] = set()

    def handle(self, record: logging.LogRecord) -> bool:
        assert self.open.wait(PATIENCE)
        self.records.append(record)
        self.threads.add(threading.get_ident())
        return True


def test_a_call_does_not_wait_for_a_handler(queue: LogQueue, name: str) -> None:
    """Whichever thread logs; the record says where it was logged, and has its exception."""
    handler = Waiting()
    logging.getLogger(name).addHandler(handler)
    logger = get_logger(name)
    try:
        raise ValueError("no such book")
    except ValueError:
        logger.exception("%s failed", "this")
    logger.debug("not wanted")
    log_event(name, logging.WARNING, "an event")
    log_event(name, logging.DEBUG, "not wanted")
    assert not handler.records
    handler.open.set()
    assert queue.flush(PATIENCE)
    first, second = handler.records
    assert first.getMessage() == "this failed"
    assert first.pathname == __file__
    assert first.exc_info is not None
    assert first.exc_info[0] is ValueError
    assert second.getMessage() == "an event"
    assert threading.get_ident() not in handler.threads


def test_a_call_does_not_wait_for_logging_s_own_lock(queue: LogQueue, name: str) -> None:
    """Which is held while LOGGING is applied: a handler of its may take long to be made, and to be closed."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with logging._lock:  # type: ignore[attr-defined]
            held.set()
            assert done.wait(PATIENCE)

    logger = get_logger(name)
    logger.logger._cache.clear()  # type: ignore[attr-defined]
    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)
    logger.info("while it is held")
    log_event(name, logging.INFO, "an event meanwhile")
    done.set()
    holder.join()


@pytest.mark.parametrize("what", ["filter", "handler", "factory"])
def test_a_call_never_raises(
    queue: LogQueue, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A filter, a handler or a factory of the project's may; what is lost is counted."""

    def fail(*arguments: Any, **keywords: Any) -> Any:
        raise RuntimeError(what)

    logger = logging.getLogger(name)
    if what == "filter":
        logger.addFilter(fail)
    elif what == "handler":
        handler = logging.Handler()
        handler.handle = fail  # type: ignore[method-assign]
        logger.addHandler(handler)
    elif what == "factory":
        monkeypatch.setattr(logging, "_logRecordFactory", fail)
    get_logger(name).warning("%s", "text")
    assert queue.flush(PATIENCE)
    assert queue.dropped == (1 if what in ("filter", "handler") else 0)
    if what == "factory":
        assert caplog.messages == ["text"]


def test_other_libraries_do_not_stop_the_reactor_either(
    queue: LogQueue, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged on its thread is queued, by whomever; on other threads it is handled as ever."""
    monkeypatch.setattr(logging.Logger, "handle", logging.Logger.handle)
    spare_this_thread()
    handler = Waiting()
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.info("on this thread")
    assert not handler.records
    handler.open.set()
    assert queue.flush(PATIENCE)
    other = threading.Thread(target=logger.info, args=("on another",))
    other.start()
    other.join()
    assert [record.getMessage() for record in handler.records] == ["on this thread", "on another"]
    assert other.ident in handler.threads
