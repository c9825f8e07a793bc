"""The project that is probed, and a server that runs it."""

from __future__ import annotations

import http.client
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.container import contained
from benchmarks.processes import Tree, free_port
from benchmarks.servers import Server, environ

SERVER_CORE = 0
START_PATIENCE = 120.0
"""Seconds a server may take until it is ready, even with half a CPU."""
LOADS = {
    "wait": "a view that waits 2 s",
    "nap": "a view that waits 5 ms",
    "burn": "a view that computes 10 ms",
    "hash": "a view that hashes without the GIL, 100 ms",
    "hello": "hello at full rate",
    "page": "a template page",
    "query": "a query of SQLite",
    "body100k": "a body of 100 KB",
}
"""Descriptions by path."""

SETTINGS = """
from importlib.util import find_spec

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
INSTALLED_APPS = ["probed", *(["hurricane"] if find_spec("hurricane") else [])]
ROOT_URLCONF = "probed"
SECRET_KEY = "no secret: the benchmarks serve on loopback only"
ALLOWED_HOSTS = ["*"]
"""
APPLICATION = """
import hashlib
import time

from django.core.checks import register
from django.db import connection
from django.http import HttpResponse
from django.template import Context, Engine
from django.urls import path

PAGE = Engine().from_string(
    "<table>{% for row in rows %}<tr><td>{{ forloop.counter }}</td><td>{{ row.title|upper }}</td>"
    "<td>{% if row.author %}{{ row.author }}{% else %}unknown{% endif %}</td></tr>{% endfor %}</table>"
)
ROWS = [{"title": f"Article <{number}>", "author": number % 7} for number in range(50)]

for number in range(3):

    @register("readiness")
    def check(number=number, **kwargs):
        return []


def wait(request):
    time.sleep(2)
    return HttpResponse("waited")


def nap(request):
    time.sleep(0.005)
    return HttpResponse("waited")


def burn(request):
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        sum(range(2000))
    return HttpResponse("burnt")


def hash(request):
    return HttpResponse(hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 500_000).hex())


def hello(request):
    return HttpResponse("Hello, world!")


def page(request):
    return HttpResponse(PAGE.render(Context({"rows": ROWS})))


def query(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        return HttpResponse(str(cursor.fetchone()))


def body100k(request):
    return HttpResponse(bytes(100 * 1024))


def alive(request):
    return HttpResponse("alive")


def ready(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ready")


VIEWS = (wait, nap, burn, hash, hello, page, query, body100k, alive, ready)
urlpatterns = [path(view.__name__, view) for view in VIEWS]
"""


@contextmanager
def probed(
    server: Server,
    core: int | str = SERVER_CORE,
    settings: str = SETTINGS,
    application: str = APPLICATION,
    *,
    container: bool = False,
) -> Iterator[tuple[Tree, int, int]]:
    """Run a server during the block; yields its processes, its port and its probe port once it is ready.

    A server that has no probe port of its own is probed at views of the application, as projects do it.

    Raises SystemExit if it does not become ready.
    """
    port = free_port()
    with ExitStack() as stack:
        directory, bundle = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        (directory / "probed_settings.py").write_text(settings)
        (directory / "probed.py").write_text(application)
        env = dict(environ(directory, server))
        env |= {"DJANGO_SETTINGS_MODULE": "probed_settings", "PYTHONPATH": f"{directory}:{env['PYTHONPATH']}"}
        command = server.words(port, None, directory)
        own = (int(word.partition("=")[2]) for word in command if word.startswith("--probe-port="))
        probe_port = next(own, port)
        if container:
            parts = {"programs": server.bin, "directory": directory, "bundle": bundle}
            command = stack.enter_context(contained(command, **parts, env=env))
        output = bundle / "output.txt" if container else Path(os.devnull)
        tree = Tree(command, core=core, cwd=directory, env=env, output=output)
        stack.callback(tree.end)
        deadline = time.monotonic() + START_PATIENCE
        while not ready(probe_port):
            if not tree.running or time.monotonic() > deadline:
                raise SystemExit(f"benchmarks: {server.name} does not become ready {output.read_text()[-500:]}")
            time.sleep(0.1)
        yield tree, port, probe_port


def ready(probe_port: int) -> bool:
    """Whether the server is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", probe_port, timeout=START_PATIENCE)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
