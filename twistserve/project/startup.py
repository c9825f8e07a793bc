"""What runs before serving: Django's set-up and management commands, one after another, in Python's main thread.

Any reactor but ours keeps that for itself; then they run in a thread, "start-up".
"""

from __future__ import annotations

import logging
import os
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from twistserve.errors import StartError, describe
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.printed import finish_printing, printed
from twistserve.metrics.catalogue import startup_seconds
from twistserve.net.main_thread import Interrupted, main_thread
from twistserve.net.reactor import Reactor
from twistserve.redaction import redacted

logger = get_logger(__name__)

Step = tuple[str, Callable[[], None]]
"""A name for people and what to run, blocking, in the start-up's thread."""


class Cancelled(Exception):
    """The process is to end, and the start-up with it."""


class Progress:
    """What a step can say while it runs, and how it waits. The start-up's thread."""

    def __init__(self, lifecycle: Lifecycle, reactor: Any) -> None:
        self._lifecycle = lifecycle
        self._reactor = reactor
        self._cancelled = threading.Event()

    def say(self, detail: str) -> None:
        """Say how the step gets on, in the log and in the startup probe's answer."""
        self._reactor.callFromThread(self._lifecycle.say, detail)

    def show(self, detail: str) -> None:
        """Say how the step gets on in the startup probe's answer alone: the log has it from others."""
        self._reactor.callFromThread(self._lifecycle.show, detail)

    def pause(self, seconds: float) -> None:
        """Wait. Raises `Cancelled`."""
        if self._cancelled.wait(seconds):
            raise Cancelled

    def cancel(self) -> None:
        """End the pause and whatever comes after it; callable from any thread."""
        self._cancelled.set()


class StartupService(Service):
    """Runs the steps in the main thread, while the reactor runs in another; then it opens any ports, and is READY."""

    name = "start-up"

    def __init__(
        self,
        steps: Sequence[Step],
        open_ports: Callable[[], Deferred[Any]] | None,
        lifecycle: Lifecycle,
        progress: Progress,
        reactor: Any,
    ) -> None:
        self._progress = progress
        self._steps = steps
        self._open_ports = open_ports
        self._lifecycle = lifecycle
        self._reactor = reactor

    def startService(self) -> None:
        """Begin as soon as the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> None:
        """Cancel the step that waits; one that works ends with the process."""
        super().stopService()
        self._progress.cancel()

    def _begin(self) -> None:
        if self._lifecycle.state is not State.STARTING:
            return
        if isinstance(self._reactor, Reactor):
            self._reactor.leave_main_thread()
            main_thread.put(self._run)
        else:
            logger.info(
                "the reactor keeps the main thread: the application is set up in another one, where it cannot install"
                " handlers of signals; it can with the default of --reactor"
            )
            # A daemon: a command that hangs must not outlive a SIGTERM.
            threading.Thread(target=self._run, name="start-up", daemon=True).start()

    def _run(self) -> None:
        for name, step in self._steps:
            if not self.running or self._lifecycle.state is not State.STARTING:
                return
            self._reactor.callFromThread(self._lifecycle.at_step, name)
            try:
                step()
            except (Cancelled, Interrupted):
                return
            except StartError as error:
                self._reactor.callFromThread(self._lifecycle.fail, str(error), error)
                return
            except BaseException as error:
                logger.debug("%s", name, exc_info=True)
                self._reactor.callFromThread(self._lifecycle.fail, f"{name}: {describe(error)}", error)
                return
            finally:
                main_thread.step_done()
        self._reactor.callFromThread(self._finish)

    def _finish(self) -> None:
        if self._lifecycle.state is not State.STARTING:
            return
        if self._open_ports is None:
            self._ready(None)
            return
        self._lifecycle.at_step("opening the web ports")
        self._open_ports().addCallbacks(self._ready, lambda failure: self._lifecycle.fail(str(failure.value)))

    def _ready(self, result: object) -> None:
        if self._lifecycle.state is State.STARTING:
            seconds = self._lifecycle.age
            # First: what is said last are the addresses, by who observes the lifecycle.
            contain(_log_times, self._lifecycle.steps, self._reactor.seconds())
            self._lifecycle.enter(State.READY, "start-up is complete")
            contain(startup_seconds.set, seconds)


def _log_times(steps: Sequence[tuple[str, float]], end: float) -> None:
    """Log what each step took, and what came before them: Python's own start, our modules and the settings."""
    ends = [began for _, began in steps[1:]] + [end]
    took = [f"{name} {until - began:.3f} s" for (name, began), until in zip(steps, ends, strict=True)]
    before = process_age() - (end - steps[0][1])
    logger.info("the start took %.3f s before the first step; %s", before, ", ".join(took))


def process_age() -> float:
    """Seconds since the kernel started this process, as it counts them: in hundredths (proc(5), starttime)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def command_steps(commands: Sequence[str]) -> list[Step]:
    """The steps that run management commands."""
    return [(f"running the command {redacted(text)!r}", partial(run_command, text)) for text in commands]


class CommandLog(logging.Handler):
    """Logs what a command prints, and remembers the end of it."""

    def __init__(self) -> None:
        super().__init__()
        self.last_lines: deque[str] = deque(maxlen=50)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line."""
        line = f"{record.name}: {record.getMessage()}"
        self.last_lines.append(line)
        logger.log(record.levelno, "%s", line)


def run_command(text: str) -> None:
    """Run a management command in this process, its output in the log. Blocks. Raises `StartError`."""
    from django.db import connections

    try:
        call(shlex.split(text))
    except CommandFailed as failed:
        raise StartError(redacted(f"--command {text!r} failed: {failed}")) from failed.__cause__
    finally:
        connections.close_all()


class CommandFailed(Exception):
    """A management command has failed: what went wrong in words, and as its cause what was raised."""


def call(words: Sequence[str], command: Any = None) -> None:
    """Call a management command, its output in the log line by line. Blocks. Raises `CommandFailed`.

    `command` is the object that is the command, if it has been made already.
    """
    from django.core.management import CommandError, call_command

    said, warned = CommandLog(), CommandLog()
    out, err = printed(words[0], logging.INFO, said, None), printed(words[0], logging.WARNING, warned, None)
    cause: BaseException
    try:
        call_command(command or words[0], *words[1:], stdout=out, stderr=err)
    except SystemExit as error:
        if not error.code:
            return
        problem, cause = f"exited with status {error.code}", error
    except CommandError as error:
        problem, cause = str(error), error
    except Exception as error:
        logger.debug("%s", shlex.join(words), exc_info=True)
        problem, cause = describe(error), error
    else:
        return
    finally:
        finish_printing(out, err)
    if not logger.isEnabledFor(logging.INFO):
        for line in (*said.last_lines, *warned.last_lines):
            logger.error("%s", line)
    raise CommandFailed(problem) from cause
