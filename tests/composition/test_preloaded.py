"""The process that has the application: what it does when it is asked; functional tests have it fork workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.functional.harness import UNTRACED, write_project
from twistserve.composition import preloaded as module
from twistserve.logs.log import LogService
from twistserve.options import Configuration
from twistserve.resolution import resolve
from twistserve.workers.control_messages import Message, receive, send
from twistserve.workers.protocol import CONTROL, PRELOADED_LOG_LOCK


def configuration() -> Configuration:
    return resolve({"workers": "2", "preload": True, "settings": "site_settings"}, {}, lambda *_: {})


class Preloaded:
    """Such a process, started as the parent starts it, but without a parent's pipes for a worker."""

    def __init__(self, directory: Path) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = (
            "import os, sys; from twistserve.workers.__main__ import preload;"
            f" os.dup2(int(sys.argv[1]), {CONTROL}); os.dup2(os.open(os.devnull, os.O_RDWR), {PRELOADED_LOG_LOCK});"
            " preload()"
        )
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, str(theirs.fileno())],
                cwd=directory,
                env={**os.environ, **UNTRACED},
                pass_fds=[theirs.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def load(self, directory: Path) -> list[Message]:
        """What it says until it has loaded, or failed."""
        values = configuration().values()
        send(self.control, "load", configuration=values, path=[str(directory), *sys.path], directory="")
        said: list[Message] = []
        while not said or said[-1].word not in ("loaded", "failed"):
            message = receive(self.control)
            assert message is not None
            said.append(message)
        return said

    def end(self) -> tuple[int, str]:
        """Have it end; its status and what it has written."""
        self.control.close()
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


def test_it_loads_the_application(tmp_path: Path) -> None:
    """Step by step; signals to all processes are not for it, and it ends as any program of Python does."""
    project = write_project(tmp_path / "project", settings="import atexit\natexit.register(print, 'good bye')\n")
    preloaded = Preloaded(project)
    said = preloaded.load(project)
    assert [message.word for message in said] == ["at_step", "at_step", "loaded"]
    assert said[1].content == {"step": "loading the WSGI application"}
    for number in module.IGNORED:
        preloaded.process.send_signal(number)
    status, output = preloaded.end()
    assert status == 0
    assert output.splitlines()[-1] == "good bye"


def test_it_cannot_load_the_application(tmp_path: Path) -> None:
    """It says why, and ends."""
    project = write_project(tmp_path / "project", settings="ROOT_URLCONF = 'nowhere'\n")
    preloaded = Preloaded(project)
    *_, failed = preloaded.load(project)
    assert failed.word == "failed"
    assert "the URLconf 'nowhere'" in failed.content["message"]
    assert preloaded.end()[0] == 1


def test_other_reactors_are_not_left_behind() -> None:
    """A process is forked from the parent only where that has our reactor, which it can get rid of."""
    assert module.fork_from(object(), LogService("INFO"), -1, ()) is None
    assert signal.SIGTERM in module.IGNORED
