"""twistserve with the site under soak: started, watched through /proc, ended."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.processes import Tree, cpu_list
from benchmarks.soak import contents, upgraded
from benchmarks.starting import free_ports

START_PATIENCE = 60.0
REQUEST_TIMEOUT = 5.0
KEEP_ALIVE = 5.0
OPTIONS = (
    *("--threads=8", "--static", "--media", f"--request-timeout={REQUEST_TIMEOUT:g}", "--header-timeout=3"),
    *("--body-timeout=3", f"--keep-alive-timeout={KEEP_ALIVE:g}", "--max-body-size=4M", "--max-header-size=16K"),
    *("--settings=benchmarks.soak.settings", "--log-format=json"),
)
RECYCLING = ("--max-lifetime=4000", "--max-age=45", "--max-memory=150")
"""What has workers replaced every minute or sooner: requests, seconds, megabytes."""


class StartError(Exception):
    """The server does not start."""


@dataclass(frozen=True)
class Service:
    """The server, and where it is."""

    tree: Tree
    port: int
    probe_port: int
    tls_port: int | None
    sockets: bool
    log: Path

    def reload(self) -> None:
        """Have all workers replaced, as after an update of the code."""
        os.kill(self.tree.pid, signal.SIGHUP)


def command(programs: Path, workers: int, recycling: bool, data: Path) -> tuple[list[str], int, int, int | None]:
    """The command line, and the ports for the web, probes and TLS."""
    port, tls_port = free_ports(), free_ports() if upgraded.HTTP2 else None
    words = [str(programs / "twistd"), "-n", "--pidfile=", "djangoserve", *OPTIONS, f"--workers={workers}"]
    words += [f"--endpoint=tcp:{port}:interface=127.0.0.1", "--probe-host=127.0.0.1", f"--probe-port={port + 1}"]
    if tls_port is not None:
        pem = data / "tls.pem"
        words.append(f"--endpoint=ssl:{tls_port}:interface=127.0.0.1:privateKey={pem}:certKey={pem}")
    if upgraded.WEBSOCKETS:
        words.append("--mount=/socket=benchmarks.soak.sockets.resource")
    return [*words, *(RECYCLING if recycling else ())], port, port + 1, tls_port


@contextmanager
def serving(programs: Path, workers: int, recycling: bool, data: Path, log: Path) -> Iterator[Service]:
    """Run it for as long as the block runs. Raises `StartError`."""
    prepare(data)
    words, port, probe_port, tls_port = command(programs, workers, recycling, data)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TWISTSERVE_", "DJANGO_"))}
    environ |= {"SOAK_DATA": str(data), "PYTHONPATH": str(ROOT)}
    tree = Tree(words, core=cpu_list(sorted(os.sched_getaffinity(0))), cwd=data, env=environ, output=log)
    try:
        service = Service(tree, port, probe_port, tls_port, upgraded.WEBSOCKETS, log)
        _wait(service)
        yield service
    finally:
        tree.end()


def prepare(data: Path) -> None:
    """Write the site's files."""
    for directory in (data / "static", data / "media"):
        directory.mkdir(parents=True, exist_ok=True)
        for name, size in contents.FILES.items():
            (directory / name).write_bytes(contents.static_file(size))
    if upgraded.HTTP2:
        # Imported here: it needs cryptography, as TLS does.
        from tests.support.certificates import write_certificate

        write_certificate(data / "tls.pem", "soak")


def _wait(service: Service) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline and service.tree.running:
        connection = http.client.HTTPConnection("127.0.0.1", service.probe_port, timeout=START_PATIENCE)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise StartError(f"twistserve does not get ready:\n{service.log.read_text(errors='replace')[-3000:]}")
