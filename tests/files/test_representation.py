"""Which representation of a file a request wants; WhiteNoise's entries of files are real ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from whitenoise import WhiteNoise

from twistserve.files.representation import (
    conditions,
    is_not_modified,
    raw,
    wanted_range,
    wanted_variant,
)

CONTENT = b"0123456789" * 20


@pytest.fixture
def found(tmp_path: Path) -> Any:
    """WhiteNoise's entry of a file of 200 bytes with a compressed variant."""
    (tmp_path / "a.css").write_bytes(CONTENT)
    (tmp_path / "a.css.gz").write_bytes(gzip.compress(CONTENT))
    (tmp_path / "a.css.br").write_bytes(b"br")
    return WhiteNoise(None, root=str(tmp_path)).files["/a.css"]


@pytest.fixture
def alone(tmp_path: Path) -> Any:
    """WhiteNoise's entry of a file without variants."""
    (tmp_path / "alone.css").write_bytes(CONTENT)
    return WhiteNoise(None, root=str(tmp_path)).files["/alone.css"]


def coding(found: Any, accepted: str | None) -> str:
    """The coding of the variant that is sent to who accepts these."""
    asked = {} if accepted is None else {"HTTP_ACCEPT_ENCODING": accepted}
    path, headers = wanted_variant(found, asked)
    told = {name.lower(): value for name, value in headers}.get("content-encoding", "identity")
    assert Path(path).suffix == {"gzip": ".gz", "br": ".br", "identity": ".css"}[told]
    return told


def test_conditions_of_a_request() -> None:
    """In any letters; those of one name are one list, and others do not matter."""
    headers = [(b"RANGE", b"bytes=0-1"), (b"If-None-Match", b'"a"'), (b"if-none-match", b'"b"'), (b"Cookie", b"a=b")]
    assert conditions(headers) == {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_NONE_MATCH": '"a", "b"'}


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("gzip;q=0, br;q=0", "identity"),
        ("gzip;q=0.5, identity;q=0.9", "identity"),
        ("gzip;q=0.001", "gzip"),
        ("*;q=0.5", "identity"),
        ("gzip;q=0, *", "identity"),
    ],
)
def test_the_variant_that_is_wanted_most(found: Any, accepted: str | None, sent: str) -> None:
    """By the weights; of several the smallest, and none that was refused (RFC 9110 section 12.5.3)."""
    assert coding(found, accepted) == sent


def test_each_variant_has_a_tag_of_its_own(found: Any) -> None:
    """A cache must not take the parts of one for those of another (RFC 9110 section 8.8.3.3)."""
    tags = {
        dict(wanted_variant(found, {"HTTP_ACCEPT_ENCODING": accepted})[1])["ETag"] for accepted in ("", "gzip", "br")
    }
    assert len(tags) == 3
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


def test_a_copy_that_is_current(found: Any) -> None:
    """By any of a list of tags, weak ones too, or by `*`; a tag of another variant is another one."""
    _, listed = wanted_variant(found, {"HTTP_ACCEPT_ENCODING": "gzip"})
    _, plain = wanted_variant(found, {})
    tag, other = dict(listed)["ETag"], dict(plain)["ETag"]
    for tags, current in (
        (tag, True),
        (f'"x", W/{tag}', True),
        ("*", True),
        (" * ", True),
        (other, False),
        ("", False),
    ):
        assert is_not_modified(found, listed, {"HTTP_IF_NONE_MATCH": tags}) is current


def test_a_copy_by_its_time(found: Any) -> None:
    """It counts where there is no tag (RFC 9110 section 13.1.3)."""
    _, listed = wanted_variant(found, {})
    time = dict(listed)["Last-Modified"]
    assert is_not_modified(found, listed, {"HTTP_IF_MODIFIED_SINCE": time})
    assert not is_not_modified(found, listed, {"HTTP_IF_MODIFIED_SINCE": time, "HTTP_IF_NONE_MATCH": '"x"'})
    assert not is_not_modified(found, listed, {"HTTP_IF_MODIFIED_SINCE": "Thu, 01 Jan 1970 00:00:00 GMT"})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("bytes=0-0", (0, 0)),
        ("bytes=10-19", (10, 19)),
        ("bytes=10-", (10, 199)),
        ("bytes=10-1000", (10, 199)),
        ("bytes=-5", (195, 199)),
        ("bytes=-1000", (0, 199)),
        ("bytes=-0", (1, 0)),
        ("bytes=5-4", None),
        ("bytes=x-", None),
        ("bytes=-", None),
        ("bytes= 10-19 ", (10, 19)),
        ("Bytes=\t-5", (195, 199)),
        ("bytes=\xa0-5", None),
        ("bytes=--5", None),
        ("bytes=1_0-15", None),
        ("bytes=+1-5", None),
        ("bytes=0-1, 5-6", None),
        ("lines=1-2", None),
    ],
)
def test_ranges(alone: Any, text: str | None, wanted: tuple[int, int] | None) -> None:
    """What is no range is all of the file; one that ends before it begins is not satisfiable (RFC 9110 section 14)."""
    asked = {} if text is None else {"HTTP_RANGE": text}
    assert wanted_range(alone, wanted_variant(alone, asked)[1], asked, 200) == wanted


def test_ranges_on_a_condition(found: Any, alone: Any) -> None:
    """A strong tag or, where there is one variant, the time; else the client gets all (RFC 9110 section 13.1.5)."""
    for entry, dated in ((found, False), (alone, True)):
        _, listed = wanted_variant(entry, {})
        headers = {name.lower(): value for name, value in listed}
        for condition, matches in (
            (headers.get("etag", '"none"'), "etag" in headers),
            (f"W/{headers.get('etag', '')}", False),
            ('"other"', False),
            (headers["last-modified"], dated),
            ("Thu, 01 Jan 1970 00:00:00 GMT", False),
        ):
            asked = {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": condition}
            assert (wanted_range(entry, listed, asked, 200) is not None) is matches


def test_fields_as_bytes() -> None:
    """As they go to the wire."""
    assert raw([("A", "\xe9")]) == [(b"A", b"\xe9")]
