"""Files on a file system that does not answer: they wait, and nothing else does."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.functional import http2, slow_files, tls
from tests.support.functional.draining import Client
from tests.support.functional.harness import PATIENCE, Reply, Serve, Server, wait_for
from tests.support.functional.http2 import Secure
from tests.support.functional.processes import descriptors

VIEWS = """
from django.conf import settings
from django.http import FileResponse, HttpResponse
from django.urls import path

def hello(request):
    return HttpResponse("hello")

def download(request, name):
    return FileResponse((settings.BASE_DIR / "media" / name).open("rb"))

urlpatterns = [path("", hello), path("hello/", hello), path("download/<name>", download)]
"""
SETTINGS = """
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
STATIC_URL, STATIC_ROOT = "/static/", BASE_DIR / "static"
MEDIA_URL, MEDIA_ROOT = "/media/", BASE_DIR / "media"
"""
DEBUG = """
DEBUG = True
INSTALLED_APPS += ["django.contrib.staticfiles"]
STATICFILES_DIRS = [BASE_DIR / "media"]
"""
SMALL = b"a small file"
LARGE = random.Random("large").randbytes(3_000_000)
THREADS = 4
"""How many threads a kind of files has."""


@dataclass
class Site:
    """A server whose media files are on a file system that waits while there is a file `hold`."""

    server: Server
    backing: Path
    secure: Secure

    def hold(self) -> None:
        (self.backing / "hold").touch()

    def release(self) -> None:
        (self.backing / "hold").unlink()

    def others_are_served(self) -> None:
        """Probes, pages and files that are at hand, each within a second although the file system does not answer."""
        for _ in range(3):
            for path in ("/alive", "/ready", "/startup", "/metrics", "/status.json"):
                assert self.server.probe(path, timeout=2).status == 200
            assert self.server.get("/hello/", timeout=2).text == "hello"
            assert self.server.get("/static/small.css", timeout=2).body == SMALL

    def in_flight(self) -> int:
        return int(self.server.probe("/status.json").json()["workers"][0]["in_flight"])

    def threads(self) -> list[str]:
        """The names of the server's threads, as far as the kernel keeps them: fifteen characters."""
        tasks = Path(f"/proc/{self.server.process.pid}/task").iterdir()
        return [(task / "comm").read_text().strip() for task in tasks]


Start = Callable[..., Site]


@pytest.fixture
def start(serve: Serve, project: Callable[..., Path], tmp_path: Path) -> Iterator[Start]:
    """Start a server of static files, of media on a slow file system, and of views that open such files."""
    backing = tmp_path / "backing"

    def starter(*options: str, settings: str = "") -> Site:
        directory = project(VIEWS, SETTINGS + settings)
        for path in (directory / "static", directory / "media", backing):
            path.mkdir()
        for name in ("lookup", "open", "read"):
            (backing / f"{name}-small.css").write_bytes(SMALL)
            (backing / f"{name}-large.bin").write_bytes(LARGE)
            (directory / "static" / f"{name}-large.bin").symlink_to(directory / "media" / f"{name}-large.bin")
        (directory / "static" / "small.css").write_bytes(SMALL)
        program = [sys.executable, slow_files.__file__, str(backing), str(directory / "media")]
        alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
        given = ("--static", "--media", *options)
        secure = http2.start(serve, directory, *given, cwd=directory, prefix=[*alone, *program])
        site = Site(secure.server, backing, secure)
        assert site.server.get("/static/small.css").body == SMALL
        return site

    yield starter
    (backing / "hold").unlink(missing_ok=True)


def begin(site: Site, path: str) -> Client:
    return Client(site.server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@pytest.mark.parametrize("step", ["lookup", "open", "read"])
def test_nothing_but_the_file_waits(start: Start, step: str) -> None:
    """Whether it is finding, opening or reading that takes long; then each client has its file."""
    site = start()
    site.hold()
    paths = [f"/media/{step}-small.css", f"/media/{step}-large.bin", f"/static/{step}-large.bin"]
    if step == "read":
        paths.append(f"/download/{step}-large.bin")
    clients = [begin(site, path) for path in paths]
    over_tls = site.secure.connect()
    streams = [over_tls.ask(path) for path in paths]
    one = ThreadPoolExecutor(1)
    alone = one.submit(tls.get, site.secure.port, paths[1])
    wait_for(lambda: site.in_flight() == 2 * len(paths) + 1, "the requests to be waiting")
    site.others_are_served()
    site.release()
    for path, client in zip(paths, clients, strict=True):
        reply = client.answer()
        assert (reply.status, reply.body) == (200, SMALL if "small" in path else LARGE), path
    for path, stream in zip(paths, streams, strict=True):
        assert over_tls.answer(stream).body == (SMALL if "small" in path else LARGE), path
    over_tls.socket.close()
    assert LARGE in alone.result(PATIENCE)
    # And from then on: static files are at hand.
    site.hold()
    assert site.server.get(f"/static/{step}-large.bin", headers={"If-None-Match": "*"}).status == 304
    if step != "read":
        assert site.server.get(f"/static/{step}-large.bin", timeout=10).body == LARGE


def test_debug(start: Start) -> None:
    """The finders' look-up under DEBUG does not hold the others up either."""
    site = start(settings=DEBUG)
    site.hold()
    client = begin(site, "/static/lookup-small.css")
    wait_for(lambda: site.in_flight() == 1, "the request to be waiting")
    for path in ("/alive", "/ready"):
        assert site.server.probe(path, timeout=2).status == 200
    assert site.server.get("/hello/", timeout=2).text == "hello"
    site.release()
    assert client.answer().body == SMALL


def leave_plainly(site: Site, path: str) -> None:
    """HTTP/1.1: by the end of the connection, by a reset, and with more requests behind."""
    clients = [begin(site, path) for _ in range(4)]
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    clients.append(Client.kept_alive(site.server, request * 3))
    wait_for(lambda: site.in_flight() == 5, "the requests to be waiting")
    # A response that is begun goes on, for a client that has ended its sending side may go on reading.
    ending = clients[:2] if "read-large" not in path else []
    for client in clients:
        if client in ending:
            client.closes()
        else:
            client.resets()


def leave_tls(site: Site, path: str) -> None:
    """HTTP/1.1 over TLS."""
    connection = tls.connect(site.secure.port, "one.example")
    connection.request("GET", path)
    wait_for(lambda: site.in_flight() == 1, "the request to be waiting")
    connection.close()


def leave_http2(site: Site, path: str) -> None:
    """HTTP/2: by a reset of the stream, and by the end of the connection."""
    client = site.secure.connect()
    streams = [client.ask(path) for _ in range(4)]
    wait_for(lambda: site.in_flight() == 4, "the requests to be waiting")
    client.h2.reset_stream(streams[0])
    client.flush()
    wait_for(lambda: site.in_flight() == 3, "the reset to be seen")
    client.socket.close()


@pytest.mark.parametrize("leave", [leave_plainly, leave_tls, leave_http2])
@pytest.mark.parametrize("path", ["/media/open-large.bin", "/media/read-large.bin", "/media/read-small.css"])
def test_a_client_that_leaves_leaves_nothing(start: Start, leave: Callable[[Site, str], None], path: str) -> None:
    """Neither a request nor, once the file system answers, a descriptor."""
    site = start()
    # A few are opened with the first request and stay: what the interpreter and the threads need.
    assert site.server.get(path).status == 200
    assert tls.get(site.secure.port, "/hello/").endswith(b"hello")
    wait_for(lambda: site.in_flight() == 0, "no request to be left")
    before = descriptors(site.server)
    site.hold()
    leave(site, path)
    wait_for(lambda: site.in_flight() == 0, "no request to be left")
    site.others_are_served()
    site.release()
    wait_for(
        lambda: descriptors(site.server) <= before, lambda: f"{descriptors(site.server)} descriptors, not {before}"
    )
    assert site.server.get(path).status == 200


def test_threads_are_few_and_requests_beyond_the_queue_are_refused(start: Start) -> None:
    """However many want a file: some wait, for no more than a few threads, and the rest are told to come again."""
    site = start()
    before = len(site.threads())
    site.hold()
    clients = [begin(site, "/media/open-small.css") for _ in range(1000 + THREADS)]
    wait_for(lambda: site.in_flight() == 1000 + THREADS, lambda: f"{site.in_flight()} requests to be waiting")
    refused = site.server.get("/media/open-small.css", timeout=2)
    assert refused.status == 503
    assert refused.headers["Retry-After"] == "1"
    assert len([name for name in site.threads() if name.startswith("media-files")]) <= THREADS
    assert len(site.threads()) <= before + THREADS
    site.others_are_served()
    site.release()
    for client in clients:
        assert client.answer().body == SMALL
        client.closes()


def test_a_drain_waits_for_files_and_no_longer_than_for_others(start: Start) -> None:
    """One that comes in time is sent; a file system that never answers does not keep the process."""
    site = start("--graceful-timeout", "20")
    site.hold()
    client = begin(site, "/media/open-large.bin")
    wait_for(lambda: site.in_flight() == 1, "the request to be waiting")
    site.server.signal(signal.SIGTERM)
    wait_for(lambda: not site.server.answers("/ready"), "the drain")
    site.release()
    assert client.answer().body == LARGE
    assert site.server.wait() == 0


def test_a_hung_file_system_does_not_keep_the_process(start: Start) -> None:
    """It ends when the graceful timeout has passed, and says what it has cut off."""
    site = start("--graceful-timeout", "1")
    site.hold()
    clients = [begin(site, f"/media/{name}-large.bin") for name in ("open", "read") for _ in range(THREADS)]
    wait_for(lambda: site.in_flight() == len(clients), "the requests to be waiting")
    began = time.monotonic()
    assert site.server.terminate() == 0
    assert time.monotonic() - began < 8
    assert "GET /media/open-large.bin: its file is being opened" in site.server.output
    assert "GET /media/read-large.bin: waiting for a thread that opens files" in site.server.output


def test_the_deadline_of_requests_is_that_of_files_too(start: Start) -> None:
    """With --request-timeout a file that cannot be opened in time is answered 504, on a connection that goes on."""
    site = start("--request-timeout", "1")
    site.hold()
    client = begin(site, "/media/open-small.css")
    assert client.answer().status == 504
    client.send(b"GET /hello/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer().text == "hello"
    site.release()
    wait_for(lambda: site.server.get("/media/open-small.css").status == 200, "the file")
    assert "twistserve_http_request_timeouts_total 1.0" in site.server.probe("/metrics").text


def test_answers_go_out_in_order(start: Start) -> None:
    """A pipeline behind a file that waits has its answers after it, and other clients have theirs before."""
    site = start()
    site.hold()
    names = ["media/open-small.css", "hello/", "media/open-large.bin", "static/small.css"]
    client = Client(site.server, b"".join(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for name in names))
    wait_for(lambda: site.in_flight() >= 1, "the request to be waiting")
    site.others_are_served()
    site.release()
    assert [client.answer().body for _ in names] == [SMALL, b"hello", LARGE, SMALL]


def test_heads_ranges_and_conditions(start: Start) -> None:
    """A file that a thread opens is answered as any other."""
    site = start()
    path = "/media/open-large.bin"
    whole = site.server.get(path)
    head = site.server.get(path, method="HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(LARGE)))

    def get(**headers: str) -> Reply:
        return site.server.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    part = get(Range="bytes=1000000-1999999")
    assert (part.status, part.body) == (206, LARGE[1_000_000:2_000_000])
    assert get(Range="bytes=5-6").body == LARGE[5:7]
    assert get(Range="bytes=9000000-").status == 416
    assert get(If_None_Match=whole.headers["ETag"]).status == 304
    assert site.server.get("/media/open-none.bin").status == 404
    assert site.server.get(path, method="POST").status == 405


def test_many_at_once(start: Start) -> None:
    """Clients of all kinds of files at the same time have what they asked for."""
    site = start()
    failures: list[str] = []

    def load() -> None:
        for kind in ("media/open", "media/read", "static/read", "static/open", "download/read"):
            if site.server.get(f"/{kind}-large.bin").body != LARGE:
                failures.append(kind)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []


@pytest.mark.parametrize("prefix", ["static", "media", "download"])
def test_a_file_that_the_kernel_has_forgotten(serve: Serve, project: Callable[..., Path], prefix: str) -> None:
    """Its beginning is in memory and the rest has to be read: it arrives whole, over TLS and HTTP/2 too."""
    directory = project(VIEWS, SETTINGS)
    for place in ("static", "media"):
        (directory / place).mkdir()
        with (directory / place / "large.bin").open("wb") as file:
            file.write(LARGE)
            file.flush()
            os.fsync(file.fileno())
    secure = http2.start(serve, directory, "--static", "--media", cwd=directory)

    def forget() -> None:
        for place in ("static", "media"):
            with (directory / place / "large.bin").open("rb") as file:
                os.posix_fadvise(file.fileno(), 1_000_000, 0, os.POSIX_FADV_DONTNEED)

    for _ in range(2):
        forget()
        assert secure.server.get(f"/{prefix}/large.bin").body == LARGE
        forget()
        assert tls.get(secure.port, f"/{prefix}/large.bin").endswith(LARGE)
        forget()
        with secure.connect() as client:
            assert client.get(f"/{prefix}/large.bin").body == LARGE
