"""The servers, and how each is run: as its manual advises for production, its access log as it comes.

To add one, write a function that gives its command line and add a line to `PEERS`.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.environments import ROOT, ensure
from benchmarks.layouts import ONE_PROCESS, TWO_CORES, TWO_WORKERS, Layout
from benchmarks.processes import free_port
from benchmarks.projects import BENCH, SCRIPTS, Project, package_name

APPLICATION = "bench.wsgi:application"
ASGI_APPLICATION = "bench.asgi:application"
DJANGO = "django~=5.2.0"
"""The same release series for every server."""
PSYCOPG = "psycopg[binary]>=3.2"
"""Every server's driver for PostgreSQL."""
THREADS = 8
"""Default number of request threads of a process, for every server that has such an option."""


@dataclass(frozen=True)
class Launch:
    """The parts of a command line."""

    bin: Path
    """Where the environment's programs are."""
    port: int
    static: Path | None
    """The directory of static files, if the workload is one of them."""
    scratch: Path
    """A directory for files of the server's own."""
    workers: int = 1
    threads: int = THREADS
    """Of each worker."""


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
    """A remark for readers of its figures."""
    workers: int = 1
    threads: int = THREADS
    options: tuple[str, ...] = ()
    """Further words of its command line, which may replace a default such as --threads."""
    pinned: bool = False
    """Whether it runs on the first of the layout's cores only."""

    def words(self, port: int, static: Path | None, scratch: Path) -> list[str]:
        """Its command line."""
        words = self.command(Launch(self.bin, port, static, scratch, self.workers, self.threads))
        replaced = {option.partition("=")[0] for option in self.options}
        return [*(word for word in words if word.partition("=")[0] not in replaced), *self.options]

    def shown(self, scratch: Path) -> str:
        """Its command line for a reader to repeat, with the options for static files, and the note."""
        words = replace(self, bin=Path()).words(8000, Path("STATIC_ROOT"), scratch)
        return shlex.join(words).replace(f"{ROOT}/", "") + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Peer:
    """A server that twistserve is compared with, and what has to be installed for it."""

    name: str
    command: Command
    requirement: str | None = None
    """Its package; None for one that lives in twistserve's environment or comes from Debian."""
    beside: tuple[str, ...] = ()
    """Packages that it imports without requiring them."""
    django: bool = True
    files: bool = True
    note: str = ""
    layouts: tuple[Layout, ...] = ONE_PROCESS
    """The layouts in which it takes part."""
    threads: int | None = None
    """Overrides the layout's number."""
    pinned: bool = False

    def install(
        self, environments: Path, twistserve: Path, layout: Layout = ONE_PROCESS[0], more: Sequence[str] = ()
    ) -> Server:
        """Make its environment if need be, with `more` packages. Raises `InstallError`."""
        packages = twistserve
        if self.requirement is not None:
            packages = environment(
                environments, self.requirement, [self.requirement, *self.beside, DJANGO, PSYCOPG], more
            )
        threads = self.threads or layout.threads
        server = Server(self.name, self.command, packages, self.django, self.files, self.note)
        return replace(server, workers=layout.workers, threads=threads, pinned=self.pinned)


def twistserve(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "twistd"), "--nodaemon", "--pidfile=", "djangoserve", "--host=127.0.0.1"),
        *(f"--port={launch.port}", f"--probe-port={free_port()}", f"--threads={launch.threads}"),
        *([f"--workers={launch.workers}"] if launch.workers > 1 else []),
        *(["--static"] if launch.static else []),
    ]


def granian(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "granian"), "--interface=wsgi", "--host=127.0.0.1", f"--port={launch.port}"),
        *(f"--workers={launch.workers}", f"--blocking-threads={launch.threads}", "--http=1", "--no-ws"),
        *(["--static-path-route=/static", f"--static-path-mount={launch.static}"] if launch.static else []),
        APPLICATION,
    ]


def uwsgi(*socket_options: str) -> Command:
    def command(launch: Launch) -> list[str]:
        return [
            *(str(launch.bin / "uwsgi"), *(option.format(port=launch.port) for option in socket_options)),
            *(f"--module={APPLICATION}", f"--processes={launch.workers}", f"--threads={launch.threads}"),
            *("--need-app", "--die-on-term"),
            *([f"--static-map=/static={launch.static}"] if launch.static else []),
        ]

    return command


def gunicorn(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "gunicorn"), f"--bind=127.0.0.1:{launch.port}", f"--workers={launch.workers}"),
        *("--worker-class=gthread", f"--threads={launch.threads}", "--worker-tmp-dir=/dev/shm", APPLICATION),
    ]


def waitress(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "waitress-serve"), f"--listen=127.0.0.1:{launch.port}", f"--threads={launch.threads}"),
        APPLICATION,
    ]


def hurricane(launch: Launch) -> list[str]:
    return [
        *(str(launch.bin / "python"), str(SCRIPTS / "serve_hurricane.py"), "serve"),
        *(f"--port={launch.port}", f"--probe-port={free_port()}"),
        *(["--static"] if launch.static else []),
    ]


def daphne(launch: Launch) -> list[str]:
    return [str(launch.bin / "daphne"), "--bind=127.0.0.1", f"--port={launch.port}", ASGI_APPLICATION]


def hendrix(launch: Launch) -> list[str]:
    """One process: with --workers it ends at once on Python 3, for a null byte in the command line of the first one."""
    script = (str(launch.bin / "python"), str(SCRIPTS / "serve_hendrix.py"))
    return [*script, "start", f"--http_port={launch.port}", f"--log={launch.scratch / 'hendrix.log'}"]


def stock_twisted(launch: Launch) -> list[str]:
    static = [str(launch.static)] if launch.static else []
    script = (str(launch.bin / "python"), str(SCRIPTS / "serve_twisted.py"))
    return [*script, str(launch.port), str(launch.threads), *static]


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


EVERY_LAYOUT = (*ONE_PROCESS, TWO_WORKERS)
PEERS = (
    Peer("granian-1", granian, "granian", threads=1),
    Peer("granian-8", granian, "granian", threads=8),
    Peer(
        *("granian-8-pinned", granian, "granian"),
        note="on the first of the two cores",
        layouts=(TWO_CORES,),
        threads=8,
        pinned=True,
    ),
    Peer("granian-2x1", granian, "granian", layouts=(TWO_WORKERS,), threads=1),
    Peer("granian-2x4", granian, "granian", layouts=(TWO_WORKERS,), threads=4),
    Peer(
        "uwsgi",
        uwsgi("--http-socket=127.0.0.1:{port}", "--add-header=Connection: close"),
        "uwsgi",
        note="a connection for each request; told to the client, or wrk would count each close as an error, as it does"
        " with a streamed response, which only the close ends",
        layouts=EVERY_LAYOUT,
    ),
    Peer(
        "uwsgi-keepalive",
        uwsgi("--http11-socket=127.0.0.1:{port}", "--tcp-nodelay"),
        "uwsgi",
        note="a connection keeps its thread until it closes or falls silent: more connections than threads wait, which"
        " the latencies do not show; a streamed response has no end",
        layouts=EVERY_LAYOUT,
    ),
    Peer("gunicorn", gunicorn, "gunicorn", files=False, layouts=EVERY_LAYOUT),
    Peer("waitress", waitress, "waitress", files=False),
    Peer("hurricane", hurricane, "django-hurricane", note="its default number of threads"),
    Peer("daphne", daphne, "daphne", files=False, note="ASGI; each request has a thread of its own"),
    Peer(
        *("hendrix", hendrix, "hendrix", ("pyopenssl",)),
        files=False,
        note="its default number of threads; pyopenssl, which it imports and does not require, beside it",
    ),
    Peer("twisted", stock_twisted),
    Peer("nginx", nginx(), django=False, note="one worker, sendfile and tcp_nopush as Debian sets them"),
    Peer("nginx-cache", nginx("open_file_cache max=1000;"), django=False, note="the same with open_file_cache"),
)

VARIANTS = {"quiet": ("--no-access-log", "--no-metrics"), "uncounted": ("--no-metrics",)}
"""The options of twistserve's variants, by the names that follow its own."""


def variant(server: Server, name: str) -> Server | None:
    """The same twistserve with those of a variant's options that it knows; None if it knows none."""
    known = subprocess.run(
        [str(server.bin / "twistd"), "djangoserve", "--help"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    options = [option for option in VARIANTS[name] if option in known]
    return replace(server, name=f"{server.name}-{name}", options=(*server.options, *options)) if options else None


def checkout(environments: Path, more: Sequence[str] = ()) -> Server:
    """The twistserve of this checkout, with `more` packages. Raises `InstallError`."""
    packages = environment(environments, "twistserve", [str(ROOT), DJANGO, PSYCOPG], more)
    return Server("twistserve", twistserve, packages)


def environment(environments: Path, name: str, requirements: Sequence[str], more: Sequence[str]) -> Path:
    """The bin directory of a server's environment; one with `more` packages is another one."""
    directory = "-with-".join((name, *map(package_name, more)))
    return ensure(environments / directory, [*requirements, *more])


def environ(data: Path, server: Server, project: Project = BENCH) -> Mapping[str, str]:
    """The environment variables of a server, without any that could set an option."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    return kept | {
        "PATH": f"{server.bin}:{os.environ['PATH']}:/usr/sbin",
        "PYTHONPATH": str(project.directory(data)),
        "DJANGO_SETTINGS_MODULE": project.settings,
        "BENCHMARKS_DATA": str(data),
    }
