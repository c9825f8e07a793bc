"""Files that an application gives away: as an iterator, and whether the server can send them by itself."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File

from twistserve.wsgi.file_wrapper import FileWrapper


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.fixture
def part() -> Iterator[Any]:
    """The part of a file that the server may send, as its descriptor would be read."""
    opened: list[int] = []

    def part(file: Any) -> bytes | None:
        found = FileWrapper(file).open_part()
        if found is None:
            return None
        descriptor, offset, length = found
        opened.append(descriptor)
        return os.pread(descriptor, length, offset)

    yield part
    for descriptor in opened:
        os.close(descriptor)


def test_it_is_an_iterator_over_blocks() -> None:
    """Of the size that is wanted, to the end; closing it closes what is in it."""
    file = io.BytesIO(b"0123456789")
    wrapper = FileWrapper(file, 4)
    assert list(wrapper) == [b"0123", b"4567", b"89"]
    wrapper.close()
    assert file.closed


def test_a_file_that_cannot_be_closed() -> None:
    """Has no close() here either, which PEP 3333 would have the server call."""

    class Bare:
        def read(self, size: int) -> bytes:
            return b""

    assert not hasattr(FileWrapper(Bare()), "close")


def test_regular_files_can_be_sent(path: Path, part: Any) -> None:
    """From where they stand, buffered or not, and inside Django's own files."""
    with path.open("rb") as file:
        file.read(3)
        assert part(file) == b"3456789"
        assert part(File(file)) == b"3456789"
        assert file.read() == b"3456789"
        assert part(file) == b""
    with path.open("rb", buffering=0) as raw:
        assert part(raw) == b"0123456789"
    with tempfile.NamedTemporaryFile() as temporary:
        temporary.write(b"temporary")
        temporary.seek(0)
        assert part(temporary) == b"temporary"


def test_the_descriptor_is_the_servers_own(path: Path, part: Any) -> None:
    """The application may close its file before all of it is sent."""
    with path.open("rb") as file:
        descriptor, _, length = FileWrapper(file).open_part() or (-1, 0, 0)
        assert descriptor != file.fileno()
    assert os.pread(descriptor, length, 0) == b"0123456789"
    os.close(descriptor)


def test_a_position_beyond_the_end(path: Path, part: Any) -> None:
    """There is nothing to send."""
    with path.open("rb") as file:
        file.seek(100)
        assert part(file) == b""


def test_what_reads_otherwise_is_not_sent(path: Path, part: Any) -> None:
    """What is in memory, packed, text, a pipe or closed is left to the application to read."""
    with gzip.open(path.with_suffix(".gz"), "wb") as packed:
        packed.write(b"text")
    reading, writing = os.pipe()
    os.close(writing)
    with gzip.open(path.with_suffix(".gz")) as unpacking, path.open() as text, os.fdopen(reading, "rb") as pipe:
        for file in (io.BytesIO(b"x"), ContentFile(b"x"), unpacking, text, pipe, text.buffer.detach, object()):  # type: ignore[attr-defined]
            assert part(file) is None
    assert part(pipe) is None


def test_too_many_open_files(path: Path, part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the application has open will do: it is read, as any other iterator is."""

    def dup(descriptor: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", dup)
    with path.open("rb") as file:
        assert part(file) is None
