"""The command of this process, as it is started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twistserve.development import command


@pytest.mark.parametrize(
    ("spec", "program"),
    [
        (None, ["/srv/manage.py"]),
        (("manage", ""), ["-m", "manage"]),
        (("shop.cli", "shop"), ["-m", "shop.cli"]),
        (("twisted.__main__", "twisted"), ["-m", "twisted"]),
        # A directory or an archive.
        (("__main__", ""), ["/srv/manage.py"]),
    ],
)
def test_the_same_program_with_the_same_arguments(monkeypatch: pytest.MonkeyPatch, spec: Any, program: Any) -> None:
    """A script by its path, a module by its name, a package as `python -m` was told."""
    found = SimpleNamespace(name=spec[0], parent=spec[1]) if spec is not None else None
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", found)
    monkeypatch.setattr(sys, "argv", ["/srv/manage.py", "serve", "--port", "8000"])
    words = command.again()
    assert words[0] == sys.executable
    position = words.index("twistserve.development")
    assert words[position - 1] == "-m"
    assert words[position + 1 :] == [*program, "serve", "--port", "8000"]


def run(code: str, *flags: str, **environ: str) -> list[str]:
    """The lines that code prints in a Python of its own, with these flags."""
    words = [sys.executable, *flags, "-c", f"from twistserve.development import command\n{code}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **environ})
    return done.stdout.splitlines()


def test_flags_of_python_stay() -> None:
    """Warnings that are errors are errors after a reload too."""
    [words] = run("print(*command.again())", "-O", "-W", "error::ResourceWarning", "-X", "dev")
    for flag in ("-O", "-Werror::ResourceWarning", "-X dev"):
        assert flag in words.partition(" -m ")[0]


def test_the_environment_is_the_one_from_before_the_settings() -> None:
    """What they add is from files that may change, and what they take away is there again."""
    code = "import os; os.environ['ADDED'] = '1'; del os.environ['GIVEN']\nfound = command.environment()\n"
    assert run(f"{code}print(found.get('ADDED'), found['GIVEN'])", GIVEN="a=b") == ["None a=b"]


@pytest.mark.parametrize("title", ["celery", "gunicorn: a=b " * 2000])
def test_an_environment_that_the_title_was_written_over(title: str) -> None:
    """setproctitle does so: the present one is the best there is."""
    code = f"import setproctitle; setproctitle.setproctitle({title!r})\n"
    assert run(f"{code}print(command.environment()['GIVEN'])", GIVEN="one") == ["one"]


@pytest.mark.parametrize("content", [b"", None])
def test_an_environment_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """Without /proc there is the present one."""

    def read(path: Path) -> bytes:
        if content is None:
            raise FileNotFoundError
        return content

    monkeypatch.setattr(Path, "read_bytes", read)
    assert command.environment() == dict(os.environ)


def test_values_that_cannot_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are handed on as they were."""
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"NAME=\xff\0EMPTY=\0")
    found = command.environment()
    assert (os.fsencode(found["NAME"]), found["EMPTY"]) == (b"\xff", "")
