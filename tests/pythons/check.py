"""Runs the unit tests and a smoke under other Pythons and Djangos: `make test-pythons`.

A Python that is not on PATH comes from a minimal Debian that is made once with debootstrap, as root, from the archive
that this machine's apt uses. The smoke is what has the mark of that name among the functional tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.functional.harness import ROOT

PYTHONS = ("3.12", "3.13", "3.14")
DJANGOS = ("5.2", "6.0", "6.1")
SUITES = {"3.13": "trixie", "3.14": "sid"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twistserve-pythons"
TESTS = {"unit tests": ["--ignore", "tests/functional"], "smoke": ["-m", "smoke", "tests/functional"]}
SPREAD = ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
FOR_PIP = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
ENTER = """
mount --bind "$0" "$0" || exit
for directory in /proc /dev /sys "$PWD"; do
    mkdir -p "$0$directory" && mount --rbind "$directory" "$0$directory" || exit
done
exec chroot "$0" env -C "$PWD" "$@"
"""
"""A shell's script that runs a command in another root, with this directory at the same path in it."""


def run(*words: str | Path) -> None:
    """Run a program that must succeed, in the checkout."""
    subprocess.run(words, cwd=ROOT, check=True)


def printed(*words: str | Path) -> str:
    """What a program prints, run in the checkout, and whether it succeeds or not."""
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout


def is_on_path(version: str) -> bool:
    """Whether PATH has this Python, and it can make virtual environments."""
    command = [f"python{version}", "-c", "import ensurepip"]
    try:
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


def to_be_had(version: str) -> bool:
    """Whether this Python is on PATH or in a Debian, or else say so."""
    known = version in SUITES or is_on_path(version)
    if not known:
        sys.stdout.write(f"Python {version} is not tested: it is not on PATH, and no Debian has it.\n")
    return known


def prefix(version: str) -> list[str]:
    """The words before a command that is to find this Python."""
    if is_on_path(version):
        return []
    if version not in SUITES:
        sys.exit(f"python{version} is not on PATH, and no Debian has it")
    root = CACHE / SUITES[version]
    if not root.exists():
        make_debian(version, root)
    for path in FOR_PIP:
        if Path(path).exists():
            shutil.copyfile(path, f"{root}{path}")
    # What is mounted in a namespace goes with its last process.
    return ["unshare", "--mount", "sh", "-c", ENTER, str(root)]


def make_debian(version: str, root: Path) -> None:
    """Make the root directory of a minimal Debian with this Python."""
    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    sites = printed("apt-get", "indextargets", "--format", "$(SITE)").split()
    include = f"--include=python{version},python{version}-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", include, SUITES[version], unfinished, min(sites))
    unfinished.rename(root)


def make_environment(version: str, words: list[str]) -> list[str]:
    """Make a virtual environment with nothing in it; the words that run its Python."""
    environment = ROOT / "build" / "pythons" / version
    run(*words, f"python{version}", "-m", "venv", "--clear", environment)
    python = [*words, str(environment / "bin" / "python")]
    run(*python, "-m", "pip", "install", "-qq", "pip>=25.1")
    return python


def results(version: str) -> list[tuple[str, bool]]:
    """What the tests come to with this Python and each Django, in lines, and whether that is well."""
    python = make_environment(version, prefix(version))
    found = []
    for django in DJANGOS:
        # At once, since a release of another package may want one Django and not the other.
        packages = ["-e", ".", "--group", "test", f"django=={django}.*"]
        install = [*python, "-m", "pip", "install", "-qq", "--upgrade", *packages]
        if subprocess.run(install, cwd=ROOT, check=False).returncode:
            found.append((f"Python {version}, Django {django}: cannot be installed", False))
            continue
        versions = "import django, platform; print(f'Python {platform.python_version()}, Django {django.__version__}')"
        name = printed(*python, "-c", versions).strip()
        for what, selection in TESTS.items():
            sys.stdout.write(f"\n{name}: {what}\n")
            sys.stdout.flush()
            pytest = [*python, "-m", "pytest", "-q", *SPREAD, *selection]
            done = subprocess.run(pytest, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
            sys.stdout.write(done.stdout)
            last = done.stdout.strip().splitlines()[-1:] or ["nothing said"]
            found.append((f"{name}: {what}: {last[0]}", done.returncode == 0))
    return found


def main() -> None:
    """Test with the Pythons that the command line names, or else with all that are promised and to be had."""
    versions = sys.argv[1:] or [version for version in PYTHONS if to_be_had(version)]
    found = [result for version in versions for result in results(version)]
    sys.stdout.write("\n" + "".join(f"{line}\n" for line, _ in found))
    sys.exit(not all(well for _, well in found))


if __name__ == "__main__":
    main()
