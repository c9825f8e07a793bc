"""Files that the kernel keeps for threads."""

from __future__ import annotations

import os
import threading

import pytest

from twistserve.threads.thread_file import ThreadFile


def test_of_the_calling_thread_and_of_another() -> None:
    """Their names are in the second field of `stat`, whoever reads."""
    told: list[int] = []
    read, end = threading.Event(), threading.Event()

    def run() -> None:
        files.append(ThreadFile("stat"))
        told.append(threading.get_native_id())
        read.set()
        end.wait()

    files: list[ThreadFile] = []
    thread = threading.Thread(target=run)
    thread.start()
    read.wait()
    files.append(ThreadFile("stat", told[0]))
    assert [int(file.read().split()[0]) for file in files] == told * 2
    end.set()
    thread.join()
    for file in files:
        file.close()


def test_what_there_is_none_of() -> None:
    """Making it raises nothing, reading does."""
    file = ThreadFile("no such file")
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.read()
    file.close()


def test_after_close() -> None:
    """Closing again does nothing to a file that has got the number meanwhile."""
    file = ThreadFile("stat")
    file.close()
    other = os.open(os.devnull, os.O_RDONLY)
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.read()
    os.close(other)
