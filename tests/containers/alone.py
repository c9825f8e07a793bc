"""A container of the image without a pod, as Docker would run it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from types import TracebackType

from tests.containers.images import IMAGE, PODMAN, environ, run
from tests.support.functional.harness import fetch, free_port, wait_for

LIMITS = ["--cpus", "0.5", "--memory", "256m"]
CONFINED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"]


class Container:
    """A container that runs, ready, for as long as the block; `args` follow the command's own options."""

    def __init__(self, *args: str) -> None:
        self.port = free_port()
        command = ["twistd", "-n", "--pidfile=", "djangoserve", *args] if args else []
        # The port as a variable, which HEALTHCHECK sees too.
        port = ["--env", f"TWISTSERVE_PORT={self.port}"]
        self.id = run(*PODMAN, "run", "--detach", "--net=host", *port, *LIMITS, *CONFINED, IMAGE, *command).strip()
        self.first = int(self.inspect("{{.State.Pid}}"))

    def __enter__(self) -> Container:
        def ready() -> bool:
            with suppress(OSError):
                return fetch(self.port + 1, "/ready").status == 200
            return False

        wait_for(ready, "the container to be ready")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is not None:
            sys.stdout.write(self.log())
        run(*PODMAN, "rm", "--force", "--time", "0", self.id)

    def log(self) -> str:
        return run(*PODMAN, "logs", self.id, stderr=subprocess.STDOUT)

    def inspect(self, form: str) -> str:
        return run(*PODMAN, "inspect", "--format", form, self.id).strip()

    def is_healthy(self) -> bool:
        """What HEALTHCHECK comes to now."""
        check = [*PODMAN, "healthcheck", "run", self.id]
        done = subprocess.run(check, stdout=subprocess.PIPE, text=True, env=environ(), check=False)
        assert done.returncode in (0, 1), done
        return done.returncode == 0

    def stop(self, grace: int = 40) -> int:
        """Stop it as a cluster does: SIGTERM, and SIGKILL after the grace; its status."""
        run(*PODMAN, "stop", "--time", str(grace), self.id)
        return int(self.inspect("{{.State.ExitCode}}"))
