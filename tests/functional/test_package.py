"""The wheel: what is in it, what it adds to a fresh virtual environment, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.functional.harness import BIN, ROOT, Serve

RUNNERS = ("twistd", "twist")
DEFAULTS = {
    "--port": "8000",
    "--threads": "8",
    "--startup-probe": "/startup",
    "--readiness-probe": "/ready",
    "--liveness-probe": "/alive",
    "--metrics": "/metrics",
    "--check-timeout": "5",
    "--log-level": "INFO",
}
OPTIONS = {
    *DEFAULTS,
    *("--settings", "--pythonpath", "--wsgi", "--host", "--probe-host", "--probe-port", "--static", "--media"),
    *("--no-probe", "--no-metrics", "--command", "--access-log", "--no-access-log"),
}


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that must succeed, with nothing of this environment on its import path."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTHON"))}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def pip(python: Path, *words: str | Path, cwd: Path) -> None:
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words, cwd=cwd)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make dist` gives by WHEEL, or one built from a copy of what git tracks."""
    if given := os.environ.get("WHEEL"):
        return Path(given).absolute()
    directory = tmp_path_factory.mktemp("wheel")
    checkout = directory / "checkout"
    for name in run("git", "ls-files", "-z", cwd=ROOT).stdout.rstrip("\0").split("\0"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, checkout / name)
    words = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, checkout)
    pip(Path(sys.executable), *words, cwd=directory)
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` directory of a fresh virtual environment with the wheel and what it depends on."""
    directory = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(directory, with_pip=True)
    pip(directory / "bin" / "python", "install", wheel, cwd=directory)
    return directory / "bin"


@pytest.fixture
def programs(request: pytest.FixtureRequest) -> Path:
    """Where `twistd` is: in the fresh environment, or in this one, which has the checkout as an editable install."""
    return BIN if request.param == "editable" else request.getfixturevalue("fresh")


def test_the_wheel_carries_the_plugin_and_the_types(wheel: Path) -> None:
    """The wheel has the package, typed, and the plugin; nothing that would shadow Twisted, nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert {"twistserve/__init__.py", "twistserve/py.typed", "twistserve/management/commands/serve.py"} <= names
    assert {name for name in names if name.startswith("twisted/")} == {"twisted/plugins/twistserve_plugin.py"}
    assert {name for name in names if not name.startswith(("twistserve/", "twisted/"))} == {
        name for name in names if re.match(r"twistserve-[^/]+\.dist-info/", name)
    }
    assert not [name for name in names if name.endswith((".pyc", ".cache"))]
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata


@pytest.mark.parametrize("programs", ["fresh", "editable"], indirect=True)
@pytest.mark.parametrize("runner", RUNNERS)
def test_help_lists_the_plugin_and_imports_nothing_heavy(programs: Path, runner: str, tmp_path: Path) -> None:
    """`--help` lists djangoserve without importing Django, a project or the service."""
    listing = run(programs / "python", "-X", "importtime", programs / runner, "--help", cwd=tmp_path)
    assert re.search(r"^\s+djangoserve\s+\S", listing.stdout, re.MULTILINE), listing.stdout
    imported = {line.rpartition("|")[2].strip() for line in listing.stderr.splitlines()}
    assert "twisted.plugins" in imported
    assert not {name for name in imported if name.split(".")[0] in {"django", "prometheus_client"}}
    assert "twistserve.service" not in imported


def test_help_of_the_options(fresh: Path, tmp_path: Path) -> None:
    """`djangoserve --help` needs no project, describes every option and shows the defaults."""
    for runner in RUNNERS:
        text = " ".join(run(fresh / runner, "djangoserve", "--help", cwd=tmp_path).stdout.split())
        described = set(re.findall(r"--[a-z-]+", text))
        assert described >= OPTIONS
        for option, default in DEFAULTS.items():
            assert re.search(rf"{option} [^ ]+ (?:(?! --).)*\(default: {re.escape(default)}", text), option


@pytest.mark.parametrize("runner", ["twistd", "manage"])
def test_the_wheel_serves_a_project(serve: Serve, fresh: Path, example: Path, runner: str) -> None:
    """What the wheel installed serves a project, with no checkout in sight."""
    where = run(fresh / "python", "-c", "import twistserve; print(twistserve.__file__)", cwd=example).stdout
    assert where.startswith(str(fresh.parent))
    server = serve("--static", runner=runner, programs=fresh, cwd=example)
    assert '<ul class="books">' in server.get("/").text
    assert server.get("/static/catalogue/style.css").headers.get_content_type() == "text/css"
    assert "twistserve_http_requests_total" in server.probe("/metrics").text
    assert server.terminate() == 0
    assert "Traceback" not in server.output


def test_uninstalling_leaves_nothing(fresh: Path, tmp_path: Path) -> None:
    """`pip uninstall` removes every file of twistserve, and Twisted's runners no longer list it.

    The last of this module, as it takes the environment apart.
    """
    root = fresh.parent
    assert [path for path in root.rglob("*twistserve*") if path.is_file()]
    pip(fresh / "python", "uninstall", "-y", "twistserve", cwd=tmp_path)
    for runner in RUNNERS:
        assert "djangoserve" not in run(fresh / runner, "--help", cwd=tmp_path).stdout
    assert not list(root.rglob("*twistserve*"))
    [cache] = root.rglob("twisted/plugins/dropin.cache")
    assert b"twistserve" not in cache.read_bytes()
