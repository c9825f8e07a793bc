"""The preloaded process (--preload), which imports the application and forks the workers.

It has one thread, no reactor and no connections, and handles one message of the parent after another. This module
imports everything that workers need, so that they share it.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, NoReturn

from setproctitle import setproctitle

from twistserve import collector
from twistserve.composition.child import Preloaded
from twistserve.composition.worker import run as run_worker
from twistserve.development.slow_imports import ImportTimes
from twistserve.errors import StartError, describe
from twistserve.logs import get_logger
from twistserve.logs.context import Process
from twistserve.logs.log import LogService
from twistserve.logs.observer import observe_twisted
from twistserve.net.other_reactors import forget_installed, keep_installed, modules_with, replace
from twistserve.net.reactor import Reactor, install
from twistserve.options import Configuration
from twistserve.process.signals import is_applications, is_ours
from twistserve.project.application import DjangoApplication, load_settings
from twistserve.project.import_effects import ImportEffects, can_be_forked
from twistserve.workers.control_messages import receive, send
from twistserve.workers.directory import hold
from twistserve.workers.kept_metrics import go_on_as, keep_what_is_declared
from twistserve.workers.orphan_fork import end_with_parent, fork_orphan
from twistserve.workers.preloaded_process import ForkedFromParent
from twistserve.workers.protocol import FOR_THE_PARENT, Descriptors

logger = get_logger(__name__)

_FOR_OTHERS = (*FOR_THE_PARENT, signal.SIGQUIT)
IGNORED = (*_FOR_OTHERS, signal.SIGTERM)
"""Signals that may be sent to the whole group of processes, and that this one leaves to the parent to act on. SIGTERM
is ignored only when the application is loaded: before, it ends the import."""


def fork_from(reactor: Any, log: LogService, log_lock: int, files: Iterable[int]) -> ForkedFromParent | None:
    """Fork the preloaded process from the one that will be the parent, before anything runs there; they share memory.

    None if that has threads, connections, or another reactor already: then the process must be started. `files` are
    descriptors for the parent alone. If the parent logs to a file, the preloaded process does not have that either, and
    writes to pipes. Raises OSError.
    """
    if not isinstance(reactor, Reactor) or not can_be_forked():
        return None
    modules = modules_with(reactor)
    gc.freeze()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipes = {number: os.pipe() for number in (1, 2)} if log.lines is not None else {}
    pid = os.fork()
    if pid:
        theirs.close()
        for _, writing in pipes.values():
            os.close(writing)
        return ForkedFromParent(pid, ours, {number: reading for number, (reading, _) in pipes.items()})
    try:
        ours.close()
        for number, (reading, writing) in pipes.items():
            os.dup2(writing, number)
            os.close(reading)
            os.close(writing)
        for each in files:
            with suppress(OSError):
                os.close(each)
        log.leave_output()
        reactor.abandon()
        for number in signal.valid_signals():
            if is_ours(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        for finder in [each for each in sys.meta_path if isinstance(each, ImportTimes)]:
            finder.end()
        keep_what_is_declared()
        run(theirs, log_lock, partial(replace, forget_installed(), modules=modules))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def run(
    control: socket.socket, log_lock: int, replace_stale: Callable[[Reactor], None] = lambda reactor: None
) -> NoReturn:
    """Handle the parent's messages until it closes the socket. Main thread.

    `replace_stale` puts a worker's reactor in the place of the one of the process that this one was forked from.
    """
    end_with_parent()
    for each in _FOR_OTHERS:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_PARENT)
    setproctitle("twistserve: preloaded")
    Process.name = "preloaded"
    collector.resume()
    status = 0
    preloaded: Preloaded | None = None
    while (message := receive(control)) is not None:
        if message.word == "load":
            try:
                preloaded = load(control, log_lock, **message.content)
            except StartError as error:
                send(control, "failed", message=str(error))
                status = 1
                break
            send(control, "loaded")
        else:
            assert preloaded is not None
            fork_worker(control, log_lock, preloaded, replace_stale, message.descriptors, **message.content)
    leave(status)


def load(
    control: socket.socket, log_lock: int, configuration: dict[str, Any], path: list[str], directory: str
) -> Preloaded:
    """Set Django up and import the application. Raises `StartError`."""
    sys.path[:] = path
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    if directory:
        hold(directory)
    options = Configuration.of_values(configuration)
    log = LogService(options.log_level, options.log_format)
    log.use_lock(log_lock)
    log.begin()
    imports = ImportTimes()
    if options.debug:
        imports.begin()
    application = DjangoApplication(options.wsgi)
    effects = ImportEffects()

    def set_up() -> None:
        load_settings(options.settings, None, options.pythonpath)
        application.set_up(log.applying_logging)
        log.settle()

    def load_application() -> None:
        application.load()
        log.settle()
        import_the_rest(bool(options.endpoint))
        effects.check()

    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("setting Django up", set_up),
        ("loading the WSGI application", load_application),
    )
    for name, step in steps:
        logger.info("start-up: %s", name)
        send(control, "at_step", step=name)
        try:
            step()
        except StartError:
            raise
        except BaseException as error:
            logger.debug("%s", name, exc_info=True)
            raise StartError(f"{name}: {describe(error)}") from error
    if options.debug:
        imports.end()
        logger.info("%s", imports.report())
    found = {number: signal.getsignal(number) for number in signal.valid_signals()}
    handlers: dict[int, Any] = {number: handler for number, handler in found.items() if is_applications(handler)}
    for each in IGNORED:
        signal.signal(each, signal.SIG_IGN)
    # A handler of the application must not reap the processes that are forked here.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Otherwise the collectors of the workers would write to these objects, and so copy them.
    gc.collect()
    gc.freeze()
    return Preloaded(log, handlers)


def import_the_rest(endpoints: bool) -> None:
    """Import what each worker would import by itself later, when it starts to serve and with its first requests."""
    if endpoints and find_spec("h2") is not None:
        import twistserve.http.http2  # noqa: F401

    def of_django() -> None:
        import django.db.models.sql.compiler  # noqa: F401
        from django.contrib.staticfiles.storage import staticfiles_storage  # noqa: F401
        from django.template import engines

        for engine in engines.all():
            # Imports its loaders, context processors and libraries of tags.
            engine.from_string("")

    try:
        of_django()
    except Exception:
        # The error matters only to a view that uses this module; it may never be called.
        logger.debug("what workers may need cannot all be imported before", exc_info=True)


def fork_worker(
    control: socket.socket,
    log_lock: int,
    preloaded: Preloaded,
    replace_stale: Callable[[Reactor], None],
    descriptors: list[int],
    request: int,
    name: str,
    streams: int,
) -> None:
    """Fork a worker. `descriptors` are three pipes, then `streams` pipes for its standard streams, then the sockets."""
    try:
        pid = fork_orphan()
    except OSError as error:
        send(control, "not_forked", request=request, reason=error.strerror or str(error))
    else:
        if not pid:
            try:
                control.close()
                (to_worker, from_worker, lifeline), rest = descriptors[:3], descriptors[3:]
                for number, stream in enumerate(rest[:streams], 1):
                    os.dup2(stream, number)
                    os.close(stream)
                inherited = Descriptors(to_worker, from_worker, lifeline, log_lock, tuple(rest[streams:]))
                become_worker(name, inherited, preloaded, replace_stale)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        # Not sent by the worker: functions registered with os.register_at_fork may have ended it.
        send(control, "forked", request=request, pid=pid)
    for each in descriptors:
        os.close(each)


def become_worker(
    name: str, descriptors: Descriptors, preloaded: Preloaded, replace_stale: Callable[[Reactor], None]
) -> NoReturn:
    """Become a worker, in the process that was forked for it."""
    setproctitle(f"twistserve: {name.replace('-', ' ')}")
    if os.environ["PROMETHEUS_MULTIPROC_DIR"]:
        go_on_as(name)
    if (multiprocessing := sys.modules.get("multiprocessing.process")) is not None:
        # As in multiprocessing's own children: at its end a worker must not terminate what all workers may use.
        multiprocessing._children.clear()
    reactor = install()
    replace_stale(reactor)
    keep_installed()
    observe_twisted()
    run_worker(name, descriptors, reactor, preloaded)
    leave(0)


def leave(status: int) -> NoReturn:
    """End as Python does, atexit functions included, but without returning: the callers are the forked process's."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
