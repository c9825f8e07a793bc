"""A server in a container with half a CPU: runc, and the machine's own Python and packages, mounted read-only.

Nothing is built or downloaded, so that the figures differ from those without a container by the container alone. Needs
runc, and root. The network is the machine's.
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
"""Microseconds in which a container may use its share: Kubernetes' own."""
LINKS = ("bin", "sbin", "lib", "lib64")
"""What Debian has below /usr."""


def check_container() -> None:
    """Raise SystemExit, with what to do, where no container can run."""
    if os.geteuid() != 0:
        raise SystemExit("benchmarks: --container needs root")
    if not shutil.which("runc"):
        raise SystemExit("benchmarks: runc is missing: apt-get install runc")


@contextmanager
def contained(
    command: Sequence[str], *, programs: Path, directory: Path, bundle: Path, env: Mapping[str, str]
) -> Iterator[list[str]]:
    """Give the command that runs this one in a container, which is gone after the block.

    `programs` is the environment it lives in, `directory` is where it runs and may write, `bundle` an empty directory.
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
    """The configuration of a container, made of that which `runc spec` gives."""
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
    """Where the environment's Python comes from."""
    ask = [str(programs / "python"), "-c", "import sys; print(sys.base_prefix)"]
    return subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
