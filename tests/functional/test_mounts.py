"""Resources of twisted.web beside Django: what works in them, the limits that hold, and what cannot be mounted."""

from __future__ import annotations

import http.server
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    PATIENCE,
    PROMPT,
    Serve,
    Server,
    assert_failed,
    free_port,
    lines_with,
    raw,
    serving,
    wait_for,
    write_project,
)
from tests.support.functional.http2 import start

VIEWS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("django"))]
"""
RESOURCES = """
import os

from klein import Klein
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.web.proxy import ReverseProxyResource
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.static import File

app = Klein()
ended = []


@app.route("/hello/<name>")
def hello(request, name):
    return f"hello {name} {request.getClientAddress().host} {request.isSecure()}"


@app.route("/later")
def later(request):
    return task.deferLater(reactor, 0.01, lambda: b"later")


@app.route("/form", methods=["POST"])
def form(request):
    return b",".join(request.args[b"a"])


@app.route("/fails")
def fails(request):
    raise ValueError("of the test")


@app.route("/never")
def never(request):
    request.notifyFinish().addErrback(lambda failure: ended.append(failure.type.__name__))
    return Deferred()


@app.route("/ended")
def tell(request):
    return " ".join(ended)


@app.route("/flood")
def flood(request):
    def write():
        if not request._disconnected:
            request.write(b"x" * 100_000)
            reactor.callLater(0, write)
    request.notifyFinish().addErrback(lambda failure: None)
    write()
    return Deferred()


class Held(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.write(b"begun ")
        self.look(request)
        return NOT_DONE_YET

    def look(self, request):
        if os.path.exists("go"):
            request.write(b"ended")
            request.finish()
        else:
            reactor.callLater(0.01, self.look, request)


def files():
    return File("files")


def proxied():
    return ReverseProxyResource("127.0.0.1", int(os.environ["UPSTREAM"]), b"/up")
"""
MOUNTS = ("/api=resources.app", "/files=resources.files", "/up=resources.proxied", "/held=resources.Held")


class Upstream(http.server.BaseHTTPRequestHandler):
    """A server behind the proxy."""

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def write(directory: Path) -> Path:
    project = write_project(directory, VIEWS, resources=RESOURCES)
    (project / "files").mkdir()
    (project / "files" / "a.txt").write_bytes(b"0123456789" * 500_000)
    return project


def mounting(*mounts: str) -> list[str]:
    return [word for mount in mounts for word in ("--mount", mount)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: int) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("mounts")
    words = [*mounting(*MOUNTS), "--request-timeout", "2", "--max-body-size", "1M"]
    env = {"UPSTREAM": str(upstream)}
    with serving(
        *words, cwd=write(directory / "project"), logs=directory, settings="site_settings", env=env
    ) as started:
        yield started


def test_klein(server: Server) -> None:
    """Its routes, Deferreds, forms and errors; Django has the rest."""
    assert server.get("/api/hello/world").text == "hello world 127.0.0.1 False"
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    assert server.get("/api/hello/world", headers=forwarded).text == "hello world 192.0.2.7 True"
    assert server.get("/api/later").text == "later"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.get("/api/form", method="POST", body=b"a=1&a=2", headers=form).text == "1,2"
    assert server.get("/api/absent").status == 404
    assert server.get("/").text == "django"
    assert server.get("/apis").status == 404


def test_a_resource_that_raises(server: Server) -> None:
    """500 without the traceback, which the log has, with the request's id."""
    reply = server.get("/api/fails", headers={"X-Request-ID": "the-failing-one"})
    assert (reply.status, reply.text) == (500, "The resource failed.\n")
    wait_for(lambda: "ValueError: of the test" in server.stdout, "the traceback")
    assert lines_with(server.stdout, "the resource at /api failed: GET /api/fails")


def test_static_files_and_a_proxy(server: Server, upstream: int) -> None:
    """Pulled by us, and streamed from elsewhere."""
    whole = server.get("/files/a.txt")
    assert (whole.status, len(whole.body)) == (200, 5_000_000)
    part = server.get("/files/a.txt", headers={"Range": "bytes=3-5"})
    assert (part.status, part.text) == (206, "345")
    assert server.get("/files/a.txt", headers={"If-Modified-Since": whole.headers["Last-Modified"]}).status == 304
    assert server.get("/up/a/b?c=d").text == f"/up/a/b?c=d 127.0.0.1:{upstream}"


def test_limits_and_strictness(server: Server) -> None:
    """As for Django: sizes, and what is no HTTP."""
    assert server.get("/api/form", method="POST", body=b"x" * (1 << 20) + b"x").status == 413
    assert raw(server.port, b"GET /api/later HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    pipelined = b"GET /api/later HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert re.findall(rb"later|django", raw(server.port, pipelined)) == [b"later", b"django"]


def test_a_deadline_and_a_client_that_leaves(server: Server) -> None:
    """504 in the resource's place; it is told of both."""
    reply = server.get("/api/never")
    assert (reply.status, reply.text) == (504, "The resource did not answer in time.\n")
    wait_for(lambda: "the resource at /api has not begun a response" in server.stdout, "the log line")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /api/never HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def told() -> list[str]:
        return sorted(server.get("/api/ended").text.split())

    wait_for(lambda: told() == ["ConnectionLost", "TimeoutError"], lambda: str(told()))


def test_a_slow_client(server: Server) -> None:
    """What waits for it is bounded, where the resource does not look after that."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /api/flood HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: "let the resource register a producer" in server.stdout, "the bound")


def test_metrics_and_access_log(server: Server) -> None:
    """Each mount has a handler of its own."""
    server.get("/api/later")
    server.get("/files")
    wanted = [
        'requests_total{handler="mount:/api",method="GET",status="200"}',
        'requests_total{handler="mount:/files",method="GET",status="302"}',
        'request_duration_seconds_count{handler="mount:/api",method="GET"}',
    ]
    wait_for(lambda: all(each in server.probe("/metrics").text for each in wanted), "the counts")
    wait_for(lambda: lines_with(server.stdout, '"GET /api/later HTTP/1.1" 200 5'), "the line")


def test_a_drain(serve: Serve, tmp_path: Path) -> None:
    """A response that has begun is completed, and one that never ends is cut off and told."""
    project = write(tmp_path / "project")
    words = [*mounting("/held=resources.Held", "/api=resources.app"), "--graceful-timeout", "3"]
    server = serve(*words, cwd=project, settings="site_settings")
    request = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as held,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as never,
    ):
        held.sendall(request % b"/held")
        assert b"begun" in held.recv(4096)
        never.sendall(request % b"/api/never")
        wait_for(lambda: "in_progress 2.0" in server.probe("/metrics").text, "both requests")
        server.signal(signal.SIGTERM)
        wait_for(lambda: "waiting for 2 requests in flight" in server.stdout, "the drain")
        (project / "go").touch()
        received = b""
        while b"0\r\n\r\n" not in received:
            received += held.recv(4096)
        assert b"ended" in received
        assert server.wait() == 0
    assert lines_with(server.stdout, "cut off after", "GET /api/never: the resource at /api has not begun a response")


def test_http2(serve: Serve, tmp_path: Path) -> None:
    """Over TLS: whole responses, streamed ones, and files."""
    mounts = mounting("/api=resources.app", "/files=resources.files")
    secure = start(serve, tmp_path, *mounts, cwd=write(tmp_path / "project"))
    client = secure.connect()
    numbers = [client.ask(path) for path in ("/api/hello/you", "/files/a.txt", "/api/fails")]
    client.until(lambda: all(client.answers[number].ended for number in numbers))
    client.socket.close()
    hello, file, failed = (client.answers[number] for number in numbers)
    assert hello.body == b"hello you 127.0.0.1 True"
    assert len(file.body) == 5_000_000
    assert failed.status == 500


def test_workers(serve: Serve, tmp_path: Path) -> None:
    """Each has the resources."""
    server = serve(
        *mounting("/api=resources.app"), "--workers", "2", cwd=write(tmp_path / "project"), settings="site_settings"
    )
    assert {server.get("/api/later").text for _ in range(10)} == {"later"}
    assert server.terminate() == 0


STATIC = "STATIC_URL, STATIC_ROOT, MEDIA_URL, MEDIA_ROOT = '/static/', BASE_DIR, '/media/', BASE_DIR\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/=resources.app"], ["--mount", "'/=resources.app'", "the root would hide Django"]),
        (["/api"], ["--mount", "'/api'", "such as /live=mysite.live.resource"]),
        (["/api=resources.app", "/api/=resources.files"], ["'/api' is given to resources.app and to resources.files"]),
        (["/api=resources.absent"], ["/api=resources.absent", "'resources' has no 'absent'"]),
        (["/api=absent.app"], ["/api=absent.app", "there is no module 'absent'"]),
        (["/api=resources.ended"], ["/api=resources.ended", "it is no resource of twisted.web but a list"]),
        (["/api=resources.proxied"], ["making the resource failed: KeyError: 'UPSTREAM'", "resources.py"]),
        (["/static/x=resources.app", "--static"], ["/static/x would hide what --static serves below /static/"]),
        (["/media=resources.app", "--media"], ["/media would hide what --media serves below /media/"]),
    ],
)
def test_what_cannot_be_mounted(serve: Serve, project: Callable[..., Path], words: list[str], said: list[str]) -> None:
    """The start fails in one line."""
    mounts = [word for word in words if not word.startswith("--")]
    flags = [word for word in words if word.startswith("--")]
    directory = project(VIEWS, STATIC, resources=RESOURCES)
    server = serve(*mounting(*mounts), *flags, cwd=directory, settings="site_settings", until=None)
    try:
        line = wait_for(
            lambda: next(iter(lines_with(server.stderr + server.stdout, *said)), None),
            lambda: server.output,
            PROMPT,
        )
    finally:
        assert server.wait() == 1
    assert "Traceback" not in server.output, line


def test_the_setting_and_the_environment(serve: Serve, project: Callable[..., Path]) -> None:
    """A list in the one, a line each in the other."""
    port = free_port()
    directory = project(VIEWS, "TWISTSERVE = {'MOUNT': ['/api=resources.app']}\n", resources=RESOURCES)
    server = serve(cwd=directory, settings="site_settings")
    assert server.get("/api/later").text == "later"
    server = serve(
        "--port",
        str(port),
        cwd=directory,
        settings="site_settings",
        port=port,
        env={"TWISTSERVE_MOUNT": "/one=resources.app\n/two=resources.app"},
    )
    assert [server.get(path).status for path in ("/one/later", "/two/later", "/api/later")] == [200, 200, 404]


def test_a_mount_on_a_probe(serve: Serve, project: Callable[..., Path]) -> None:
    """With the probes on the web port it would never be asked."""
    port = free_port()
    server = serve(
        *mounting("/alive=resources.app"),
        "--port",
        str(port),
        "--probe-port",
        str(port),
        port=port,
        cwd=project(VIEWS, resources=RESOURCES),
        settings="site_settings",
        until=None,
    )
    assert_failed(server, "--mount", "'/alive' is the path of --liveness-probe too")
