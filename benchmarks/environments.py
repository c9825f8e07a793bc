"""Virtual environments for the servers, made once and used again; delete the directory for newer releases."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 900.0
"""Seconds an installation may take: uWSGI has to be compiled."""

_DESCRIBE = """
import importlib.metadata as metadata, json, platform
packages = {"python": platform.python_version()}
for found in metadata.distributions():
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    packages[found.name.lower()] = found.version + (" " + origin["url"] if editable else "")
print(json.dumps(packages))
"""


class InstallError(Exception):
    """An environment cannot be made or used."""


def ensure(directory: Path, requirements: Sequence[str]) -> Path:
    """Return the bin directory of an environment with these packages, made if need be. Raises `InstallError`."""
    made_of = directory / "made-of.txt"
    wanted = "\n".join((sys.version, *requirements, _checkout_state(requirements)))
    if not made_of.exists() or made_of.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(directory))
        _run(str(directory / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *requirements)
        made_of.write_text(wanted)
    return directory / "bin"


def packages(bin_directory: Path) -> dict[str, str]:
    """The version of Python and of each package there; for an editable one the URL of its directory too."""
    described: dict[str, str] = json.loads(_run(str(bin_directory / "python"), "-c", _DESCRIBE))
    return described


def _checkout_state(requirements: Sequence[str]) -> str:
    """What makes an environment stale that has a copy of this checkout: any change in its code or dependencies.

    A copy, because the checkout may change while the benchmarks run.
    """
    if str(ROOT) not in requirements:
        return ""
    code = (file for package in ("twistserve", "twisted") for file in sorted((ROOT / package).rglob("*.py")))
    state = hashlib.sha256()
    for file in (ROOT / "pyproject.toml", *code):
        state.update(file.read_bytes())
    return state.hexdigest()


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise InstallError(f"{' '.join(command)}: {done.stderr.strip()[-1000:]}")
    return done.stdout
