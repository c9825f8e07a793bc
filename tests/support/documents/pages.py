"""A page of the documents as its reader follows it: files written, commands run, servers started, in its order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO

from tests.support.documents.blocks import Block
from tests.support.documents.project import write_file, write_mysite
from tests.support.documents.shell import Ports, asks, commands, installs, lines, serves
from tests.support.functional.harness import BIN, PATIENCE, fetch, free_port, wait_for
from tests.support.functional.processes import listening

OF_OTHERS = {
    "hurricane": "a project's code before it moves",
}
"""Modules of blocks that are compiled only, and why they are not installed here."""

SERVER = "exec twistd -n --pidfile= djangoserve --settings mysite.settings --media"
"""What runs where a page asks a server that it does not start: a reference, for whoever has one."""

READ_TO_THE_END = """
head() { command head "$@"; cat > /dev/null; }
grep() { local status=0; command grep "$@" || status=$?; cat > /dev/null; return $status; }
"""
"""What ends early would now and then fail the pipeline that writes to it, which a reader's shell does not mind."""

WRITTEN = {"python", "yaml", "toml", "json", "ini", "nginx", "haproxy", "caddyfile"}
"""Languages whose blocks are files if their first line says so."""


class Page:
    """One directory with a project, and what the blocks of a page make of it."""

    def __init__(self, directory: Path, blocks: tuple[Block, ...]) -> None:
        self._directory = directory / "project"
        self._directory.mkdir()
        installs_it = any("INSTALLED_APPS" in each.text and '"twistserve"' in each.text for each in blocks if each.path)
        write_mysite(self._directory, installed=not installs_it)
        self._state, self._output = directory / "environment", directory / "output"
        self._blocks = blocks
        self._ports = Ports(free_port)
        for block in blocks:
            if block.language in {"sh", "python"}:
                self._ports.learn(block.text)
        self._server: subprocess.Popen[bytes] | None = None
        shell = [commands(block.text) for block in blocks if block.language == "sh"]
        self._starts = any(serves(lines[-1]) for lines in shell if lines)
        """Whether the page starts a server, and must do so before it asks one."""

    def run(self) -> None:
        """Follow the page to its end; Python last, in one process, once each file is as the page leaves it."""
        try:
            for block in self._blocks:
                if block.language == "sh":
                    self._run_commands(block)
                elif block.language in WRITTEN and block.path:
                    write_file(self._directory, block.path, self._ports.replaced(block.text))
            self._run_python([block for block in self._blocks if block.language == "python" and not _of_others(block)])
        finally:
            self._end_server()

    def _run_commands(self, block: Block) -> None:
        script = [line for line in lines(self._ports.replaced(block.text)) if not installs(line)]
        if not commands("\n".join(script)):
            return
        if not self._starts and self._server is None and asks(block.text):
            self._start_server(block, SERVER)
        before = f'. {self._state}\ncd "$PWD"\n' if self._state.exists() else ""
        if self._sets("PORT"):
            # Ours, from before the settings had one.
            before += "unset TWISTSERVE_PORT\n"
        keep = f"declare -px > {self._state}"
        if serves(script[-1]):
            self._end_server()
            self._start_server(block, before + "\n".join([*script[:-1], keep, f"exec env {script[-1]}"]))
            return
        with self._output.open("wb") as output:
            process = self._bash(before + "\n".join([*script, keep]), output)
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        ended = f"it ended with status {status}" if status is not None else f"it still ran after {PATIENCE:g} s"
        assert status == 0, block.failed(f"{ended}\n{self._said}")

    def _bash(self, script: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        others = ("TWISTSERVE_", "HURRICANE_", "DJANGO_", "PROMETHEUS_", "KUBERNETES_", "AMQP_")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        environ |= {"PATH": f"{BIN}:{environ['PATH']}", "PYTHONUNBUFFERED": "1", "HOME": str(self._directory.parent)}
        environ["TWISTSERVE_DEBUGGER_PORT"] = str(self._ports[5678])
        if not self._sets("PORT"):
            environ["TWISTSERVE_PORT"] = str(self._ports[8000])
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", READ_TO_THE_END + script],
            cwd=self._directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _start_server(self, block: Block, script: str) -> None:
        consumes = "manage.py consume" in script
        if consumes:
            # It has no web port that this would follow from.
            script = f"export TWISTSERVE_PROBE_PORT=${{TWISTSERVE_PROBE_PORT-{self._ports[8001]}}}\n{script}"
        # A consumer without a broker has started, and is not ready.
        path = "/startup" if consumes else "/ready"
        with self._output.open("wb") as output:
            self._server = self._bash(script, output)
        try:
            wait_for(partial(answers, self._server, path), f"{path} to answer 200")
        except AssertionError as error:
            raise AssertionError(block.failed(f"{error}\n{self._said}")) from None

    def _sets(self, name: str) -> bool:
        """Whether the settings have an option of this name by now."""
        return f"'{name}':" in (self._directory / "mysite" / "settings.py").read_text()

    @property
    def _said(self) -> str:
        return self._output.read_text(errors="replace")

    def _end_server(self) -> None:
        if self._server is not None:
            if self._server.poll() is None:
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def _run_python(self, blocks: list[Block]) -> None:
        if not blocks:
            return
        told = [{"page": each.page, "line": each.line, "path": each.path, "text": each.text} for each in blocks]
        done = subprocess.run(
            [sys.executable, "-W", "error", Path(__file__).with_name("run_python.py")],
            input=json.dumps(told),
            cwd=self._directory,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "mysite.settings"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        shown = "\n".join(f"{block.where}\n{block.text}" for block in blocks if f"line {block.line}" in done.stderr)
        assert done.returncode == 0, f"Python that fails:\n{done.stderr}\n{shown}"


def answers(server: subprocess.Popen[bytes], path: str) -> bool:
    """Whether this path is responded to with 200 on one of the ports that a server's processes listen on."""
    assert server.poll() is None, f"the server ended with status {server.returncode}"
    for port in listening(server.pid):
        with suppress(OSError, HTTPException):
            # A debugger's port says nothing.
            if fetch(port, path, timeout=2).status == 200:
                return True
    # A look at /proc takes time from the server that is waited for.
    time.sleep(0.1)
    return False


def _of_others(block: Block) -> bool:
    modules = re.findall(r"^\s*(?:from|import) (\w+)", block.text, re.MULTILINE)
    return not OF_OTHERS.keys().isdisjoint(modules)
