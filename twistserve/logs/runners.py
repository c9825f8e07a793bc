"""What twistd and twist were told about their log, carried out in our formats."""

from __future__ import annotations

import signal
from collections.abc import MutableMapping
from typing import Any

from twisted.logger import LogLevel
from twisted.python.logfile import LogFile

from twistserve.errors import StartError
from twistserve.logs.observer import RecordingObserver
from twistserve.logs.output import EventOutput, FileOutput, Output, StreamOutput, SyslogOutput


def output_of(runner: MutableMapping[str, Any]) -> Output | None:
    """Where the options of twistd or twist send the log; None for standard output. Raises `StartError`.

    twist gets our observer in the place of its own by its options, twistd as a component of its application.
    """
    if "fileLogObserverFactory" in runner:
        runner["fileLogObserverFactory"] = lambda file: RecordingObserver()
        # What is wanted of Twisted's events, our --log-level says.
        runner["logLevel"] = LogLevel.debug
        file = runner.get("logFile")
        return None if file is None or file.fileno() == 1 else StreamOutput(file)
    if runner.get("logger"):
        return EventOutput()
    if runner.get("syslog"):
        return SyslogOutput(runner.get("prefix") or "")
    path = runner.get("logfile") or ""
    daemon = bool(runner) and not runner.get("nodaemon")
    if path == "-" or (not path and not daemon):
        if daemon:
            raise StartError(
                "--logfile: a daemon cannot log to standard output: give the path of a file, or -n as well"
            )
        return None
    return _file(path or "twistd.log")


def _file(path: str) -> FileOutput:
    try:
        output = FileOutput(LogFile.fromFullPath(path))
    except OSError as error:
        raise StartError(f"--logfile: {path!r} cannot be opened: {error.strerror or error}") from error
    # As twistd does: SIGUSR1 begins a new file.
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda number, frame: output.rotate())
    return output
