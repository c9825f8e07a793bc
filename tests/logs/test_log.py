"""The log as a service, as far as it is seen without its thread."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from twistserve.logs.formats import CombinedFormatter, JSONFormatter, TextFormatter
from twistserve.logs.log import LogService, early_log, output_handler
from twistserve.logs.output import EventHandler, EventOutput, StreamOutput
from twistserve.logs.printed import printed_name


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging and the streams as they were."""
    access = logging.getLogger("twistserve.access")
    before = access.level, access.disabled
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    yield
    access.setLevel(before[0])
    access.disabled = before[1]
    logging.disable(logging.NOTSET)


@pytest.fixture
def output(tmp_path: Path) -> Iterator[StreamOutput]:
    """An output that is a file."""
    with (tmp_path / "log").open("w") as file:
        yield StreamOutput(file)


@pytest.mark.parametrize(
    ("log_format", "formatter"), [("text", TextFormatter), ("combined", CombinedFormatter), ("json", JSONFormatter)]
)
def test_formats(output: StreamOutput, log_format: str, formatter: type[logging.Formatter]) -> None:
    """Each has its formatter; what goes into events of Twisted's is formatted by whoever shows them."""
    assert type(output_handler(output, log_format).formatter) is formatter
    handler = output_handler(EventOutput(), log_format)
    assert isinstance(handler, EventHandler)
    assert type(handler.formatter) is logging.Formatter


def test_the_least_level_of_the_access_log(output: StreamOutput) -> None:
    """That of its logger, and what logging as a whole leaves out."""
    log = LogService("INFO", output=output)
    logging.getLogger("twistserve.access").setLevel(logging.INFO)
    assert log.access_level() == logging.INFO
    logging.disable(logging.WARNING)
    assert log.access_level() == logging.WARNING + 1


def test_lines_of_text_have_a_prefix(output: StreamOutput) -> None:
    """Other formats say all of it in the line itself."""
    for log_format, prefixed in (("text", True), ("combined", False), ("json", False)):
        log = LogService("INFO", log_format, output=output)
        assert bool(log.access_prefix(0.0, logging.INFO)) is prefixed


def test_other_processes_send_their_lines_where_the_output_is_a_file(output: StreamOutput) -> None:
    """They write to standard output by themselves."""
    assert LogService("INFO").lines is None
    assert LogService("INFO", output=output).lines is not None


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_what_is_printed_before_the_log_starts(log_format: str) -> None:
    """As JSON it is to be lines of the log, as text it is printed as ever; the streams are as before afterwards."""
    before = sys.stdout, sys.stderr
    with early_log(log_format.upper(), None):
        names = [printed_name(stream) for stream in (sys.stdout, sys.stderr)]
        assert names == (["stdout", "stderr"] if log_format == "json" else [None, None])
    assert (sys.stdout, sys.stderr) == before


def test_streams_are_left_alone_where_the_output_is_a_file(output: StreamOutput) -> None:
    """Until the log starts."""
    before = sys.stdout
    with early_log("json", output):
        assert sys.stdout is before
