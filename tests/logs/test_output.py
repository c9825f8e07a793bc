"""Where lines are written."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import syslog
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.logfile import LogFile

from twistserve.logs import JSONFormatter, TextFormatter
from twistserve.logs.output import EventOutput, FileOutput, Line, OutputHandler, StreamOutput, SyslogOutput, level_of
from twistserve.logs.printed import printed, printed_name

INFO = logging.INFO


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


class Stream:
    """A standard stream."""

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self.encoding = encoding

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False


def stream_output(descriptor: int, encoding: str = "utf-8") -> StreamOutput:
    stream: Any = Stream(descriptor, encoding)
    return StreamOutput(stream)


@pytest.mark.parametrize(("encoding", "written"), [("ascii", rb"caf\xe9 \u2028 \udc80"), ("utf-8", None)])
def test_what_a_stream_cannot_encode_is_escaped(pipe: tuple[int, int], encoding: str, written: bytes | None) -> None:
    """Half a surrogate pair too, which no encoding has."""
    stream_output(pipe[1], encoding).write([(INFO, "café \u2028 \udc80")])
    expected = written or "café \u2028 ".encode() + rb"\udc80"
    assert os.read(pipe[0], 100) == expected + b"\n"


def test_a_full_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that has it may have made it so."""
    os.set_blocking(pipe[1], False)
    received = bytearray()

    class Poll:
        def register(self, descriptor: int, event: int) -> None:
            assert (descriptor, event) == (pipe[1], select.POLLOUT)

        def poll(self) -> None:
            received.extend(os.read(pipe[0], 1 << 20))

    monkeypatch.setattr(select, "poll", Poll)
    stream_output(pipe[1]).write([(INFO, "x" * 300_000), (INFO, "end")])
    received.extend(os.read(pipe[0], 1 << 20))
    assert bytes(received) == b"x" * 300_000 + b"\nend\n"


def test_a_line_that_was_torn_ends_before_the_next(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full takes the first half of a line; when it has room again, the next is a line of its own."""
    write, room = os.write, [3]

    def take(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError("no space left on device")
        size = write(descriptor, data[: room[0]])
        room[0] -= size
        return size

    monkeypatch.setattr(os, "write", take)
    stream = stream_output(pipe[1])
    for line in ("torn", "lost"):
        with pytest.raises(OSError, match="space"):
            stream.write([(INFO, line)])
    room[0] = 100
    stream.write([(INFO, "whole")])
    stream.write([(INFO, "too")])
    assert os.read(pipe[0], 100) == b"tor\nwhole\ntoo\n"


def test_a_python_without_memfd_shares_a_stream_all_the_same(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was built with an old C library."""
    monkeypatch.delattr(os, "memfd_create")
    sharing = stream_output(pipe[1])
    lock = sharing.share()
    sharing.write([(INFO, "one")])
    assert os.read(pipe[0], 100) == b"one\n"
    os.close(lock)


def test_processes_that_share_a_stream_do_not_mix_their_lines(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes under a lock that the others inherit, and lets go of it whatever happens."""
    steps: list[object] = []
    sharing = stream_output(pipe[1])
    lock = sharing.share()
    assert not os.get_inheritable(lock)
    lockf, write = fcntl.lockf, os.write

    def note_lock(file: int, what: int) -> None:
        steps.append(what)
        lockf(file, what)

    def note_write(file: int, data: bytes) -> int:
        steps.append(len(data))
        return write(file, data)

    monkeypatch.setattr(fcntl, "lockf", note_lock)
    monkeypatch.setattr(os, "write", note_write)
    sharing.write([(INFO, "x" * 9)] * 1000)
    assert steps == [fcntl.LOCK_EX, 10_000, fcntl.LOCK_UN]
    monkeypatch.setattr(os, "write", lambda file, data: os.stat("/nowhere"))
    with pytest.raises(OSError, match="nowhere"):
        sharing.write([(INFO, "lost")])
    assert steps[3:] == [fcntl.LOCK_EX, fcntl.LOCK_UN]
    os.close(lock)


def test_a_closed_stream_is_an_error() -> None:
    """Which the queue counts."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        StreamOutput(None).write([(INFO, "lost")])


def test_a_file_rotates_when_told_to(tmp_path: Path) -> None:
    """As twistd's own log does."""
    log = LogFile.fromFullPath(str(tmp_path / "twistd.log"))
    file = FileOutput(log)
    file.write([(INFO, "one"), (INFO, "\udc80")])
    file.rotate()
    file.write([(INFO, "two")])
    log.close()
    assert (tmp_path / "twistd.log.1").read_text() == "one\n\\udc80\n"
    assert (tmp_path / "twistd.log").read_text() == "two\n"


def test_syslog_has_the_priority_of_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no line within a line, nor an end before its end."""
    said: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: said.append((priority, line)))
    levels = [logging.DEBUG, INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]
    SyslogOutput("shop").write([(level, "one") for level in levels] + [(INFO, "a\nb\0c")])
    assert said == [(7, "one"), (6, "one"), (4, "one"), (3, "one"), (2, "one"), (6, "a"), (6, r"b\x00c")]


def test_each_line_of_the_access_log_is_an_event(request: pytest.FixtureRequest) -> None:
    """With the level that it has, though those of one level come together."""
    events: list[LogEvent] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    request.addfinalizer(lambda: globalLogPublisher.removeObserver(observer))
    EventOutput().write([(INFO, "one\ntwo"), (logging.ERROR, "three")])
    assert [(event["log_namespace"], event["log_level"], event["text"]) for event in events] == [
        ("twistserve.access", LogLevel.info, "one"),
        ("twistserve.access", LogLevel.info, "two"),
        ("twistserve.access", LogLevel.error, "three"),
    ]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-25 23:40:17.706+00:00 ERROR [worker-1] shop: no", logging.ERROR),
        ('{"time": "2026-11-25T23:40:17.706Z", "level": "WARNING", "logger": "shop"}', logging.WARNING),
        ("said by C code", INFO),
    ],
)
def test_the_level_of_another_process_s_line(line: str, level: int) -> None:
    """It is in the line."""
    assert level_of(line) == level


class Kept:
    """Keeps what is written."""

    terminal = False

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def write(self, lines: Any) -> None:
        self.lines += lines


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()])
def test_a_record_whose_arguments_do_not_fit_is_told(formatter: logging.Formatter) -> None:
    """Where it was logged goes on."""
    kept = Kept()
    handler = OutputHandler(kept, formatter)
    handler.handle(logging.LogRecord("shop", logging.ERROR, "", 0, "%d books", ("three",), None))
    [(level, text)] = kept.lines
    assert level == logging.ERROR
    assert "'%d books' cannot be formatted: TypeError" in text


def test_what_is_printed_is_logged_line_by_line() -> None:
    """However it is cut into writes; bytes too; each thread's by itself, and a request's with its id."""
    kept = Kept()
    stream = printed("stdout", INFO, OutputHandler(kept, logging.Formatter("%(name)s: %(message)s")), None)
    print("one", "two", file=stream)
    stream.write("thr")
    stream.write("ee\nfour\r\nfi")
    stream.buffer.write(b"ve\xff\n")
    assert kept.lines == [
        (INFO, "stdout: one two"),
        (INFO, "stdout: three"),
        (INFO, "stdout: four"),
        (INFO, "stdout: five\\xff"),
    ]
    assert printed_name(stream) == "stdout"
    assert not stream.isatty()
    with pytest.raises(OSError, match="fileno"):
        stream.fileno()
