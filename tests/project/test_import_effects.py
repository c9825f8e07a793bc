"""What importing an application leaves behind, told by name; in a process of its own, which has threads by then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.functional.harness import UNTRACED

PROGRAM = """
import logging, os, sys, threading, time
from django.conf import settings
settings.configure(
    CACHES={{"default": {{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}}},
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}}}},
)
from twistserve.errors import StartError
from twistserve.project.import_effects import ImportEffects, can_be_forked
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
assert can_be_forked()
effects = ImportEffects()
try:
{code}
    print("can be forked:", can_be_forked())
    effects.check()
    print("fine, and can be forked:", can_be_forked())
except Exception as error:
    print(type(error).__name__, error)
sys.stdout.flush()
os._exit(0)
"""


def effects_of(code: str, directory: Path) -> str:
    """What is said of this code."""
    lines = "\n".join(f"    {line}" for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=lines), str(directory / "db.sqlite3")],
        env={**os.environ, **UNTRACED},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_nothing() -> None:
    """Threads that have ended, and connections that are closed, are nothing."""
    said = effects_of("each = threading.Thread(target=print)\neach.start()\neach.join()", Path())
    assert said.splitlines() == ["", "can be forked: True", "fine, and can be forked: True"]


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("threading.Thread(target=time.sleep, args=(9,), name='stock').start()", "'stock' (started at <string>, line"),
        ("import _thread\n_thread.start_new_thread(lambda: time.sleep(9), ())", "one without a name at <string>:"),
    ],
)
def test_threads(code: str, named: str, tmp_path: Path) -> None:
    """By name, and with where they were started, or else are."""
    said = effects_of(code, tmp_path)
    assert "can be forked: False\nStartError --preload: importing the application has started threads" in said
    assert named in said
    assert "leave --preload out" in said


def test_a_query(tmp_path: Path) -> None:
    """The connection is closed, and the log says which database it was."""
    said = effects_of("from django.db import connection\nconnection.ensure_connection()", tmp_path)
    assert "can be forked: False" in said
    assert "has asked the databases 'default'" in said
    assert said.endswith("fine, and can be forked: True\n")


def test_a_connection(tmp_path: Path) -> None:
    """With the address of its other side; those of log servers are closed, for they are made again."""
    listens = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
    said = effects_of(listens + "kept = socket.create_connection(server.getsockname())", tmp_path)
    assert "has left connections open, which its workers would share: to 127.0.0.1:" in said
    said = effects_of("import asyncio\nloop = asyncio.new_event_loop()", tmp_path)
    assert "to the other end of a socket pair (an event loop of asyncio has one)" in said
    said = effects_of(
        listens
        + "import logging.handlers\n"
        + "handler = logging.handlers.SocketHandler(*server.getsockname())\n"
        + "logging.getLogger().addHandler(handler)\n"
        + "logging.getLogger().warning('hello')\n",
        tmp_path,
    )
    assert said.endswith("fine, and can be forked: True\n")


def test_what_is_open_stays_as_it_is(tmp_path: Path) -> None:
    """Looking for connections opens nothing that workers would have, and drops no lock on a file."""
    said = effects_of(
        "import fcntl, subprocess\n"
        "kept = open(sys.argv[1], 'w')\n"
        "fcntl.lockf(kept, fcntl.LOCK_EX)\n"
        "opened = os.listdir('/proc/self/fd')\n"
        "effects.check()\n"
        "print(opened == os.listdir('/proc/self/fd'))\n"
        "other = 'import fcntl, sys; fcntl.lockf(open(sys.argv[1], \\'r+\\'), fcntl.LOCK_EX | fcntl.LOCK_NB)'\n"
        "print(subprocess.run([sys.executable, '-c', other, sys.argv[1]], stderr=subprocess.DEVNULL).returncode)",
        tmp_path,
    )
    assert "True\n1\n" in said


@pytest.mark.parametrize(
    "code", ["from twisted.internet import reactor", "from twisted.internet import asyncioreactor as a\na.install()"]
)
def test_a_reactor(code: str, tmp_path: Path) -> None:
    """Whichever it is, and whoever installs it."""
    assert "StartError --preload: the application imports or installs Twisted's reactor" in effects_of(code, tmp_path)
