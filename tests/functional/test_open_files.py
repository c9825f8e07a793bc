"""A small limit of open files: whatever takes the descriptors, probes are answered, and others get right answers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PATIENCE, Serve, Server, free_port, raw, wait_for

VIEWS = """
import os
from django.http import FileResponse, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
leaked = []

def hello(request):
    return HttpResponse("hello")

def leak(request):
    try:
        while True:
            leaked.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return HttpResponse(f"leaked {len(leaked)}: {error.strerror}")

def keep(request):
    leaked.append(open(__file__, "rb"))
    return FileResponse(open(__file__, "rb"))

def file(request):
    return FileResponse(leaked[0])

def mend(request):
    while leaked:
        last = leaked.pop()
        os.close(last) if isinstance(last, int) else last.close()
    return HttpResponse("mended")

@csrf_exempt
def upload(request):
    return HttpResponse(len(request.body))

urlpatterns = [path(f"{view.__name__}/", view) for view in (hello, leak, keep, file, mend, upload)]
"""
SETTINGS = """
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
STATIC_URL, STATIC_ROOT = "/static/", BASE_DIR / "static"
MEDIA_URL, MEDIA_ROOT = "/media/", BASE_DIR / "media"
"""


def limited(files: int) -> list[str]:
    """The words that give a command a hard limit of open files."""
    return ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"]


@pytest.fixture
def site(serve: Serve, project: Callable[..., Path]) -> Callable[..., Server]:
    """Start a project with a static and a media file under a limit of open files."""
    directory = project(VIEWS, SETTINGS)
    for name in ("static", "media"):
        (directory / name).mkdir()
        (directory / name / "large.bin").write_bytes(b"x" * 200_000)

    def start(files: int, *args: str) -> Server:
        options = ("--static", "--media", *args)
        return serve(*options, cwd=directory, settings="site_settings", prefix=limited(files))

    return start


@contextlib.contextmanager
def idle(port: int, count: int) -> Iterator[None]:
    """So many clients that connect and ask nothing."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(count)]
    try:
        yield
    finally:
        for client in clients:
            client.close()


def probes_answer(server: Server) -> None:
    """Every probe, several times in a row, each on a connection of its own."""
    for _ in range(3):
        for path in ("/startup", "/ready", "/alive", "/metrics", "/status.json"):
            assert server.probe(path, timeout=10).status == 200, server.output


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("files", [64, 256])
def test_idle_clients_leave_the_probes_alone(site: Callable[..., Server], files: int, workers: int) -> None:
    """They get as many connections as there are descriptors for, which the start has said; the others wait."""
    server = site(files, "--workers", str(workers), "--header-timeout", "1")
    wait_for(lambda: f"the limit of open files is {files}: at most " in server.stderr + server.stdout, "the line")
    assert "--max-connections" in server.stderr + server.stdout
    assert server.get("/hello/").text == "hello"
    with idle(server.port, files):
        probes_answer(server)
        # The idle ones time out, and who waits is served.
        assert server.get("/hello/").text == "hello"
        assert server.get("/media/large.bin").body == b"x" * 200_000
    assert "Traceback" not in server.output


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_clients_of_other_endpoints(
    serve: Serve, project: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    """A Unix socket, and a port behind a proxy, accept no more either than there is room for."""
    path, proxied, plain = tmp_path / "socket", free_port(), free_port()
    server = serve(
        *("--endpoint", f"unix:{path}", "--endpoint", f"haproxy:tcp:{proxied}", "--endpoint", f"tcp:{plain}"),
        *("--probe-port", str(plain + 1), "--header-timeout", "1", "--workers", str(workers)),
        cwd=project(VIEWS, SETTINGS),
        settings="site_settings",
        prefix=limited(64),
        port=plain,
    )
    with idle(proxied, 60), contextlib.ExitStack() as stack:
        for _ in range(60):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(path))
        probes_answer(server)
        assert server.get("/hello/").text == "hello"
    assert "EMFILE" not in server.output


def test_what_fits_is_not_reduced(site: Callable[..., Server]) -> None:
    """Nothing is said where --max-connections and everything else fit."""
    server = site(1024, "--max-connections", "200")
    assert "the limit of open files is" not in server.output


def test_idle_clients_of_the_probe_port(site: Callable[..., Server]) -> None:
    """They make way for those that ask something."""
    server = site(128)
    with idle(server.probe_port, 300):
        probes_answer(server)
        assert server.get("/hello/").text == "hello"


def test_an_application_that_leaks(site: Callable[..., Server]) -> None:
    """Probes are answered when it has taken every descriptor; and it may be well again."""
    server = site(128)
    assert server.get("/hello/").status == 200
    with idle(server.probe_port, 5):
        client = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        client.sendall(b"GET /leak/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Too many open files" in client.recv(65536)
        for _ in range(40):
            assert server.probe("/alive", timeout=10).status == 200
            assert server.probe("/ready", timeout=10).status in (200, 503)
        client.sendall(b"GET /mend/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"mended" in client.recv(65536)
        client.close()
    server.wait_until("/ready")
    assert server.get("/hello/").text == "hello"


def test_more_workers_than_the_parent_has_descriptors_for(serve: Serve, project: Callable[..., Path]) -> None:
    """The start fails with a line that says so."""
    server = serve("--workers", "30", cwd=project(), settings="site_settings", prefix=limited(64), until=None)
    assert server.wait() == 1
    assert "--workers: 30 workers need" in server.stderr
    assert "Traceback" not in server.stderr


def test_a_request_beside_those_that_wait(site: Callable[..., Server]) -> None:
    """HTTP works under the smallest limit as under any other."""
    server = site(64)
    answers = raw(
        server.port, b"GET /hello/ HTTP/1.1\r\nHost: x\r\n\r\n" * 5 + b"GET /hello/ HTTP/1.0\r\nHost: x\r\n\r\n"
    )
    assert answers.count(b"HTTP/1.1 200 ") == 6


def test_what_needs_a_descriptor_and_gets_none(site: Callable[..., Server]) -> None:
    """A file that is there is not answered 404, nor a body refused for ever: 503, and when to try again."""
    server = site(128)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:

        def ask(request: bytes) -> bytes:
            client.sendall(request)
            return client.recv(1 << 20)

        def get(path: str, method: str = "GET") -> bytes:
            return ask(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        def refused(path: str) -> bytes:
            # What something had open for a moment while the view leaked is there again now.
            assert b"leaked" in get("/leak/")
            answer = get(path, "HEAD")
            return answer if answer.startswith(b"HTTP/1.1 503 ") else b""

        assert get("/keep/", "HEAD").startswith(b"HTTP/1.1 200 ")
        for path in ("/static/large.bin", "/media/large.bin"):
            answer = wait_for(lambda path=path: refused(path), f"{path} to be refused")  # type: ignore[misc]
            assert b"\r\nRetry-After: " in answer
        assert get("/media/none.bin").startswith(b"HTTP/1.1 404 ")
        # The file that a view has open already is sent as it is, and closed.
        assert get("/file/").startswith(b"HTTP/1.1 200 ")
        wait_for(lambda: refused("/media/large.bin"), "descriptors to be used up")
        answer = ask(b"POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000)
        assert answer.startswith(b"HTTP/1.1 503 "), answer
        assert b"\r\nRetry-After: " in answer
