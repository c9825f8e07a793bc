"""What a dotted name stands for, and one sentence for what is not there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from twistserve.errors import StartError
from twistserve.project.dotted import find


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `found_here` in a directory that is searched."""
    monkeypatch.syspath_prepend(str(tmp_path))
    directory = tmp_path / "found_here"
    directory.mkdir()
    (directory / "__init__.py").write_text("one = 1\n")
    yield directory
    for name in [name for name in sys.modules if name.partition(".")[0] == "found_here"]:
        del sys.modules[name]


def test_something_in_a_module_or_what_that_has(package: Path) -> None:
    """The longest beginning that is a module is one."""
    (package / "deeper.py").write_text("class Kept:\n    two = 2\n")
    assert find("found_here.one") == 1
    assert find("found_here.deeper.Kept.two") == 2
    assert find("os.path") is sys.modules["os.path"]


@pytest.mark.parametrize(
    ("dotted", "reason"),
    [
        ("found_nowhere.one", "there is no module 'found_nowhere': correct the dotted name, or give --pythonpath"),
        ("found_here.two", "'found_here' has no 'two': correct the dotted name"),
        ("found_here.one.two", "'found_here.one' has no 'two': correct the dotted name"),
    ],
)
def test_what_is_not_there(package: Path, dotted: str, reason: str) -> None:
    """The sentence says which part of the name is wrong."""
    with pytest.raises(StartError) as raised:
        find(dotted)
    assert str(raised.value) == reason


@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit(3)", "import found_nowhere"])
def test_a_module_that_fails(package: Path, code: str) -> None:
    """With what it raises and the project's line, not as if it were missing."""
    (package / "fails.py").write_text(f"\n{code}\n")
    with pytest.raises(StartError, match=r"the module cannot be imported: .*fails.py, line 2"):
        find("found_here.fails.one")
