"""What holds the reactor: callbacks during which it serves no one, found by looking at its thread's frames.

A thread looks every 10 ms. A callback is what one of `_DISPATCHERS` calls; seen in two looks that are `SLOW` apart, it
is logged with its stack, and again with its duration once it has ended. The reactor itself runs no other code for that.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from asyncio.events import Handle
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType

from twisted.application.service import Service
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.posixbase import _PollLikeMixin
from twisted.internet.selectreactor import SelectReactor
from twisted.python import threadable

from twistserve.development.thread_state import ThreadState, ThreadStateReader
from twistserve.logs import get_logger
from twistserve.net.reactor import Reactor
from twistserve.server_thread import ServerThread
from twistserve.threads.reactor_queue import ReactorQueue

logger = get_logger(__name__)

LOOK_EVERY = 0.01
SLOW = 0.05
"""Seconds."""

_ONE_EVENT = {
    function.__code__
    for function in (
        *(_PollLikeMixin._doReadOrWrite, SelectReactor._doReadOrWrite, AsyncioSelectorReactor._readOrWrite),
        Handle._run,
    )
}
"""These run for one event, or one callback, each time anew."""
_MANY = {function.__code__ for function in (ReactorBase.runUntilCurrent, Reactor.runUntilCurrent, ReactorQueue.deliver)}
"""These run for many callbacks, one after another."""
_DISPATCHERS: frozenset[CodeType] = frozenset(_ONE_EVENT | _MANY)
_IN_C = ("call", "f", "function")
"""Where the latter have what they call, if that is written in C and has no frame."""


class Holding:
    """A callback that was seen running. Its `key` is kept, so that nothing else can have the same identity."""

    def __init__(self, key: tuple[object, ...], frame: FrameType, began: float, cpu: float, of_others: float) -> None:
        self.key = key
        self.frame = frame
        self.began = self.seen = began
        self.cpu_before = self.cpu = cpu
        self.of_others_before = self.of_others = of_others
        self.told = False
        self.name = ""
        self.states: Counter[ThreadState] = Counter()

    @property
    def seconds(self) -> float:
        """For how long it was seen."""
        return self.seen - self.began

    @property
    def how(self) -> str:
        """What the reactor's thread did meanwhile, as far as can be told."""
        computed = self.cpu - self.cpu_before
        state = self.states.most_common(1)[0][0] if self.states else ThreadState.UNKNOWN
        if computed >= self.seconds / 2:
            return "computing"
        if state is ThreadState.COMPUTING:
            # We have the GIL while we look, so it waits for that in any case.
            if self.of_others - self.of_others_before < self.seconds / 4:
                return "waiting for a processor or the GIL"
            return "waiting for the GIL, which other threads had, so that it is not to blame alone"
        if state is ThreadState.LOCKED:
            return "waiting for a lock or another thread"
        return "waiting in a system call" if state is ThreadState.WAITING else f"computing for {computed:.3f} s of it"


class SlowCallbacks:
    """Looks at the thread that the reactor runs in.

    `thread` gives its ident, None as long as it does not run; `cpu` the seconds of processor time of a thread,
    `process_cpu` those of all threads, and `state` what a thread is doing.
    """

    def __init__(
        self,
        thread: Callable[[], int | None] = lambda: threadable.ioThread,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[int], float] = lambda thread: time.clock_gettime(time.pthread_getcpuclockid(thread)),
        process_cpu: Callable[[], float] = time.process_time,
        state: Callable[[int], ThreadState] | None = None,
    ) -> None:
        self._thread, self._clock, self._cpu, self._process_cpu = thread, clock, cpu, process_cpu
        self._state = state or _StateReaders()
        self._holding: Holding | None = None
        self._looked_at = clock()
        self._cpu_then = 0.0
        self._ident = 0

    def look(self) -> None:
        """Look once, by any other thread than the reactor's."""
        ident = self._thread()
        frame = sys._current_frames().get(ident) if ident is not None else None
        if ident is None or frame is None:
            return
        now, cpu = self._clock(), self._cpu(ident)
        if ident != self._ident:
            self._ident, self._looked_at, self._cpu_then = ident, now, cpu
        found = _callback(frame)
        holding = self._holding
        if holding is not None and (found is None or not _same(found[0], holding.key)):
            self._ended(holding, now)
            holding = None
        if found is not None:
            if holding is None:
                holding = Holding(*found, *self._beginning(now, cpu), self._process_cpu() - cpu)
            holding.frame, holding.seen, holding.cpu = found[1], now, cpu
            holding.of_others = self._process_cpu() - cpu
            if holding.seconds >= SLOW:
                self._slow(holding, frame, ident)
        self._holding = holding
        self._looked_at, self._cpu_then = now, cpu

    def _beginning(self, now: float, cpu: float) -> tuple[float, float]:
        """Since when a callback runs that is seen for the first time, and the thread's processor time then.

        Where the reactor's thread has computed for far longer than we meant to sleep, C code has kept the GIL from us,
        and most likely what is seen now has called it: Python code lets others have the GIL every few milliseconds.
        """
        passed, computed = now - self._looked_at, cpu - self._cpu_then
        return (self._looked_at, self._cpu_then) if passed >= SLOW and computed >= 0.8 * passed else (now, cpu)

    def _slow(self, holding: Holding, frame: FrameType, ident: int) -> None:
        holding.states[self._state(ident)] += 1
        if not holding.told:
            holding.told = True
            holding.name, stack = _describe(holding, frame)
            logger.warning(
                "%s has held the reactor for %.0f ms, %s; nothing else is served meanwhile. It stands at\n%s",
                holding.name,
                holding.seconds * 1000,
                holding.how,
                stack,
            )

    def _ended(self, holding: Holding, now: float) -> None:
        """Say how long it took: until now at most, and at least until it was seen last."""
        if holding.told:
            seconds = (holding.seen + now) / 2 - holding.began
            logger.warning("%s held the reactor for %.3f s in all, %s", holding.name, seconds, holding.how)


def _callback(frame: FrameType) -> tuple[tuple[object, ...], FrameType] | None:
    """What tells the callback that runs from others, and its frame: its own, or of what has called C code.

    None while the reactor waits.
    """
    inner: FrameType | None = None
    each: FrameType | None = frame
    while each is not None:
        if each.f_code in _ONE_EVENT:
            return (each,), inner or each
        if each.f_code in _MANY:
            if inner is not None:
                return (inner,), inner
            called = next((value for name in _IN_C if (value := each.f_locals.get(name)) is not None), None)
            return None if called is None else ((each, called), each)
        inner, each = each, each.f_back
    return None


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _describe(holding: Holding, frame: FrameType) -> tuple[str, str]:
    """The callback's name and where it stands, from it inwards."""
    outermost = holding.frame
    summary = traceback.StackSummary.extract(_from(outermost, frame))
    stack = "".join(summary.format()).rstrip()
    if outermost.f_code in _DISPATCHERS:
        called = holding.key[-1] if len(holding.key) > 1 else outermost.f_locals.get("self")
        function = getattr(called, "func", called) if not isinstance(called, Handle) else called
        return f"the callback {function!r:.200}", stack
    module = outermost.f_globals.get("__name__", "?")
    name = getattr(outermost.f_code, "co_qualname", outermost.f_code.co_name)
    return f"the callback {module}.{name}", stack


def _from(outermost: FrameType, innermost: FrameType) -> list[tuple[FrameType, int]]:
    frames: list[FrameType] = []
    each: FrameType | None = innermost
    while each is not None:
        frames.append(each)
        if each is outermost:
            break
        each = each.f_back
    return [(frame, frame.f_lineno or frame.f_code.co_firstlineno) for frame in reversed(frames)]


class _StateReaders:
    """Reads what a thread is doing; the reactor moves from one to another once."""

    def __init__(self) -> None:
        self._readers: dict[int, ThreadStateReader] = {}

    def __call__(self, ident: int) -> ThreadState:
        if ident not in self._readers:
            native = next((thread.native_id for thread in threading.enumerate() if thread.ident == ident), None)
            if native is None:
                return ThreadState.UNKNOWN
            self._readers[ident] = ThreadStateReader(native)
        return self._readers[ident].read()


class SlowCallbackService(Service):
    """Looks, on a thread of its own, from its start to its stop."""

    name = "slow callbacks"

    def __init__(self, look: Callable[[], None] | None = None) -> None:
        self._look = look or SlowCallbacks().look
        self._stopped = threading.Event()

    def startService(self) -> None:
        """Start the thread."""
        super().startService()
        ServerThread(target=self._run, name="slow-callbacks", daemon=True).start()

    def stopService(self) -> None:
        """Let the thread end."""
        super().stopService()
        self._stopped.set()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(LOOK_EVERY):
                self._look()
        except Exception:
            logger.exception("--debug: callbacks that hold the reactor are not looked for any more")
