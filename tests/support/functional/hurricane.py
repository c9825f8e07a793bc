"""A small project written for Django-Hurricane, and an environment that has it: it wants an older prometheus-client."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import django

from benchmarks.environments import ensure
from tests.support.functional.harness import BIN, Server, start

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twistserve-hurricane"
REQUIREMENTS = ("django-hurricane==1.6.2", f"django=={django.__version__}")

SETTINGS = """
import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
    "shop",
    "hurricane",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "data" / "db.sqlite3"}}
STATIC_URL, STATIC_ROOT = "/static/", BASE_DIR / "static_root"
MEDIA_URL, MEDIA_ROOT = "/media/", BASE_DIR / "media"
HURRICANE_VERSION = "1.4.2"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler", "stream": sys.stdout}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"hurricane": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}
"""

APPS = """
from pathlib import Path

from django.apps import AppConfig
from django.core.checks import Error, Warning, register

HERE = Path(__file__).resolve().parent.parent


def register_check(tag):
    @register(tag, deploy=True)
    def check(app_configs, **kwargs):
        if (HERE / f"{tag}.raises").exists():
            raise ValueError("not to be shown")
        if (HERE / f"{tag}.warns").exists():
            return [Warning("It is odd.", id="shop.W001")]
        return [Error("It is broken.", id="shop.E001")] if (HERE / f"{tag}.fails").exists() else []


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        if (HERE / "always.fails").exists():
            register(lambda app_configs, **kwargs: [Error("It is broken.", id="shop.E002")], "readiness")
        for tag in ("readiness", "liveness", "hurricane", "shop"):
            register_check(tag)
"""

URLS = """
import time
from pathlib import Path

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

HERE = Path(__file__).resolve().parent.parent
TOLD = ("REMOTE_ADDR", "HTTP_HOST", "SERVER_NAME", "HTTP_X_TWICE", "HTTP_X_UNDER_SCORE", "PATH_INFO", "SCRIPT_NAME",
        "QUERY_STRING", "SERVER_PROTOCOL", "wsgi.url_scheme", "wsgi.multithread", "wsgi.multiprocess")


def hello(request):
    return HttpResponse("Hello", content_type="text/plain")


def length(request):
    return HttpResponse(f"{request.method} {len(request.body)}", content_type="text/plain")


def uploaded(request):
    return HttpResponse(request.FILES["file"].read(), content_type="text/plain")


def broken(request):
    raise ValueError("not to be shown")


def stream(request):
    return StreamingHttpResponse(iter(["one ", "two ", "three"]), content_type="text/plain")


def endless(request):
    def lines():
        yield "one"
        while not (HERE / "go").exists():
            time.sleep(0.02)
        yield "two"

    return StreamingHttpResponse(lines(), content_type="text/plain")


def hold(request):
    (HERE / "held").touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return HttpResponse("held", content_type="text/plain")


def cookies(request):
    response = HttpResponse("", content_type="text/plain")
    response.set_cookie("one", "1")
    response.delete_cookie("two")
    response["X-Empty"] = ""
    return response


def nothing(request):
    return HttpResponse(status=204)


def environ(request, **kwargs):
    return JsonResponse({name: str(request.META.get(name)) for name in TOLD})


urlpatterns = [
    path("", hello),
    path("length", length),
    path("uploaded", uploaded),
    path("broken", broken),
    path("stream", stream),
    path("endless", endless),
    path("hold", hold),
    path("cookies", cookies),
    path("nothing", nothing),
    path("environ/<path:rest>", environ),
    path("both/page", hello),
]
"""

COMMAND = """
import sys
import time
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

HERE = Path(__file__).resolve().parents[3]


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("what")
        parser.add_argument("--twice", action="store_true")

    def handle(self, what, twice, **options):
        if what == "wait":
            while not (HERE / "open").exists():
                time.sleep(0.02)
        elif what == "tables":
            there = "auth_user" in connection.introspection.table_names()
            (HERE / "tables").write_text("migrated" if there else "not yet migrated")
        elif what == "exit":
            (HERE / "exited").touch()
            sys.exit(3)
        else:
            raise CommandError("It cannot be prepared.")
"""

FILES = {
    "manage.py": (
        "import os, sys\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)\n"
    ),
    "shop/__init__.py": "",
    "shop/settings.py": SETTINGS,
    "shop/apps.py": APPS,
    "shop/urls.py": URLS,
    "shop/management/__init__.py": "",
    "shop/management/commands/__init__.py": "",
    "shop/management/commands/prepare.py": COMMAND,
    "static_root/shop.css": "body { color: black }\n",
    "static_root/shop.js": "let shop = 1\n",
    "media/note.txt": "0123456789",
    "media/page.html": "<p>uploaded</p>",
    "media/both/page": "of media",
    "data/.keep": "",
}


def environment() -> Path:
    """The programs of an environment with Django-Hurricane and the Django of the tests, made at first."""
    directory = CACHE / f"{sys.version_info.major}.{sys.version_info.minor}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return ensure(directory, REQUIREMENTS)


@dataclass
class Side:
    """One of the two servers, in one project directory."""

    app: str
    programs: Path
    directory: Path

    @property
    def is_hurricane(self) -> bool:
        return self.app == "hurricane"

    def write(self, settings: str = "") -> None:
        """Write the project, with these settings at the end; the app is all that differs."""
        for name, text in (FILES | {"shop/settings.py": SETTINGS + settings}).items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace('"hurricane",\n]', f'"{self.app}",\n]'))
        (self.directory / "logs").mkdir()

    def start(self, *args: str, port: int | None = None, env: Mapping[str, str] = MappingProxyType({})) -> Server:
        """Start `manage.py serve` in the project, which is written if it is not there."""
        if not self.directory.exists():
            self.write()
        return start(
            *args,
            cwd=self.directory,
            logs=self.directory / "logs",
            runner="manage",
            settings=None,
            port=port,
            programs=self.programs,
            env={"PYTHONDONTWRITEBYTECODE": "1", "PROMETHEUS_DISABLE_CREATED_SERIES": "true", **env},
        )


def sides(hurricane: Path, directory: Path) -> list[Side]:
    """Both servers, each with a project of its own below the directory; `hurricane` has the one's programs."""
    directory.mkdir()
    return [Side("hurricane", hurricane, directory / "hurricane"), Side("twistserve", BIN, directory / "twistserve")]


@contextmanager
def serving(
    side: Side,
    *args: str,
    until: str | None = "/startup",
    port: int | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """A server for as long as the block runs."""
    server = side.start(*args, port=port, env=env)
    try:
        if until:
            server.wait_until(until)
        yield server
    finally:
        server.kill()


def again(side: Side, name: str) -> Side:
    """The same server with another project directory."""
    return replace(side, directory=side.directory.with_name(f"{side.directory.name} {name}"))
