"""Files that stay open for whoever asks for them next."""

from __future__ import annotations

import os
from pathlib import Path

from twistserve.files.cache import OpenFile, OpenFiles


def open_file(tmp_path: Path) -> OpenFile:
    path = tmp_path / "file"
    path.touch()
    return OpenFile(os.open(path, os.O_RDONLY), 0)


def is_open(file: OpenFile) -> bool:
    return os.path.exists(f"/proc/self/fd/{file.descriptor}")


def test_the_last_one_closes(tmp_path: Path) -> None:
    """Each who has the file closes it once."""
    file = open_file(tmp_path)
    file.share().close()
    assert is_open(file)
    file.close()
    assert not is_open(file)


def test_those_asked_for_last_stay(tmp_path: Path) -> None:
    """Others make way, and are closed when nobody sends them any more."""
    files = OpenFiles(lambda: 2)
    first, second, third = (open_file(tmp_path) for _ in range(3))
    for name, file in (("first", first), ("second", second)):
        files.put(name, file)
        file.close()
    sending = files.get("second")
    assert sending is second
    again = files.get("first")
    assert again is first
    again.close()
    files.put("third", third)
    third.close()
    assert ("first" in files, "second" in files, "third" in files) == (True, False, True)
    assert is_open(second)
    sending.close()
    assert not is_open(second)
    assert files.get("second") is None
    for name in ("first", "third"):
        kept = files.get(name)
        assert kept is not None
        kept.close()
        kept.close()
        assert not is_open(kept)


def test_a_file_that_two_have_opened_at_once(tmp_path: Path) -> None:
    """The first stays, and the other is closed by who has it."""
    files = OpenFiles(lambda: 2)
    first, second = open_file(tmp_path), open_file(tmp_path)
    files.put("a", first)
    files.put("a", second)
    second.close()
    assert not is_open(second)
    assert is_open(first)
    first.close()
    first.close()


def test_none_may_stay(tmp_path: Path) -> None:
    """Under the smallest limits."""
    files = OpenFiles(lambda: 0)
    file = open_file(tmp_path)
    files.put("a", file)
    assert "a" not in files
    file.close()
    assert not is_open(file)


def test_none_stays_that_a_new_index_may_have_replaced(tmp_path: Path) -> None:
    """Those that are being sent are closed by who sends them."""
    files = OpenFiles(lambda: 2)
    kept, sending = open_file(tmp_path), open_file(tmp_path)
    files.put("kept", kept)
    files.put("sending", sending)
    kept.close()
    files.clear()
    assert ("kept" in files, "sending" in files) == (False, False)
    assert (is_open(kept), is_open(sending)) == (False, True)
    sending.close()
