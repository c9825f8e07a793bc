"""What users see of errors."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from twistserve.errors import StartError, describe


def raised_by(path: Path, text: str) -> BaseException:
    """What code of a project raises that lies at this path."""
    names: dict[str, Any] = {}
    try:
        exec(compile(text, str(path), "exec"), names)
    except BaseException as error:
        # Without the frame of this file.
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    raise AssertionError("nothing was raised")


def test_a_start_error_is_one_line() -> None:
    """Whatever it quotes: it is what the command prints."""
    assert str(StartError("--command failed:\nno such\r\ntable")) == "--command failed: no such table"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("lost"), "KeyError: 'lost'"),
        (AssertionError(), "AssertionError"),
        (SystemExit(3), "SystemExit: 3"),
        (subprocess.CalledProcessError(1, "x"), "CalledProcessError: Command 'x' returned non-zero exit status 1."),
    ],
)
def test_an_error_that_was_not_raised(error: BaseException, text: str) -> None:
    """Its kind and what it says, if that is anything."""
    assert describe(error) == text


def test_the_line_of_the_project() -> None:
    """The innermost of its own, wherever the library that it has called has raised."""
    error = raised_by(Path("/srv/shop/settings.py"), "def look():\n    import json\n    json.loads('x')\n\nlook()")
    assert describe(error).startswith("JSONDecodeError: Expecting value")
    error = raised_by(Path("/srv/shop/settings.py"), "def look():\n    1 / 0\n\nlook()")
    assert describe(error) == "ZeroDivisionError: division by zero (/srv/shop/settings.py, line 2)"


def test_libraries_and_importers_are_passed_over() -> None:
    """What they raise comes from the line that has called them; where there is no other, theirs is named."""
    library = compile("def fail():\n    1 / 0", "/venv/lib/python3/site-packages/lib.py", "exec")
    names: dict[str, Any] = {}
    exec(library, names)
    with pytest.raises(ZeroDivisionError) as raised:
        exec(compile("\nfail()", "/srv/shop/urls.py", "exec"), names)
    assert describe(raised.value).endswith("(/srv/shop/urls.py, line 2)")
    traceback = raised.value.__traceback__
    while traceback is not None and "site-packages" not in traceback.tb_frame.f_code.co_filename:
        traceback = traceback.tb_next
    assert describe(raised.value.with_traceback(traceback)).endswith("site-packages/lib.py, line 2)")


def test_a_syntax_error_names_its_own_line() -> None:
    """Not the line of whoever has imported the module."""
    with pytest.raises(SyntaxError) as raised:
        compile("x =", "/srv/shop/settings.py", "exec")
    assert describe(raised.value) == "SyntaxError: invalid syntax (settings.py, line 1)"
