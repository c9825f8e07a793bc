"""The end of the process: everything that wants to run then does, and none of it can hold the end up.

Python joins the threads that are no daemons and runs what was registered with atexit. It never comes to its own
finalization, which aborts while a daemon thread holds the lock of a standard stream: we leave by os._exit before it.
"""

from __future__ import annotations

import _thread
import atexit
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.logs.printed import finish_printing
from twistserve.logs.queue import queue
from twistserve.net.main_thread import REACTOR, main_thread
from twistserve.net.reactor import release_signals
from twistserve.process.first_process import FirstProcess
from twistserve.process.watchdog import Watchdog
from twistserve.threads.stacks import where

logger = get_logger(__name__)

END = 10.0
"""Seconds for the whole end, after the time that requests have, at which the process is gone."""
WORKER_END = 3.0
"""The same of a worker, whose parent has the rest."""
CUT = 0.6
"""Seconds before that at which the cut begins."""
KILL = 0.2
"""Seconds before that at which another process kills it."""
FLUSH = 2.0
"""Seconds that the log has for what is queued, before the functions that are registered with atexit and after."""
LAST_WORDS = 0.15
"""Seconds that the cut waits for its line to be logged: a handler may be what holds the end up."""
ASKS = (signal.SIGTERM, signal.SIGINT)
_NAMED = 5
"""Threads that the line names."""


class Ending:
    """Ends this process: with `status`, at the latest `end` seconds after the `grace` of its requests is over.

    `asks` are the signals that begin the end, a second one of which leaves no more time. `first` is told how much
    there is, to hold us to it.
    """

    def __init__(self, first: FirstProcess | None = None, *, end: float = END, asks: Collection[int] = ASKS) -> None:
        self.status = 0
        self.flush: Callable[[float], bool] = queue.flush
        """Has what is queued for the log written, within so many seconds; whether it was."""
        self.stopping: Callable[[], str] = lambda: ""
        """The name of the service that is being stopped."""
        self.at_cut: Callable[[], None] = lambda: None
        """Called by another thread before the process is cut off, to end what would outlive it. Must not wait."""
        self.on_signal: Callable[[int], None] = lambda number: None
        """Called by another thread with each signal that comes from when the reactor runs on."""
        self.pid_file = ""
        """The file that has our pid, if there is one."""
        self.replaced: dict[int, Any] = {}
        """The handlers of signals that `take_early_signals` found."""
        self.after_failure = end
        """Seconds for the end of a start that has failed."""
        self._first = first or FirstProcess()
        self._when_done = 0
        self._end = end
        self._grace = 0.0
        self._asks = asks
        self._watchdog: Watchdog | None = None
        self._pid = 0
        self._registered = self._leaving = False
        self._alarm_at = math.inf
        """When the kernel's alarm is to end the process, by `time.monotonic`."""
        self._once = threading.Lock()
        self._may_log, self._logged = threading.Event(), threading.Event()
        self._line = "cut off at the end of its time"

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The files that it has open."""
        return (self._first.pipe, *(self._watchdog.descriptors if self._watchdog is not None else ()))

    def grant(self, grace: float) -> None:
        """Let requests have so many seconds before the rest of the end."""
        self._grace = grace
        self._first.tell_bound(grace + self._end - KILL)

    def ask_for_restart(self, status: int, grace: float, end: float) -> None:
        """End with this status, and have so many seconds for requests and for the rest. Before the end has begun."""
        self._when_done, self._end = status, end
        self.grant(grace)

    # Before the reactor runs

    def take_early_signals(self) -> None:
        """Until the service takes the signals over, end at once with status 0.

        The settings may take long to import, and the first process of a container ignores signals without a handler.
        """
        for number in self._asks:
            self.replaced[number] = signal.signal(number, self._end_early)

    def _end_early(self, number: int, frame: FrameType | None) -> None:
        if self._watchdog is not None:
            # The end goes on as it has begun; the watchdog counts.
            return
        watchdog = self._make_watchdog()
        watchdog.hear()
        watchdog.asked()
        watchdog.bound(self._end - CUT)
        watchdog.start_in_handler()
        self._leave()

    def fail_early(self) -> None:
        """Python is to end with status 1, and soon."""
        self.end_early(1)

    def end_early(self, status: int) -> None:
        """Python is to end with this status, and soon: the settings may have started threads."""
        self.status = status
        self._begin(self.after_failure)
        self.hear()
        self._register()

    # With a lifecycle

    def follow(self, lifecycle: Lifecycle, reactor: Any) -> None:
        """Watch over the end of this lifecycle, as soon as the reactor runs."""
        main_thread.leave = self._leave_main_thread
        reactor.callWhenRunning(self._watch)
        reactor.addSystemEventTrigger("after", "shutdown", self._go_on_watching, reactor)

        def changed(state: State, reason: str) -> None:
            self.status = 1 if lifecycle.failure is not None else self._when_done
            if state is State.DRAINING:
                failed_to_start = lifecycle.failure is not None and not lifecycle.started
                self._begin(self.after_failure if failed_to_start else self._grace + self._end)
            elif state is State.STOPPED:
                self._register()

        lifecycle.observe(changed)

    def _watch(self) -> None:
        """Begin to hear signals: the reactor has taken them over."""
        self._start()
        self.hear()

    def _go_on_watching(self, reactor: Any) -> None:
        """Hear signals beyond the end of the reactor, which lets go of the wake-up descriptor."""

        def hear() -> None:
            release_signals(reactor)
            self.hear()

        main_thread.call(hear)

    def hear(self) -> bool:
        """Hear signals from now on; whether they were not heard until now. Main thread, and in others nothing."""
        if self._watchdog is None or threading.current_thread() is not threading.main_thread():
            return False
        return self._watchdog.hear()

    def pass_on(self, fd: int) -> None:
        """Have signals written to a file of the application's too. Main thread, where `hear` has been called."""
        assert self._watchdog is not None
        self._watchdog.pass_on(fd)

    def _begin(self, seconds: float) -> None:
        self._start()
        assert self._watchdog is not None
        self._watchdog.bound(seconds - CUT)

    def _start(self) -> None:
        if self._watchdog is None:
            self._make_watchdog().start()

    def _make_watchdog(self) -> Watchdog:
        self._pid = os.getpid()
        self._watchdog = Watchdog(
            self._grace + self._end - CUT, self._asks, self._cut_off, self._on_bound, self._on_signal
        )
        return self._watchdog

    def _on_signal(self, number: int) -> None:
        self.on_signal(number)

    def _on_bound(self, seconds: float) -> None:
        """Have others see to the end too: the first process, and the kernel, which ends even C code with the GIL."""
        if self._once.acquire(blocking=False):
            # Python 3.12 starts no thread any more when it calls what is registered with atexit. Not by threading: a
            # handler of a signal may have interrupted who holds its lock.
            _thread.start_new_thread(self._log_when_cut, ())
        self._first.tell_end(seconds + CUT - KILL)
        # The earlier of two alarms counts if we have set both, or if the kernel has set one because a worker's parent
        # has died. Any other is the application's, and would end the drain now that its handler is gone.
        self._alarm_at = min(self._alarm_at, time.monotonic() + math.ceil(seconds + CUT) + 1)
        self._set_alarm()
        main_thread.call(self._take_alarm)

    def _set_alarm(self) -> None:
        """Have the kernel send SIGALRM when our time is up. Any thread."""
        later = max(math.ceil(self._alarm_at - time.monotonic()), 1)
        left = signal.alarm(later)
        if not self._asks and 0 < left < later:
            signal.alarm(left)

    def _take_alarm(self) -> None:
        """Have SIGALRM end the process. Main thread: until now a handler may have set the timer anew."""
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        self._set_alarm()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    # The end

    def _register(self) -> None:
        """Run when Python has joined its threads, and before all that was registered until now."""
        self._registered = True
        atexit.register(self._leave)

    def _leave(self) -> None:
        """Run what is registered with atexit, in its order, and end the process."""
        if os.getpid() != self._pid:
            return
        self._leaving = True
        try:
            self.flush(FLUSH)
            if self._registered:
                atexit.unregister(_Since(self._leave))  # type: ignore[arg-type]
            atexit._run_exitfuncs()
            finish_printing(sys.stdout, sys.stderr)
            self.flush(FLUSH)
            for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
                with suppress(AttributeError, OSError, ValueError):
                    stream.flush()  # type: ignore[union-attr]
        finally:
            os._exit(self.status)

    def _leave_main_thread(self) -> None:
        """End the process from the reactor's thread: the main thread does not come back from the application's code."""
        self._remove_pid_file()
        logger.warning("ending in the middle of the start-up, at %s", where(threading.main_thread().ident or 0))
        atexit.unregister(self._leave)
        self._registered = False
        self._leave()

    def _cut_off(self) -> None:
        """End the process now. Nothing here may wait for long: whatever holds the end up may hold this up too."""
        with suppress(Exception):
            self.at_cut()
            self._remove_pid_file()
        self._may_log.set()
        if not self._logged.wait(LAST_WORDS):
            _write_at_once(self._line)
        os._exit(self.status)

    def _remove_pid_file(self) -> None:
        """Do what twistd does at its own end: a process that is started anew may have the same pid."""
        with suppress(OSError):
            if self.pid_file and Path(self.pid_file).read_text().strip() == str(os.getpid()):
                os.unlink(self.pid_file)

    def _log_when_cut(self) -> None:
        """Log what is cut off: in a thread, for a handler may be what holds the end up."""
        self._may_log.wait()
        self._line = f"{self._line}: {self._unfinished()}"
        logger.error("%s", self._line)
        if self.flush(LAST_WORDS / 2):
            self._logged.set()

    def _unfinished(self) -> str:
        """What has not come to its end."""
        main = threading.main_thread()
        parts = [f"the service {name} is being stopped"] if (name := self.stopping()) else []
        threads = [each for each in threading.enumerate() if each is not main and _is_waited_for(each)]
        parts += [f"the thread {each.name} is at {where(each.ident or 0)}" for each in threads[:_NAMED]]
        if len(threads) > _NAMED:
            parts.append(f"{len(threads) - _NAMED} more threads run")
        reactors = [each for each in threading.enumerate() if each.name == REACTOR]
        parts += [f"the {each.name} thread is at {where(each.ident or 0)}" for each in reactors]
        parts.append(f"the main thread is at {where(main.ident or 0)}")
        if not self._leaving:
            parts.append(f"the functions registered with atexit were not called: {_functions()}")
        return "; ".join(parts)


def _write_at_once(line: str) -> None:
    """Write a line to standard error if that takes it without waiting."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    data = f"twistserve: {line}\n".encode(errors="backslashreplace")[: select.PIPE_BUF]
    with suppress(OSError):
        if any(event & select.POLLOUT for _, event in poll.poll(0)):
            os.write(2, data)


def _is_waited_for(thread: threading.Thread) -> bool:
    """Whether Python does not end before this thread has: it is no daemon, or one of an executor."""
    executors = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", ())
    return not thread.daemon or thread in executors


def _functions() -> str:
    """The names of what is registered with atexit, the last first as they are called."""
    seen = _All()
    atexit.unregister(seen)  # type: ignore[arg-type]
    functions = seen.functions if _compares_with_newest_first() else seen.functions[::-1]
    names = [f"{getattr(each, '__module__', '')}.{getattr(each, '__qualname__', repr(each))}" for each in functions]
    ours = f"{__name__}."
    return ", ".join(name for name in names if not name.startswith(ours))


class _All:
    """Equal to nothing, and remembers what it was compared with: atexit.unregister does so with all functions."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.functions: list[object] = []

    def __eq__(self, other: object) -> bool:
        self.functions.append(other)
        return False


def _compares_with_newest_first() -> bool:
    """Whether atexit.unregister goes backwards through what is registered: Python 3.14 did before 3.14.3."""
    seen = _All()
    atexit.register(_newest)
    atexit.unregister(seen)  # type: ignore[arg-type]
    atexit.unregister(_newest)
    return seen.functions[0] is _newest


def _newest() -> None:
    """Registered with atexit for a moment only."""


class _Since:
    """Equal to a function that is registered with atexit, and to all that were registered after it.

    Those have run before it. atexit.unregister compares with everything that is registered.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._seen = _compares_with_newest_first()

    def __eq__(self, other: object) -> bool:
        if other == self._function:
            self._seen = not self._seen
            return True
        return self._seen
