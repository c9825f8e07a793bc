"""A server in a container with half a CPU, run by runc with the machine's Python and packages, mounted read-only.

Nothing is built or downloaded, so the container is the only difference to a run without it. It uses the machine's
network. Needs runc and root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT

CPUS = 0.5
PERIOD = 100_000
"""Microseconds over which the CPU share is enforced, as in Kubernetes."""
LINKS = ("bin", "sbin", "lib", "lib64")
"""Directories that are links into /usr on Debian."""


def check_container() -> None:
    """Raise SystemExit, with the remedy, if no container can run."""
    if os.geteuid() != 0:
        raise SystemExit("benchmarks: --container needs root")
    if not shutil.which("runc"):
        raise SystemExit("benchmarks: runc is missing: apt-get install runc")


@contextmanager
def contained(
    command: Sequence[str], *, programs: Path, directory: Path, bundle: Path, env: Mapping[str, str]
) -> Iterator[list[str]]:
    """Yield the command that runs `command` in a container, which is removed after the block.

    `programs` is the bin directory of its environment, `directory` the writable working directory, and `bundle` an
    empty directory for runc.
    """
    root = bundle / "rootfs"
    root.mkdir(parents=True)
    for name in LINKS:
        (root / name).symlink_to(f"usr/{name}")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    file = bundle / "config.json"
    read_only = ("/usr", "/etc", str(ROOT), str(programs.parent), _base_prefix(programs))
    environ = {**env, "TMPDIR": str(directory)}
    file.write_text(json.dumps(configured(json.loads(file.read_text()), command, read_only, str(directory), environ)))
    name = f"twistserve-benchmarks-{os.getpid()}"
    try:
        yield ["runc", "run", "--bundle", str(bundle), name]
    finally:
        subprocess.run(["runc", "delete", "--force", name], check=False, capture_output=True)


def configured(
    default: Mapping[str, Any],
    command: Sequence[str],
    read_only: Sequence[str],
    directory: str,
    env: Mapping[str, str],
) -> dict[str, Any]:
    """The container's configuration, based on the output of `runc spec`."""
    words = [f"{name}={value}" for name, value in env.items()]
    process = {**default["process"], "terminal": False, "args": list(command), "env": words, "cwd": directory}
    mounts = [*default["mounts"], *(_bind(path, "ro") for path in sorted(set(read_only))), _bind(directory, "rw")]
    linux = default["linux"]
    return {
        **default,
        "process": process | {"capabilities": {}, "noNewPrivileges": True},
        "root": {"path": "rootfs", "readonly": True},
        "mounts": mounts,
        "linux": {
            **linux,
            "namespaces": [one for one in linux["namespaces"] if one["type"] != "network"],
            "resources": {**linux["resources"], "cpu": {"quota": round(CPUS * PERIOD), "period": PERIOD}},
        },
    }


def _bind(path: str, access: str) -> dict[str, Any]:
    return {"destination": path, "type": "bind", "source": path, "options": ["rbind", access]}


def _base_prefix(programs: Path) -> str:
    """The installation that the environment's Python comes from."""
    ask = [str(programs / "python"), "-c", "import sys; print(sys.base_prefix)"]
    return subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
