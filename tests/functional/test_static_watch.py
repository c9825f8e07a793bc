"""`--static-watch`: what is saved arrives, whole and with the headers that are its own, while the server serves."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import (
    PATIENCE,
    PROMPT,
    Reply,
    Serve,
    Server,
    assert_failed,
    lines_with,
    refuses,
    wait_for,
)
from tests.support.functional.mounts import namespaced

Project = Callable[..., Path]

SETTINGS = (
    "INSTALLED_APPS += ['django.contrib.staticfiles']\n"
    "STATIC_URL, STATIC_ROOT = 'static/', BASE_DIR / 'collected'\n"
    "STATICFILES_DIRS = [BASE_DIR / 'assets']\n"
    "TEMPLATES = [{'BACKEND': 'django.template.backends.django.DjangoTemplates'}]\n"
)

VIEWS = (
    "from django.http import HttpResponse\n"
    "from django.template import engines\n"
    "from django.urls import path\n"
    "page = engines['django'].from_string('{% load static %}{% static \"site.css\" %}')\n"
    "urlpatterns = [path('', lambda request: HttpResponse(page.render()))]\n"
)
"""A page that says where its style sheet is."""

MANIFEST = (
    "STORAGES = {'default': {'BACKEND': 'django.core.files.storage.FileSystemStorage'},\n"
    "    'staticfiles': {'BACKEND': 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'}}\n"
)
COMPRESSED = MANIFEST.replace("django.contrib.staticfiles.storage.Manifest", "whitenoise.storage.CompressedManifest")

STORAGE = """
import time
from pathlib import Path
from django.contrib.staticfiles.storage import StaticFilesStorage

class Slow(StaticFilesStorage):
    \"\"\"Stays where it is with `hold` beside manage.py, half of a file written.\"\"\"

    def _save(self, name, content):
        here = Path(__file__).parent
        if (here / 'hold').exists():
            Path(self.path(name)).write_text('half')
            (here / 'held').touch()
            while (here / 'hold').exists():
                time.sleep(0.02)
            self.delete(name)
        return super()._save(name, content)
"""
SLOW = MANIFEST.replace("django.contrib.staticfiles.storage.ManifestStaticFilesStorage", "storage.Slow")

WATCH = ("--static", "--static-watch", "assets")


def save(cwd: Path, text: str, name: str = "site.css") -> Path:
    """Save a source as most editors do: another file takes its place."""
    path = cwd / "assets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}~")
    temporary.write_text(text)
    temporary.replace(path)
    return path


@pytest.fixture(autouse=True)
def _temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are killed in the end leave behind what they have collected."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def site(project: Project) -> Callable[..., Path]:
    """A project with one style sheet, in some storage."""

    def write(storage: str = "") -> Path:
        directory = project(VIEWS, SETTINGS + storage, storage=STORAGE)
        save(directory, "a { color: red }")
        return directory

    return write


def serves(server: Server, text: str, path: str = "/static/site.css") -> Reply:
    """The reply with this text, once it comes."""

    def asked() -> Reply | None:
        reply = server.get(path)
        return reply if (reply.status, reply.text) == (200, text) else None

    return wait_for(asked, lambda: f"{text!r} at {path}\n{server.output}")


@pytest.mark.parametrize("runner", ["twistd", "twist", "manage", "asyncio"])
def test_a_change_arrives(serve: Serve, site: Callable[..., Path], runner: str) -> None:
    """With its own ETag and length; the copy of the client is no longer current. A new file arrives too."""
    server = serve(*WATCH, cwd=site(), runner=runner, settings="site_settings")
    before = serves(server, "a { color: red }")
    save(server.cwd, "a { color: green }")
    after = serves(server, "a { color: green }")
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.headers["Content-Length"] == "18"
    asked = {"If-None-Match": before.headers["ETag"]}
    assert server.get("/static/site.css", headers=asked).status == 200
    asked = {"If-None-Match": after.headers["ETag"]}
    assert server.get("/static/site.css", headers=asked).status == 304
    assert server.get("/static/js/new.js").status == 404
    save(server.cwd, "new()", "js/new.js")
    serves(server, "new()", "/static/js/new.js")
    assert lines_with(server.stdout, "INFO", "collectstatic: 1 file copied for site.css")
    assert lines_with(server.stdout, "INFO", "collectstatic: 1 file copied for js/new.js")
    assert server.terminate() == 0
    assert "Traceback" not in server.output


def test_a_large_file_arrives(serve: Serve, site: Callable[..., Path]) -> None:
    """One that is sent from a descriptor which stays open."""
    server = serve(*WATCH, cwd=site(), settings="site_settings")
    for letter in "abc":
        save(server.cwd, letter * 300_000, "large.txt")
        serves(server, letter * 300_000, "/static/large.txt")
        serves(server, letter * 300_000, "/static/large.txt")


def test_a_file_that_is_being_sent(serve: Serve, site: Callable[..., Path]) -> None:
    """It is sent to its end as it was, however slowly its client reads."""
    directory = site()
    size = 16_000_000
    save(directory, "a" * size, "large.txt")
    server = serve(*WATCH, cwd=directory, settings="site_settings")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client, client.makefile("rb") as sent:
        client.sendall(b"GET /static/large.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert sent.readline() == b"HTTP/1.1 200 OK\r\n"
        save(directory, "b" * 100_000, "large.txt")
        serves(server, "b" * 100_000, "/static/large.txt")
        head, _, body = sent.read().partition(b"\r\n\r\n")
    assert f"Content-Length: {size}".encode() in head
    assert (len(body), set(body)) == (size, {ord("a")})


def test_ten_saves_in_a_second(serve: Serve, site: Callable[..., Path]) -> None:
    """The last one is served in the end, and collectstatic did not run for each."""
    server = serve(*WATCH, cwd=site(), settings="site_settings")
    pause = threading.Event()
    for number in range(10):
        save(server.cwd, f"a {{ top: {number}px }}")
        pause.wait(0.1)
    serves(server, "a { top: 9px }")
    assert 1 <= len(lines_with(server.stdout, "copied for site.css")) <= 4


def test_an_older_file_arrives(serve: Serve, site: Callable[..., Path]) -> None:
    """collectstatic alone leaves out what is older than its copy."""
    server = serve(*WATCH, cwd=site(), settings="site_settings")
    path = save(server.cwd, "a { color: old }")
    os.utime(path, (1e9, 1e9))
    serves(server, "a { color: old }")


def test_an_error_changes_nothing_and_is_mended(serve: Serve, site: Callable[..., Path]) -> None:
    """The page links the style sheet from before, whose hashed name is served, until the next one is right."""
    server = serve(*WATCH, cwd=site(MANIFEST), settings="site_settings")
    before = server.get("/").text
    serves(server, "a { color: red }", before)
    save(server.cwd, "a { background: url(missing.png) }")
    line = wait_for(lambda: lines_with(server.stdout, "ERROR", "collectstatic failed for site.css"), "the error")[0]
    assert "missing.png" in line
    assert "the next change below --static-watch" in line
    assert server.get("/").text == before
    serves(server, "a { color: red }", before)
    serves(server, "a { color: red }")
    save(server.cwd, "a { color: mended }")
    after = wait_for(lambda: (text := server.get("/").text) != before and text, "the page to link the new file")
    assert server.get(str(after)).text == "a { color: mended }"
    assert "Traceback" not in server.output


@pytest.mark.parametrize("full", ["collected", "tmp"])
def test_a_full_disk(serve: Serve, site: Callable[..., Path], full: str) -> None:
    """That of STATIC_ROOT, or of TMPDIR: all is served on as it was, until there is room."""
    directory = site()
    for name in ("collected", "tmp"):
        (directory / name).mkdir()
    server = serve(
        *WATCH,
        cwd=directory,
        settings="site_settings",
        env={"TMPDIR": str(directory / "tmp")},
        prefix=namespaced(f"mount -t tmpfs -o size=256k none {directory / full}"),
    )
    serves(server, "a { color: red }")
    save(directory, "a { color: green }")
    save(directory, "x" * 400_000, "large.txt")
    wait_for(lambda: lines_with(server.stdout, "ERROR", "collectstatic failed", "No space left"), "the error")
    serves(server, "a { color: red }")
    assert server.get("/static/large.txt").status == 404
    save(directory, "small", "large.txt")
    serves(server, "small", "/static/large.txt")
    serves(server, "a { color: green }")
    assert "Traceback" not in server.output


@pytest.mark.parametrize("storage", [MANIFEST, COMPRESSED])
def test_pages_name_files_that_are_served(serve: Serve, site: Callable[..., Path], storage: str) -> None:
    """Hashed names, and compressed variants; what a page links is there at once, and for ever."""
    server = serve(*WATCH, cwd=site(storage), settings="site_settings")
    linked = {server.get("/").text: "a { color: red }"}
    for number in range(3):
        text = f"a {{ color: #00000{number} }} " * 200
        save(server.cwd, text)

        def page_changes() -> str | None:
            url = server.get("/").text
            return None if url in linked else url

        url = wait_for(page_changes, "the page to link another file")
        linked[url] = text
        reply = server.get(url)
        assert (reply.status, reply.text) == (200, text)
        assert "immutable" in reply.headers["Cache-Control"]
        if storage == COMPRESSED:
            coded = server.get(url, headers={"Accept-Encoding": "gzip"})
            assert coded.headers["Content-Encoding"] == "gzip"
            assert coded.headers["ETag"] != reply.headers["ETag"]
    assert [server.get(url).text for url in linked] == list(linked.values())


def test_requests_meanwhile_see_old_or_new(serve: Serve, site: Callable[..., Path]) -> None:
    """Complete, with its own ETag, and no 404, however many ask while files change; pages link what there is."""
    server = serve(*WATCH, "--threads", "2", cwd=site(COMPRESSED), settings="site_settings")
    texts = {f"{letter}" * size for letter in "abcdefgh" for size in (9_000, 90_000)}
    save(server.cwd, "a" * 9_000, "one.txt")
    save(server.cwd, "a" * 90_000, "two.txt")
    serves(server, "a" * 90_000, "/static/two.txt")
    wrong: list[str] = []
    tags: dict[tuple[str, str], str] = {}
    over = threading.Event()

    def ask(path: str) -> None:
        while not over.is_set():
            reply = server.get(path)
            key = path, reply.headers["ETag"]
            if reply.status != 200 or reply.text not in texts:
                wrong.append(f"{path}: {reply.status}, {len(reply.body)} bytes")
            elif tags.setdefault(key, reply.text) != reply.text:
                wrong.append(f"{path}: the ETag of another file")

    def follow() -> None:
        while not over.is_set():
            reply = server.get(server.get("/").text)
            if reply.status != 200:
                wrong.append(f"the page's: {reply.status}")

    clients = [threading.Thread(target=ask, args=(f"/static/{name}.txt",)) for name in ("one", "two")]
    clients.append(threading.Thread(target=follow))
    for client in clients:
        client.start()
    try:
        for letter in "bcdefgh":
            save(server.cwd, letter * 9_000, "one.txt")
            save(server.cwd, letter * 90_000, "two.txt")
            save(server.cwd, f"a {{ content: '{letter}' }}")
            serves(server, letter * 90_000, "/static/two.txt")
    finally:
        over.set()
        for client in clients:
            client.join()
    assert wrong == []
    assert len(tags) == 16


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_during_collectstatic(serve: Serve, site: Callable[..., Path], tmp_path: Path, number: int) -> None:
    """It comes at once with status 0, what is served is the old file until then, and nothing is half written."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    server = serve(*WATCH, cwd=site(SLOW), settings="site_settings", env={"TMPDIR": str(temporary)})
    (server.cwd / "hold").touch()
    save(server.cwd, "a { color: green }")
    wait_for((server.cwd / "held").exists, "collectstatic to write")
    assert serves(server, "a { color: red }")
    server.signal(number)
    assert server.wait(PROMPT) == 0
    assert (server.cwd / "collected/site.css").read_text() == "a { color: red }"
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_during_the_first_collectstatic(serve: Serve, site: Callable[..., Path], number: int) -> None:
    """As during any step of the start-up."""
    directory = site(SLOW)
    (directory / "hold").touch()
    server = serve(*WATCH, cwd=directory, settings="site_settings", until=None)
    wait_for((directory / "held").exists, "collectstatic to write")
    server.signal(number)
    assert server.wait(PROMPT) == 0
    assert not (directory / "collected/site.css").exists()
    assert "Traceback" not in server.output


def test_nothing_is_left_over(serve: Serve, site: Callable[..., Path], tmp_path: Path) -> None:
    """Of what is collected apart from what is served."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    server = serve(*WATCH, cwd=site(), settings="site_settings", env={"TMPDIR": str(temporary)})
    save(server.cwd, "a { color: green }")
    serves(server, "a { color: green }")
    assert len(list(temporary.iterdir())) == 1
    assert server.terminate() == 0
    assert list(temporary.iterdir()) == []
    assert [path.name for path in (server.cwd / "collected").iterdir()] == ["site.css"]


def test_all_of_the_project_is_watched(serve: Serve, site: Callable[..., Path]) -> None:
    """Without seeing what collectstatic writes itself."""
    server = serve("--static", "--static-watch", ".", cwd=site(), settings="site_settings")
    save(server.cwd, "a { color: green }")
    serves(server, "a { color: green }")
    save(server.cwd, "a { color: blue }")
    serves(server, "a { color: blue }")
    assert len(lines_with(server.stdout, "copied for assets/site.css")) == 2
    assert len(lines_with(server.stdout, "copied for")) == 2


def test_a_directory_that_goes_and_comes_back(serve: Serve, site: Callable[..., Path]) -> None:
    """collectstatic leaves the copies of what is gone."""
    server = serve(*WATCH, cwd=site(), settings="site_settings")
    (server.cwd / "assets").rename(server.cwd / "away")
    wait_for(lambda: lines_with(server.stdout, "0 files copied for site.css"), "the run without files")
    serves(server, "a { color: red }")
    (server.cwd / "away/site.css").write_text("a { color: back }")
    (server.cwd / "away").rename(server.cwd / "assets")
    serves(server, "a { color: back }")


def test_files_at_the_root(serve: Serve, site: Callable[..., Path]) -> None:
    """Those of WHITENOISE_ROOT are indexed anew, new ones too; what is gone is Django's again."""
    directory = site("WHITENOISE_ROOT = BASE_DIR / 'public'\n")
    public = directory / "public"
    public.mkdir()
    (public / "robots.txt").write_text("old")
    server = serve("--static", "--static-watch", "public", cwd=directory, settings="site_settings")
    serves(server, "old", "/robots.txt")
    (public / "robots.txt").write_text("new text")
    (public / "humans.txt").write_text("humans")
    serves(server, "new text", "/robots.txt")
    serves(server, "humans", "/humans.txt")
    (public / "robots.txt").unlink()
    wait_for(lambda: server.get("/robots.txt").headers["Content-Type"] == "text/html; charset=utf-8", "Django's 404")


def test_debug_needs_it_not(serve: Serve, site: Callable[..., Path]) -> None:
    """Which the log says; files come from where they are, and nothing is collected."""
    server = serve(*WATCH, cwd=site("DEBUG, STATIC_ROOT = True, None\n"), settings="site_settings")
    assert len(lines_with(server.stdout, "WARNING", "--static-watch is not needed")) == 1
    save(server.cwd, "a { color: green }")
    assert server.get("/static/site.css").text == "a { color: green }"
    assert not (server.cwd / "collected").exists()


def test_debug_without_finders(serve: Serve, site: Callable[..., Path]) -> None:
    """WhiteNoise looks for each file anew, in STATIC_ROOT."""
    settings = "DEBUG, WHITENOISE_USE_FINDERS = True, False\n"
    server = serve(*WATCH, cwd=site(settings), settings="site_settings")
    save(server.cwd, "a { color: green }")
    serves(server, "a { color: green }")


@pytest.mark.parametrize(
    ("options", "storage", "named"),
    [
        (("--static-watch", "assets"), "", ("--static-watch", "give --static")),
        ((*WATCH, "--workers", "2"), "", ("--static-watch", "--workers is 2")),
        (("--static", "--static-watch", "nowhere"), "", ("--static-watch", "'nowhere'", "no such file or directory")),
        (("--static", "--static-watch", "collected"), "", ("--static-watch", "STATIC_ROOT", "STATICFILES_DIRS")),
        (WATCH, "STATIC_ROOT = None\n", ("STATIC_ROOT", "not set")),
        (
            WATCH,
            "INSTALLED_APPS = ['twistserve']\n",
            ("--static-watch", "INSTALLED_APPS", "django.contrib.staticfiles"),
        ),
        (WATCH, "WHITENOISE_USE_FINDERS = True\n", ("--static-watch", "WHITENOISE_USE_FINDERS")),
        (
            WATCH,
            MANIFEST.replace(
                "django.contrib.staticfiles.storage.Manifest", "django.core.files.storage.InMemory"
            ).replace("StaticFilesStorage", "Storage"),
            ("--static-watch", "InMemoryStorage", "STATIC_ROOT"),
        ),
    ],
)
def test_what_is_refused(
    serve: Serve, site: Callable[..., Path], options: tuple[str, ...], storage: str, named: tuple[str, ...]
) -> None:
    """In one line that says what to do."""
    directory = site(storage)
    (directory / "collected").mkdir()
    assert_failed(serve(*options, cwd=directory, settings="site_settings", until=None), *named)


def test_an_error_at_the_start(serve: Serve, site: Callable[..., Path]) -> None:
    """Ends it, as one of --command does."""
    directory = site(MANIFEST)
    save(directory, "a { background: url(missing.png) }")
    server = serve(*WATCH, cwd=directory, settings="site_settings", until=None)
    assert_failed(server, "--static-watch", "collectstatic failed", "missing.png")
    assert refuses(server.port)
