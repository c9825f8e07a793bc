"""The base image, made once, and the image of the project, by deploy/docker/Dockerfile as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.containers import project
from tests.support.functional.harness import ROOT

RELEASE, PYTHON = "trixie", "3.13"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twistserve-container"
STORE = ["--root", str(CACHE / "store"), "--runroot", str(CACHE / "run"), "--storage-driver=overlay"]
PODMAN = ["podman", *STORE, "--cgroup-manager=cgroupfs", "--runtime", "runc"]
BUILDAH = ["buildah", *STORE, "--runtime", "runc", "bud", "--isolation=chroot", "--format=docker", "-q"]
BASE, IMAGE = f"localhost/python:{PYTHON}", "localhost/bookshop:1"
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=2000:2000"]
"""
"""Limits that may be set without the right to raise any."""
OFFLINE = "[global]\nno-index = true\nfind-links = /wheels\n"
"""pip's configuration inside: wheels are made outside, where this machine's own configuration finds the index."""


def run(*words: str | Path, **kwargs: Any) -> str:
    """Run a program that must succeed; what it printed."""
    # conmon leaves a file, oom, where it was started if the kernel kills the container.
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environ(), cwd=CACHE, **kwargs)
    return str(done.stdout)


def environ() -> dict[str, str]:
    """The environment of podman and buildah: limits, and no timers of systemd for HEALTHCHECK."""
    return os.environ | {"CONTAINERS_CONF": str(CACHE / "containers.conf"), "DISABLE_HC_SYSTEMD": "true"}


def clean() -> None:
    """Remove what a run that was killed has left, from a store that nobody else uses."""
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "containers.conf").write_text(CONFIGURATION)
    for kind in (["pod"], []):
        run(*PODMAN, *kind, "rm", "--all", "--force", "--time", "0")
    run(*PODMAN, "volume", "prune", "--force")


def make_base() -> None:
    """Import a minimal Debian with Python, unless that was done before."""
    if subprocess.run([*PODMAN, "image", "exists", BASE], env=environ(), check=False).returncode == 0:
        return
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").split()
    root = CACHE / RELEASE
    shutil.rmtree(root, ignore_errors=True)
    include = "--include=python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", include, RELEASE, root, min(sites))
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        run(*PODMAN, "import", "-c", path, "-", BASE, stdin=tar.stdout)
    shutil.rmtree(root)


def make_image(directory: Path, wheels: Path) -> None:
    """Build the project in `directory`, with twistserve and what it needs from `wheels`, which is filled."""
    pip = [sys.executable, "-m", "pip", "-qq"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
    binary = ["--only-binary=:all:", "--python-version", PYTHON]
    requirements = ["--find-links", str(wheels), "--requirement", str(directory / "requirements.txt")]
    run(*pip, "download", *binary, "--dest", wheels, *requirements)
    configuration = wheels / "pip.conf"
    configuration.write_text(OFFLINE)
    run(
        *BUILDAH,
        *("--volume", f"{wheels}:/wheels:ro", "--volume", f"{configuration}:/etc/pip.conf:ro"),
        *("--build-arg", f"BASE={BASE}", "--build-arg", f"SETTINGS={project.SETTINGS_MODULE}"),
        *("-t", IMAGE, directory),
    )
    # The image of the run before and the first stage of this one: neither has a name.
    run(*PODMAN, "image", "prune", "--force")
