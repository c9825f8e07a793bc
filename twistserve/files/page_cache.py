"""What of a file the kernel has in memory: only that may be read by the reactor, for all else it would wait.

preadv2(2) with RWF_NOWAIT tells, where the file system knows it: ext4, XFS and Btrfs do, overlayfs, tmpfs, NFS and
FUSE do not.
"""

from __future__ import annotations

import errno
import os

STEP = 256 * 1024
"""Bytes from one look to the next: what is between two places was read with them, and is mostly dropped with them."""
BLOCK = 256 * 1024
"""Bytes read at once."""

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Unknown(Exception):
    """The file system does not tell what is in memory."""


def cached(descriptor: int, offset: int, length: int) -> int:
    """How many bytes from `offset` are in memory, as far as looking at some of them tells. Raises `Unknown`, OSError.

    A file that has become shorter gives fewer bytes: the sender finds out.
    """
    byte = bytearray(1)
    before = offset
    for place in (*range(offset, offset + length, STEP), offset + length - 1):
        if read_now_into(descriptor, byte, place) is None:
            return before - offset
        before = place
    return length


def read_now(descriptor: int, offset: int, length: int) -> bytes | None:
    """Bytes that are in memory, some of those asked for, or None. Raises `Unknown`, OSError."""
    buffer = bytearray(length)
    size = read_now_into(descriptor, buffer, offset)
    return None if size is None else bytes(memoryview(buffer)[:size])


def read_now_into(descriptor: int, buffer: bytearray, offset: int) -> int | None:
    """How many bytes were in memory and are in the buffer now; None if there were none."""
    if not _NOWAIT:
        raise Unknown
    try:
        return os.preadv(descriptor, [buffer], offset, _NOWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise Unknown from None
        raise


def read(descriptor: int, offset: int, length: int) -> bytes:
    """All of these bytes. Blocks. Raises OSError, also where the file is shorter."""
    blocks = []
    while length:
        block = os.pread(descriptor, length, offset)
        if not block:
            raise OSError(errno.EIO, "the file has become shorter")
        blocks.append(block)
        offset += len(block)
        length -= len(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def fetch(descriptor: int, offset: int, length: int) -> int:
    """Have bytes brought into memory; how many there are. Blocks. Raises OSError."""
    buffer = bytearray(min(length, BLOCK))
    fetched = 0
    while fetched < length:
        size = os.preadv(descriptor, [buffer], offset + fetched)
        if not size:
            break
        fetched += size
    return min(fetched, length)


def warm(descriptor: int, size: int) -> bool:
    """Read a file through where the file system does not tell what is in memory; whether that was so. Blocks."""
    try:
        read_now_into(descriptor, bytearray(1), 0)
    except Unknown:
        return fetch(descriptor, 0, size) == size
    return False
