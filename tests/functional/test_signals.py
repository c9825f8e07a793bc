"""What docs/signals.md says of signals and exit statuses that no other test holds."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.documents.tables import rows
from tests.support.functional.harness import BIN, PROMPT, Serve, Server, free_port, lines_with, wait_for
from tests.support.functional.workers import wait_until_ready, workers

Project = Callable[..., Path]

HARMLESS = ("SIGUSR1", "SIGPIPE", "SIGCHLD", "SIGURG", "SIGWINCH")
STATUSES = {status for row in rows("signals.md", "## Exit statuses") for status in row["status"].split(", ")}
HANDLER = "from twistserve.amqp import Handler\nclass Orders(Handler):\n    def handle(self, message): pass\n"


def killed(name: str) -> str:
    """The status of a process that a signal has ended, as shells show it."""
    return str(128 + signal.Signals[name])


def stacks(server: Server) -> int:
    return len(lines_with(server.stdout, "received SIGQUIT; every thread's stack"))


def goes_on(server: Server, *names: str) -> None:
    """It is there after each of these, and logs its stacks."""
    for name in names:
        before = stacks(server)
        server.signal(signal.Signals[name])
        # Signals are handled in their order: the first has been when the stacks are there.
        server.signal(signal.SIGQUIT)
        wait_for(partial(there_are_more, server, before), lambda: f"the stacks\n{server.output}")
        assert server.process.poll() is None


def there_are_more(server: Server, before: int) -> bool:
    return stacks(server) > before


@pytest.mark.parametrize("runner", ["twistd", "consume"])
def test_one_process(serve: Serve, project: Project, runner: str) -> None:
    """It goes on after all but those that the kernel ends it by; a consumer needs no broker for that."""
    port = free_port()
    options: tuple[str, ...] = ("--port", str(port))
    if runner == "consume":
        options = ("--handler", "shop.Orders", "--queue", "orders", "--amqp-url", f"amqp://127.0.0.1:{port}")
        options += ("--probe-port", str(port + 1))
    directory = project(shop=HANDLER)
    server = serve(*options, cwd=directory, settings="site_settings", runner=runner, port=port, until="/startup")
    goes_on(server, "SIGHUP", *HARMLESS)
    assert lines_with(server.stdout, "WARNING", "received SIGHUP")
    server.signal(signal.SIGUSR2)
    assert server.wait(PROMPT) == -signal.SIGUSR2
    assert killed("SIGUSR2") in STATUSES


def test_a_worker(serve: Serve, project: Project) -> None:
    """It leaves to its parent what a terminal sends to all, and is replaced when it is killed."""
    server = wait_until_ready(serve("--workers", "2", cwd=project(), settings="site_settings"))
    before = {*workers(server)}
    for name in ("SIGINT", "SIGHUP", *HARMLESS):
        os.kill(min(before), signal.Signals[name])
    os.kill(min(before), signal.SIGQUIT)
    wait_for(lambda: stacks(server) == 1, lambda: f"the stacks\n{server.output}")
    assert {*workers(server)} == before
    os.kill(min(before), signal.SIGUSR2)
    wait_for(lambda: len({*workers(server)} - before) == 1, lambda: f"another worker\n{server.output}")
    assert lines_with(server.stdout, "killed by SIGUSR2")
    assert server.process.poll() is None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_before_any_of_our_code(project: Project, name: str) -> None:
    """manage.py imports the settings before it looks for the command: Python does what it does then."""
    directory = project(settings="import pathlib, time\npathlib.Path('reached').touch()\ntime.sleep(60)\n")
    words = [str(BIN / "python"), "manage.py", "serve"]
    with subprocess.Popen(words, cwd=directory, stderr=subprocess.DEVNULL) as process:
        wait_for((directory / "reached").exists, "the settings to be reached")
        process.send_signal(signal.Signals[name])
        assert process.wait(PROMPT) == -signal.Signals[name]
    assert killed(name) in STATUSES


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["twist", "--nothing", "djangoserve"], 64),
        (["python", "manage.py", "serve", "--version"], 0),
        (["python", "manage.py", "consume", "--nothing"], 1),
        (["python", "manage.py", "probe", "nothing"], 1),
        (["python", "manage.py", "kubernetes", "--nothing"], 1),
    ],
)
def test_wrong_words(project: Project, words: list[str], status: int) -> None:
    """Whichever command they are of."""
    program, *arguments = words
    done = subprocess.run([BIN / program, *arguments], cwd=project(), capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert str(status) in STATUSES


def test_numbers_of_signals() -> None:
    """The table has them right."""
    for row in rows("signals.md", "## Exit statuses"):
        of_signals = {status for status in row["status"].split(", ") if int(status) > 128}
        names = [word.strip(",:;.") for word in row["when"].split() if word.startswith("SIG")]
        assert not of_signals or {killed(name) for name in names} == of_signals
