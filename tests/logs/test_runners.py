"""Where the options of twistd and twist send the log."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel

from twistserve.errors import StartError
from twistserve.logs.observer import RecordingObserver
from twistserve.logs.output import EventOutput, FileOutput, StreamOutput
from twistserve.logs.runners import output_of


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """SIGUSR1 is nobody's, and the current directory an empty one."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("runner", [{}, {"nodaemon": True}, {"nodaemon": True, "logfile": "-"}])
def test_standard_output(runner: dict[str, Any]) -> None:
    """Without options, and where they say so."""
    assert output_of(runner) is None


def test_a_daemon_has_no_standard_output() -> None:
    """The start fails, and says what to do."""
    with pytest.raises(StartError, match="--logfile: a daemon cannot log to standard output: give the path"):
        output_of({"nodaemon": False, "logfile": "-"})


@pytest.mark.parametrize(
    ("runner", "name"),
    [({"nodaemon": False}, "twistd.log"), ({"nodaemon": True, "logfile": "other.log"}, "other.log")],
)
def test_a_file(tmp_path: Path, runner: dict[str, Any], name: str) -> None:
    """That of the option, or twistd's own for a daemon; SIGUSR1 begins a new one."""
    output = output_of(runner)
    assert isinstance(output, FileOutput)
    assert (tmp_path / name).exists()
    signal.raise_signal(signal.SIGUSR1)
    assert (tmp_path / f"{name}.1").exists()
    output._file.close()


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """The start fails with its path and the reason."""
    with pytest.raises(StartError, match=r"--logfile: '.*/missing/x.log' cannot be opened: No such file"):
        output_of({"nodaemon": True, "logfile": str(tmp_path / "missing" / "x.log")})


def test_other_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger of the project's for twistd's events, or syslog with its prefix."""
    assert isinstance(output_of({"logger": "shop.observer"}), EventOutput)
    opened: list[str] = []
    output = EventOutput()

    def open_syslog(prefix: str) -> EventOutput:
        opened.append(prefix)
        return output

    monkeypatch.setattr("twistserve.logs.runners.SyslogOutput", open_syslog)
    assert output_of({"syslog": True, "prefix": "shop"}) is output
    assert opened == ["shop"]


@pytest.mark.parametrize("kind", ["none", "standard output", "file"])
def test_twist(tmp_path: Path, kind: str) -> None:
    """Its observer is ours by its options; a file of its own is written to."""
    runner: dict[str, Any] = {"fileLogObserverFactory": object()}
    with (tmp_path / "twist.log").open("w") as file:
        if kind == "file":
            runner["logFile"] = file
        elif kind == "standard output":
            runner["logFile"] = open(1, "w", closefd=False)  # noqa: SIM115
        output = output_of(runner)
        assert isinstance(output, StreamOutput) is (kind == "file")
        assert isinstance(runner["fileLogObserverFactory"](io.StringIO()), RecordingObserver)
        assert runner["logLevel"] is LogLevel.debug
    if kind == "standard output":
        runner["logFile"].close()
    assert sys.__stdout__ is not None
