"""What the image has: the example, on a PostgreSQL of the tests, with views that load it and put it to the test."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.functional import first_process, haproxy
from tests.support.functional.harness import EXAMPLE, ROOT

SETTINGS_MODULE = "in_container"
SETTINGS = """
import atexit, sys
from bookshop.settings import *

DEBUG = False
ROOT_URLCONF = "in_container_urls"
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": {port},
        "USER": "postgres",
        "NAME": "postgres",
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }}
}}
if "djangoserve" in sys.argv:
    atexit.register(print, "the function ran")
"""
URLS = """
import sys
from django.http import HttpResponse
from django.urls import include, path

kept = []

def leak(request):
    if f"--port={request.GET['port']}" in sys.argv:
        kept.append(bytearray(1 << 20))
    return HttpResponse("leaked")

urlpatterns = [
    path("load/", include("load_views")),
    path("first/", include("first_process_views")),
    path("leak/", leak),
    path("", include("bookshop.urls")),
]
"""
REQUIREMENTS = "twistserve\npsycopg[binary]\npillow\n"
UNWANTED = (".env", ".git/config", "db.sqlite3", "media/upload", "catalogue/__pycache__/views.pyc")
"""Files in a checkout that .dockerignore leaves out."""


def write(directory: Path, database: int) -> None:
    """Write the project with its Dockerfile; `database` is PostgreSQL's port."""
    ignore = shutil.ignore_patterns("__pycache__", "db.sqlite3*", "media", "static_root")
    shutil.copytree(EXAMPLE, directory, ignore=ignore)
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / "deploy" / "docker" / name, directory)
    texts = {
        f"{SETTINGS_MODULE}.py": SETTINGS.format(port=database),
        "in_container_urls.py": URLS,
        "load_views.py": haproxy.VIEWS,
        "first_process_views.py": first_process.VIEWS,
        "requirements.txt": REQUIREMENTS,
        **dict.fromkeys(UNWANTED, "not for the image"),
    }
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # A checkout of somebody careful, whose files another user may not read.
        path.chmod(0o600)
