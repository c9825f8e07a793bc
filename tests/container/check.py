"""Builds a real container of a project and tries its first process: `make test-container`, as root, on Debian.

It has a read-only root, a user of its own and no capabilities, as a cluster would run it. Needs the packages podman,
buildah, runc and debootstrap; a base image is made once, from the archive that this machine's apt uses.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.support.functional.first_process import SETTINGS, VIEWS
from tests.support.functional.harness import ROOT, fetch, free_port, wait_for, write_project
from tests.support.functional.processes import children, status, title

RELEASE, PYTHON = "trixie", "3.13"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twistserve-container"
STORE = ["--root", str(CACHE / "store"), "--runroot", str(CACHE / "run"), "--storage-driver=overlay"]
PODMAN = ["podman", *STORE, "--cgroup-manager=cgroupfs", "--runtime", "runc"]
BASE, IMAGE = f"localhost/python:{PYTHON}", "localhost/twistserve-check:1"
CONTAINERFILE = f"""
FROM {BASE}
COPY wheels /wheels
RUN python3 -m venv /venv && /venv/bin/pip install --no-index --find-links /wheels twistserve
COPY project /app
WORKDIR /app
ENV DJANGO_SETTINGS_MODULE=site_settings PYTHONUNBUFFERED=1
CMD ["/venv/bin/twistd", "-n", "--pidfile=", "djangoserve"]
"""
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=2000:2000", "--cpus", "0.5", "--memory", "256m"]
CONFINED = ["--read-only", "--user", "1000", "--cap-drop", "all", "--security-opt", "no-new-privileges"]


def run(*words: str | Path, **kwargs: object) -> str:
    """Run a program that must succeed; what it printed."""
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, **kwargs)  # type: ignore[call-overload]
    return str(done.stdout)


def make_base() -> None:
    """Import a minimal Debian with Python, unless that was done before."""
    if subprocess.run([*PODMAN, "image", "exists", BASE], check=False).returncode == 0:
        return
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").split()
    root = CACHE / RELEASE
    shutil.rmtree(root, ignore_errors=True)
    include = "--include=python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", include, RELEASE, root, sorted(set(sites))[0])
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        run(*PODMAN, "import", "-c", path, "-", BASE, stdin=tar.stdout)
    shutil.rmtree(root)


def make_image(directory: Path) -> None:
    """Build the image of a project, with twistserve and what it needs from wheels."""
    wheels = directory / "wheels"
    pip = [sys.executable, "-m", "pip", "-q"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
    binary = ["--only-binary=:all:", "--python-version", PYTHON]
    run(*pip, "download", *binary, "--dest", wheels, *wheels.glob("twistserve-*.whl"))
    # The root is read-only: what the tests' project notes at its end it prints here.
    settings = SETTINGS.replace('with open(BASE_DIR / "ended", "a") as record:', "if True:")
    write_project(
        directory / "project",
        VIEWS,
        settings.replace('record.write("the function ran\\n")', "print('the function ran')"),
    )
    (directory / "Containerfile").write_text(CONTAINERFILE)
    build = ["buildah", *STORE, "--runtime", "runc", "bud", "--isolation=chroot", "-q"]
    run(*build, "-t", IMAGE, "-f", directory / "Containerfile", directory)


class Container:
    """A container that runs for as long as the block."""

    def __init__(self, *args: str) -> None:
        self.port = free_port()
        command = ["/venv/bin/twistd", "-n", "--pidfile=", "djangoserve", "--port", str(self.port), *args]
        self.id = run(*PODMAN, "run", "-d", "--net=host", *LIMITS, *CONFINED, IMAGE, *command).strip()
        self.first = int(run(*PODMAN, "inspect", "-f", "{{.State.Pid}}", self.id))

    def __enter__(self) -> Container:
        def ready() -> bool:
            with suppress(OSError):
                return fetch(self.port + 1, "/ready").status == 200
            return False

        wait_for(ready, "the container to be ready")
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout.write(self.log())
        run(*PODMAN, "rm", "-f", self.id)

    def log(self) -> str:
        return run(*PODMAN, "logs", self.id, stderr=subprocess.STDOUT)

    def stop(self, grace: int = 40) -> int:
        """Stop it as a cluster does: SIGTERM, and SIGKILL after the grace; its status."""
        run(*PODMAN, "stop", "-t", str(grace), self.id)
        return int(run(*PODMAN, "inspect", "-f", "{{.State.ExitCode}}", self.id))


def check_orphans_and_status(*args: str) -> None:
    """The first process is ours, nothing of a shell's children stays, and SIGTERM ends all with status 0."""
    with Container(*args) as container:
        wait_for(lambda: title(container.first) == "twistserve: init", "the first process to have its title")
        assert fetch(container.port, "/orphans/").text == "left"
        wait_for(lambda: len(children(container.first)) == 1, "orphans to be gone")
        assert fetch(container.port, "/statuses/").text == f"{[*range(10)]} {[*range(10)]}"
        began = time.monotonic()
        assert container.stop() == 0
        assert time.monotonic() - began < 10
        assert "the function ran" in container.log()


def check_bound() -> None:
    """C code that keeps the interpreter's lock is killed at the bound, which is before the grace is over."""
    with Container("--graceful-timeout", "1", "--drain-delay", "0") as container:
        with suppress(OSError):
            fetch(container.port, "/compute/", timeout=0.5)
        assert status(container.first)["Threads"] == "1"
        began = time.monotonic()
        assert container.stop() == 137
        assert time.monotonic() - began < 13


def main() -> None:
    """Make the images and check."""
    CACHE.mkdir(parents=True, exist_ok=True)
    make_base()
    with tempfile.TemporaryDirectory() as directory:
        make_image(Path(directory))
    check_orphans_and_status()
    check_orphans_and_status("--workers", "2")
    check_bound()
    sys.stdout.write("the container behaves\n")


if __name__ == "__main__":
    main()
