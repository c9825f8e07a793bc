"""WebSockets of mounted resources: groups, limits, dead and slow clients, workers, and the drain."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from wsproto.events import TextMessage

from tests.support.functional.browser import Browser, address
from tests.support.functional.harness import (
    PATIENCE,
    PROMPT,
    Serve,
    Server,
    free_port,
    lines_with,
    raw,
    refuses,
    serving,
    start,
    wait_for,
    write_project,
)
from tests.support.functional.http2 import start as start_secure
from tests.support.functional.processes import resident
from tests.support.functional.proxies import DIRECTIVES, proxying
from tests.support.functional.websockets import WebSocket
from tests.support.functional.workers import suspend

VIEWS = """
import os
import threading

from django.http import HttpResponse
from django.urls import path
from twistserve.websocket import send


def push(request):
    send(request.GET["group"], request.GET["text"])
    return HttpResponse(str(os.getpid()))


def flood(request):
    for _ in range(int(request.GET["count"])):
        send("news", "x" * 10_000)
    return HttpResponse()


def threads(request):
    def work(name):
        for number in range(100):
            send("news", f"{name}{number:02}")
    started = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for each in started:
        each.start()
    for each in started:
        each.join()
    return HttpResponse()


PAGE = '''<p id=text></p><p id=code></p><script>
const socket = new WebSocket(`ws://${location.host}/news`)
const show = (id, text) => document.getElementById(id).textContent += text
socket.onopen = () => { show("text", "open "); socket.send("from the page") }
socket.onmessage = event => show("text", event.data + " ")
socket.onclose = event => show("code", event.code)
</script>'''

urlpatterns = [
    path("", lambda request: HttpResponse("django")),
    path("page", lambda request: HttpResponse(PAGE)),
    path("push", push),
    path("flood", flood),
    path("threads", threads),
]
"""
LIVE = """
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.websocket import WebSocketResource
from twistserve.websocket import group_resource, send


class Echo:
    def negotiationStarted(self, transport):
        self.transport = transport

    def negotiationFinished(self):
        self.transport.sendTextMessage("hello")

    def textMessageReceived(self, message):
        if message == "fail":
            raise ValueError("of the test")
        if message == "flood":
            self.flood()
        self.transport.sendTextMessage(f"{len(message)} {message[:20]}")

    def flood(self):
        self.transport.sendTextMessage("x" * 100_000)
        reactor.callLater(0, self.flood)

    def bytesMessageReceived(self, data):
        self.transport.sendBytesMessage(data[:10])

    def pongReceived(self, payload):
        pass

    def connectionLost(self, reason):
        self.flood = lambda: None


class Factory:
    def buildProtocol(self, request):
        return Echo()


echo = WebSocketResource(Factory())
news = group_resource("news", on_text=lambda request, text: send("news", f"said {text}"))
own = group_resource(lambda request: (request.getCookie(b"user") or b"").decode() or None)


class Plain(Resource):
    isLeaf = True

    def render_GET(self, request):
        return b"plain"
"""
MOUNTS = [
    word
    for name, found in (("echo", "echo"), ("news", "news"), ("own", "own"), ("plain", "Plain"))
    for word in ("--mount", f"/{name}=live.{found}")
]


HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def write(directory: Path) -> Path:
    return write_project(directory, VIEWS, live=LIVE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("websockets")
    words = [*MOUNTS, "--max-body-size", "1M"]
    with serving(*words, cwd=write(directory / "project"), logs=directory, settings="site_settings") as started:
        yield started


def metric(server: Server, name: str) -> float:
    found = re.search(rf"^twistserve_{re.escape(name)} (\S+)$", server.probe("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def is_open(server: Server, count: int) -> Callable[[], bool]:
    return lambda: metric(server, "websockets") == count


def test_a_conversation(server: Server) -> None:
    """Texts and bytes both ways; it is no request in progress, and told of as one with status 101."""
    with WebSocket(server.port, "/echo") as client:
        assert client.status == 101
        client.send("to ", last=False)
        client.send("you")
        client.send(b"0123456789abc")
        assert [client.receive() for _ in range(3)] == ["hello", "6 to you", b"0123456789"]
        assert metric(server, "websockets") >= 1
        assert metric(server, "http_requests_in_progress") == 0
        client.send("fail")
        assert client.receive() == 1011
        assert client.receive() is None
    wait_for(lambda: lines_with(server.stdout, '"GET /echo HTTP/1.1" 101 0'), "the access log")
    wait_for(lambda: lines_with(server.stdout, "ValueError: of the test"), "the traceback")
    wanted = 'http_requests_total{handler="mount:/echo",method="GET",status="101"}'
    assert metric(server, wanted) >= 1
    wait_for(lambda: metric(server, 'websocket_closes_total{reason="failed"}') == 1, "the count")


def test_texts_to_a_group(server: Server) -> None:
    """From views, from threads of their own, in order, and from the reactor."""
    with WebSocket(server.port, "/news") as one, WebSocket(server.port, "/news") as two:
        server.get("/push?group=news&text=h%C3%A9llo")
        server.get("/push?group=other&text=not")
        server.get("/threads")
        for client in (one, two):
            assert client.receive() == "héllo"
            texts = [client.receive() for _ in range(200)]
            for name in "ab":
                assert [text for text in texts if text[0] == name] == [f"{name}{number:02}" for number in range(100)]
        one.send("it")
        assert (one.receive(), two.receive()) == ("said it", "said it")


def test_a_group_for_each_user(server: Server) -> None:
    """As the resource finds it for the request; nobody else's."""
    with WebSocket(server.port, "/own", ("Cookie", "user=ada")) as ada, WebSocket(server.port, "/own") as nobody:
        assert (ada.status, nobody.status) == (101, 403)
        server.get("/push?group=ada&text=yours")
        assert ada.receive() == "yours"


def test_pages_of_other_sites(server: Server) -> None:
    """May not open one with the cookies of this one."""
    for origin, status in ((f"http://127.0.0.1:{server.port}", 101), ("https://evil.example", 403)):
        with WebSocket(server.port, "/news", ("Origin", origin)) as client:
            assert client.status == status
    wait_for(lambda: "a page of 'https://evil.example' asks for it" in server.stdout, "the line")


def test_an_upgrade_elsewhere(server: Server) -> None:
    """Is ignored by what has no WebSocket; what is one says so to whoever does not ask for it rightly."""
    for path, status in (("/", 200), ("/plain", 200), ("/absent", 404)):
        with WebSocket(server.port, path) as client:
            assert client.status == status
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert server.get("/news").status == server.get("/news", headers=upgrade).status == 400
    assert server.get("/echo", headers=upgrade | {"Sec-WebSocket-Version": "7"}).status == 400
    assert server.get("/plain", headers=upgrade).text == "plain"
    reply = raw(server.port, HANDSHAKE + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", reply) == [b"400", b"200"]


def test_requests_before_it(server: Server) -> None:
    """Have their responses first."""
    before = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(before * 2 + HANDSHAKE)
        received = b""
        while b"hello" not in received:
            received += connection.recv(65536)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"200", b"101"]


def test_messages_that_are_too_big(server: Server) -> None:
    """One message, or one in many fragments, which take no time to speak of."""
    with WebSocket(server.port, "/echo") as client:
        client.receive()
        client.send("x" * (1 << 20))
        assert client.receive() == f"{1 << 20} {'x' * 20}"
        client.send(b"x" * (1 << 20) + b"x")
        assert client.receive() == 1009
    with WebSocket(server.port, "/echo") as client:
        client.receive()
        began = time.monotonic()
        fragments = b"".join(client._ws.send(event) for event in fragments_of(20_000))
        client.socket.sendall(fragments)
        client.send("!")
        assert client.receive() == f"20001 {'x' * 20}"
        assert time.monotonic() - began < PROMPT


def fragments_of(count: int) -> Iterator[TextMessage]:
    for _ in range(count):
        yield TextMessage("x", message_finished=False)


def test_a_client_that_reads_slowly(server: Server) -> None:
    """Is left when too much waits for it, and others get everything."""
    with WebSocket(server.port, "/echo", buffer=4096) as slow, WebSocket(server.port, "/echo") as other:
        slow.send("flood")
        wait_for(lambda: metric(server, 'websocket_closes_total{reason="too_slow"}') == 1, "the end of the slow one")
        wait_for(lambda: lines_with(server.stdout, "/echo of 127.0.0.1 is closed: its client reads too"), "the line")
        other.send("x")
        assert [other.receive(), other.receive()] == ["hello", "1 x"]


def test_dead_clients(serve: Serve, tmp_path: Path) -> None:
    """One that does not answer pings is left, one that does stays; connections are counted."""
    words = [*MOUNTS, "--keep-alive-timeout", "2", "--max-connections", "2"]
    server = serve(*words, cwd=write(tmp_path / "project"), settings="site_settings")
    with (
        ThreadPoolExecutor(1) as reader,
        WebSocket(server.port, "/own", ("Cookie", "user=a"), lives=False) as dead,
        WebSocket(server.port, "/own", ("Cookie", "user=b")) as alive,
    ):
        began = time.monotonic()
        reading = reader.submit(alive.receive)
        assert dead.receive() is None
        assert time.monotonic() - began > 1.5
        assert dead.pings == 1
        # Which there was no room for before.
        assert server.get("/push?group=b&text=here").status == 200
        assert reading.result() == "here"
        assert alive.pings >= 1
    wait_for(lambda: 'websocket_closes_total{reason="silent"} 1' in server.probe("/metrics").text, "the count")


def test_a_hundred_through_a_drain(serve: Serve, tmp_path: Path) -> None:
    """Each gets 1001 at once, but for one that does not read: it holds the end up for a bounded time."""
    server = serve(*MOUNTS, cwd=write(tmp_path / "project"), settings="site_settings")
    with ExitStack() as stack:
        clients = [stack.enter_context(WebSocket(server.port, "/news")) for _ in range(99)]
        stack.enter_context(WebSocket(server.port, "/news", buffer=4096))
        wait_for(is_open(server, 100), "all of them")
        # More than the kernel takes for it, and less than may wait.
        while "too_slow" not in server.stdout and not waits_for_it(server):
            server.get("/flood?count=20")
        for client in clients:
            client.send("going")
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        codes = {until_closed(client) for client in clients}
        assert codes == {1001}
        assert time.monotonic() - began < PROMPT
        assert server.wait(PROMPT) == 0
    assert "Traceback" not in server.output
    assert not lines_with(server.stdout, "cut off")


def waits_for_it(server: Server) -> bool:
    """Whether the kernel holds as much for the slow client as it takes."""
    text = Path("/proc/net/tcp").read_text()
    queues = [
        line.split()[4].partition(":")[0] for line in text.splitlines() if f":{server.port:04X}" in line.split()[1]
    ]
    return any(int(queue, 16) > 1_000_000 for queue in queues)


def until_closed(client: WebSocket) -> object:
    while isinstance(message := client.receive(), str):
        pass
    return message


@pytest.mark.parametrize("how", [[], ["--preload"]])
def test_two_workers(serve: Serve, tmp_path: Path, how: list[str]) -> None:
    """A text reaches the WebSockets of both once, however long it is; both send 1001 at their end."""
    server = serve(*MOUNTS, "--workers", "2", *how, cwd=write(tmp_path / "project"), settings="site_settings")
    wait_for(lambda: server.probe("/metrics").text.count("lifecycle_state") and is_ready(server), "both workers")
    with ExitStack() as stack:
        clients = [stack.enter_context(WebSocket(server.port, "/news")) for _ in range(20)]
        wait_for(is_open(server, 20), "all of them")
        senders: set[str] = set()
        sent = 0
        while len(senders) < 2:
            senders.add(server.get(f"/push?group=news&text=text{sent}").text)
            sent += 1
        server.get("/flood?count=20")
        # Texts of several workers come in any order.
        expected = sorted([*(f"text{each}" for each in range(sent)), *["x" * 10_000] * 20])
        for client in clients:
            assert sorted(str(client.receive()) for _ in expected) == expected
        server.signal(signal.SIGTERM)
        assert {client.receive() for client in clients} == {1001}
    assert server.wait(PROMPT) == 0
    assert "Traceback" not in server.output


def is_ready(server: Server) -> bool:
    return len(lines_with(server.stdout, "is ready after")) == 2


def test_a_worker_that_hangs(serve: Serve, tmp_path: Path) -> None:
    """Does not make the others keep what it does not take."""
    server = serve(*MOUNTS, "--workers", "2", cwd=write(tmp_path / "project"), settings="site_settings")
    wait_for(lambda: is_ready(server), "both workers")
    hanging = int(server.get("/push?group=news&text=x").text)
    before = resident(server)
    suspend(hanging)
    try:
        for _ in range(5):
            assert server.get("/flood?count=500").status == 200
        line = "texts for WebSockets are dropped on the way to worker"
        wait_for(lambda: len(lines_with(server.stdout, line)) == 1, "the line")
        assert resident(server) < before + (64 << 20)
    finally:
        os.kill(hanging, signal.SIGCONT)
    with WebSocket(server.port, "/news") as client:
        server.get("/push?group=news&text=here")
        while client.receive() != "here":
            pass
    assert "twistserve_websocket_texts_dropped_total 0.0" not in server.probe("/metrics").text


def test_a_reload(serve: Serve, tmp_path: Path) -> None:
    """WebSockets of workers that are replaced get 1001 one worker after the other, and come back to the new ones."""
    server = serve(*MOUNTS, "--workers", "2", cwd=write(tmp_path / "project"), settings="site_settings")
    wait_for(lambda: is_ready(server), "both workers")
    with WebSocket(server.port, "/news") as client:
        server.signal(signal.SIGHUP)
        assert client.receive() == 1001
    with WebSocket(server.port, "/news") as client:
        assert client.status == 101


def test_tls_unix_sockets_and_the_proxy_protocol(serve: Serve, tmp_path: Path) -> None:
    """Through each kind of endpoint, and to the end."""
    proxied, unix = free_port(), str(tmp_path / "web.sock")
    ways = ["--endpoint", f"haproxy:tcp:{proxied}", "--endpoint", f"unix:{unix}"]
    secure = start_secure(serve, tmp_path, *MOUNTS, *ways, cwd=write(tmp_path / "project"))
    http2 = secure.connect()
    plain = http2.ask("/echo")
    http2.until(lambda: http2.answers[plain].ended)
    http2.socket.close()
    assert http2.answers[plain].status == 400
    line = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"
    with (
        WebSocket(secure.port, "/echo", tls=True) as tls,
        WebSocket(proxied, "/echo", first=line) as behind,
        WebSocket(unix, "/echo") as local,
    ):
        for client in (tls, behind, local):
            client.send("x" * 100_000)
            assert [client.receive(), client.receive()] == ["hello", f"100000 {'x' * 20}"]
        wait_for(lambda: lines_with(secure.server.stdout, "192.0.2.7", '"GET /echo HTTP/1.1" 101'), "the address")
        secure.server.signal(signal.SIGTERM)
        assert {client.receive() for client in (tls, behind, local)} == {1001}
    assert secure.server.wait(PROMPT) == 0
    assert "Traceback" not in secure.server.output


UPGRADES = {"nginx": "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"}
"""What a proxy has to be told beside what docs/proxies.md says."""


@pytest.mark.parametrize("name", ["haproxy", "nginx", "caddy"])
def test_behind_a_proxy(server: Server, tmp_path: Path, name: str) -> None:
    """Pages of the site as clients see it may open one, and those of others may not."""
    directives = DIRECTIVES[name] + UPGRADES.get(name, "")
    with proxying(name, tmp_path / "proxy", server.port, directives, patience=30) as port:
        for origin, status in ((f"http://127.0.0.1:{port}", 101), ("http://127.0.0.1", 403)):
            with WebSocket(port, "/news", ("Origin", origin)) as client:
                assert client.status == status
                if status == 101:
                    client.send("it")
                    assert client.receive() == "said it"


def test_another_reactor(serve: Serve, tmp_path: Path) -> None:
    """asyncio's."""
    server = serve(*MOUNTS, runner="asyncio", cwd=write(tmp_path / "project"), settings="site_settings")
    with WebSocket(server.port, "/news") as client:
        server.get("/push?group=news&text=hello")
        assert client.receive() == "hello"
        server.signal(signal.SIGTERM)
        assert client.receive() == 1001
    assert server.wait(PROMPT) == 0


def test_a_daemon(tmp_path: Path) -> None:
    """twistd without -n forks once everything is put together: the daemon has the WebSockets."""
    project = write(tmp_path / "project")
    server = start(*MOUNTS, cwd=project, logs=tmp_path, runner="daemon", settings="site_settings")
    assert server.wait() == 0, server.output
    pid = int(wait_for((project / "twistd.pid").read_text, "the daemon"))
    try:
        wait_for(lambda: not refuses(server.port), "the daemon to serve")
        with WebSocket(server.port, "/news") as client:
            server.get("/push?group=news&text=hello")
            assert client.receive() == "hello"
            os.kill(pid, signal.SIGTERM)
            assert client.receive() == 1001
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the daemon to end")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_process_that_serves_nothing(tmp_path: Path) -> None:
    """Sends nothing, and does not mind."""
    project = write(tmp_path / "project")
    words = ["manage.py", "shell", "-v0", "-c", "from twistserve.websocket import send; print(send('news', 'x'))"]
    done = subprocess.run([sys.executable, *words], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "None"


def test_without_the_extra(serve: Serve, tmp_path: Path) -> None:
    """The start fails, and one line says what to install."""
    project = write(tmp_path / "project")
    (project / "wsproto.py").write_text("raise ModuleNotFoundError('wsproto', name='wsproto')\n")
    server = serve(*MOUNTS, cwd=project, settings="site_settings", until=None)
    assert server.wait(PROMPT) == 1
    assert "WebSockets need twistserve[websocket]: install that" in server.output
    assert "Traceback" not in server.output


def test_a_browser(serve: Serve, browser: Browser, tmp_path: Path) -> None:
    """A page gets what a view sends, and sees why it is closed."""
    server = serve(*MOUNTS, cwd=write(tmp_path / "project"), settings="site_settings")
    browser.open(address(server, "/page"))
    wait_for(lambda: browser.find("#text").text == "open said from the page", lambda: browser.text)
    server.get("/push?group=news&text=f%C3%BCr+alle")
    wait_for(lambda: "für alle" in browser.find("#text").text, lambda: browser.text)
    server.signal(signal.SIGTERM)
    wait_for(lambda: browser.find("#code").text == "1001", lambda: browser.text)
    assert server.wait(PROMPT) == 0
    assert [error for error in browser.errors() if "favicon" not in error["message"]] == []


USERS = """
from twisted.internet.threads import deferToThread
from twistserve.websocket import group_resource, send


def user_group(request):
    return deferToThread(group_of, request.getCookie(b"sessionid"))


def group_of(cookie):
    from django.contrib.auth import get_user
    from django.contrib.sessions.backends.db import SessionStore
    from django.db import connections
    from django.http import HttpRequest

    request = HttpRequest()
    request.session = SessionStore((cookie or b"").decode())
    try:
        user = get_user(request)
        return f"user-{user.pk}" if user.is_authenticated else None
    finally:
        connections.close_all()


users = group_resource(user_group, on_text=lambda request, text: send(text, "you"))
"""
LOG_IN = """
from django.contrib.auth import SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

user = User.objects.create_user("ada")
session = SessionStore()
session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
print(session.session_key, user.pk)
"""


def test_the_user_of_a_session(serve: Serve, example: Path) -> None:
    """As docs/mounts.md finds it, in a thread: who is logged in joins a group of their own, nobody else does."""
    (example / "users.py").write_text(USERS)
    words = [sys.executable, "manage.py", "shell", "-v0", "-c", LOG_IN]
    done = subprocess.run(words, cwd=example, capture_output=True, text=True, check=True)
    key, user = done.stdout.split()[-2:]
    server = serve("--mount", "/mine=users.users", cwd=example)
    with (
        WebSocket(server.port, "/mine", ("Cookie", f"sessionid={key}")) as ada,
        WebSocket(server.port, "/mine", ("Cookie", "sessionid=made-up")) as made_up,
        WebSocket(server.port, "/mine") as nobody,
    ):
        assert [client.status for client in (ada, made_up, nobody)] == [101, 403, 403]
        ada.send(f"user-{user}")
        assert ada.receive() == "you"
