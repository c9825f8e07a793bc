"""Ranges, conditions and paths of files, and those that are held in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from whitenoise.responders import StaticFile

from twistserve.files import representation
from twistserve.files.cache import MemoryCache
from twistserve.files.handler import safe_path
from twistserve.http.response import Response


@pytest.fixture
def found(tmp_path: Path) -> StaticFile:
    """A file of ten bytes."""
    path = tmp_path / "ten.txt"
    path.write_bytes(b"0123456789")
    return StaticFile(str(path), [("Content-Type", "text/plain")])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bytes=0-4", (0, 4)),
        ("bytes=0-0", (0, 0)),
        ("bytes=9-9", (9, 9)),
        ("bytes=5-", (5, 9)),
        ("bytes=5-99", (5, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-99", (0, 9)),
        ("bytes=-0", (1, 0)),
        ("bytes=10-", (10, 9)),
        ("bytes=4-2", None),
        ("bytes=1-2,4-5", None),
        ("bytes=a-b", None),
        ("lines=1-2", None),
        ("", None),
    ],
)
def test_ranges(found: StaticFile, text: str, wanted: tuple[int, int] | None) -> None:
    """One range is served, what cannot be understood is ignored, and first > last cannot be satisfied."""
    assert part(found, {"HTTP_RANGE": text}) == wanted


def part(found: StaticFile, asked: dict[str, str]) -> tuple[int, int] | None:
    """The range that is wanted of the variant that is."""
    _, listed = representation.wanted_variant(found, asked)
    return representation.wanted_range(found, listed, asked, 10)


def is_current(found: StaticFile, asked: dict[str, str]) -> bool:
    """Whether the variant that is wanted is the one that the client has."""
    _, listed = representation.wanted_variant(found, asked)
    return representation.is_not_modified(found, listed, asked)


def test_if_range(found: StaticFile) -> None:
    """A part is only worth having of the file that the client has the rest of."""
    asked = {"HTTP_RANGE": "bytes=0-1"}
    modified = dict(found.alternatives[0][2])["Last-Modified"]
    for condition, wanted in (
        (found.etag, (0, 1)),
        (modified, (0, 1)),
        ('"another"', None),
        (f"W/{found.etag}", None),
        ("Fri, 01 Jan 2100 00:00:00 GMT", None),
    ):
        assert part(found, {**asked, "HTTP_IF_RANGE": condition}) == wanted


def test_a_weak_tag_is_of_no_part(tmp_path: Path) -> None:
    """RFC 9110 section 13.1.5: If-Range compares strongly; WHITENOISE_ADD_HEADERS_FUNCTION may have set it."""
    path = tmp_path / "ten.txt"
    path.write_bytes(b"0123456789")
    weak = StaticFile(str(path), [("ETag", 'W/"x"')])
    assert part(weak, {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": 'W/"x"'}) is None
    assert is_current(weak, {"HTTP_IF_NONE_MATCH": '"x"'})


def test_conditions(found: StaticFile) -> None:
    """Any tag of a list will do, weak ones too; the tag decides where both conditions are given."""
    for tags in (found.etag, f'"x", W/{found.etag}', "*"):
        assert is_current(found, {"HTTP_IF_NONE_MATCH": tags})
    for tags in ('"another"', '"a*b"', f'"*", "{found.etag[1:-1]}*"'):
        assert not is_current(found, {"HTTP_IF_NONE_MATCH": tags})
    later = {"HTTP_IF_MODIFIED_SINCE": "Fri, 01 Jan 2100 00:00:00 GMT"}
    assert is_current(found, later)
    assert not is_current(found, {**later, "HTTP_IF_NONE_MATCH": '"another"'})
    assert not is_current(found, {})


def test_a_field_that_is_repeated_is_one_list(found: StaticFile) -> None:
    """A client may divide its tags and codings among several lines."""
    tags = [(b"If-None-Match", b'"x"'), (b"if-none-match", found.etag.encode()), (b"If-None-Match", b'"y"')]
    assert is_current(found, representation.conditions(tags))
    codings = [(b"Accept-Encoding", b"gzip"), (b"accept-encoding", b"br;q=0.1")]
    assert representation.conditions(codings) == {"HTTP_ACCEPT_ENCODING": "gzip, br;q=0.1"}


@pytest.mark.parametrize(
    ("encodings", "suffix"),
    [
        ("", ""),
        ("*", ""),
        ("deflate", ""),
        ("gzip", ".gz"),
        ("gzip, deflate, br", ".br"),
        ("gzip;q=0", ""),
        ("GZIP;Q=0, deflate", ""),
        ("gzip;q=0, br", ".br"),
        ("gzip, br; q=0.0", ".gz"),
        ("gzip;q=0.5, br;q=0.5", ".br"),
        ("gzip;q=1.0, br;q=0.5", ".gz"),
        ("gzip;q=0.5, identity", ""),
        ("gzip;q=0.5, *", ""),
        ("gzip;q=0.5, *;q=0.1", ".gz"),
        ("gzip;q=0.001", ".gz"),
        ("gzip, *;q=0", ".gz"),
        ("*;q=0", ""),
        ("identity;q=0, gzip;q=0.1", ".gz"),
        ("identity;q=0", ""),
    ],
)
def test_variants(tmp_path: Path, encodings: str, suffix: str) -> None:
    """What is wanted most is served, the smallest of several, and never what is not wanted."""
    plain = tmp_path / "ten.txt"
    for each, size in (("", 10), (".gz", 5), (".br", 3)):
        Path(f"{plain}{each}").write_bytes(b"x" * size)
    variants = {"gzip": f"{plain}.gz", "br": f"{plain}.br"}
    found = StaticFile(str(plain), [("Content-Type", "text/plain")], variants)
    path, headers = representation.wanted_variant(found, {"HTTP_ACCEPT_ENCODING": encodings} if encodings else {})
    assert path == f"{plain}{suffix}"
    assert dict(headers).get("Content-Encoding") == {"": None, ".gz": "gzip", ".br": "br"}[suffix]
    assert dict(headers)["Vary"] == "Accept-Encoding"


def test_each_coding_has_its_tag(tmp_path: Path) -> None:
    """RFC 9110 section 8.8.3.3: a copy in one coding is never current, nor to be completed, in another."""
    plain = tmp_path / "ten.txt"
    for each, size in (("", 10), (".gz", 8), (".br", 6)):
        Path(f"{plain}{each}").write_bytes(b"x" * size)
    found = StaticFile(str(plain), [], {"gzip": f"{plain}.gz", "br": f"{plain}.br"})
    tags = {}
    for coding in ("identity", "gzip", "br"):
        _, headers = representation.wanted_variant(found, {"HTTP_ACCEPT_ENCODING": coding})
        tags[coding] = dict(headers)["ETag"]
    assert tags["identity"] == found.etag
    assert len(set(tags.values())) == 3
    for coding in tags:
        for has, tag in tags.items():
            asked = {"HTTP_ACCEPT_ENCODING": coding, "HTTP_RANGE": "bytes=0-1"}
            same = coding == has
            assert is_current(found, {**asked, "HTTP_IF_NONE_MATCH": f'"x", W/{tag}'}) is same
            assert part(found, {**asked, "HTTP_IF_RANGE": tag}) == ((0, 1) if same else None)
        date = dict(headers)["Last-Modified"]
        assert part(found, {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": date}) is None


def test_the_only_variant(found: StaticFile) -> None:
    """A file that is not compressed is served whatever is wanted."""
    assert representation.wanted_variant(found, {"HTTP_ACCEPT_ENCODING": "gzip, identity;q=0"})[0].endswith("ten.txt")


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        ([b"a", b"b.css"], "a/b.css"),
        ([b"..."], "..."),
        ([b"..", b"x"], None),
        ([b".", b"x"], None),
        ([b"", b"etc"], None),
        ([b"a/b"], None),
        ([b"a\0b"], None),
        ([b"a", b""], "a/"),
        ([b"a", b"", b""], None),
        ([b""], ""),
        ([b"", b""], None),
        ([], None),
    ],
)
def test_paths(segments: list[bytes], path: str | None) -> None:
    """Segments name a file below the root or nothing."""
    assert safe_path(segments) == path


def test_the_cache_is_bounded() -> None:
    """What does not fit any more is not held."""
    cache = MemoryCache(size=10)
    cache.put("a", Response(200, [], b"123456"))
    cache.put("b", Response(200, [], b"123456"))
    cache.put("c", Response(200, [], b"1234"))
    assert [cache.get(name) is not None for name in "abc"] == [True, False, True]


def test_the_cache_counts_a_file_once() -> None:
    """A file that is read again, for a range that means nothing, takes no more room."""
    cache = MemoryCache(size=10)
    for _ in range(3):
        cache.put("a", Response(200, [], b"12345"))
    cache.put("b", Response(200, [], b"12345"))
    assert cache.get("b") is not None
