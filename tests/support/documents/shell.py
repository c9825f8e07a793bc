"""Lines of a shell: what they start, and the ports they name."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

NOT_HERE = {
    *("kubectl", "helm", "kustomize", "minikube", "kind", "k3d"),  # a cluster
    *("docker", "podman", "buildah", "nerdctl"),  # images and containers
    *("make", "git"),  # a clone of the repository
    *("pip", "apt", "apt-get", "python3", "virtualenv"),  # what an environment is made with
    *("sudo", "systemctl", "pkill", "killall"),  # the machine, and who else is there
    *("psql", "redis-cli", "rabbitmqctl", "prometheus"),  # servers that a page has no configuration for
    *("gunicorn", "uwsgi", "daphne", "uvicorn", "granian"),  # another server, in the place that twistserve takes
}
"""Programs that no test of a document runs."""
OF_THE_REPOSITORY = ("python -m benchmarks", "python -m tests")
"""Nor these, which are no part of what is installed."""

SERVERS = ("twistd ", "twist ", "python manage.py serve", "python manage.py consume")
ENDING = ("--print-options", "--help", "--version")
"""Options with which these end by themselves."""

_NOT_ONE = re.compile(r"https?://(?!localhost\b|127\.)[\w.$-]+|\b(?:PID|POD|NODE|NAMESPACE|TOKEN)\b(?!=)")
"""Hosts elsewhere, and words that a reader puts something in the place of."""
_ASKS = re.compile(r"(?:localhost|127\.0\.0\.1):\d|manage\.py probe|-m twistserve\.probes")
_PORTS = re.compile(
    r"(?:localhost:|127\.0\.0\.1:|0\.0\.0\.0:|\[::1?\]:|rabbitmq:|tcp:|:port="
    r"""|--(?:probe-)?port[= ]|PORT=|PORT["']: )"""
    r"(\d{4,5})\b"
)


def lines(text: str) -> list[str]:
    """The logical lines: continued ones joined."""
    return text.rstrip().replace("\\\n", "").splitlines()


def commands(text: str) -> list[str]:
    """Those that are neither empty nor a comment."""
    return [line for line in lines(text) if line.strip() and not line.lstrip().startswith("#")]


def programs(command: str) -> set[str]:
    """The programs that a command starts, as far as its pipelines and lists show them."""
    words = shlex.shlex(command, posix=True, punctuation_chars="|&;(){}")
    words.whitespace_split = True
    try:
        return _programs(words)
    except ValueError:
        # One of several lines of a text in quotes.
        return set(command.split()[:1])


def _programs(words: Iterable[str]) -> set[str]:
    found: set[str] = set()
    begun: list[str] = []
    for word in words:
        if set(word) <= set("|&;(){}"):
            begun = []
        elif begun or not re.match(r"\w+=", word):
            begun.append(word if begun else word.rpartition("/")[2])
            found.add(" ".join(begun[:3]) if begun[:2] == ["python", "-m"] else begun[0])
    return found


def is_not_here(command: str) -> bool:
    """Whether no test can run it: by its programs, another host, or a word that stands for something."""
    return _NOT_ONE.search(command) is not None or any(
        each in NOT_HERE or each.startswith(OF_THE_REPOSITORY) for each in programs(command)
    )


def serves(command: str) -> bool:
    """Whether it starts a server that goes on until it is told to end; variables may stand before it."""
    command = re.sub(r"^(?:\w+=(?:\"[^\"]*\"|'[^']*'|\S*)\s+)+", "", command)
    return command.startswith(SERVERS) and not any(option in command for option in ENDING) and "|" not in command


def asks(text: str) -> bool:
    """Whether it needs a server that runs."""
    return _ASKS.search(text) is not None


def pip_requirements(command: str) -> list[str]:
    """What a `pip install` installs."""
    words = shlex.split(command)
    return [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]


def installs(command: str) -> bool:
    """Whether it is a `pip install`, which no test runs."""
    return re.match(r"(?:python -m )?pip install ", command) is not None


def extras() -> set[str]:
    """The extras of the package."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return set(tomllib.load(file)["project"]["optional-dependencies"])


class Ports:
    """Free ports in the place of those that a page names, neighbours for neighbours."""

    def __init__(self, free_port: Callable[[], int]) -> None:
        self._free_port = free_port
        self._pairs: dict[int, int] = {}
        # A page may use the default ports without naming them.
        self.learn("localhost:8000")

    def __getitem__(self, port: int) -> int:
        """The port for one that the page has; `free_port` gives even ones with a free successor."""
        pair = port & ~1
        if pair not in self._pairs:
            self._pairs[pair] = self._free_port()
        return self._pairs[pair] + (port & 1)

    def learn(self, text: str) -> None:
        """Take note of the ports that a text names."""
        for port in _PORTS.findall(text):
            self[int(port)]

    def replaced(self, text: str) -> str:
        """The text with free ports, and nobody's broker."""

        def other(found: re.Match[str]) -> str:
            port = int(found[0])
            return str(self[port]) if port & ~1 in self._pairs else found[0]

        return re.sub(r"(?<![\w.-])\d{4,5}(?![\w.-])", other, text).replace("rabbitmq:", "127.0.0.1:")
