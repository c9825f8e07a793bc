"""What lines look like."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from twistserve.logs import JSONFormatter, TextFormatter
from twistserve.logs.context import Process, served
from twistserve.logs.formats import ACCESS_FIELDS, SERVED, CombinedFormatter

MOMENT = 1_800_000_000.123
PREFIX = "2027-01-15 08:00:00.123+00:00 ERROR shop: "


def record(message: str = "all is well", *arguments: object, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("shop", logging.ERROR, "/shop.py", 3, message, arguments, fields.pop("exc_info", None))
    made.created = MOMENT
    vars(made).update(fields)
    return made


def failure() -> Any:
    try:
        raise ValueError("no such book\nat all")
    except ValueError:
        return sys.exc_info()


@dataclass
class Request:
    """What is served."""

    request_id: bytes = b"r-1"
    fields: list[tuple[bytes, bytes]] = field(default_factory=lambda: [(b"Traceparent", b"00-1-2-01")])


def of(request: Request) -> dict[str, Any]:
    """The field of a record that says which request it is of."""
    return {SERVED: request}


def test_every_line_of_text_has_the_prefix() -> None:
    """Time with its offset, level, logger; those of a traceback too."""
    assert TextFormatter().format(record("%d books", 3)) == f"{PREFIX}3 books"
    text = TextFormatter().format(record(exc_info=failure()))
    assert "Traceback (most recent call last):" in text
    assert all(line.startswith(PREFIX) for line in text.split("\n"))
    assert text.endswith(f"{PREFIX}ValueError: no such book\n{PREFIX}at all")


def test_a_terminal_has_colours_and_one_prefix_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """People read it; NO_COLOR is for those who want none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert TextFormatter(terminal=True).format(record("one\ntwo")) == (
        "2027-01-15 08:00:00.123+00:00 \x1b[31mERROR\x1b[0m shop: one\n    two"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert TextFormatter(terminal=True).format(record("one\ntwo")) == f"{PREFIX}one\n    two"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in TextFormatter(terminal=True).format(record())


@pytest.mark.parametrize("request_kept", [{SERVED: None}, {SERVED: Request()}])
def test_what_we_keep_in_records_is_no_field(request_kept: dict[str, Any]) -> None:
    """It is for us, also where there is no request."""
    line = json.loads(JSONFormatter().format(record(**request_kept)))
    assert line.keys().isdisjoint({SERVED, ACCESS_FIELDS})


@pytest.mark.parametrize("terminal", [False, True])
def test_a_message_cannot_pose_as_a_line(terminal: bool) -> None:
    """Nor hide one: control characters are escaped, and what follows an end of line is marked as a part."""
    forged = "2027-01-15 08:00:00.123+00:00 INFO twistserve: forged"
    text = TextFormatter(terminal=terminal).format(record(f"one\n{forged}\r{forged}\u2028{forged}\x85\x1b[2K\ttab"))
    assert sum(line.startswith(forged) for line in text.splitlines()) == 0
    assert len(text.splitlines()) == 2
    assert r"\r" in text
    assert r"\u2028" in text
    assert r"\x85\x1b[2K" in text
    assert text.endswith("\ttab")


def test_a_bare_line_of_the_access_log() -> None:
    """In the combined format, and only it."""
    assert CombinedFormatter().format(record("127.0.0.1 - -", **{ACCESS_FIELDS: {}})) == "127.0.0.1 - -"
    assert CombinedFormatter().format(record("127.0.0.1 - -")).startswith(PREFIX)


def test_an_object_is_for_every_reader() -> None:
    """Whatever is given as extra, and in a message: half a surrogate pair, a number that is too long, names of ours."""
    extra = {"access": "read", "served": True, "long": 10**5000, "half": "\udc80"}
    fields = json.loads(JSONFormatter().format(record("x\udc80é", **extra)))
    assert fields["message"] == "x\\udc80é"
    assert (fields["access"], fields["served"], fields["half"]) == ("read", True, "\\udc80")
    assert fields["long"] == hex(10**5000)


def test_a_worker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both formats."""
    monkeypatch.setattr(Process, "name", "worker-2")
    assert TextFormatter().format(record()) == PREFIX.replace("shop", "[worker-2] shop") + "all is well"
    assert json.loads(JSONFormatter().format(record()))["worker"] == "worker-2"


def test_an_object_has_everything() -> None:
    """One line, whatever is in it; the exception is one field, and what JSON cannot say is left out."""
    extra = {"order": 7, "paid": None, "share": float("nan"), "request": object(), "level": "mine"}
    line = JSONFormatter().format(record("%s\n\u2028é", "x", exc_info=failure(), stack_info="Stack", **extra))
    assert line.isascii()
    assert "\n" not in line
    fields = json.loads(line)
    assert "Traceback" in fields.pop("exception")
    assert fields == {
        "time": "2027-01-15T08:00:00.123Z",
        "level": "ERROR",
        "logger": "shop",
        "message": "x\n\u2028é",
        "order": 7,
        "paid": None,
        "share": "nan",
        "stack": "Stack",
    }


def test_an_object_tells_the_request_that_is_served() -> None:
    """The one of the context, or the one that a record was made for."""
    token = served.set(Request())
    try:
        fields = json.loads(JSONFormatter().format(record()))
    finally:
        served.reset(token)
    assert (fields["request_id"], fields["traceparent"]) == ("r-1", "00-1-2-01")
    fields = json.loads(JSONFormatter().format(record(**of(Request(b"r-2", [])))))
    assert fields["request_id"] == "r-2"
    assert "traceparent" not in fields
    assert "request_id" not in json.loads(JSONFormatter().format(record(**of(Request(b"", [])))))


@pytest.mark.parametrize("key", ["()", "class"])
@pytest.mark.parametrize("name", ["TextFormatter", "JSONFormatter"])
def test_the_formatters_can_be_named_in_logging(name: str, key: str) -> None:
    """As factory and as class, which gets a format too."""
    formatter = {key: f"twistserve.logs.{name}"}
    configurator = logging.config.DictConfigurator({"version": 1})
    made: Any = configurator.configure_formatter(formatter)
    assert "all is well" in made.format(record())
    assert type(made).__name__ == name
