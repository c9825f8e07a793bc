"""A file system that takes as long as a test likes: read-only, in front of a directory, spoken to over /dev/fuse.

`python slow_files.py BACKING MOUNTPOINT COMMAND...` mounts it and runs the command; it is there until that has ended.
While BACKING has a file named `hold`, what concerns a file whose name begins with `lookup`, `open` or `read` waits at
that step. The protocol is that of linux/fuse.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import sys
import threading
import time
from pathlib import Path

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 18, 25, 26
INTERRUPT, BATCH_FORGET = 36, 42
ROOT = 1
_HEADER = struct.Struct("=IIQQIIII")
_PR_SET_PDEATHSIG = 1


class SlowFiles:
    """Answers what the kernel asks; each question on a thread of its own."""

    def __init__(self, backing: Path, device: int) -> None:
        self._backing = backing
        self._device = device
        self._names = {ROOT: ""}
        self._numbers = {"": ROOT}

    def serve(self) -> None:
        while True:
            try:
                question = os.read(self._device, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                continue
            threading.Thread(target=self._handle, args=(question,), daemon=True).start()

    def _handle(self, question: bytes) -> None:
        _, code, unique, node, *_ = _HEADER.unpack_from(question)
        if code in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        try:
            answer, failure = self._answer(code, node, question[_HEADER.size :]), 0
        except OSError as error:
            answer, failure = b"", -(error.errno or errno.EIO)
        try:
            os.write(self._device, struct.pack("=IiQ", 16 + len(answer), failure, unique) + answer)
        except OSError:  # nobody waits any more
            return

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        if code == INIT:
            return struct.pack("=IIIIHHIIHHI28x", 7, 31, 1 << 17, 1, 64, 48, 4096, 1, 32, 0, 0)
        name = self._names[node]
        if code == LOOKUP:
            name = os.path.join(name, os.fsdecode(body.rstrip(b"\0")))
            self._wait(name, "lookup")
            attributes = self._attributes(name)
            return struct.pack("=QQQQII", self._number(name), 0, 0, 0, 0, 0) + attributes
        if code == GETATTR:
            return struct.pack("=QII", 0, 0, 0) + self._attributes(name)
        if code == OPEN:
            self._wait(name, "open")
            return struct.pack("=QII", 0, 0, 0)
        if code == READ:
            self._wait(name, "read")
            _, offset, size = struct.unpack_from("=QQI", body)
            with open(self._backing / name, "rb") as file:
                file.seek(offset)
                return file.read(size)
        if code in (RELEASE, FLUSH):
            return b""
        raise OSError(errno.ENOSYS, "unknown")

    def _wait(self, name: str, step: str) -> None:
        while os.path.basename(name).startswith(step) and (self._backing / "hold").exists():
            time.sleep(0.02)

    def _number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        self._names[number] = name
        return number

    def _attributes(self, name: str) -> bytes:
        status = os.stat(self._backing / name)
        mode = stat.S_IFDIR | 0o755 if stat.S_ISDIR(status.st_mode) else stat.S_IFREG | 0o644
        times = (int(status.st_atime), int(status.st_mtime), int(status.st_ctime))
        return struct.pack(
            "=QQQQQQIIIIIIIIII",
            *(self._number(name), status.st_size, status.st_blocks, *times, 0, 0, 0),
            *(mode, 1, os.getuid(), os.getgid(), 0, 4096, 0),
        )


def main(backing: str, mountpoint: str, *command: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"slow", mountpoint.encode(), b"fuse.slow", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    if os.fork():
        os.execvp(command[0], command)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    SlowFiles(Path(backing), device).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
