"""What the process that serves is given, and what it tells the parent."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from twistserve.development import inheritance as module
from twistserve.development.inheritance import (
    LIFELINE,
    REPORT,
    VARIABLE,
    Inheritance,
    Inherited,
    files_of,
    files_of_modules,
    take,
    tell,
    tell_failure,
)

GIVEN = Inheritance(web=2, probes=1, options={"port": 8000}, started=17.5, unreliable=["/srv/made.py"])


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Gives the parent's end of the pipe; what it has got by now is read at the end."""
    reading, writing = os.pipe()
    monkeypatch.setattr(module, "REPORT", writing)

    def told() -> list[dict[str, Any]]:
        os.set_blocking(reading, False)
        try:
            return [json.loads(line) for line in os.read(reading, 1 << 16).splitlines()]
        except BlockingIOError:
            return []

    told.reading = reading  # type: ignore[attr-defined]
    yield told
    os.close(reading)
    os.close(writing)


def caught(function: Any) -> BaseException:
    """What a function raises."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


# What it is given


def test_the_sockets_come_after_the_pipes() -> None:
    """Those of the site first."""
    assert (REPORT, LIFELINE) == (3, 4)
    assert list(GIVEN.web_sockets) == [5, 6]
    assert list(GIVEN.probe_sockets) == [7]
    assert list(GIVEN.descriptors) == [3, 4, 5, 6, 7]


def test_programs_that_it_starts_inherit_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the variable nor a descriptor."""
    monkeypatch.setattr(Inherited, "value", None)
    told: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "set_inheritable", lambda number, inheritable: told.append((number, inheritable)))
    environ = {VARIABLE: json.dumps(GIVEN._asdict()), "NAME": "value"}
    assert take(environ) == Inherited.value == GIVEN
    assert environ == {"NAME": "value"}
    assert told == [(number, False) for number in (3, 4, 5, 6, 7)]


# What it tells


def test_news_are_lines(report: Any) -> None:
    """Each is one, whatever is in it; a path that cannot be decoded arrives as it was."""
    path = os.fsdecode(b"/srv/\xff\n.py")
    tell(changed=path, early=False)
    tell(files=[])
    assert report() == [{"changed": path, "early": False}, {"files": []}]


def test_a_line_that_is_longer_than_the_pipe(report: Any) -> None:
    """It is told as a whole, as the parent takes it."""
    text = "x" * 1_000_000
    found = bytearray()

    def read() -> None:
        while not found.endswith(b"\n"):
            found.extend(os.read(report.reading, 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    tell(failed=text)
    reader.join(60)
    assert json.loads(found) == {"failed": text}


@pytest.mark.parametrize("how", ["the parent has ended", "the project has closed it"])
def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """That is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    if how == "the project has closed it":
        os.close(writing)
    monkeypatch.setattr(module, "REPORT", writing)
    tell(files=[])
    if how == "the parent has ended":
        os.close(writing)


def test_a_failure_is_told_on_standard_error_too(
    report: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its traceback, and the files that may mend it."""
    # All modules of a test run have more than a pipe takes that nobody reads from.
    monkeypatch.setattr(module, "files_of_modules", lambda: {"/srv/views.py"})
    error = caught(lambda: 1 / 0)
    tell_failure("the project does not start", error)
    [news] = report()
    assert news["failed"] == "the project does not start"
    assert "ZeroDivisionError" in news["traceback"]
    assert news["traceback"] == capsys.readouterr().err
    assert set(news["files"]) == {"/srv/views.py", __file__}


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_failure_without_standard_error(
    report: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stream: str | None
) -> None:
    """The parent is told all the same."""
    closed = (tmp_path / "stderr").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stderr", None if stream is None else closed)
    monkeypatch.setattr(module, "files_of_modules", set)
    tell_failure("no", caught(lambda: 1 / 0))
    assert report()[0]["failed"] == "no"


def test_a_failure_without_an_exception(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a message alone."""
    monkeypatch.setattr(module, "files_of_modules", set)
    tell_failure("no", None)
    assert report() == [{"failed": "no", "traceback": "", "files": []}]


# Files


def test_the_files_of_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Absolute ones; a module may have none, or raise when it is asked."""

    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            if name == "__file__":
                raise RuntimeError("not installed")
            return super().__getattribute__(name)

    relative, builtin, odd = ModuleType("one"), ModuleType("two"), ModuleType("three")
    relative.__file__ = "manage.py"
    odd.__file__ = 5  # type: ignore[assignment]
    monkeypatch.chdir(tmp_path)
    modules = {"one": relative, "two": builtin, "three": odd, "four": Lazy("four"), "five": None}
    with monkeypatch.context() as patched:
        patched.setattr(sys, "modules", modules)
        found = files_of_modules()
    assert found == {str(tmp_path / "manage.py")}


def test_the_files_of_a_syntax_error(tmp_path: Path) -> None:
    """The one that cannot be compiled is named by the error alone."""
    path = tmp_path / "broken.py"
    path.write_text("def broken(:\n")
    found = list(files_of(caught(lambda: compile(path.read_text(), str(path), "exec"))))
    assert str(path) in found


def test_the_files_of_what_has_caused_an_error(tmp_path: Path) -> None:
    """Of all, once for each, even if they cause each other."""
    path = tmp_path / "first.py"
    path.write_text("1 / 0\n")

    def raises() -> None:
        try:
            exec(compile(path.read_text(), str(path), "exec"))
        except ZeroDivisionError as error:
            raise LookupError from error

    error = caught(raises)
    assert {str(path), __file__} <= set(files_of(error))
    first, second = OSError(), OSError()
    first.__cause__, second.__cause__ = second, first
    assert list(files_of(first)) == []
    assert list(files_of(None)) == []


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", b"/etc/passwd", 5, "/nowhere", None])
def test_names_that_are_no_files(name: object) -> None:
    """An exception may have any."""
    error = OSError()
    error.filename = name
    assert list(files_of(error)) == []


def test_a_file_that_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may have failed just by that: a key in another user's directory."""

    def stat(*arguments: Any, **keywords: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    error = PermissionError(13, "Permission denied", "/root/keys/key.pem")
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        found = list(files_of(error))
    assert found == []
