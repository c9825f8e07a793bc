"""The servers, and how each is run: one process, as its manual advises for production, its access log as it comes.

To add one, write a function that gives its command line and add a line to `PEERS`.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT, ensure
from benchmarks.processes import free_port

HERE = Path(__file__).resolve().parent
PROJECT = HERE / "project"
SCRIPTS = HERE / "scripts"
APPLICATION = "bench.wsgi:application"
DJANGO = "django~=5.2.0"
"""The same release series for every server."""
THREADS = "8"
"""Request threads of every server that lets us choose; Granian runs with 1 too."""


@dataclass(frozen=True)
class Launch:
    """What a command line is made of."""

    bin: Path
    """Where the environment's programs are."""
    port: int
    static: Path | None
    """The directory of static files, where the workload is one."""
    scratch: Path
    """A directory for files of the server's own."""


Command = Callable[[Launch], list[str]]


@dataclass(frozen=True)
class Server:
    """A server under a name, in an environment that exists."""

    name: str
    command: Command
    bin: Path
    django: bool = True
    """Whether it runs Django."""
    files: bool = True
    """Whether it serves static files by itself."""
    note: str = ""
    """What a reader of its figures has to know."""

    def shown(self, scratch: Path) -> str:
        """Its command line as a reader may repeat it, with the options for static files, and the note."""
        words = self.command(Launch(bin=Path(), port=8000, static=Path("STATIC_ROOT"), scratch=scratch))
        return shlex.join(words).replace(f"{ROOT}/", "") + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Peer:
    """A server that twistserve is compared with, and what has to be installed for it."""

    name: str
    command: Command
    requirement: str | None = None
    """Its package; None for one that lives in twistserve's environment or comes from Debian."""
    django: bool = True
    files: bool = True
    note: str = ""

    def install(self, environments: Path, twistserve: Path) -> Server:
        """Make its environment if need be. Raises `InstallError`."""
        packages = twistserve
        if self.requirement is not None:
            packages = ensure(environments / self.requirement, [self.requirement, DJANGO])
        return Server(self.name, self.command, packages, self.django, self.files, self.note)


def twistserve(*options: str) -> Command:
    def command(launch: Launch) -> list[str]:
        return [
            *(str(launch.bin / "twistd"), "--nodaemon", "--pidfile=", "djangoserve", "--host=127.0.0.1"),
            *(f"--port={launch.port}", f"--probe-port={free_port()}", f"--threads={THREADS}"),
            *(["--static"] if launch.static else []),
            *options,
        ]

    return command


def granian(threads: str) -> Command:
    def command(launch: Launch) -> list[str]:
        return [
            *(str(launch.bin / "granian"), "--interface=wsgi", "--host=127.0.0.1", f"--port={launch.port}"),
            *("--workers=1", f"--blocking-threads={threads}", "--http=1", "--no-ws"),
            *(["--static-path-route=/static", f"--static-path-mount={launch.static}"] if launch.static else []),
            APPLICATION,
        ]

    return command


def uwsgi(*socket_options: str) -> Command:
    def command(launch: Launch) -> list[str]:
        return [
            *(str(launch.bin / "uwsgi"), *(option.format(port=launch.port) for option in socket_options)),
            *(f"--module={APPLICATION}", "--processes=1", f"--threads={THREADS}", "--need-app", "--die-on-term"),
            *([f"--static-map=/static={launch.static}"] if launch.static else []),
        ]

    return command


def gunicorn(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "gunicorn"), f"--bind=127.0.0.1:{launch.port}", "--workers=1"),
        *("--worker-class=gthread", f"--threads={THREADS}", "--worker-tmp-dir=/dev/shm", APPLICATION),
    ]


def waitress(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "waitress-serve"), f"--listen=127.0.0.1:{launch.port}", f"--threads={THREADS}"),
        APPLICATION,
    ]


def hurricane(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "python"), str(SCRIPTS / "serve_hurricane.py"), "serve"),
        *(f"--port={launch.port}", f"--probe-port={free_port()}"),
        *(["--static"] if launch.static else []),
    ]


def stock_twisted(launch: Launch) -> list[str]:
    static = [str(launch.static)] if launch.static else []
    return [str(launch.bin / "python"), str(SCRIPTS / "serve_twisted.py"), str(launch.port), THREADS, *static]


def nginx(*options: str) -> Command:
    """Debian's nginx with Debian's settings for files, and one worker."""

    def command(launch: Launch) -> list[str]:
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        static = launch.static.parent if launch.static else launch.scratch
        configuration = launch.scratch / f"nginx-{launch.port}.conf"
        configuration.write_text(f"""
{user} daemon off; worker_processes 1; pid {configuration}.pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
    include /etc/nginx/mime.types; default_type application/octet-stream;
    sendfile on; tcp_nopush on; access_log /dev/null; keepalive_requests 1000000;
    client_body_temp_path {launch.scratch}; proxy_temp_path {launch.scratch}; fastcgi_temp_path {launch.scratch};
    uwsgi_temp_path {launch.scratch}; scgi_temp_path {launch.scratch};
    {" ".join(options)}
    server {{ listen 127.0.0.1:{launch.port}; location /static/ {{ root {static}; }} }}
}}
""")
        return ["nginx", "-e", "/dev/null", "-p", str(launch.scratch), "-c", str(configuration)]

    return command


PEERS = (
    Peer("granian-1", granian("1"), "granian"),
    Peer("granian-8", granian("8"), "granian"),
    Peer(
        "uwsgi",
        uwsgi("--http-socket=127.0.0.1:{port}", "--add-header=Connection: close"),
        "uwsgi",
        note="a connection for each request; told to the client, or wrk would count each close as an error, as it does"
        " with a streamed response, which only the close ends",
    ),
    Peer(
        "uwsgi-keepalive",
        uwsgi("--http11-socket=127.0.0.1:{port}", "--tcp-nodelay"),
        "uwsgi",
        note="a connection keeps its thread until it closes or falls silent: more connections than threads wait, which"
        " the latencies do not show; a streamed response has no end",
    ),
    Peer("gunicorn", gunicorn, "gunicorn", files=False),
    Peer("waitress", waitress, "waitress", files=False),
    Peer("hurricane", hurricane, "django-hurricane", note="its default number of threads"),
    Peer("twisted", stock_twisted),
    Peer("nginx", nginx(), django=False, note="one worker, sendfile and tcp_nopush as Debian sets them"),
    Peer("nginx-cache", nginx("open_file_cache max=1000;"), django=False, note="the same with open_file_cache"),
)

VARIANTS = {"quiet": ("--no-access-log", "--no-metrics"), "uncounted": ("--no-metrics",)}
"""The options of twistserve's variants, by the names that follow its own."""


def variant(server: Server, name: str) -> Server | None:
    """The same twistserve with a variant's options, as far as it has them."""
    known = subprocess.run(
        [str(server.bin / "twistd"), "djangoserve", "--help"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    options = [option for option in VARIANTS[name] if option in known]
    return Server(f"{server.name}-{name}", twistserve(*options), server.bin) if options else None


def checkout(environments: Path) -> Server:
    """Twistserve as this checkout has it now. Raises `InstallError`."""
    return Server("twistserve", twistserve(), ensure(environments / "twistserve", [str(ROOT)]))


def environ(data: Path, server: Server) -> Mapping[str, str]:
    """The environment variables of a server: nothing of ours that could set an option."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    return kept | {
        "PATH": f"{server.bin}:{os.environ['PATH']}:/usr/sbin",
        "PYTHONPATH": str(PROJECT),
        "DJANGO_SETTINGS_MODULE": "bench.settings",
        "BENCHMARKS_DATA": str(data),
    }
