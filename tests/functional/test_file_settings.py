"""Files as WhiteNoise's users have set them up: what the settings say, as Django understands them once it is set up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.functional import http2
from tests.support.functional.browser import Browser
from tests.support.functional.harness import Reply, Serve, Server, wait_for

Project = Callable[..., Path]

VIEWS = (
    "from django.conf import settings\n"
    "from django.http import JsonResponse\n"
    "from django.templatetags.static import static\n"
    "from django.urls import re_path\n"
    "def tell(request):\n"
    "    return JsonResponse({'static': static('a.css'), 'media': settings.MEDIA_URL, 'asked': request.path_info})\n"
    "urlpatterns = [re_path('', tell)]\n"
)
"""Everything that is no file is answered with the links that pages would have."""

SETTINGS = (
    "INSTALLED_APPS += ['django.contrib.staticfiles']\n"
    "STATIC_URL, STATIC_ROOT = 'static/', BASE_DIR / 'collected'\n"
    "MEDIA_URL, MEDIA_ROOT = 'media/', BASE_DIR / 'uploads'\n"
)

WHITENOISE = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
import site_settings
site_settings.MIDDLEWARE = ["whitenoise.middleware.WhiteNoiseMiddleware"]
import django
django.setup()
from django.test import Client
client, found = Client(), []
for path in sys.argv[1:]:
    reply = client.get(path)
    body = b"".join(reply) if reply.streaming else reply.content
    found.append([reply.status_code, body.decode(), reply.get("Location"), reply.get("Cache-Control")])
print(json.dumps(found))
"""


def by_whitenoise(directory: Path, paths: Sequence[str]) -> list[Any]:
    """What WhiteNoise itself answers in this project: status, body, Location and Cache-Control."""
    done = subprocess.run(
        [sys.executable, "-c", WHITENOISE, *paths], cwd=directory, check=True, capture_output=True, text=True
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def by_us(server: Server, path: str) -> list[Any]:
    """The same of a server."""
    reply = server.get(path)
    return [reply.status, reply.text, reply.headers["Location"], reply.headers["Cache-Control"]]


def furnish(directory: Path) -> Path:
    """A static and a media file."""
    for root, name in (("collected", "a.css"), ("uploads", "b.txt")):
        (directory / root).mkdir()
        (directory / root / name).write_text(name)
    return directory


# When the files are looked for


@pytest.mark.parametrize(
    ("runner", "options"), [("twistd", ()), ("manage", ()), ("twistd", ("--workers", "2"))], ids=str
)
def test_a_directory_that_the_command_makes(
    serve: Serve, project: Project, runner: str, options: tuple[str, ...]
) -> None:
    """collectstatic may be what makes STATIC_ROOT: its files are indexed after the commands."""
    directory = project(VIEWS, SETTINGS + "STATICFILES_DIRS = [BASE_DIR / 'assets']\n")
    (directory / "assets").mkdir()
    (directory / "assets" / "a.css").write_text("a {}")
    server = serve(
        "--static",
        *("--command", "collectstatic --noinput"),
        *options,
        runner=runner,
        cwd=directory,
        settings="site_settings",
    )
    assert server.get("/static/a.css").text == "a {}"


@pytest.mark.parametrize("options", [("--command", "check"), ("--workers", "2")], ids=str)
def test_what_is_found_out_late_is_one_line(serve: Serve, project: Project, options: tuple[str, ...]) -> None:
    """After commands, and in workers: status 1, and standard error names the setting and the directory."""
    server = serve("--static", *options, cwd=project(VIEWS, SETTINGS), settings="site_settings", until=None)
    assert server.wait() == 1
    (line,) = server.stderr.splitlines()
    for part in ("--static", "STATIC_ROOT", "collected", "collectstatic"):
        assert part in line


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=str)
@pytest.mark.parametrize(
    ("url", "named"),
    [("MEDIA_URL = None", "None"), ("MEDIA_URL = 'https://cdn.example/m/'", "cdn.example"), ("MEDIA_URL = ''", "''")],
)
def test_a_url_is_refused_before_commands(
    serve: Serve, project: Project, options: tuple[str, ...], url: str, named: str
) -> None:
    """What cannot be served is told before migrations and commands have done anything."""
    directory = project(VIEWS, f"{SETTINGS}{url}\nSTATICFILES_DIRS = [BASE_DIR]\n")
    command = ("--command", "collectstatic --noinput")
    server = serve("--media", *command, *options, cwd=directory, settings="site_settings", until=None)
    assert server.wait() == 1
    (line,) = server.stderr.splitlines()
    assert "MEDIA_URL" in line
    assert named in line or "'/'" in line
    assert not (directory / "collected").exists()


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=str)
def test_media_before_the_first_upload(serve: Serve, project: Project, options: tuple[str, ...]) -> None:
    """A MEDIA_ROOT that is not there is said once and not made; its files are served as soon as it is there."""
    directory = project(VIEWS, SETTINGS)
    server = serve("--media", *options, cwd=directory, settings="site_settings")
    assert server.get("/media/b.txt").status == 404
    wait_for(lambda: server.output.count("serving on") == (2 if options else 1), "all of them")
    lines = [line for line in server.output.splitlines() if "MEDIA_ROOT" in line]
    assert len(lines) == 1, server.output
    assert str(directory / "uploads") in lines[0]
    assert not (directory / "uploads").exists()
    (directory / "uploads").mkdir()
    (directory / "uploads" / "b.txt").write_text("late")
    assert server.get("/media/b.txt").text == "late"


# Below which paths


@pytest.mark.parametrize(
    ("settings", "links", "path"),
    [
        ("", ["/app/static/a.css", "/app/media/"], "/static/a.css"),
        ("STATIC_URL, MEDIA_URL = '/app/static/', '/app/media/'\n", ["/app/static/a.css", "/app/media/"], None),
        ("STATIC_URL, MEDIA_URL = '/static/', '/media/'\n", ["/static/a.css", "/media/"], None),
        ("STATIC_URL, MEDIA_URL = '/application/s/', '/application/m/'\n", None, None),
        ("WHITENOISE_STATIC_PREFIX = '/elsewhere/'\n", ["/app/static/a.css", "/app/media/"], "/elsewhere/a.css"),
        ("STATIC_URL = 'https://cdn.example/app/static/'\n", ["https://cdn.example/app/static/a.css", None], None),
    ],
    ids=["relative", "with the prefix", "without it", "another that begins alike", "WhiteNoise's", "CDN"],
)
@pytest.mark.parametrize(
    ("runner", "options", "debug"),
    [("twistd", (), False), ("manage", (), False), ("manage", (), True), ("twistd", ("--workers", "2"), False)],
    ids=str,
)
def test_a_script_name(
    serve: Serve,
    project: Project,
    runner: str,
    options: tuple[str, ...],
    debug: bool,
    settings: str,
    links: list[str | None] | None,
    path: str | None,
) -> None:
    """Links have FORCE_SCRIPT_NAME, which the ingress takes away: files are where WhiteNoise has them."""
    settings = f"{SETTINGS}FORCE_SCRIPT_NAME, DEBUG = '/app', {debug}\n{settings}"
    directory = furnish(project(VIEWS, settings))
    server = serve("--static", "--media", *options, runner=runner, cwd=directory, settings="site_settings")
    told = server.get("/").json()
    for name, link in zip(("static", "media"), links or (), strict=False):
        assert link is None or told[name] == link
    paths = [
        "/static/a.css",
        "/app/static/a.css",
        "/elsewhere/a.css",
        "/application/s/a.css",
        "/lication/s/a.css",  # codespell:ignore lication
        "/x",
    ]
    ours = [by_us(server, each) for each in paths]
    for each, mine, theirs in zip(paths, ours, by_whitenoise(directory, paths), strict=True):
        # Below the prefix what is not there is 404 without Django being asked.
        if mine[0] != 404:
            assert mine == theirs, each
        else:
            assert "a.css" in theirs[1], each
    assert "a.css" in [reply[1] for reply in ours]
    if path is not None:
        assert server.get(path).text == "a.css"
    media = "/application/m/b.txt" if links is None else "/media/b.txt"
    assert server.get(media).text == "b.txt"


# Files outside the prefix, index files, other hosts


def plant(directory: Path) -> Path:
    """Files for WHITENOISE_ROOT and index files, beside those of `furnish`."""
    furnish(directory)
    for name in ("root/robots.txt", "root/deep/index.html", "root/static/rooted.css", "root/100% é.txt"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (directory / "collected" / "guide").mkdir()
    for name in ("index.html", "guide/index.html", "guide/page.html"):
        (directory / "collected" / name).write_text(name)
    return directory


ASKED = [
    "/",
    "/robots.txt",
    "/robots.txt/",
    "/robots",
    "/deep",
    "/deep/",
    "/deep/index.html",
    "/100%25%20%C3%A9.txt",
    "/static/rooted.css",
    "/static",
    "/static/",
    "/static/index.html",
    "/static/guide",
    "/static/guide/",
    "/static/guide/index.html",
    "/static/guide/page.html",
    "/static/a.css",
    "/a.css",
    "/guide/",
    "/nothing/at/all",
]


@pytest.mark.parametrize("debug", ["", "DEBUG = True\n", "WHITENOISE_AUTOREFRESH = True\n"])
@pytest.mark.parametrize(
    "settings",
    [
        "WHITENOISE_ROOT = BASE_DIR / 'root'\n",
        "WHITENOISE_INDEX_FILE = True\n",
        "WHITENOISE_ROOT = BASE_DIR / 'root'\nWHITENOISE_INDEX_FILE = True\n",
        "WHITENOISE_ROOT = BASE_DIR / 'root'\nWHITENOISE_INDEX_FILE = 'page.html'\nWHITENOISE_MAX_AGE = 5\n",
        "STATIC_URL = 'https://cdn.example/static/'\n",
        "STATIC_URL = '//cdn.example/'\nWHITENOISE_INDEX_FILE = True\n",
    ],
)
def test_as_whitenoise_does(serve: Serve, project: Project, settings: str, debug: str) -> None:
    """WHITENOISE_ROOT, WHITENOISE_INDEX_FILE and a STATIC_URL on another host, which pulls from here."""
    directory = plant(project(VIEWS, SETTINGS + settings + debug))
    server = serve("--static", cwd=directory, settings="site_settings")
    for path, theirs in zip(ASKED, by_whitenoise(directory, ASKED), strict=True):
        ours = by_us(server, path)
        if ours[0] == 404:
            # Below the prefix what is no file is 404 without Django being asked.
            assert path.startswith("/static/"), path
            assert "asked" in theirs[1]
        else:
            assert ours == theirs, path


@pytest.mark.parametrize("debug", ["", "DEBUG = True\n"])
def test_methods_at_the_root(serve: Serve, project: Project, debug: str) -> None:
    """A file at the root is only read; what is none is Django's, with its body."""
    views = (
        "from django.http import HttpResponse\n"
        "from django.urls import re_path\n"
        "urlpatterns = [re_path('', lambda request: HttpResponse(request.method.encode() + request.body))]\n"
    )
    settings = SETTINGS + "MIDDLEWARE = []\nWHITENOISE_ROOT = BASE_DIR / 'root'\n" + debug
    server = serve("--static", cwd=plant(project(views, settings)), settings="site_settings")
    assert server.get("/robots.txt", method="POST", body=b"x").status == 405
    head = server.get("/robots.txt", method="HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len("root/robots.txt")))
    assert server.get("/form", method="POST", body=b"given").text == "POSTgiven"
    assert server.get("/robots.txt", headers={"If-None-Match": head.headers["ETag"]}).status == 304
    assert server.get("/robots.txt", headers={"Range": "bytes=0-3"}).text == "root"


# Tags


@pytest.mark.parametrize("size", [1_000, 300_000])
@pytest.mark.parametrize("debug", ["", "DEBUG = True\n"])
def test_a_tag_for_each_coding(serve: Serve, project: Project, debug: str, size: int) -> None:
    """What a client has of one coding is neither current nor completed with bytes of another."""
    directory = furnish(project(VIEWS, SETTINGS + debug))
    bodies = {"identity": b"i" * size, "gzip": b"g" * (size - 10), "br": b"b" * (size - 20)}
    for coding, suffix in (("identity", ""), ("gzip", ".gz"), ("br", ".br")):
        (directory / "collected" / f"page.css{suffix}").write_bytes(bodies[coding])
    server = serve("--static", cwd=directory, settings="site_settings")

    def get(coding: str, **conditions: str) -> Reply:
        headers = {name.replace("_", "-"): value for name, value in conditions.items()}
        return server.get("/static/page.css", headers={"Accept-Encoding": coding, **headers})

    for _ in range(2):
        whole = {coding: get(coding) for coding in bodies}
        tags = {coding: reply.headers["ETag"] for coding, reply in whole.items()}
        assert len(set(tags.values())) == 3
        for coding, body in bodies.items():
            assert whole[coding].body == body
            for has, tag in tags.items():
                current = get(coding, If_None_Match=tag)
                assert current.status == (304 if has == coding else 200)
                assert current.headers["ETag"] == tags[coding]
                assert current.headers["Vary"] == "Accept-Encoding"
                rest = get(coding, Range="bytes=500-", If_Range=tag)
                assert (rest.status, rest.body) == ((206, body[500:]) if has == coding else (200, body))
            every = get(coding, If_None_Match=", ".join(tags.values()))
            assert (every.status, every.headers["ETag"]) == (304, tags[coding])
            # All codings have the same date, which therefore tells nothing of the bytes.
            dated = get(coding, Range="bytes=500-", If_Range=whole[coding].headers["Last-Modified"])
            assert (dated.status, dated.body) == (200, body)


# Who asked


def test_what_a_trusted_proxy_says(serve: Serve, project: Project, tmp_path: Path) -> None:
    """A file's log line has the client's address, line and response the proxy's id, over HTTP/1.1 and HTTP/2."""
    directory = furnish(project(VIEWS, SETTINGS + "WHITENOISE_ROOT = BASE_DIR / 'uploads'\n"))
    (directory / "collected" / "large.bin").write_bytes(bytes(200_000))
    secure = http2.start(serve, tmp_path, "--static", "--media", "--log-format", "json", cwd=directory)
    server, fields = secure.server, {"X-Forwarded-For": "203.0.113.9, 127.0.0.1", "Accept-Encoding": "gzip"}
    cases = [
        ("/static/a.css", {}, 200),
        ("/static/large.bin", {}, 200),
        ("/static/large.bin", {"Range": "bytes=0-9"}, 206),
        ("/static/a.css", {"If-None-Match": "*"}, 304),
        ("/static/none.css", {}, 404),
        ("/media/b.txt", {}, 200),
        ("/media/none.txt", {}, 404),
        ("/b.txt", {}, 200),
        ("/page/", {}, 200),
    ]
    expected: dict[str, tuple[int, str]] = {}
    for turn in range(3):
        for place, (path, more, status) in enumerate(cases):
            name = f"{turn}-{place}"
            reply = server.get(path, headers={**fields, **more, "X-Request-ID": f"one-{name}"})
            assert (reply.status, reply.headers.get_all("X-Request-ID")) == (status, [f"one-{name}"])
            expected[f"one-{name}"] = (status, path)
            with secure.connect() as client:
                words = [(key.lower(), value) for key, value in {**fields, **more}.items()]
                answer = client.get(path, *words, ("x-request-id", f"two-{name}"))
            assert (answer.status, answer.head["x-request-id"]) == (status, f"two-{name}")
            expected[f"two-{name}"] = (status, path)
    made = server.get("/static/a.css", headers=fields).headers["X-Request-ID"]
    odd = server.get("/media/b.txt", headers={**fields, "X-Request-ID": "a b"}).headers["X-Request-ID"]
    assert made
    assert odd not in (None, made, "a b")
    expected |= {made: (200, "/static/a.css"), odd: (200, "/media/b.txt")}

    def logged() -> dict[str, tuple[int, str]]:
        lines = [json.loads(line) for line in server.stdout.splitlines()]
        mine = [line for line in lines if line.get("remote") == "203.0.113.9"]
        return {line["request_id"]: (line["status"], line["path"]) for line in mine}

    wait_for(lambda: logged() == expected, lambda: f"the log to have {expected}, not {logged()}")


def test_what_a_stranger_says(serve: Serve, project: Project) -> None:
    """From anybody else neither address nor id is believed of a file."""
    directory = furnish(project(VIEWS, SETTINGS))
    options = ("--static", "--media", "--log-format", "json", "--forwarded-allow-ips", "10.0.0.0/8")
    server = serve(*options, cwd=directory, settings="site_settings")
    for path in ("/static/a.css", "/static/a.css", "/media/b.txt"):
        reply = server.get(path, headers={"X-Forwarded-For": "203.0.113.9", "X-Request-ID": "of-a-stranger"})
        assert (reply.status, reply.headers["X-Request-ID"]) == (200, None)
    wait_for(lambda: server.stdout.count('"path": "/') >= 3 or server.stdout.count('"path":"/') >= 3, "the log")
    assert "203.0.113.9" not in server.stdout
    assert "of-a-stranger" not in server.stdout


# What users upload


UPLOADS = {
    "page.html": True,
    "PAGE.HTM": True,
    "page.xhtml": True,
    "picture.svg": True,
    "feed.xml": True,
    "feed.atom": True,
    "picture.png": False,
    "note.txt": False,
    "script.js": False,
    "letter.pdf": False,
    "unknown.thingummy": False,
}
"""Names, and whether a browser would run scripts in such a document."""


@pytest.mark.parametrize("options", [(), ("--media-scripts",)], ids=str)
def test_uploaded_documents(serve: Serve, project: Project, options: tuple[str, ...]) -> None:
    """Whatever can run scripts is in a sandbox, unless --media-scripts, also where it is stored; nothing is sniffed."""
    directory = furnish(project(VIEWS, SETTINGS + "MEDIA_URL = 'media/'\n"))
    for name in UPLOADS:
        (directory / "uploads" / name).write_bytes(b"<script>alert(1)</script>")
        (directory / "collected" / name).write_bytes(b"<script>alert(1)</script>")
    server = serve("--static", "--media", *options, cwd=directory, settings="site_settings")
    for name, document in UPLOADS.items():
        policies = ["sandbox"] if document and not options else None
        for conditions, status in (({}, 200), ({"Range": "bytes=0-5"}, 206), ({"If-None-Match": "*"}, 304)):
            reply = server.get(f"/media/{name}", headers=conditions)
            assert reply.status == status
            assert reply.headers.get_all("Content-Security-Policy") == policies, name
            assert reply.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert server.get(f"/static/{name}").headers["Content-Security-Policy"] is None


PROTECTED = (
    "from django.conf import settings\n"
    "from django.conf.urls.static import static\n"
    "from django.contrib.auth.decorators import login_required\n"
    "from django.http import HttpResponse\n"
    "from django.urls import include, path, re_path\n"
    "from django.views import View\n"
    "from django.views.static import serve\n"
    "def download(request, path=''):\n"
    "    return HttpResponse('may you?')\n"
    "class Download(View):\n"
    "    def get(self, request, path):\n"
    "        return HttpResponse('may you?')\n"
)


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("path('media/<path:path>', Download.as_view())", "site_urls.Download"),
        ("re_path(r'^media/(?P<path>.*)$', download)", "site_urls.download"),
        ("path('media/', include([path('private/<int:path>/', download)]))", "site_urls.download"),
        ("re_path(r'^(?:media|files)/(?P<path>.+)$', download)", "site_urls.download"),
        ("re_path(r'^media(?P<path>/.*)$', login_required(serve))", "django.views.static.serve"),
        ("re_path('', download)", None),
        ("path('<path:path>', Download.as_view())", None),
        ("path('media-centre/<path:path>', download), path('mediapage/', download)", None),
        ("*static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)", None),
    ],
)
def test_a_view_where_media_are(serve: Serve, project: Project, pattern: str, named: str | None) -> None:
    """A view of the project's own below MEDIA_URL may protect what --media makes public: the log names it."""
    settings = SETTINGS + "FORCE_SCRIPT_NAME = '/app'\nDEBUG = True\n"
    directory = furnish(project(PROTECTED + f"urlpatterns = [{pattern}]\n", settings))
    # Django's own helper compares with the path that is asked for, which has no prefix.
    views = (directory / "site_urls.py").read_text().replace("static(settings.MEDIA_URL", "static('/media/'")
    (directory / "site_urls.py").write_text(views)
    server = serve("--media", cwd=directory, settings="site_settings")
    warnings = [line for line in server.stdout.splitlines() if "everybody may read" in line]
    assert len(warnings) == (0 if named is None else 1), server.output
    for part in () if named is None else ("WARNING", "--media", "/media/", named):
        assert part in warnings[0]
    assert server.get("/media/b.txt").text == "b.txt"


SCRIPT = "new Image().src = '/ran/' + location.pathname"
SVG = f"<svg xmlns='http://www.w3.org/2000/svg' width='30' height='20'><script>{SCRIPT}</script></svg>"
XHTML = f"<html xmlns='http://www.w3.org/1999/xhtml'><body><script>{SCRIPT}</script></body></html>"
SCRIPTED = {"page.html": f"<body><script>{SCRIPT}</script>", "picture.svg": SVG, "page.xhtml": XHTML, "page.xml": XHTML}
GALLERY = (
    "from django.http import HttpResponse\n"
    "from django.urls import re_path\n"
    "page = '<body><img src=\"/media/picture.svg\"></body>'\n"
    "urlpatterns = [re_path('', lambda request: HttpResponse(page))]\n"
)


@pytest.mark.parametrize("options", [(), ("--media-scripts",)], ids=str)
def test_scripts_in_a_browser(serve: Serve, project: Project, browser: Browser, options: tuple[str, ...]) -> None:
    """What was uploaded runs no script in a browser, unless --media-scripts; pictures are shown in pages."""
    directory = furnish(project(GALLERY, SETTINGS + "MIDDLEWARE = []\n"))
    for name, text in SCRIPTED.items():
        (directory / "uploads" / name).write_text(text)
    server = serve("--media", *options, cwd=directory, settings="site_settings")
    for name in SCRIPTED:
        browser.open(f"http://127.0.0.1:{server.port}/media/{name}")
        if options:
            wait_for(lambda name=name: f"/ran//media/{name}" in server.stdout, f"the script of {name}")  # type: ignore[misc]
    browser.open(f"http://127.0.0.1:{server.port}/gallery")
    assert browser.image_size("img") == (30, 20)
    wait_for(lambda: "GET /gallery" in server.stdout, "the last request")
    if not options:
        assert "/ran/" not in server.stdout
