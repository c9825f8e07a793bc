"""What is noticed of a tree of files, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twistserve.development.watched_files import changes, read, state_of


def names(directory: Path, *excluded: Path) -> list[str]:
    found = read([str(directory)], map(str, excluded))
    return sorted(os.path.relpath(path, directory) for path in found)


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_at_any_depth(tmp_path: Path) -> None:
    """But none below what is excluded."""
    for name in ("a.css", "b/c/d.js", "collected/a.css"):
        write(tmp_path / name)
    assert names(tmp_path, tmp_path / "collected", tmp_path / "nowhere") == ["a.css", "b/c/d.js"]


@pytest.mark.parametrize(
    "name",
    [".a.css.swp", ".#a.css", "a.css~", "#a.css#", "4913", "a.swx", "a.css.tmp", "a.css___jb_tmp___", ".git/a"],
)
def test_what_editors_leave_behind_is_ignored(tmp_path: Path, name: str) -> None:
    """And what is hidden."""
    write(tmp_path / name)
    assert names(tmp_path) == []


def test_what_was_named_is_read_whatever_its_name(tmp_path: Path) -> None:
    """A file, and a hidden directory, also one that is excluded where it is found."""
    file, hidden = write(tmp_path / "a~"), write(tmp_path / ".assets/b.css").parent
    assert set(read([str(file), str(hidden)], [str(hidden)])) == {str(file), str(hidden / "b.css")}


def test_new_changed_and_removed_files(tmp_path: Path) -> None:
    """An older time and the same size are a change too."""
    for name in ("kept", "changed", "older", "removed"):
        write(tmp_path / name)
    before = read([str(tmp_path)])
    write(tmp_path / "new")
    write(tmp_path / "changed", "longer")
    os.utime(tmp_path / "older", (1e9, 1e9))
    (tmp_path / "removed").unlink()
    changed = changes(before, read([str(tmp_path)]))
    assert [os.path.basename(path) for path in changed] == ["changed", "new", "older", "removed"]


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    """Each directory is read once, and links to nothing are nothing."""
    write(tmp_path / "a/b.css")
    (tmp_path / "a/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/round").symlink_to(tmp_path)
    (tmp_path / "a/nothing").symlink_to(tmp_path / "nowhere")
    assert [os.path.basename(name) for name in names(tmp_path / "a")].count("b.css") <= 2
    assert "a/b.css" in names(tmp_path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """It has no files until it comes back."""
    assert read([str(tmp_path / "away")]) == {}
    assert state_of(str(tmp_path / "away")) is None
    write(tmp_path / "away/a")
    assert names(tmp_path / "away") == ["a"]
