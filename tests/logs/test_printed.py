"""What Python code prints, as records of the log."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import Any

import pytest

from twistserve.logs.formats import SERVED
from twistserve.logs.printed import finish_printing, printed, printed_name, printed_streams


class Seen(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_each_line_is_a_record(seen: Seen) -> None:
    """In whichever pieces it is printed; percent signs and line ends of Windows are no part of what is said."""
    stream = printed("stdout", logging.INFO, seen, None)
    print("100 %s", "one\ntwo\r", file=stream)
    stream.write("thr")
    assert seen.lines == ["100 %s one", "two"]
    stream.write("ee\n\n")
    assert seen.lines[2:] == ["three", ""]
    assert {(record.name, record.levelno) for record in seen.records} == {("stdout", logging.INFO)}
    assert all(hasattr(record, SERVED) for record in seen.records)


def test_threads_do_not_mix_their_lines(seen: Seen) -> None:
    """Each has the beginning of its own."""
    stream = printed("stdout", logging.INFO, seen, None)
    stream.write("main ")
    thread = threading.Thread(target=lambda: stream.write("other\n"))
    thread.start()
    thread.join()
    stream.write("line\n")
    assert seen.lines == ["other", "main line"]


def test_what_is_no_text_is_told_all_the_same(seen: Seen) -> None:
    """Bytes and halves of characters are escaped, not refused."""
    stream = printed("stderr", logging.WARNING, seen, None)
    stream.buffer.write(b"\xff\n")
    stream.write("\udc80\n")
    assert seen.lines == [r"\xff", r"\udc80"]


def test_a_line_without_end_fills_no_memory(seen: Seen) -> None:
    """It is logged in parts."""
    stream = printed("stdout", logging.INFO, seen, None)
    for _ in range(40):
        stream.write("x" * 100_000)
    assert len(seen.lines) >= 3
    assert max(map(len, seen.lines)) < 1_200_000


def test_the_end_of_what_was_printed(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without an end is logged at the end of the process, once."""
    for name, stream in printed_streams(seen).items():
        monkeypatch.setattr(sys, name, stream)
        stream.write(f"last of {name}")
    finish_printing(sys.stdout, sys.stderr)
    finish_printing(sys.stdout, sys.stderr)
    assert seen.lines == ["last of stdout", "last of stderr"]
    assert [record.levelno for record in seen.records] == [logging.INFO, logging.WARNING]
    monkeypatch.setattr(sys, "stdout", None)
    finish_printing(sys.stdout, sys.stderr)


def test_programs_get_the_real_stream(seen: Seen, tmp_path: Any) -> None:
    """One that is started with it writes there by itself; where there is none it is said so."""
    with (tmp_path / "out").open("w") as out:
        assert printed("stdout", logging.INFO, seen, out).fileno() == out.fileno()
    with pytest.raises(io.UnsupportedOperation):
        printed("stdout", logging.INFO, seen, None).fileno()


def test_which_stream_it_stands_for(seen: Seen) -> None:
    """Handlers that were made for it get the real one; other streams are left alone."""
    assert printed_name(printed("stderr", logging.INFO, seen, None)) == "stderr"
    assert printed_name(io.StringIO()) is None
    assert printed_name(None) is None
