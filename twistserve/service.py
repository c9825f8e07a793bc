"""Where twistd, twist and manage.py begin: options become a configuration, and that a tree of services."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from types import MappingProxyType
from typing import Any, NoReturn

from twisted.application.service import IService

from twistserve.allocator import share_arena
from twistserve.checks.in_force import read_settings
from twistserve.command_line import PRINTING, CommandLine
from twistserve.composition.one_process import one_process
from twistserve.composition.tree import ServiceTree
from twistserve.consumer_options import ConsumerConfiguration
from twistserve.development.inheritance import Inherited
from twistserve.development.slow_imports import ImportTimes, wanted_early
from twistserve.errors import SettingsError, StartError
from twistserve.in_force import FORMS
from twistserve.lifecycle import Lifecycle
from twistserve.logs import get_logger
from twistserve.logs.log import LogService, early_log
from twistserve.logs.observer import RecordingObserver
from twistserve.logs.output import Output
from twistserve.logs.runners import output_of
from twistserve.logs.standard_streams import open_closed_streams
from twistserve.net.other_reactors import keep_installed
from twistserve.net.reactor import install_unless_chosen
from twistserve.options import Configuration
from twistserve.process.ending import Ending
from twistserve.process.first_process import FirstProcess, leave_first_process
from twistserve.process.signals import outlive_early_log_rotation
from twistserve.project.application import is_silenced, load_settings
from twistserve.resolution import ENVIRONMENT_PREFIX, resolve, resolve_consumer, unknown_variables

logger = get_logger(__name__)

_CHANGES = ("uid", "gid", "chroot", "umask")
"""Options of twistd by which the process becomes another one once it has been composed."""


class Options(CommandLine):
    """What ``twistd djangoserve`` parses its command line with; twisted's plugin machinery looks for this name."""

    def __init__(self) -> None:
        # Before the reactor's first descriptor could take the number of one that is closed.
        open_closed_streams()
        # twistd has parsed its --reactor by now, twist comes to it when we have been parsed.
        install_unless_chosen()
        keep_installed()
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, and have twistd write no pid file where that has the pid of --autoreload's parent."""
        if Inherited.value is not None and self.parent is not None and "pidfile" in self.parent:
            self.parent["pidfile"] = ""
        super().parseOptions(options)


def makeService(options: CommandLine) -> IService:
    """The service for ``twistd djangoserve`` and ``twist djangoserve``.

    What is wrong with options or settings ends the process with status 1 and one line on standard error, before
    twistd forks.
    """
    if options.print_options is not None:
        print_options(options.given, options.print_options)
    runner: dict[str, Any] = options.parent if options.parent is not None else {}
    daemon = not runner.get("nodaemon", True)
    # twistd that makes a daemon of itself ends as soon as that runs: then the container is over.
    ending = Ending(FirstProcess() if daemon else leave_first_process())
    ending.take_early_signals()
    # twistd has a default for it, and changes into another directory only as a daemon.
    ending.pid_file = os.path.abspath(runner["pidfile"]) if runner.get("pidfile") else ""
    stays = not any(runner.get(name) for name in _CHANGES) and runner.get("rundir") in (None, ".")
    tree = compose(options.given, ending, lambda: output_of(runner), daemon=daemon, stays=stays)
    tree.log_observer = RecordingObserver()
    return tree


def compose(
    given: Mapping[str, object],
    ending: Ending,
    make_output: Callable[[], Output | None] = lambda: None,
    defaults: Mapping[str, object] = MappingProxyType({}),
    daemon: bool = False,
    stays: bool = True,
) -> ServiceTree:
    """The service for these options. What is wrong with them ends the process: raises SystemExit, with one line.

    `make_output` gives where the log goes, None for standard output; `defaults` are in place of the table's. `stays`
    says that the process goes on as it is now: it makes no `daemon` of itself and changes neither user nor directory.
    """
    share_arena()
    imports = ImportTimes()
    if wanted_early(given):
        imports.begin()
    try:
        output = make_output()
        outlive_early_log_rotation()
        with early_log(given.get("log_format", os.environ.get("TWISTSERVE_LOG_FORMAT")), output):
            configuration = _resolve(given, defaults)
            if configuration.autoreload and daemon:
                raise StartError("--autoreload: a daemon is not developed with: give twistd -n as well")
            return _compose(configuration, ending, output, imports, stays and not daemon)
    except StartError as error:
        imports.end()
        ending.fail_early()
        raise SystemExit(f"twistserve: {error}") from error


def compose_consumer(
    given: Mapping[str, object], ending: Ending, defaults: Mapping[str, object] = MappingProxyType({})
) -> ServiceTree:
    """The same of ``manage.py consume``, for its options."""
    share_arena()
    imports = ImportTimes()
    if wanted_early(given):
        imports.begin()
    try:
        outlive_early_log_rotation()
        with early_log(given.get("log_format", os.environ.get("TWISTSERVE_LOG_FORMAT")), None):
            configuration = resolve_consumer(given, os.environ, load_settings, defaults, read_settings)
            return _compose_consumer(configuration, ending, imports)
    except StartError as error:
        imports.end()
        ending.fail_early()
        raise SystemExit(f"twistserve: {error}") from error


def _compose_consumer(configuration: ConsumerConfiguration, ending: Ending, imports: ImportTimes) -> ServiceTree:
    # Imported here: nothing else needs it, and pika.
    from twistserve.composition.consumer import consumer_process

    lifecycle, log, reactor = _begin(configuration, ending, None, configuration.log_level, _notices(configuration))
    if configuration.debug:
        imports.begin()
        imports.follow(lifecycle)
    return consumer_process(configuration, lifecycle, ending, log, reactor)


def _resolve(given: Mapping[str, object], defaults: Mapping[str, object]) -> Configuration:
    """The values in force. With --autoreload they need no settings: it waits for those that cannot be imported yet."""
    try:
        return resolve(given, os.environ, load_settings, defaults, read_settings)
    except SettingsError:
        with suppress(StartError):
            configuration = resolve(given, os.environ, lambda *names: {}, defaults)
            if configuration.autoreload and Inherited.value is None:
                return configuration
        raise


def _compose(
    configuration: Configuration, ending: Ending, output: Output | None, imports: ImportTimes, stays: bool
) -> ServiceTree:
    """Compose the service tree: it starts in this order and stops in reverse. Raises `StartError`.

    Ports are reserved here, so that a conflict is told before anything runs; no thread and no connection
    exists before the start. `output` is where the log goes, if not to standard output.
    """
    inheritance = Inherited.value
    if configuration.autoreload and inheritance is None:
        # Who only watches says nothing that the process which serves does not say.
        level, notices = "WARNING", []
    else:
        level, notices = configuration.log_level, _notices(configuration)
    lifecycle, log, reactor = _begin(configuration, ending, output, level, notices)
    if configuration.debug:
        imports.begin()
        imports.follow(lifecycle)
    if inheritance is not None or configuration.autoreload:
        # Imported here: production has no use for it.
        from twistserve.composition.autoreload import autoreload_child, autoreload_parent

        if inheritance is not None:
            return autoreload_child(configuration, inheritance, lifecycle, ending, log, reactor)
        return autoreload_parent(configuration, lifecycle, ending, log, reactor)
    if configuration.workers > 1:
        from twistserve.composition.parent import parent

        return parent(configuration, lifecycle, ending, log, reactor, stays)
    return one_process(configuration, lifecycle, ending, log, reactor)


def _begin(
    configuration: Configuration, ending: Ending, output: Output | None, level: str, notices: list[str]
) -> tuple[Lifecycle, LogService, Any]:
    """The lifecycle, whose end is watched over, the log, and the reactor."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    lifecycle = Lifecycle(reactor)
    ending.grant(configuration.drain_delay + configuration.graceful_timeout)
    ending.follow(lifecycle, reactor)
    log = LogService(level, configuration.log_format, output=output, notices=notices)
    # twist redirects the streams when everything has been started.
    reactor.callWhenRunning(log.take_streams)
    return lifecycle, log, reactor


def print_options(
    given: Mapping[str, object],
    form: str,
    defaults: Mapping[str, object] = MappingProxyType({}),
    resolve: Callable[..., Configuration] = resolve,
) -> NoReturn:
    """Print the options in force in a form of `FORMS`, and end the process: raises SystemExit.

    Nothing else is done for it than importing the settings: nothing is opened, written or set up.
    """
    ending, output = Ending(), sys.stdout
    try:
        # What settings print while they are imported is not to stand among it.
        with redirect_stdout(sys.stderr):
            configuration = resolve(given, os.environ, load_settings, defaults, read_settings)
        for notice in _notices(configuration):
            print(f"twistserve: {notice}", file=sys.stderr)  # noqa: T201
        encoding = output.encoding or "utf-8"
        text = FORMS[form](configuration).encode(encoding, "backslashreplace").decode(encoding)
        try:
            print(text, end="", file=output, flush=True)
        except OSError as error:
            raise StartError(f"the options cannot be printed: {error.strerror or error}") from error
    except StartError as error:
        ending.fail_early()
        raise SystemExit(f"twistserve: {error}") from error
    ending.end_early(0)
    raise SystemExit(0)


def _notices(configuration: Configuration) -> list[str]:
    """What is not wrong, but may not be what is meant."""
    commands = {f"{ENVIRONMENT_PREFIX}{word.replace('-', '_').upper()}": word for word in PRINTING}
    notices: list[str] = []
    unknown = unknown_variables(os.environ)
    # The system check with this id says the same, where the server does not run it.
    if unknown and is_silenced("twistserve.W011"):
        unknown = {}
    for name, meant in unknown.items():
        if name in commands:
            why = f"has no effect: --{commands[name]} is for the command line alone"
        else:
            why = "is not a known option" + (f" (did you mean {meant}?)" if meant else "; see --help")
        notices.append(f"the environment variable {name} {why}")
    if configuration.probe is not None and not configuration.no_probe:
        notices.append(
            f"--probe: {configuration.probe} is readiness and liveness in one: as a livenessProbe it has Kubernetes"
            " restart pods whenever readiness fails for long, as in an outage of the database; give --readiness-probe"
            " and --liveness-probe instead to tell them apart"
        )
    if configuration.serves and not configuration.req_queue_len and not configuration.no_probe:
        notices.append(
            f"--req-queue-len: 0 from {configuration.source('req_queue_len')} makes the readiness probe fail always;"
            " give 1 or more"
        )
    return [*notices, *configuration.notices]
