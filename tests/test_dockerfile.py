"""The Dockerfile for projects says what the manifests say; `make test-containers` builds and runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from twistserve.kubernetes import times
from twistserve.kubernetes.pod import USER
from twistserve.kubernetes.words import COMMAND
from twistserve.options import Configuration

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()


def instruction(name: str) -> str:
    """The words of the last instruction with this name, lines continued."""
    *_, words = re.finditer(rf"^{name} (.*)$", DOCKERFILE.replace("\\\n", ""), re.MULTILINE)
    return words[1]


def test_the_command_is_that_of_the_manifests() -> None:
    """A list, so that no shell is in between, with options after it."""
    words = json.loads(instruction("CMD"))
    assert words[: len(COMMAND)] == COMMAND


def test_the_user_is_that_of_the_manifests() -> None:
    """By number, which runAsNonRoot needs."""
    assert instruction("USER") == f"{USER}:{USER}"


def test_the_ports_are_the_defaults() -> None:
    """Web and probes."""
    configuration = Configuration()
    assert instruction("EXPOSE") == f"{configuration.port} {configuration.port + 1}"


def test_the_health_check_outlasts_its_probe() -> None:
    """Docker waits a second longer than the client, which says what was wrong."""
    words = instruction("HEALTHCHECK")
    assert f"--timeout={times.timeout(Configuration()) + 1}s" in words
    assert json.loads(words.partition("CMD ")[2]) == ["python", "-m", "twistserve.probes", "ready"]
