"""Checks what `make dist` has put into a directory: `python -m tests.release.check dist`."""

from __future__ import annotations

import email
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from twistserve import __version__

SOURCES = {
    "twistserve",
    "twisted",
    "tests",
    "benchmarks",
    "example",
    "deploy",
    "docs",
    "requirements",
    "Makefile",
    "LICENSE",
}
"""What the sdist has, among other things: whoever has it can do all that a clone can."""
LINK = re.compile(r"\]\(([^)]+)\)")


def names(directory: Path) -> set[str]:
    """The names of its files."""
    return {path.name for path in directory.iterdir()}


def description(wheel: Path) -> tuple[str, list[str]]:
    """The text that a package index shows, and what the package requires."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_string(archive.read(name).decode())
    return str(metadata.get_payload()), metadata.get_all("Requires-Dist", [])


def relative_links(text: str) -> list[str]:
    """Links of Markdown that lead nowhere outside the repository."""
    return [link for link in LINK.findall(text) if not link.startswith(("https://", "#"))]


def check(directory: Path) -> None:
    """Raises `AssertionError` that says what is wrong."""
    base = f"twistserve-{__version__}"
    wheel, sdist, sbom = f"{base}-py3-none-any.whl", f"{base}.tar.gz", f"{base}.cdx.json"
    assert names(directory) == {wheel, sdist, sbom}, f"{directory} has {names(directory)}"

    text, required = description(directory / wheel)
    assert relative_links(text) == [], "links of README.md that only work within the repository"

    with tarfile.open(directory / sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    lacking = SOURCES - {name.partition("/")[0] for name in packed}
    assert not lacking, f"the sdist lacks {lacking}"

    listed = json.loads((directory / sbom).read_text())
    assert listed["metadata"]["component"]["name"] == "twistserve"
    components = {canonicalize_name(part["name"]) for part in listed["components"]}
    assert {canonicalize_name(Requirement(line).name) for line in required} <= components
    assert [part["name"] for part in listed["components"] if not part.get("version")] == []


if __name__ == "__main__":
    check(Path(sys.argv[1]))
