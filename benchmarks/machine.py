"""What a reader needs to know to judge the figures: the machine and the versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchmarks.environments import ROOT, packages
from benchmarks.postgresql import program
from benchmarks.servers import Server

TOOLS = ("pip", "setuptools", "wheel", "python")


def describe(
    command: str, servers: Sequence[Server], scratch: Path, *, postgresql: bool = False
) -> list[tuple[str, str]]:
    """Pairs of a word and what there is to say about it: versions and command lines of all servers included."""
    lines = [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("command", command),
        ("machine", f"{cpu_model()}, {os.cpu_count()} cores, {memory()} of memory"),
        ("system", f"{platform.freedesktop_os_release().get('PRETTY_NAME', '')}, Linux {platform.release()}"),
        ("load before", " ".join(f"{load:.2f}" for load in os.getloadavg())),
        ("checkout", commit(ROOT)),
        ("wrk", _first_line("wrk", "-v")),
    ]
    if postgresql:
        lines.append(("PostgreSQL", _first_line(str(program("postgres")), "--version").partition(") ")[2]))
    seen: dict[Path, list[str]] = {}
    for server in servers:
        if server.django:
            seen.setdefault(server.bin, []).append(server.name)
        elif not any(word == "nginx" for word, _ in lines):
            lines.append(("nginx", _first_line("nginx", "-v").removeprefix("nginx version: nginx/")))
    lines += [(f"packages of {', '.join(names)}", _versions(directory)) for directory, names in seen.items()]
    return lines + [(server.name, server.shown(scratch)) for server in servers]


def _versions(bin_directory: Path) -> str:
    found = packages(bin_directory)
    others = (f"{name} {_with_commit(text)}" for name, text in sorted(found.items()) if name not in TOOLS)
    return ", ".join((f"Python {found['python']}", *others))


def _with_commit(text: str) -> str:
    """The version; for an editable package with the commit of its directory."""
    version, _, origin = text.partition(" ")
    return f"{version} ({commit(Path(unquote(urlsplit(origin).path)))})" if origin else version


def commit(directory: Path) -> str:
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def memory() -> str:
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"


def _first_line(*command: str) -> str:
    """What a program says about its version, which wrk and nginx do on different streams."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()
