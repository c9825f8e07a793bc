"""The project that servers of several processes serve in tests, and what it notes in files."""

from __future__ import annotations

from pathlib import Path

from tests.support.functional.harness import Server

VIEWS = """
import os, re, time
from pathlib import Path
from django.http import HttpResponse
from django.urls import path
from revision import REVISION
HERE = Path(__file__).resolve().parent
kept = []

def who(request):
    return HttpResponse(f"{os.getpid()} {REVISION}")

def hold(request):
    name = request.GET["name"]
    kept.append(b"x" * (int(request.GET.get("megabytes", 0)) << 20))
    (HERE / f"entered-{name}").write_text(f"{os.getpid()} ")
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return HttpResponse(f"held {name}")

def block(request):
    from twisted.internet import reactor
    (HERE / f"blocked-{os.getpid()}").touch()
    reactor.callFromThread(time.sleep, 600)
    return HttpResponse("this will not arrive")

def compute(request):
    (HERE / f"computing-{os.getpid()}").touch()
    re.match(r"(a+)+$", "a" * 60 + "b")
    return HttpResponse("this will not arrive either")

def environ(request):
    return HttpResponse(f"{request.META['wsgi.multiprocess']} {request.scheme}")

urlpatterns = [
    path("who/", who), path("hold/", hold), path("block/", block), path("compute/", compute), path("environ/", environ),
]
"""
WSGI = """
import os, time
from pathlib import Path
HERE = Path(__file__).resolve().parent
with open(HERE / "imported", "a") as record:
    record.write(f"{os.getpid()} {time.monotonic()}\\n")
while (HERE / "closed").exists():
    time.sleep(0.02)
if (HERE / "broken").exists():
    exec((HERE / "broken").read_text())
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
"""Notes the pid and the time of each import, waits while the file `closed` is there, and runs the file `broken`."""
COMMAND = """
import os, sys, time
from pathlib import Path
from django.core.management.base import BaseCommand, CommandError

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("name")

    def handle(self, *args, name, **options):
        with open(f"ran-{name}", "a") as record:
            record.write(f"{os.getpid()}\\n")
        self.stdout.write(f"begin {name}")
        if name == "failing":
            self.stderr.write("looking for the shelf")
            raise CommandError("the shelf is gone")
        while not Path(name).exists():
            time.sleep(0.02)
"""
"""The command `hold NAME`, which notes its pid and runs until the file NAME is there; `hold failing` fails."""


def write_command(directory: Path) -> str:
    """Write the command `hold` into a project; the settings that it needs."""
    commands = directory / "holding" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "hold.py").write_text(COMMAND)
    return "INSTALLED_APPS += ['holding']\n"


def notes(server: Server, name: str) -> list[int]:
    """The pids that are noted in a file, one for each run of a command or a check."""
    path = server.cwd / name
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def imports(server: Server) -> list[tuple[int, float]]:
    """The pid and the time of each import of the application."""
    path = server.cwd / "imported"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), float(at)) for pid, at in map(str.split, lines)]


def importers(server: Server) -> list[int]:
    """The pid of each import of the application."""
    return [pid for pid, _ in imports(server)]
