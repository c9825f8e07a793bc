"""--autoreload: the parent that has the sockets, and the process that serves until a file changes."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import Any

from twistserve.composition.one_process import one_process
from twistserve.composition.parts import probe_port, service_tree, shared_listeners, shared_sockets
from twistserve.composition.tree import ServiceTree
from twistserve.development import command
from twistserve.development.autoreload import AutoreloadService, Process, Told
from twistserve.development.error_site import ErrorSite
from twistserve.development.inheritance import OPTIONS, VARIABLE, Inheritance
from twistserve.development.reloaded import ReloadedService, be_silent, follow_start
from twistserve.development.serving_process import ServingProcess
from twistserve.development.watcher import Watcher
from twistserve.errors import StartError
from twistserve.http.port import WebService
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.logs.log import LogService
from twistserve.net.listeners import Listener
from twistserve.options import Configuration
from twistserve.process.ending import END, Ending

logger = get_logger(__name__)

LATER = 2.0
"""Seconds that the parent has for its end beyond those of the process that serves, to see that one end."""


def autoreload_parent(
    configuration: Configuration, lifecycle: Lifecycle, ending: Ending, log: LogService, reactor: Any
) -> ServiceTree:
    """The tree of the parent, which listens, and serves nothing but errors of the start. Raises `StartError`."""
    # A debugger in the terminal switches the echo off, and a reload may end its session.
    from django.utils.autoreload import ensure_echo_on

    web = shared_sockets(configuration, reactor)
    probes = []
    if not (configuration.no_probe or configuration.probes_on_web_port):
        port = probe_port(configuration, reactor)
        port.bind()
        probes = port.sockets
    for each in (*web, *probes):
        # What comes while no process serves waits in the kernel.
        try:
            each.listen(configuration.backlog)
        except OSError as error:
            # Two programs may have bound it; the first that listens has it.
            raise StartError(f"--autoreload: {each.getsockname()} cannot be listened on: {error.strerror}") from error
    words, environ, here = command.again(), command.environment(), os.getcwd()
    options = {name: getattr(configuration, name) for name in OPTIONS}

    def start(started: float, unreliable: list[str], told: Told, ended: Any) -> Process:
        inheritance = Inheritance(len(web), len(probes), options, started, unreliable, here)
        variables = {**environ, "RUN_MAIN": "true", VARIABLE: json.dumps(inheritance._asdict())}
        ensure_echo_on()
        process = ServingProcess(told, ended, reactor)
        process.start(words, variables, [each.fileno() for each in (*web, *probes)])
        return process

    def watch(files: list[str], since: float, unreliable: list[str], changed: Any) -> Watcher:
        # With sources of static files: collectstatic is a step of the start.
        paths = [*files, *configuration.autoreload_watch, *configuration.static_watch]
        directories = _directories(files, here)
        watcher = Watcher(lambda path, early: changed(path), since, paths, unreliable, newcomers=directories)
        watcher.start()
        return watcher

    def listeners() -> list[Listener]:
        return shared_listeners(configuration, [os.dup(each.fileno()) for each in web], reactor)

    def probe_ports() -> list[Listener]:
        if not probes:
            return []
        port = probe_port(configuration, reactor)
        port.take([os.dup(each.fileno()) for each in probes])
        return [port]

    error_site = ErrorSite(configuration, listeners, probe_ports, reactor)
    grace = configuration.graceful_timeout + END
    ending.grant(configuration.graceful_timeout + LATER)
    service = AutoreloadService(start, watch, error_site, grace, lifecycle, reactor)
    ending.at_cut = service.kill

    def interrupt(name: str) -> None:
        be_silent()
        service.interrupt()
        lifecycle.shut_down(name)

    def shut_down(name: str) -> None:
        if lifecycle.state is not State.READY:
            service.signal(signal.SIGTERM)
        lifecycle.shut_down(name)

    lifecycle.enter(State.READY, "the sockets are there")
    names = [each.getsockname() for each in (*web, *probes)]
    return service_tree(
        [log, service],
        lifecycle,
        ending,
        lambda: names,
        reactor,
        {
            signal.SIGTERM: shut_down,
            signal.SIGINT: interrupt,
            # The terminal was closed.
            signal.SIGHUP: interrupt,
            signal.SIGQUIT: lambda name: service.signal(signal.SIGQUIT),
        },
        sets_up=False,
    )


def _directories(files: list[str], here: str) -> list[str]:
    """The directories of the project: those of its files that were not installed, and where it was started."""
    # Not by sys.prefix: a Python in /usr would have a project in /usr/src installed.
    library = os.path.dirname(os.__file__) + os.sep
    installed = ("/site-packages/", "/dist-packages/", library)
    found = {os.path.dirname(path) for path in files if not any(part in path for part in installed)}
    return sorted({*found, here})


def autoreload_child(
    configuration: Configuration,
    inheritance: Inheritance,
    lifecycle: Lifecycle,
    ending: Ending,
    log: LogService,
    reactor: Any,
) -> ServiceTree:
    """The tree of the process that serves. Raises `StartError`."""
    follow_start(lifecycle)
    there: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in inheritance.options.items()
    }
    for name, value in there.items():
        if getattr(configuration, name) != value:
            word = name.replace("_", "-")
            logger.warning("--%s has changed: that counts when the command is started anew", word)
    configuration = replace(configuration, **{**there, "drain_delay": 0.0})
    if configuration.probes_on_web_port:
        configuration = replace(configuration, no_status_page=True)

    def interrupt(name: str) -> None:
        be_silent()
        lifecycle.recycle(f"received {name}")
        lifecycle.wait_no_more()

    tree = one_process(
        configuration,
        lifecycle,
        ending,
        log,
        reactor,
        inheritance,
        {signal.SIGINT: interrupt, signal.SIGHUP: lambda name: None},
    )

    def changed(path: str, early: bool) -> None:
        reactor.callFromThread(service.changed, path, early)

    watcher = Watcher(changed, inheritance.started, configuration.autoreload_watch, inheritance.unreliable)
    web: Any = tree.getServiceNamed(WebService.name)
    service = ReloadedService(watcher, web, lifecycle, ending, reactor)
    service.setServiceParent(tree)
    return tree
