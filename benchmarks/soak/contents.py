"""What the site answers, as its views make it and the clients expect it: from a number that is in each piece of it."""

from __future__ import annotations

BLOCK = 16384
"""Bytes of a piece of a stream."""
ROWS = 50
"""Of a page."""


def text(number: int, size: int) -> bytes:
    """So many bytes that no other number has."""
    word = b"%d." % number
    return (word * (size // len(word) + 1))[:size]


def block(number: int, index: int) -> bytes:
    """A piece of a stream."""
    return text(number * 1000 + index, BLOCK)


def static_file(size: int) -> bytes:
    """A file's content, of which each part tells where it is."""
    return b"".join(b"%07d\n" % line for line in range(size // 8))


FILES = {"small.txt": 10_240, "large.bin": 1 << 20}
"""The files, static and media, and their bytes."""
