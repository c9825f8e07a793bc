"""What the project's files say of versions, tools and links is what holds."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.pythons.check import DJANGOS, PYTHONS
from twistserve import __version__

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PYPROJECT["dependency-groups"]
PINNED = ("demo", "test", "fuzz", "release")


def pins(name: str) -> dict[str, str]:
    """Each pinned package and its version under this Python."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    made = [
        Requirement(line.rstrip(" \\"))
        for line in text.splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    ]
    return {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in made
        if one.marker is None or one.marker.evaluate()
    }


def asked(group: str) -> Iterator[Requirement]:
    """What a dependency group asks for, with the groups that it includes."""
    for line in GROUPS[group]:
        if isinstance(line, dict):
            yield from asked(line["include-group"])
        elif (made := Requirement(line)).marker is None or made.marker.evaluate():
            yield made


@pytest.mark.parametrize("name", PINNED)
def test_the_pins_are_what_the_project_asks_for(name: str) -> None:
    """Else: `make requirements`."""
    pinned = pins(name)
    wanted = [*asked(name)]
    if name in ("demo", "test"):
        wanted += [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    assert [
        str(one) for one in wanted if not one.specifier.contains(pinned.get(canonicalize_name(one.name), "0"))
    ] == []


@pytest.mark.parametrize("name", PINNED)
def test_every_pin_has_hashes_and_names_no_host(name: str) -> None:
    """A clone builds with the files of today, wherever they come from."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text.partition("make requirements\n")[2], flags=re.IGNORECASE)
    assert blocks
    assert [block.partition(" ")[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text


def test_the_demonstration_runs_what_the_tests_have_tested() -> None:
    """A package in both has one version."""
    demo, test = pins("demo"), pins("test")
    assert {name: version for name, version in demo.items() if test.get(name) != version} == {}


def test_the_build_needs_what_the_group_has() -> None:
    """`pip install --no-build-isolation` finds it in the environment."""
    assert set(PYPROJECT["build-system"]["requires"]) <= {str(one) for one in asked("build")}


def test_the_classifiers_are_what_make_test_pythons_proves() -> None:
    """Each Python and Django there, beside the Python of `make test`, and no other."""
    classifiers = PYPROJECT["project"]["classifiers"]
    pythons = {
        line.rpartition(" ")[2] for line in classifiers if re.match(r"Programming Language :: Python :: 3\.", line)
    }
    assert pythons == {"3.11", *PYTHONS}
    assert {line.rpartition(" ")[2] for line in classifiers if line.startswith("Framework :: Django ::")} == set(
        DJANGOS
    )


def test_the_changelog_has_this_version_and_its_date() -> None:
    """Below what is not released yet."""
    text = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == __version__
    assert text.index("## [Unreleased]") < text.index(f"## [{__version__}]")


def test_hooks_run_what_make_has_installed() -> None:
    """They are local, so that nothing is fetched, and their programs are those of `make lint`."""
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    recipes = (ROOT / "Makefile").read_text()
    for hook in repos[0]["hooks"]:
        program, *rest = shlex.split(hook["entry"])
        assert hook["language"] == "system"
        if program == "make":
            assert f"\n{rest[0]}:" in recipes
        else:
            assert f'"$(BIN)/{Path(program).name}"' in recipes
