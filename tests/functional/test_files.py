"""Static and media files through the server: what is served, how, and what is kept back."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.functional.harness import EXAMPLE, PATIENCE, Serve, Server, raw, serving

SOURCE = EXAMPLE / "catalogue" / "static"
SECRET = b"kept back from every visitor"
PASSWORDS = b"root:"
LARGE = 20 * 1024 * 1024
STYLE, LOGO, PICTURE = (f"/static/catalogue/{name}" for name in ("style.css", "logo.svg", "logo.png"))
NOTE = "/media/notes/note.txt"
TEXT = b"0123456789abcdefghijklmnopqrstuvwxyz"


def furnish(directory: Path) -> None:
    """Put media files into a copy of the example, and a secret everywhere a spelling might escape to."""
    media = directory / "media"
    (media / "notes").mkdir(parents=True)
    (media / "empty").mkdir()
    (media / "notes" / "note.txt").write_bytes(TEXT)
    (media / "notes" / "page.html").write_bytes(b"<p>a page</p>")
    (media / "notes" / "empty.txt").write_bytes(b"")
    (media / "notes" / "unknown.thingummy").write_bytes(b"?")
    (media / "large.bin").write_bytes(random.Random(1).randbytes(LARGE))
    for name in ("café €.txt", "100% + a&b?.txt", "semi;colon.txt"):
        (media / name).write_text(name)
    for place in (directory, directory.parent, directory / "catalogue", directory / "media-secrets"):
        place.mkdir(exist_ok=True)
        (place / "secret.txt").write_bytes(SECRET)


@pytest.fixture(scope="module", params=["finders", "collected"])
def shop(
    request: pytest.FixtureRequest, prepared_example: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The example with its files: under DEBUG with nothing collected, and in production from STATIC_ROOT alone."""
    directory = Path(shutil.copytree(prepared_example, tmp_path_factory.mktemp("shop") / "example"))
    furnish(directory)
    if request.param == "finders":
        shutil.rmtree(directory / "static_root")
    else:
        shutil.rmtree(directory / "catalogue" / "static")
    env = {"BOOKSHOP_DEBUG": "1" if request.param == "finders" else "0"}
    with serving("--static", "--media", cwd=directory, logs=directory, env=env) as server:
        yield server


def send(server: Server, target: bytes | str, *headers: str, method: str = "GET") -> bytes:
    """The whole answer to a request whose target is sent as it is."""
    if isinstance(target, str):
        target = target.encode()
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close"]
    return raw(server.port, b"\r\n".join([*lines, *(line.encode() for line in headers), b"", b""]))


def since(moment: datetime) -> dict[str, str]:
    """The header of a client that has a file as it was then."""
    return {"If-Modified-Since": format_datetime(moment, usegmt=True)}


# What is served


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (STYLE, "text/css"),
        (LOGO, "image/svg+xml"),
        (PICTURE, "image/png"),
        ("/static/admin/js/core.js", "text/javascript"),
        (NOTE, "text/plain"),
        ("/media/notes/page.html", "text/html"),
        ("/media/notes/empty.txt", "text/plain"),
    ],
)
def test_get_and_head(shop: Server, path: str, content_type: str) -> None:
    """A file arrives with its type, length and date, and HEAD gives the same headers without the body."""
    got, head = shop.get(path), shop.get(path, method="HEAD")
    assert (got.status, head.status) == (200, 200)
    assert got.headers["Content-Type"].split(";")[0] == content_type
    assert got.headers["Content-Length"] == str(len(got.body))
    assert head.body == b""
    for name in ("Content-Type", "Content-Length", "Last-Modified", "X-Content-Type-Options"):
        assert head.headers.get_all(name) == got.headers.get_all(name)
    assert parsedate_to_datetime(got.headers["Last-Modified"])
    assert got.headers["Set-Cookie"] is None


@pytest.mark.smoke
def test_content_is_the_file(shop: Server) -> None:
    """Every byte is the file's."""
    for path, name in ((STYLE, "style.css"), (LOGO, "logo.svg"), (PICTURE, "logo.png")):
        assert shop.get(path).body == (SOURCE / "catalogue" / name).read_bytes()
    assert shop.get(NOTE).body == TEXT
    assert shop.get("/media/notes/empty.txt").body == b""


def test_page_beside_its_files(shop: Server) -> None:
    """The pages come from Django and name the files that are served beside them."""
    page = shop.get("/")
    assert page.headers["X-Frame-Options"] == "DENY"
    for path in (STYLE, LOGO, PICTURE):
        assert f'"{path}"' in page.text


def test_query_string_is_ignored(shop: Server) -> None:
    """A query string, as a cache buster, changes nothing."""
    assert shop.get(f"{STYLE}?v=1").body == shop.get(STYLE).body
    assert shop.get(f"{NOTE}?v=../../secret.txt").body == TEXT


@pytest.mark.parametrize("name", ["café €.txt", "100% + a&b?.txt", "semi;colon.txt"])
def test_file_names_of_all_kinds(shop: Server, name: str) -> None:
    """A file is found by its percent-encoded UTF-8 name."""
    reply = shop.get("/media/" + quote(name))
    assert (reply.status, reply.text) == (200, name)


def test_media_is_not_sniffed(shop: Server) -> None:
    """Whatever visitors uploaded, a browser is told to believe its type and nothing else."""
    for name in ("note.txt", "page.html", "unknown.thingummy"):
        reply = shop.get(f"/media/notes/{name}")
        assert reply.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert reply.headers["Content-Type"]
    assert shop.get(NOTE, headers={"Range": "bytes=0-1"}).headers["X-Content-Type-Options"] == "nosniff"


def test_media_that_comes_later(shop: Server) -> None:
    """A file uploaded while the server runs is served, and a deleted one no more."""
    late = shop.cwd / "media" / "late.txt"
    assert shop.get("/media/late.txt").status == 404
    late.write_text("late")
    assert shop.get("/media/late.txt").text == "late"
    late.unlink()
    assert shop.get("/media/late.txt").status == 404


def test_large_file_for_several_clients(shop: Server) -> None:
    """A large file arrives whole at every client, while small requests are answered."""
    expected = hashlib.sha256((shop.cwd / "media" / "large.bin").read_bytes()).digest()

    def digest(_: int) -> bytes:
        reply = shop.get("/media/large.bin")
        assert int(reply.headers["Content-Length"]) == LARGE
        return hashlib.sha256(reply.body).digest()

    with ThreadPoolExecutor(4) as clients:
        digests = clients.map(digest, range(4))
        assert shop.get("/count/").status == 200
        assert list(digests) == [expected] * 4


def test_client_that_leaves_a_large_file(shop: Server) -> None:
    """A client that goes away in the middle of a file disturbs nobody."""
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", shop.port), timeout=PATIENCE) as connection:
            connection.sendall(b"GET /media/large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(10_000).startswith(b"HTTP/1.1 200 ")
    assert shop.get(NOTE).body == TEXT


# Conditional and range requests


@pytest.mark.parametrize("path", [STYLE, NOTE])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_not_modified(shop: Server, path: str, method: str) -> None:
    """A file the client has already is answered 304 without a body, on a connection that stays usable."""
    modified = parsedate_to_datetime(shop.get(path).headers["Last-Modified"])
    for moment in (modified, modified + timedelta(days=1)):
        reply = shop.get(path, method=method, headers=since(moment))
        assert (reply.status, reply.body) == (304, b"")
    head, _, body = send(
        shop, path, f"If-Modified-Since: {format_datetime(modified, usegmt=True)}", method=method
    ).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 304 ")
    assert body == b""
    assert shop.get(path, headers=since(modified - timedelta(days=1))).status == 200
    assert shop.get(path, headers={"If-Modified-Since": "no date"}).status == 200


@pytest.mark.parametrize(
    ("asked", "expected", "content_range"),
    [
        ("bytes=0-3", TEXT[:4], "bytes 0-3/36"),
        ("bytes=10-", TEXT[10:], "bytes 10-35/36"),
        ("bytes=-5", TEXT[-5:], "bytes 31-35/36"),
        ("bytes=30-99", TEXT[30:], "bytes 30-35/36"),
        ("bytes=35-35", TEXT[35:], "bytes 35-35/36"),
    ],
)
def test_range(shop: Server, asked: str, expected: bytes, content_range: str) -> None:
    """Part of a file is answered 206 with exactly that part."""
    reply = shop.get(NOTE, headers={"Range": asked})
    assert (reply.status, reply.body) == (206, expected)
    assert reply.headers["Content-Range"] == content_range
    assert reply.headers["Content-Length"] == str(len(expected))


def test_range_of_a_static_file(shop: Server) -> None:
    """Static files answer range requests too."""
    reply = shop.get(STYLE, headers={"Range": "bytes=2-9"})
    assert (reply.status, reply.body) == (206, (SOURCE / "catalogue" / "style.css").read_bytes()[2:10])


@pytest.mark.parametrize("path", [STYLE, NOTE])
@pytest.mark.parametrize("asked", ["bytes=2-9", "bytes=1000000-"])
def test_range_of_no_get(shop: Server, path: str, asked: str) -> None:
    """HEAD with a range is answered as HEAD without one (RFC 9110 section 14.2)."""
    for _ in range(2):
        reply = shop.get(path, method="HEAD", headers={"Range": asked})
        assert (reply.status, reply.headers["Content-Range"]) == (200, None)
        assert reply.headers["Content-Length"] == str(len(shop.get(path).body))


def test_range_beyond_the_end(shop: Server) -> None:
    """A range the file does not have is answered 416 with the file's true length."""
    reply = shop.get(NOTE, headers={"Range": "bytes=36-40"})
    assert reply.status == 416
    assert reply.headers["Content-Range"] == "bytes */36"


@pytest.mark.parametrize("asked", ["bytes=nonsense", "lines=0-3", "bytes=5-2"])
def test_range_that_means_nothing(shop: Server, asked: str) -> None:
    """A range that cannot be understood is ignored."""
    reply = shop.get(NOTE, headers={"Range": asked})
    assert (reply.status, reply.body) == (200, TEXT)


def test_range_in_the_middle_of_a_large_file(shop: Server) -> None:
    """A range deep inside a large file arrives whole, as a resumed download needs it."""
    start = LARGE // 2
    reply = shop.get("/media/large.bin", headers={"Range": f"bytes={start}-"})
    assert reply.status == 206
    assert reply.body == (shop.cwd / "media" / "large.bin").read_bytes()[start:]


# What is not served


@pytest.mark.parametrize(
    "path",
    [
        "/static/catalogue/missing.css",
        "/static/missing/missing.css",
        "/media/missing.txt",
        "/media/notes/note.txt/",
        "/media/notes/note.txt/more",
        f"{STYLE}/",
        "/media/" + "x" * 300,
    ],
)
def test_missing_file(shop: Server, path: str) -> None:
    """A file that cannot be found is answered 404 to GET and HEAD, and the server goes on serving."""
    assert shop.get(path).status == 404
    head = shop.get(path, method="HEAD")
    assert (head.status, head.body) == (404, b"")
    assert shop.get(NOTE).body == TEXT


@pytest.mark.parametrize(
    "directory", ["/static", "/static/catalogue", "/static/admin", "/media", "/media/notes", "/media/empty"]
)
@pytest.mark.parametrize("slash", ["", "/", "//", "/.", "/./"])
def test_no_directory_listing(shop: Server, directory: str, slash: str) -> None:
    """A directory is answered 404, with and without a slash, and never shows what it holds."""
    answer = send(shop, directory + slash)
    assert answer.startswith(b"HTTP/1.1 404 ")
    for name in (b"note.txt", b"style.css", b"base.css", b"large.bin"):
        assert name not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_are_only_read(shop: Server, method: str) -> None:
    """Any method but GET and HEAD is refused with 405, which names those two."""
    for path in (STYLE, NOTE):
        reply = shop.get(path, method=method, body=b"new")
        assert reply.status == 405
        assert {"GET", "HEAD"} <= {word.strip() for word in reply.headers["Allow"].split(",")}
        assert shop.get(path).body != b"new"


PREFIXES = ("/media/", "/static/", "/media/notes/", "/static/catalogue/")
UP = ("..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..%00", "..%c0%af..", "..;", "%u002e%u002e")
SEPARATORS = ("/", "%2f", "%5c", "\\", "//", "%252f", "%c0%af", "/./", "/%2e/")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_way_up_and_out(shop: Server, prefix: str) -> None:
    """No spelling of the parent directory leads out of a root, however often it is repeated."""
    for up in UP:
        for separator in SEPARATORS:
            for depth in (1, 2, 3):
                climb = (up + separator) * depth
                for goal in ("secret.txt", "catalogue/secret.txt", "media-secrets/secret.txt", "manage.py"):
                    assert_kept_back(shop, prefix + climb + goal)
            assert_kept_back(shop, prefix + (up + separator) * 12 + "etc/passwd")


@pytest.mark.parametrize("prefix", ["/media", "/static", ""])
def test_no_absolute_path(shop: Server, prefix: str) -> None:
    """No spelling of an absolute path names a file outside the roots."""
    secret = str(shop.cwd / "secret.txt")
    for goal in ("/etc/passwd", secret, str(shop.cwd / "media-secrets" / "secret.txt")):
        for start in ("/", "//", "/%2f", "//%2f", "/%5c", "/.//", "/file://", "/%00", "/%2f..%2f"):
            assert_kept_back(shop, prefix + start + goal)
            assert_kept_back(shop, prefix + start + quote(goal, safe=""))
        if prefix:
            for start in ("", "%2f", "-secrets/../", "-secrets"):
                assert_kept_back(shop, prefix + start + quote(goal))
    assert_kept_back(shop, f"{prefix or '/media'}-secrets/secret.txt")
    assert_kept_back(shop, f"http://x{prefix}/../secret.txt")
    assert_kept_back(shop, f"file://{secret}")


@pytest.mark.parametrize(
    "target",
    [
        b"/media/notes/note.txt%00",
        b"/media/notes/note.txt%00.png",
        b"/media/%00",
        b"/static/catalogue/style.css%00",
        b"/media/notes%00/note.txt",
        b"/media/notes%2fnote.txt%2f..%2f..%2f..%2fsecret.txt",
        b"/media/%ff%fe",
        b"/media/caf\xc3\xa9",
        b"/static/%ff",
    ],
)
def test_names_no_file_can_have(shop: Server, target: bytes) -> None:
    """NUL and bytes that are no UTF-8 are answered 404 or 400, not with a failure of the server."""
    status = send(shop, target).split(b" ", 2)[1]
    assert status in (b"404", b"400")
    assert shop.get(NOTE).body == TEXT


def assert_kept_back(server: Server, target: str) -> None:
    """A target is refused and its answer has nothing of what lies outside the roots."""
    answer = send(server, target)
    status = answer.split(b" ", 2)[1] if answer else b"closed"
    assert status in (b"404", b"400", b"closed"), f"{target} was answered {status!r}"
    for kept in (SECRET, PASSWORDS, b"execute_from_command_line"):
        assert kept not in answer, f"{target} escaped"


def test_symlinks_are_the_administrators_choice(shop: Server) -> None:
    """A link that leads out of the root is followed; one that leads nowhere or round in circles is 404."""
    links = {"out.txt": shop.cwd / "secret.txt", "nowhere.txt": shop.cwd / "nothing", "circle": Path("circle")}
    links["elsewhere"] = shop.cwd / "media-secrets"
    for name, goal in links.items():
        (shop.cwd / "media" / name).symlink_to(goal)
    try:
        assert shop.get("/media/out.txt").body == SECRET
        assert shop.get("/media/elsewhere/secret.txt").body == SECRET
        assert shop.get("/media/nowhere.txt").status == 404
        assert shop.get("/media/circle").status == 404
        assert_kept_back(shop, "/media/elsewhere/../secret.txt")
    finally:
        for name in links:
            (shop.cwd / "media" / name).unlink()


def test_named_pipe_holds_nothing_up(shop: Server) -> None:
    """What is no regular file is answered 404, and waits for nobody."""
    pipe = shop.cwd / "media" / "pipe"
    os.mkfifo(pipe)
    try:
        assert shop.get("/media/pipe", timeout=5).status == 404
        assert shop.get(NOTE, timeout=5).body == TEXT
    finally:
        # Whoever waits for a writer is let go, so that a failure here does not become one of the next test.
        descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        pipe.unlink()
        os.close(descriptor)


# Where the files are


@pytest.fixture
def nested(project: Callable[..., Path]) -> Path:
    """A project of one's own with nested URLs, which answers everything under them that is no file."""
    directory = project(
        views=(
            "from django.http import HttpResponse\n"
            "from django.urls import re_path\n"
            "urlpatterns = [re_path('', lambda request: HttpResponse('Django: ' + request.path))]\n"
        ),
        settings=(
            "STATIC_URL = '/assets/static/'\nSTATIC_ROOT = BASE_DIR / 'collected'\n"
            "MEDIA_URL = 'assets/user media/'\nMEDIA_ROOT = BASE_DIR / 'uploads'\n"
        ),
    )
    for name in ("collected", "uploads"):
        (directory / name / "deep" / "er").mkdir(parents=True)
        (directory / name / "deep" / "er" / "file.txt").write_text(name)
    return directory


def test_nested_urls(serve: Serve, nested: Path) -> None:
    """STATIC_URL and MEDIA_URL may have several segments, and their neighbours belong to Django."""
    server = serve("--static", "--media", cwd=nested, settings="site_settings")

    def answer(path: str) -> str:
        return server.get(path).text

    assert answer("/assets/static/deep/er/file.txt") == "collected"
    assert answer("/assets/user%20media/deep/er/file.txt") == "uploads"
    for path in (
        "/",
        "/assets",
        "/assets/",
        "/assets/staticky/x",
        "/assets/other/",
        "/static/deep/er/file.txt",
        "//x/",
    ):
        assert answer(path) == f"Django: {path}"
    for path in ("/assets/static/deep/er/none.txt", "/assets/static/", "/assets/user%20media/../static/x"):
        assert server.get(path).status == 404


def test_compressed_variants(serve: Serve, nested: Path) -> None:
    """A compressed variant is for who wants it, also when it is in memory already."""
    (nested / "collected" / "deep" / "er" / "file.txt.gz").write_bytes(b"smaller")
    server = serve("--static", cwd=nested, settings="site_settings")
    for _ in range(2):
        for encodings, body in (("gzip", b"smaller"), ("gzip;q=0", b"collected"), ("gzip;q=0.8, br", b"smaller")):
            reply = server.get("/assets/static/deep/er/file.txt", headers={"Accept-Encoding": encodings})
            assert (reply.status, reply.body) == (200, body)
            assert reply.headers["Content-Encoding"] == ("gzip" if body == b"smaller" else None)
            assert reply.headers["Vary"] == "Accept-Encoding"


def test_without_the_options_django_answers(serve: Serve, nested: Path) -> None:
    """Without --static and --media these URLs are Django's like any other."""
    server = serve(cwd=nested, settings="site_settings")
    for path in ("/assets/static/deep/er/file.txt", "/assets/static/", "/assets/user media/"):
        reply = server.get(quote(path))
        assert (reply.status, reply.text) == (200, f"Django: {path}")


def test_static_file_added_during_development(serve: Serve) -> None:
    """Under DEBUG a new or changed static file is served at once, without a restart."""
    server = serve("--static")
    path, source = "/static/catalogue/new.css", server.cwd / "catalogue" / "static" / "catalogue" / "new.css"
    assert server.get(path).status == 404
    source.write_text("a {}")
    assert server.get(path).text == "a {}"
    source.write_text("b {color: red}")
    assert server.get(path).text == "b {color: red}"
    source.unlink()
    assert server.get(path).status == 404
