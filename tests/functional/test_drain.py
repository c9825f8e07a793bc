"""The drain: what becomes of connections, requests and probes between the first signal and the end of the process."""

from __future__ import annotations

import hashlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.certificates import write_certificate
from tests.support.functional.draining import (
    HELLO,
    VIEWS,
    Client,
    Watch,
    hold,
    listens,
    own_lines,
    tcp_sockets,
    wait_until_closed,
)
from tests.support.functional.harness import PATIENCE, PROMPT, Serve, Server, fetch, free_port, release, wait_for
from tests.support.functional.processes import state
from tests.support.functional.tls import connect as connect_tls

INSIDE_KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
PATIENT = {"TWISTSERVE_DRAIN_DELAY": "60", "TWISTSERVE_GRACEFUL_TIMEOUT": "60"}
"""What must not make an end wait that has nothing to wait for."""

BLOCK, BLOCKS = b"0123456789abcdef" * 4096, 640
"""What /large/ streams: 40 MB, more than both ends of a connection buffer."""

FILES = """
INSTALLED_APPS += ["django.contrib.staticfiles"]
STATIC_URL, STATIC_ROOT = "/static/", BASE_DIR / "files"
STATIC_ROOT.mkdir(exist_ok=True)
(STATIC_ROOT / "large.bin").write_bytes(b"0123456789abcdef" * 4096 * 640)
"""

LARGE = b"GET /large/ HTTP/1.1\r\nHost: x\r\n\r\n"

RECEIVER = """
import hashlib, http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("GET", "/large/")
response = connection.getresponse()
received = response.read(1)
print("begun", flush=True)
sys.stdin.readline()
received += response.read()
print(hashlib.sha256(received).hexdigest(), flush=True)
"""
"""Prints the digest of a large answer, of which it reads the most only when it is given a line."""

SENDER = """
import http.client, sys

def halves():
    yield b"x" * 2_000_000
    print("begun", flush=True)
    sys.stdin.readline()
    yield b"x" * 2_000_000

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("POST", "/digest/", halves(), {"Content-Length": "4000000"})
print(connection.getresponse().read().decode(), flush=True)
"""
"""Sends a body in two halves, waits for a line before the second, and prints the digest that it gets."""

Launch = Callable[..., Server]


@pytest.fixture(autouse=True)
def _deliver_interrupts() -> Iterator[None]:
    """Let the servers receive SIGINT even where the tests run in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def launch(serve: Serve, project: Callable[..., Path]) -> Launch:
    """Start a server of a project with the views of `draining`, at once: `launch("--threads", "1", settings="...")`."""

    def launcher(
        *args: str, runner: str = "twistd", env: dict[str, str] | None = None, views: str = VIEWS, **texts: str
    ) -> Server:
        directory = project(views=views, **texts)
        return serve(*args, runner=runner, cwd=directory, settings="site_settings", env=env, until=None)

    return launcher


def waiting_in_backlog(port: int) -> int:
    """How many connections to this port have sent something and are not accepted."""
    return sum(row.unread > 0 and not row.accepted and not row.listens for row in tcp_sockets(port))


def suspend(process: subprocess.Popen[bytes]) -> None:
    """Stop a process with SIGSTOP, and wait until it stands."""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: state(process.pid) == "T", "the process to stop")


# The delay


def test_new_connections_are_served_until_the_delay_is_over(launch: Launch) -> None:
    """SIGTERM fails readiness at once; for --drain-delay all is served, and responses say that the connection ends.

    Then the port closes, and the process ends.
    """
    server = launch("--drain-delay", "3").wait_until()
    idle, used = Client.kept_alive(server), Client.kept_alive(server)
    watch = Watch(server)
    wait_for(lambda: watch.statuses("/ready"), "the first probes")
    signalled = time.monotonic()
    server.signal(signal.SIGTERM)
    server.wait_until("/ready", 503)
    failed = time.monotonic()
    assert failed - signalled < 2, "readiness must fail at once"
    assert "drain" in server.probe("/ready").text.lower()
    used.send(HELLO)
    assert used.outcome() == "200 hello close, end"
    answered = 0
    while listens(server.port):
        try:
            assert server.get("/hello/").text == "hello"
        except ConnectionRefusedError:
            break
        answered += 1
    wait_until_closed(server)
    closed = time.monotonic()
    assert answered, f"no answer on a new connection in {closed - signalled:.2f} s"
    assert 2.9 < closed - signalled < PROMPT, f"the port closed after {closed - signalled:.2f} s"
    assert idle.outcome() == "end"
    assert server.wait(PROMPT) == 0
    watch.join(PATIENCE)
    assert set(watch.statuses("/alive")) == {200}
    assert set(watch.statuses("/ready", since=failed)) == {503}
    assert not listens(server.probe_port)
    [began] = own_lines(server, "ready -> draining")
    assert re.search(r"after \d+\.\d+ s: .*SIGTERM", began), began
    [ended] = own_lines(server, "draining -> stopped")
    assert 2.9 < float(re.findall(r"after (\d+\.\d+) s", ended)[0]) < PROMPT, ended


def test_the_delay_is_5_seconds_inside_kubernetes_and_0_elsewhere(launch: Launch) -> None:
    """The environment of a pod gives the default of --drain-delay, and the option wins over it."""
    servers = {
        "inside": launch(env=INSIDE_KUBERNETES),
        "inside, with the option": launch("--drain-delay", "0", env=INSIDE_KUBERNETES),
        "outside": launch(),
    }
    closed: dict[str, float] = {}
    for server in servers.values():
        server.wait_until()
    signalled = {}
    for name, server in servers.items():
        signalled[name] = time.monotonic()
        server.signal(signal.SIGTERM)

    def all_closed() -> bool:
        for name, server in servers.items():
            if name not in closed and not listens(server.port):
                closed[name] = time.monotonic() - signalled[name]
        return len(closed) == len(servers)

    wait_for(all_closed, f"the ports to close: {closed}")
    assert 4.9 < closed["inside"] < PROMPT, closed
    assert closed["inside, with the option"] < 4.5, closed
    assert closed["outside"] < 4.5, closed
    assert [server.wait(PROMPT) for server in servers.values()] == [0, 0, 0]


# Requests in flight


@pytest.mark.smoke
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_requests_in_flight_finish_and_say_that_they_are_the_last(launch: Launch, number: int) -> None:
    """Views, streams and files in flight at the signal are answered completely, while liveness passes; then it ends."""
    server = launch("--static", settings=FILES).wait_until()
    page, stream, old = hold(server, "page"), hold(server, "stream", "/stream/"), Client(server)
    old.send(b"GET /hold/?name=old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    wait_for((server.cwd / "entered-old").exists, "the request to reach its view")
    large, file = Client(server, LARGE), Client(server, LARGE.replace(b"/large/", b"/static/large.bin"))
    for client in (large, file):
        assert client.reader.peek()
    watch = Watch(server)
    server.signal(number)
    wait_until_closed(server)
    closed = time.monotonic()
    wait_for(lambda: len(watch.statuses("/ready", since=closed)) > 3, "probes after the port has closed")
    assert own_lines(server, r"draining: .* at most 25 s"), "the default of --graceful-timeout"
    release(server)
    assert page.outcome() == "200 held close, end"
    assert stream.outcome() == "200 begin end, end"
    assert old.outcome() == "200 held close, end"
    for client in (large, file):
        reply = client.answer()
        assert (reply.status, reply.body == BLOCK * BLOCKS) == (200, True)
        assert client.outcome() == "end"
    assert server.wait(PROMPT) == 0
    watch.join(PATIENCE)
    assert set(watch.statuses("/alive")) == {200}
    assert set(watch.statuses("/ready", since=closed)) == {503}
    assert not listens(server.probe_port)


def test_a_request_that_has_begun_to_arrive_is_answered(launch: Launch) -> None:
    """Half a head, half a body, or a place behind a request that runs: each is answered after the port has closed."""
    server = launch().wait_until()
    digest, body = hashlib.sha256(b"a" * 20).hexdigest(), b"a" * 20
    post = b"POST /digest/ HTTP/1.1\r\nHost: x\r\n"
    cases = {
        "one letter": (b"G", HELLO[1:], "200 hello close, end"),
        "half a request line": (HELLO[:9], HELLO[9:], "200 hello close, end"),
        "half a head": (HELLO[:-5], HELLO[-5:], "200 hello close, end"),
        "a head but its last byte": (HELLO[:-1], HELLO[-1:], "200 hello close, end"),
        "no body yet": (post + b"Content-Length: 20\r\n\r\n", body, f"200 {digest} close, end"),
        "half a body": (post + b"Content-Length: 20\r\n\r\n" + body[:9], body[9:], f"200 {digest} close, end"),
        "half a chunk": (
            post + b"Transfer-Encoding: chunked\r\n\r\n14\r\n" + body[:9],
            body[9:] + b"\r\n0\r\n\r\n",
            f"200 {digest} close, end",
        ),
        "asked whether to continue": (
            post + b"Expect: 100-continue\r\nContent-Length: 20\r\n\r\n",
            body,
            f"100, 200 {digest} close, end",
        ),
        "half a head that will ask": (
            post + b"Expect: 100-continue\r\n",
            b"Content-Length: 20\r\n\r\n" + body,
            f"100, 200 {digest} close, end",
        ),
    }
    clients = {
        f"{name}, {kind}": (make(server, begun), rest, expected)
        for name, (begun, rest, expected) in cases.items()
        for kind, make in (("first request", Client), ("kept alive", Client.kept_alive))
    }
    for name, behind, rest, expected in (
        ("whole", HELLO, b"", "200 held, 200 hello close, end"),
        ("three", HELLO * 3, b"", "200 held, 200 hello, 200 hello, 200 hello close, end"),
        ("half", HELLO[:9], HELLO[9:], "200 held, 200 hello close, end"),
        ("body", cases["half a body"][0], cases["half a body"][1], f"200 held, 200 {digest} close, end"),
    ):
        clients[f"pipelined: {name}"] = (hold(server, name, rest=behind), rest, expected)
    for name, (client, *_) in clients.items():
        wait_for(client.is_read, f"the server to read from the client with {name}")
    # With one request waiting in the connection nothing more is read: the last one stays in the kernel.
    client = hold(server, "unread", rest=HELLO)
    for is_there in (client.is_read, client.is_sent):
        client.send(HELLO)
        wait_for(is_there, "another request to be there")
    clients["pipelined: unread"] = (client, b"", "200 held, 200 hello, 200 hello, 200 hello close, end")
    server.signal(signal.SIGTERM)
    wait_until_closed(server)
    release(server)
    for client, rest, _ in clients.values():
        client.send(rest)
    outcomes = {name: client.outcome() for name, (client, *_) in clients.items()}
    assert outcomes == {name: expected for name, (_, _, expected) in clients.items()}
    assert server.wait(PROMPT) == 0


def test_requests_that_wait_in_the_kernel_are_answered(launch: Launch) -> None:
    """What has arrived before the signal but was not read yet is answered, in the backlog and on other connections."""
    server = launch().wait_until()
    idle, half_idle = ([Client.kept_alive(server) for _ in range(10)] for _ in range(2))
    suspend(server.process)
    try:
        for client in idle:
            client.send(HELLO)
        for client in half_idle:
            client.send(HELLO[:9])
        whole = [Client(server, HELLO) for _ in range(100)]
        half = [Client(server, HELLO[:9]) for _ in range(10)]
        empty = [Client(server) for _ in range(10)]
        server.signal(signal.SIGTERM)
    finally:
        server.signal(signal.SIGCONT)
    wait_until_closed(server)
    for client in empty:
        client.send(HELLO)
    for client in half_idle + half:
        client.send(HELLO[9:])
    groups = {
        "unread on a connection in use": idle,
        "half unread on a connection in use": half_idle,
        "backlog": whole,
        "half in the backlog": half,
        "backlog without a request": empty,
    }
    outcomes = {name: {client.outcome() for client in clients} for name, clients in groups.items()}
    for name in ("unread on a connection in use", "backlog"):
        # What is read before the port closes is answered as always.
        outcomes[name] = {outcome.replace("200 hello, end", "200 hello close, end") for outcome in outcomes[name]}
    assert outcomes == {name: {"200 hello close, end"} for name in groups}
    assert server.wait(PROMPT) == 0


def over_unix(path: Path) -> http.client.HTTPConnection:
    """A connection to a Unix socket."""
    connection = http.client.HTTPConnection("x")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(str(path))
    return connection


def result(connection: http.client.HTTPConnection) -> bytes | str:
    """The body of the answer that comes, or what comes instead."""
    try:
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def test_endpoints_drain_as_the_port_does(launch: Launch, tmp_path: Path) -> None:
    """With TLS, a Unix socket, several endpoints at once: what waits in the backlog or in a connection is answered."""
    certificate, path, tls, tcp = tmp_path / "x.pem", tmp_path / "web.sock", free_port(), free_port()
    write_certificate(certificate, "x.example")
    server = launch(
        *("--endpoint", f"ssl:{tls}:privateKey={certificate}:certKey={certificate}"),
        *("--endpoint", f"unix:{path}", "--endpoint", f"tcp:{tcp}:interface=127.0.0.1"),
    ).wait_until()
    makers: dict[str, Callable[[], http.client.HTTPConnection]] = {
        "tls": lambda: connect_tls(tls, "x.example"),
        "unix": lambda: over_unix(path),
        "tcp": lambda: http.client.HTTPConnection("127.0.0.1", tcp, timeout=PATIENCE),
    }
    connections = [(f"{name}, in use", make()) for name, make in makers.items() for _ in range(3)]
    for _, connection in connections:
        connection.request("GET", "/hello/")
        assert connection.getresponse().read() == b"hello"

    def ask_over_tls() -> None:
        connection = makers["tls"]()
        connection.request("GET", "/hello/")
        connections.append(("tls, backlog", connection))

    suspend(server.process)
    try:
        connections += [(f"{name}, backlog", makers[name]()) for name in ("unix", "tcp") for _ in range(3)]
        for _, connection in connections:
            connection.request("GET", "/hello/")
        # In threads, for a handshake waits for the server.
        threads = [threading.Thread(target=ask_over_tls) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: waiting_in_backlog(tls) == 3, "the handshakes to begin")
        server.signal(signal.SIGTERM)
    finally:
        server.signal(signal.SIGCONT)
    for thread in threads:
        thread.join(PATIENCE)
    outcomes = [(name, result(connection)) for name, connection in connections]
    expected = [(f"{name}, {kind}", b"hello") for name in makers for kind in ("backlog", "in use") for _ in range(3)]
    assert sorted(outcomes) == sorted(expected)
    assert server.wait(PROMPT) == 0


def test_connections_beyond_the_limit_are_answered(launch: Launch) -> None:
    """Where --max-connections has made accept pause, those that wait in the backlog are accepted and answered too."""
    server = launch("--max-connections", "2").wait_until()
    held = [hold(server, "one"), hold(server, "two")]
    waiting = [Client(server, HELLO) for _ in range(5)]
    server.signal(signal.SIGTERM)
    server.wait_until("/ready", 503)
    release(server)
    # Answered just before the ports were closed, a connection is idle then, and closed as such.
    assert {client.outcome() for client in held} <= {"200 held close, end", "200 held, end"}
    assert {client.outcome() for client in waiting} <= {"200 hello close, end", "200 hello, end"}
    assert server.wait(PROMPT) == 0


def test_the_last_answer_arrives_though_its_client_goes_on_sending(launch: Launch) -> None:
    """What a client sends behind its last answer does not cut that answer off by a reset (RFC 9112, section 9.6)."""
    server = launch().wait_until()
    client = hold(server, "page&times=2000000")
    # So that much of the answer still waits at the server when it is all written.
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    server.signal(signal.SIGTERM)
    wait_until_closed(server)
    release(server)
    assert client.reader.peek()
    # As much as there is room for: the server does not read it while it answers.
    client.socket.setblocking(False)
    with suppress(BlockingIOError, ConnectionResetError, BrokenPipeError):
        for _ in range(100):
            client.send(HELLO * 1000)
    client.socket.settimeout(PATIENCE)
    reply = client.answer()
    assert (reply.status, len(reply.body), reply.headers["Connection"]) == (200, 8_000_000, "close")
    client.closes()
    assert server.wait(PROMPT) == 0


# What is cut


def test_what_is_cut_at_the_timeout_is_logged_with_its_age_and_stack(launch: Launch) -> None:
    """After --graceful-timeout the process ends; each request that was cut has a line: its age, and where it stands."""
    server = launch(
        *("--threads", "2", "--graceful-timeout", "1.5", "--drain-delay", "0.5", "--no-access-log")
    ).wait_until()
    began = time.monotonic()
    clients = {
        "/hold/": hold(server, "page", rest=HELLO.replace(b"hello/", b"hello/?pipelined")),
        "/stream/": hold(server, "stream", "/stream/"),
        "/digest/": Client(server, b"POST /digest/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"),
        "/hello/[?]queued": Client(server, HELLO.replace(b"hello/", b"hello/?queued")),
    }
    for name, client in clients.items():
        wait_for(client.is_read, f"{name} to be read")
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0
    took = time.monotonic() - began
    assert took > 1.9, f"ended after {took:.2f} s"
    outcomes = {name: client.outcome() for name, client in clients.items()}
    assert all(outcome.startswith(("end", "Connection")) for name, outcome in outcomes.items() if name != "/stream/")
    assert not outcomes["/stream/"].startswith("200"), "a stream that was cut must not look complete"
    paths = [*clients, "/hello/[?]pipelined"]
    lines = {path: own_lines(server, path) for path in paths}
    assert {path: len(found) for path, found in lines.items()} == dict.fromkeys(paths, 1)
    for path, [line] in lines.items():
        ages = [float(age) for age in re.findall(r"(\d+(?:\.\d+)?) s\b", line)]
        assert any(1.9 <= age <= took + 0.1 for age in ages), f"{path}: {ages} in {line!r}"
    for path in ("/hold/", "/stream/"):
        assert "stand_at_the_gate" in lines[path][0], lines[path]
        assert "site_urls.py" in lines[path][0], lines[path]


# The second signal


@pytest.mark.parametrize(
    ("moment", "first", "second"),
    [
        ("during the delay", signal.SIGTERM, signal.SIGINT),
        ("during the delay", signal.SIGINT, signal.SIGTERM),
        ("with requests in flight", signal.SIGTERM, signal.SIGTERM),
        ("with requests in flight", signal.SIGINT, signal.SIGINT),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_second_signal_stops_at_once(
    launch: Launch, moment: str, first: signal.Signals, second: signal.Signals
) -> None:
    """Whichever of the signals comes second, the process ends without waiting for the delay or for a request."""
    server = launch("--drain-delay", "60" if moment == "during the delay" else "0", "--graceful-timeout", "60")
    server.wait_until()
    client = hold(server, "page")
    server.signal(first)
    server.wait_until("/ready", 503)
    if moment == "with requests in flight":
        wait_until_closed(server)
    else:
        assert server.get("/hello/").text == "hello"
    server.signal(second)
    assert server.wait(PROMPT) == 0
    assert "200" not in client.outcome()
    assert "Traceback" not in server.output
    assert own_lines(server, first.name), server.output
    assert own_lines(server, rf"second|again|{second.name}.*at once"), server.output


# Clients that stand still, and clients that go


class RealClient:
    """A client process of its own, which says when it is in the middle and waits for a line before it goes on."""

    def __init__(self, program: str, server: Server) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"begun\n"

    def result(self) -> str:
        """Let it go on, also after SIGSTOP; what it prints."""
        self.process.send_signal(signal.SIGCONT)
        output, _ = self.process.communicate(b"\n", PATIENCE)
        return output.decode().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


LARGE_DIGEST = hashlib.sha256(BLOCK * BLOCKS).hexdigest()
SENT_DIGEST = hashlib.sha256(b"x" * 4_000_000).hexdigest()


def test_clients_that_are_stopped_and_continued_while_serving(launch: Launch) -> None:
    """A client that stands still in the middle delays nobody, and gets what it asked for when it goes on."""
    server = launch("--threads", "2").wait_until()
    clients = [RealClient(RECEIVER, server), RealClient(SENDER, server)]
    try:
        for client in clients:
            suspend(client.process)
        for _ in range(50):
            assert server.get("/hello/", timeout=PROMPT).text == "hello"
        assert [client.result() for client in clients] == [LARGE_DIGEST, SENT_DIGEST]
    finally:
        for client in clients:
            client.kill()
    assert server.terminate() == 0


def test_clients_that_are_stopped_and_continued_during_the_drain(launch: Launch) -> None:
    """A drain waits for clients that stand still in the middle, and what they get is complete."""
    server = launch().wait_until()
    clients = [RealClient(RECEIVER, server), RealClient(SENDER, server)]
    try:
        for client in clients:
            suspend(client.process)
        server.signal(signal.SIGTERM)
        wait_until_closed(server)
        for _ in range(10):
            assert (server.probe("/alive").status, server.probe("/ready").status) == (200, 503)
        assert [client.result() for client in clients] == [LARGE_DIGEST, SENT_DIGEST]
    finally:
        for client in clients:
            client.kill()
    assert server.wait(PROMPT) == 0


def test_clients_that_stay_stopped_are_cut_at_the_timeout(launch: Launch) -> None:
    """Clients that never go on, and one that sends a byte now and then, cost --graceful-timeout and no more."""
    server = launch("--graceful-timeout", "1.5").wait_until()
    clients = [RealClient(RECEIVER, server), RealClient(SENDER, server)]
    slow = Client(server, HELLO[:9])
    wait_for(slow.is_read, "half a head to be read")
    ended = threading.Event()

    def trickle() -> None:
        with suppress(OSError):
            while not ended.wait(0.05):
                slow.send(b"a")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        for client in clients:
            suspend(client.process)
        signalled = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait(PROMPT) == 0
        assert time.monotonic() - signalled > 1.4
        assert len(own_lines(server, "/large/")) == 1
        assert len(own_lines(server, "/digest/")) == 1
    finally:
        ended.set()
        thread.join(PATIENCE)
        for client in clients:
            client.kill()


def test_clients_that_go_do_not_hold_up_the_drain(launch: Launch) -> None:
    """Clients that reset, close or are killed within a request, and connections without one, delay nothing."""
    server = launch("--graceful-timeout", "100").wait_until()
    killed = [RealClient(RECEIVER, server), RealClient(SENDER, server)]
    idle = [Client(server), Client.kept_alive(server)]
    going: list[tuple[Client, Callable[[Client], None]]] = []
    ends: list[Callable[[Client], None]] = [Client.resets, Client.closes]
    for end in ends:
        for data in (HELLO[:9], b"POST /digest/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"):
            for make in (Client, Client.kept_alive):
                client = make(server, data)
                wait_for(client.is_read, "half a request to be read")
                going.append((client, end))
        for data in (LARGE, LARGE.replace(b"large", b"endless")):
            client = Client(server, data)
            assert client.reader.peek()
            going.append((client, end))
    for real in killed:
        suspend(real.process)
    server.signal(signal.SIGTERM)
    wait_until_closed(server)
    assert server.answers("/alive")
    for client, end in going:
        end(client)
    for real in killed:
        real.kill()
    assert server.wait(PROMPT) == 0
    assert (server.cwd / "closed").exists(), "close() of the endless answer must have been called"
    assert {client.outcome() for client in idle} == {"end"}


# A full queue


def test_a_full_queue_is_answered(launch: Launch) -> None:
    """What waits for a thread at SIGTERM is answered; what finds the queue full gets 503 and Retry-After, then too."""
    server = launch("--threads", "1", "--max-queue", "5", "--drain-delay", "1").wait_until()
    running = hold(server, "page")
    queued = [Client(server, HELLO) for _ in range(5)]
    for client in queued:
        wait_for(client.is_read, "a request to be read")
    over = [Client(server, HELLO) for _ in range(3)]
    refusals = [client.answer() for client in over]
    server.signal(signal.SIGTERM)
    server.wait_until("/ready", 503)
    during = fetch(server.port, "/hello/")
    for reply in (*refusals, during):
        assert (reply.status, reply.headers["Retry-After"].isdigit()) == (503, True)
    wait_until_closed(server)
    release(server)
    assert running.outcome() == "200 held close, end"
    assert [client.outcome() for client in queued] == ["200 hello close, end"] * 5
    assert server.wait(PROMPT) == 0


# SIGTERM while starting

UNAPPLIED = """
INSTALLED_APPS += ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
"""
STAGES: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "setup": (
        "setting Django up",
        [],
        {
            "settings": "INSTALLED_APPS += ['app.Slow']\n",
            "app": (
                "from django.apps import AppConfig\n"
                "class Slow(AppConfig):\n"
                "    name = 'app'\n"
                "    def ready(self):\n"
                "        import slow\n"
            ),
        },
    ),
    "command": ("shell", ["--command", "shell -c 'import slow'"], {}),
    "migrations": ("migrations", ["--check-migrations"], {"settings": UNAPPLIED}),
    "application": ("application", [], {"site_wsgi": "import slow\n"}),
    "urls": ("application", [], {"views": "import slow\n"}),
}
"""What /startup names, and what makes each stage of a start take longer than the test."""


SLOW = "import time\nfrom pathlib import Path\nPath('reached').touch()\ntime.sleep(600)\n"


@pytest.mark.parametrize(
    ("runner", "stage"),
    # manage.py itself has set Django up before it looks for the command.
    [("twistd", stage) for stage in STAGES] + [("manage", stage) for stage in STAGES if stage != "setup"],
)
def test_sigterm_while_starting(launch: Launch, stage: str, runner: str) -> None:
    """At every stage of the start the probes answer, and SIGTERM ends the process soon and with status 0."""
    named, options, modules = STAGES[stage]
    if (runner, stage) == ("manage", "urls"):
        # The system checks import the URLconf first.
        named = "system checks"
    server = launch(*options, runner=runner, env=PATIENT, slow=SLOW, **modules)
    if stage != "migrations":
        wait_for((server.cwd / "reached").exists, f"the stage to be reached\n{server.output}")
    server.wait_until("/startup", 503)
    wait_for(lambda: named in server.probe("/startup").text, f"/startup to name {named}")
    assert server.probe("/alive").status == 200
    assert server.probe("/ready").status == 503
    assert not listens(server.port)
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0
    assert "Traceback" not in server.output
    assert own_lines(server, "SIGTERM")


@pytest.mark.parametrize("runner", ["twistd", "twist"])
def test_sigterm_while_the_settings_are_imported(launch: Launch, runner: str) -> None:
    """Before it is known where the probes are to answer, SIGTERM ends the process soon and with status 0 as well."""
    server = launch(runner=runner, env=PATIENT, settings="import slow\n", slow=SLOW)
    wait_for((server.cwd / "reached").exists, f"the settings to be reached\n{server.output}")
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0
    assert "Traceback" not in server.output
