"""What a request for a file gets, as far as the file system is needed for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from whitenoise import WhiteNoise
from whitenoise.responders import Redirect

from twistserve.files import page_cache
from twistserve.files.responder import (
    NOT_ALLOWED,
    NOT_FOUND,
    SMALL,
    Asked,
    response_for,
    response_to_error,
)
from twistserve.files.sendfile import FileTransfer
from twistserve.http.response import Response


@pytest.fixture
def entry(tmp_path: Path) -> Any:
    """Makes WhiteNoise's entry of a file of so many bytes."""

    def make(size: int) -> Any:
        (tmp_path / "a.txt").write_bytes(bytes(index % 251 for index in range(size)))
        return WhiteNoise(None, root=str(tmp_path)).files["/a.txt"]

    return make


def fields(response: Response) -> dict[bytes, bytes]:
    return {name: value for _, name, value in response.fields}


def test_a_small_file_is_read_at_once(entry: Any) -> None:
    """It leaves no file open."""
    before = os.listdir("/proc/self/fd")
    response = response_for(entry(1000), Asked({}, head_only=False))
    assert (response.status, len(response.body), response.producer) == (200, 1000, None)
    assert fields(response)[b"content-length"] == b"1000"
    assert fields(response)[b"accept-ranges"] == b"bytes"
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_large_file_is_open(entry: Any) -> None:
    """For whoever sends it, from its beginning and of its size."""
    response = response_for(entry(SMALL + 1), Asked({}, head_only=False))
    assert (response.status, response.body, response.length) == (200, b"", SMALL + 1)
    transfer = response.producer
    assert isinstance(transfer, FileTransfer)
    assert transfer.read() == bytes(index % 251 for index in range(SMALL + 1))
    transfer.stopProducing()


def test_a_head_has_what_a_get_would_have(entry: Any) -> None:
    """And neither a body nor an open file; ranges are defined for GET alone."""
    before = os.listdir("/proc/self/fd")
    for size in (10, SMALL + 1):
        response = response_for(entry(size), Asked({"HTTP_RANGE": "bytes=0-1"}, head_only=True))
        assert (response.status, response.body, response.producer) == (200, b"", None)
        assert fields(response)[b"content-length"] == b"%d" % size
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_range(entry: Any) -> None:
    """A part of the file, small enough to be read at once though the file is not."""
    response = response_for(entry(SMALL * 2), Asked({"HTTP_RANGE": "bytes=100-109"}, head_only=False))
    assert (response.status, response.body, response.producer) == (206, bytes(range(100, 110)), None)
    assert fields(response)[b"content-range"] == b"bytes 100-109/%d" % (SMALL * 2)
    assert fields(response)[b"content-length"] == b"10"


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=100-200", "bytes=-0"])
def test_a_range_that_there_is_not(entry: Any, text: str) -> None:
    """The client learns how long the file is."""
    response = response_for(entry(10), Asked({"HTTP_RANGE": text}, head_only=False))
    assert (response.status, fields(response)[b"content-range"], response.producer) == (416, b"bytes */10", None)


def test_a_copy_that_is_current(entry: Any) -> None:
    """The client keeps it, and no file is opened."""
    found = entry(10)
    time = dict(found.get_path_and_headers({})[1])["Last-Modified"]
    os.unlink(found.get_path_and_headers({})[0])
    response = response_for(found, Asked({"HTTP_IF_MODIFIED_SINCE": time}, head_only=False))
    assert (response.status, response.body) == (304, b"")
    assert b"content-length" not in fields(response)


def test_other_responses(entry: Any) -> None:
    """Where there is no file, where it is not to be read, and where there is another URL for it."""
    asked = Asked({}, head_only=False)
    assert response_for(None, asked) is NOT_FOUND
    assert response_for(entry(1), Asked({}, head_only=False, reads=False)) is NOT_ALLOWED
    assert fields(NOT_ALLOWED)[b"allow"] == b"GET, HEAD"
    response = response_for(Redirect("index/"), asked)
    assert (response.status, fields(response)[b"location"]) == (302, b"index/")
    assert fields(response)[b"content-length"] == b"0"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError(errno.ENOENT, "no"), 404),
        (PermissionError(errno.EACCES, "no"), 404),
        (OSError(errno.ENAMETOOLONG, "no"), 404),
        (OSError(errno.EMFILE, "no"), 503),
        (OSError(errno.EIO, "no"), 503),
        (KeyError("a mistake"), 500),
    ],
)
def test_errors(error: BaseException, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """What is not there is no error of ours; anything else is logged with the path."""
    response = response_to_error(error, "/srv/static/a.txt")
    assert response.status == status
    assert ("/srv/static/a.txt" in caplog.text) is (status != 404)
    assert (b"retry-after" in fields(response)) is (status == 503)
    assert b"/srv" not in response.body


def test_a_file_that_cannot_be_read_is_closed(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error travels to whoever responds."""

    def fail(*arguments: object) -> bytes:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(page_cache, "read", fail)
    found, before = entry(10), os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="no"):
        response_for(found, Asked({}, head_only=False))
    assert len(os.listdir("/proc/self/fd")) == len(before)
