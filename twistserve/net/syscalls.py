"""recv(2), send(2), sendmsg(2), write(2) and pread(2) that keep the GIL.

Python gives the GIL up around every system call. A call on a non-blocking socket takes a few microseconds, but
while request threads compute, getting the GIL back takes up to the switch interval, 5 ms, and two context
switches. ctypes.PyDLL calls without giving it up. `python -m benchmarks --workloads hello` shows what it brings.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Sequence

_libc = ctypes.PyDLL(None, use_errno=True)
_recv, _send, _sendmsg, _write, _pread = _libc.recv, _libc.send, _libc.sendmsg, _libc.write, _libc.pread
_recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_sendmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
for _function in (_recv, _send, _sendmsg, _write, _pread):
    _function.restype = ctypes.c_ssize_t

READ = 65536
"""Bytes that are read at once from who may send anything."""
BULK = 4 * READ
"""Bytes that are read at once where it is known that they belong together."""
# One for all: it is emptied before anything else can run.
_buffer = ctypes.create_string_buffer(BULK)
_address = ctypes.addressof(_buffer)
_view = memoryview(_buffer).cast("B")

_Line = ctypes.c_char * 192


class _Buffer(ctypes.Structure):
    """struct iovec, see readv(2)."""

    _fields_ = (("base", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr, see recv(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("buffers", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


MOST_BUFFERS = 8
"""Buffers that `send_buffers` takes."""
_arrays = [_Buffer * count for count in range(MOST_BUFFERS + 1)]
# One for all, as what is read.
_message = _Message()
_message_address = ctypes.addressof(_message)

_AGAIN = (errno.EAGAIN, errno.EINTR)


def recv(descriptor: int, most: int = READ) -> bytes | None:
    """What a non-blocking socket has, up to `BULK`, b"" at its end, None if there is nothing now. Raises OSError."""
    size = _recv(descriptor, _address, most, 0)
    if size >= 0:
        return _view[:size].tobytes()
    number = ctypes.get_errno()
    if number in _AGAIN:
        return None
    raise OSError(number, os.strerror(number))


def send(descriptor: int, data: bytes) -> int:
    """Bytes that a non-blocking socket took, 0 if it is full. Raises OSError."""
    sent: int = _send(descriptor, data, len(data), socket.MSG_NOSIGNAL)
    return sent if sent >= 0 else _not_taken()


def send_buffers(descriptor: int, buffers: Sequence[bytes]) -> int:
    """The same for several, which need not be joined: `MOST_BUFFERS` at most."""
    # A new array each time, for it keeps what it points to, which may be large.
    array = _arrays[len(buffers)](*[_Buffer(data, len(data)) for data in buffers])
    _message.buffers, _message.count = ctypes.addressof(array), len(buffers)
    sent: int = _sendmsg(descriptor, _message_address, socket.MSG_NOSIGNAL)
    return sent if sent >= 0 else _not_taken()


def _not_taken() -> int:
    number = ctypes.get_errno()
    if number in _AGAIN:
        return 0
    raise OSError(number, os.strerror(number))


def write(descriptor: int, data: bytes) -> None:
    """Write to a non-blocking pipe; that it is full is no error, for then its reader wakes up anyway."""
    _write(descriptor, data, len(data))


def pread(descriptor: int) -> bytes:
    """The beginning of a file of /proc, at most 192 bytes; callable from any thread. Raises OSError."""
    line = _Line()
    size = _pread(descriptor, ctypes.addressof(line), len(line), 0)
    if size < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return line.raw[:size]
